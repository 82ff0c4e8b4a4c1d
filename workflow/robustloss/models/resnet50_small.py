"""ResNet-50 (He et al. 2016) for small images: chen2019's network for Tiny ImageNet, 64 x 64 x 3 (Table 2 there).

torchvision's, but the first convolution is 3 x 3 with stride 1 and no pooling follows, so that the last stage still
sees 8 x 8 of 64 x 64 pixels. chen2019 does not describe the stem: this one is an inference. 23,910,152 parameters for
200 classes.
"""

from torch import nn
from torchvision.models import resnet50

from robustloss.models.residual import draw_weights


def network(classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """torchvision's ResNet-50 with the stem for small images and a last layer of `classes`, drawn as torchvision does.

    That is, convolutions from N(0, 2 / (kernel's area times output channels)), the last layer by torch's default.
    """
    body = resnet50(weights=None, num_classes=classes)
    body.conv1 = draw_weights(nn.Conv2d(shape[2], 64, 3, padding=1, bias=False), nn.Conv2d, "fan_out")
    body.maxpool = nn.Identity()
    return body
