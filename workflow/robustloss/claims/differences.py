"""By how much the measurements of one row exceed those of another, and how far that can be trusted.

Images and trainings are both drawn by chance. The difference of two means over the same N images and S trainings has
the variance of a two-way layout without replication: that over images, s²(mean over trainings)/N, plus that over
trainings, s²(mean over images)/S for each row, less what both contain, the mean square of the interaction/(S N). Where
a row was trained once there is the first part only, of a number without images the second only.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit


class Part(NamedTuple):
    """A variance and its degrees of freedom."""

    variance: float
    freedom: float

    def margin(self, level: float) -> float:
        """Half of Student's interval."""
        return float(stdtrit(self.freedom, 0.5 + level / 2)) * math.sqrt(self.variance)


NOTHING = Part(0, 1)


class Difference(NamedTuple):
    """A difference, the centre of its interval, and its variance over images and over trainings.

    `shared` is the share of the former that the latter contains as well.
    """

    mean: float
    centre: float
    images: Part = NOTHING
    trainings: Part = NOTHING
    shared: float = 0

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Low and high: the margins of both parts, added as squares (Zou and Donner 2008, Stat. Med. 27:1693).

        Few trainings make a wide margin of their own, however sure the images are. It is never less than over images.
        """
        images, trainings = self.images.margin(level), self.trainings.margin(level)
        half = max(images, math.hypot(images * math.sqrt(1 - self.shared), trainings))
        return self.centre - half, self.centre + half


def over_images(first: np.ndarray, second: np.ndarray, shares: bool) -> Difference:
    """mean(first) - mean(second) of measurements (trainings, images) of the same two images or more.

    With `shares` (of images that are right, in [0, 1]) two invented images disagree by √½, one each way: half a count
    in each cell of McNemar's table (Agresti and Min 2005, Stat. Med. 24:729), without which few disagreements look too
    certain and none looks sure. They move the centre, not the mean.
    """
    paired = first.mean(axis=0) - second.mean(axis=0)
    mean = float(paired.mean())
    if shares:
        paired = np.append(paired, [math.sqrt(0.5), -math.sqrt(0.5)])
    centre, images = float(paired.mean()), _of_mean(paired)
    if min(len(first), len(second)) < 2:
        return Difference(mean, centre, images)
    trainings = _sum([_of_mean(row.mean(axis=1)) for row in (first, second)])
    both = _interaction(first) + _interaction(second)
    return Difference(mean, centre, images, trainings, min(both / images.variance, 1) if images.variance else 0)


def over_trainings(first: np.ndarray, second: np.ndarray) -> Difference | None:
    """mean(first) - mean(second) of one number per training (Welch); None where a row was trained once."""
    if min(len(first), len(second)) < 2:
        return None
    mean = float(first.mean() - second.mean())
    return Difference(mean, mean, trainings=_sum([_of_mean(first), _of_mean(second)]))


def _of_mean(numbers: np.ndarray) -> Part:
    return Part(float(numbers.var(ddof=1)) / len(numbers), len(numbers) - 1)


def _sum(parts: list[Part]) -> Part:
    """Satterthwaite's degrees of freedom; the fewest where nothing varies."""
    total = sum(part.variance for part in parts)
    spread = sum(part.variance**2 / part.freedom for part in parts)
    return Part(total, total**2 / spread if spread > 0 else min(part.freedom for part in parts))


def _interaction(row: np.ndarray) -> float:
    """What the variances over images and over trainings of (trainings, images) have in common."""
    residual = row - row.mean(axis=0) - row.mean(axis=1, keepdims=True) + row.mean()
    trainings, images = row.shape
    return float((residual**2).sum()) / ((trainings - 1) * (images - 1)) / row.size
