"""The bottleneck ResNet-v2 for 32 x 32 images (He et al. 2016b) as Keras's CIFAR-10 example and pang2020 build it.

pang2020's "ResNet-32" is this with n = 5: the published command gives 9n + 2 = 47 layers, and a linear layer of 256
before the output. Parameters for 10 classes of 32 x 32 x 3 images: 1,390,154 for depth 47 and 4,941,546 for depth 164
(n = 18), and 65,792 more with the linear layer of 256; for depth 29 the 843,786 that Keras's summary prints.
"""

from torch import nn

from robustloss.errors import Problem
from robustloss.models.residual import Residual, draw_weights

# Channels inside and after a unit, stage by stage.
STAGES = ((16, 64), (64, 128), (128, 256))


def network(classes: int, shape: tuple[int, int, int], *, depth: int, embedding: int = 0) -> nn.Module:
    """Three stages of n = (depth - 2) / 9 bottleneck units; global average pool; linear to `embedding`; linear.

    A unit has 1 x 1, 3 x 3 and 1 x 1 convolutions, each after batch normalisation and ReLU (the very first excepted,
    which the stem's activation precedes), and nothing after the sum. Where a stage begins, the first of them halves
    the image (not in the first stage), and the shortcut is a 1 x 1 convolution of the unit's input as it came. No
    ReLU follows the layer of `embedding` numbers; 0 leaves it out.

    As in Keras, convolutions have biases, batch normalisation an epsilon of 0.001 and running averages that keep 0.99
    a step; weights are drawn from N(0, 2 / inputs) (Keras truncates at two standard deviations), biases are 0.
    Raises Problem for another depth or embedding.
    """
    if type(depth) is not int or depth < 11 or (depth - 2) % 9:
        raise Problem(f"network resnet_bottleneck: depth must be 9n + 2, such as 29, 47 or 164, not {depth}")
    if type(embedding) is not int or embedding < 0:
        raise Problem(f"network resnet_bottleneck: embedding must be a whole number from 0, not {embedding}")
    layers: list[nn.Module] = [nn.Conv2d(shape[2], 16, 3, padding=1), *_activation(16)]
    before = 16
    for stage, (inner, after) in enumerate(STAGES):
        for unit in range((depth - 2) // 9):
            stride = 2 if stage and not unit else 1
            first = [] if stage == unit == 0 else _activation(before)
            short = None if unit else nn.Conv2d(before, after, 1, stride)
            layers.append(Residual(_bottleneck(first, before, inner, after, stride), short))
            before = after
    layers += [*_activation(before), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers += [nn.Linear(before, embedding)] if embedding else []
    body = nn.Sequential(*layers, nn.Linear(embedding or before, classes))
    return draw_weights(body, (nn.Conv2d, nn.Linear), "fan_in")


def _bottleneck(first: list[nn.Module], before: int, inner: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        *first,
        nn.Conv2d(before, inner, 1, stride),
        *_activation(inner),
        nn.Conv2d(inner, inner, 3, padding=1),
        *_activation(inner),
        nn.Conv2d(inner, after, 1),
    )


def _activation(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01), nn.ReLU(inplace=True)]
