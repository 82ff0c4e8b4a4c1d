"""ResNet-50 (He et al. 2016), torchvision's: the network of ding2025, Section 2.1."""

from torch import nn
from torchvision.models import resnet50

from robustloss.errors import Problem


def network(classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """torchvision's ResNet-50 with a last layer of `classes`, freshly drawn; for images of three channels."""
    if shape[2] != 3:
        raise Problem(f"network resnet50 takes images of 3 channels, not {shape[2]}: choose another network")
    return resnet50(weights=None, num_classes=classes)
