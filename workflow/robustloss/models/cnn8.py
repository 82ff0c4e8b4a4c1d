"""An eight-layer convolutional network for CIFAR-10: the shallow network of song2022, Section 4.3.

song2022 says "eight-layer neural network" only; these layers are an inference. 2,197,706 parameters for 10 classes of
32 x 32 x 3 images, 2,196,810 without batch normalisation.
"""

import itertools

from torch import nn

from robustloss.errors import Problem
from robustloss.models.residual import draw_weights

WIDTHS = (64, 64, 128, 128, 256, 256)
HIDDEN = 256
LEAST = 8


def network(classes: int, shape: tuple[int, int, int], *, batch_norm: bool = True) -> nn.Module:
    """Six 3 x 3 convolutions (64, 64, 128, 128, 256, 256 channels), pooled by two after each pair; two linear layers.

    ReLU after each layer but the last; with `batch_norm`, batch normalisation before each convolution's ReLU, in place
    of its bias. The hidden linear layer has 256 units. Weights are drawn from N(0, 2 / inputs) (He et al. 2015), biases
    are 0. Raises Problem below 8 x 8 pixels, where the third pooling has nothing to pool.
    """
    height, width, channels = shape
    if min(height, width) < LEAST:
        raise Problem(
            f"network cnn8 takes images from {LEAST} x {LEAST} pixels, not {height} x {width}: choose network small"
        )
    if not isinstance(batch_norm, bool):
        raise Problem(f"network cnn8: batch_norm must be true or false, not {batch_norm}")
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(itertools.pairwise((channels, *WIDTHS)), start=1):
        layers.append(nn.Conv2d(before, after, 3, padding=1, bias=not batch_norm))
        layers += [nn.BatchNorm2d(after)] if batch_norm else []
        layers.append(nn.ReLU(inplace=True))
        layers += [] if number % 2 else [nn.MaxPool2d(2)]
    left = WIDTHS[-1] * (height // 8) * (width // 8)
    layers += [nn.Flatten(), nn.Linear(left, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, classes)]
    return draw_weights(nn.Sequential(*layers), (nn.Conv2d, nn.Linear), "fan_in")
