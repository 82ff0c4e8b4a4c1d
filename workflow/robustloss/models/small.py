"""A small convolutional network for digits and small frames, quick on a CPU."""

import itertools

from torch import nn

from robustloss.errors import Problem


def network(classes: int, shape: tuple[int, int, int], *, width: int = 16) -> nn.Module:
    """Three blocks of 3x3 convolution with stride 2, batch normalisation and ReLU; global average pool; linear.

    The blocks have `width`, 2 width and 4 width channels. At width 16 an image of 48 x 48 x 3 costs 1.6 million
    multiply-adds forward.
    """
    if width < 1:
        raise Problem(f"network small: width must be a whole number from 1, not {width}")
    channels = [shape[2], width, 2 * width, 4 * width]
    blocks = [
        nn.Sequential(
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
        )
        for before, after in itertools.pairwise(channels)
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], classes))
