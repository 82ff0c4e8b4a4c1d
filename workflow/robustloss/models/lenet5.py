"""LeNet-5 in the form of chen2019's published code: ReLU and maximum pooling instead of LeCun et al.'s (1998) layers.

61,706 parameters for 10 classes of 28 x 28 x 1 images. The network for MNIST of chen2019 (Table 2) and of song2022
(Section 4.3, which says no more than LeNet-5).
"""

from torch import nn

from robustloss.errors import Problem

LEAST = 12


def network(classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """Convolutions to 6 (5 x 5, padding 2) and 16 channels (5 x 5), each halved by pooling; linear 120, 84, `classes`.

    Weights as torch draws them, which the published code leaves as they are. The first linear layer takes what the
    image's size leaves: 16 x 5 x 5 numbers for 28 x 28, 16 x 6 x 6 for 32 x 32. Raises Problem below 12 x 12, where
    nothing is left.
    """
    height, width, channels = shape
    if min(height, width) < LEAST:
        raise Problem(
            f"network lenet5 takes images from {LEAST} x {LEAST} pixels, not {height} x {width}: choose network small"
        )
    left = [(size // 2 - 4) // 2 for size in (height, width)]
    # ReLU follows the pooling, with which it commutes, and so has a quarter of the numbers to look at.
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 16, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(16 * left[0] * left[1], 120),
        nn.ReLU(inplace=True),
        nn.Linear(120, 84),
        nn.ReLU(inplace=True),
        nn.Linear(84, classes),
    )
