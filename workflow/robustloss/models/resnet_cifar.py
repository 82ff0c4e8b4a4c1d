"""The residual networks for 32 x 32 images (He et al. 2016a, Section 4.2): 6n + 2 layers in three stages.

ResNet-20, 32 and 56 have 269,722, 464,154 and 853,018 parameters for 10 classes of 32 x 32 x 3 images, with either
order of layers (Table 6 there: 0.27, 0.46 and 0.85 million). ResNet-56 is chen2019's network for CIFAR (Table 2);
ResNet-32, pre-activated with padded shortcuts, is song2022's (Section 4, "five stages" read as five units a stage).
"""

import torch
from torch import nn
from torch.nn import functional as F

from robustloss.errors import Problem
from robustloss.models.residual import Residual, draw_weights

SHORTCUTS = ("pad", "projection")


def network(
    classes: int,
    shape: tuple[int, int, int],
    *,
    depth: int,
    preactivation: bool = False,
    shortcut: str = "pad",
    width: int = 16,
) -> nn.Module:
    """Three stages of n = (depth - 2) / 6 units with `width`, 2 width, 4 width channels; global average pool; linear.

    A unit has two 3 x 3 convolutions. With `preactivation` (He et al. 2016b) batch normalisation and ReLU come before
    them and nothing comes after the sum; the first activation is before the first unit, the last after the last.
    Where a stage begins, the image is halved, and the shortcut takes every second pixel and pads zero channels on
    either side ("pad", 2016a's option A) or is a 1 x 1 convolution ("projection", option B; with batch normalisation
    where the branch ends in one). Convolutions are drawn from N(0, 2 / (9 output channels)) as in the authors' code,
    the last layer as torch draws it. Raises Problem for another depth, width or shortcut.
    """
    if type(depth) is not int or depth < 8 or (depth - 2) % 6:
        raise Problem(f"network resnet_cifar: depth must be 6n + 2, such as 20, 32 or 56, not {depth}")
    if type(width) is not int or width < 1:
        raise Problem(f"network resnet_cifar: width must be a whole number from 1, not {width}")
    if shortcut not in SHORTCUTS:
        raise Problem(f"network resnet_cifar: shortcut must be {' or '.join(SHORTCUTS)}, not {shortcut}")
    if not isinstance(preactivation, bool):
        raise Problem(f"network resnet_cifar: preactivation must be true or false, not {preactivation}")
    layers: list[nn.Module] = [_convolution(shape[2], width), *_activation(width)]
    before = width
    for stage in range(3):
        after = width * 2**stage
        for unit in range((depth - 2) // 6):
            stride = 2 if stage and not unit else 1
            convolutions = _convolution(before, after, stride), _convolution(after, after)
            short = _shortcut(shortcut, before, after, stride, normalised=not preactivation)
            if preactivation:
                first = [] if stage == unit == 0 else _activation(before)
                layers.append(Residual(_preactivated(first, convolutions), short))
            else:
                layers.append(Residual(_postactivated(convolutions), short, nn.ReLU(inplace=True)))
            before = after
    last = _activation(before) if preactivation else []
    body = nn.Sequential(*layers, *last, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))
    return draw_weights(body, nn.Conv2d, "fan_out")


def _postactivated(convolutions: tuple[nn.Conv2d, nn.Conv2d]) -> nn.Sequential:
    one, two = convolutions
    return nn.Sequential(one, *_activation(one.out_channels), two, nn.BatchNorm2d(two.out_channels))


def _preactivated(first: list[nn.Module], convolutions: tuple[nn.Conv2d, nn.Conv2d]) -> nn.Sequential:
    one, two = convolutions
    return nn.Sequential(*first, one, *_activation(one.out_channels), two)


def _activation(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def _convolution(before: int, after: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride, padding=1, bias=False)


def _shortcut(kind: str, before: int, after: int, stride: int, normalised: bool) -> nn.Module | None:
    if before == after:
        return None
    if kind == "pad":
        return Subsample(stride, after - before)
    projection = nn.Conv2d(before, after, 1, stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(after)) if normalised else projection


class Subsample(nn.Module):
    """Every `stride`-th pixel of each row and column, with `extra` channels of zeros, half of them on either side."""

    def __init__(self, stride: int, extra: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, extra

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        low = self.extra // 2
        # As images[:, :, ::stride, ::stride], whose gradient would lose the order in memory that the others have.
        kept = F.avg_pool2d(images, 1, self.stride)
        return F.pad(kept, (0, 0, 0, 0, low, self.extra - low))
