"""A small network of EfficientNet's kind for digits and small frames, quick on a CPU.

Inverted residual blocks of depthwise-separable convolutions with SiLU and squeeze-and-excitation, as in Tan and Le 2019
(EfficientNet), a few of them only.
"""

import torch
from torch import nn

from robustloss.errors import Problem

EXPANSION = 2
SQUEEZE = 4


def network(classes: int, shape: tuple[int, int, int], *, width: int = 16) -> nn.Module:
    """A convolution with stride 2, two inverted residual blocks with stride 2, one with stride 1; pool; linear.

    They have `width`, 2 width, 4 width and 4 width channels. At width 16 an image of 48 x 48 x 3 costs 1.8 million
    multiply-adds forward.
    """
    if width < 1:
        raise Problem(f"network small_separable: width must be a whole number from 1, not {width}")
    return nn.Sequential(
        *_convolution(shape[2], width, 3, stride=2),
        nn.SiLU(),
        InvertedResidual(width, 2 * width, stride=2),
        InvertedResidual(2 * width, 4 * width, stride=2),
        InvertedResidual(4 * width, 4 * width, stride=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, classes),
    )


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, weigh the channels, narrow; add the input where the shapes agree."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        inner = EXPANSION * before
        self.residual = stride == 1 and before == after
        self.body = nn.Sequential(
            *_convolution(before, inner, 1),
            nn.SiLU(),
            *_convolution(inner, inner, 3, stride, groups=inner),
            nn.SiLU(),
            SqueezeExcitation(inner, max(1, before // SQUEEZE)),
            *_convolution(inner, after, 1),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images + self.body(images) if self.residual else self.body(images)


class SqueezeExcitation(nn.Module):
    """Scale each channel by a number in (0, 1) computed from all channels' means (Hu et al. 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.SiLU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * self.scale(images)


def _convolution(before: int, after: int, size: int, stride: int = 1, groups: int = 1) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(before, after, size, stride, padding=size // 2, groups=groups, bias=False)
    return convolution, nn.BatchNorm2d(after)
