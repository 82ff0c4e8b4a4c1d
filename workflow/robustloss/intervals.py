"""Estimates with the interval that chance alone explains: of the samples drawn, or of the seeds trained.

None of them knows that neighbouring frames of a video resemble each other: there, take the interval for too narrow.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from robustloss.errors import Problem


class Estimate(NamedTuple):
    """A mean and its (low, high) interval, or None where one value says nothing about the spread."""

    mean: float
    interval: tuple[float, float] | None


def wilson(successes: int, count: int, level: float = 0.95) -> Estimate:
    """Proportion p = successes/count with Wilson's score interval (Wilson 1927, JASA 22:209).

    The bounds are the p' with |p − p'| = z √(p'(1−p')/count), z the normal quantile of `level`.
    A Problem if not 0 ≤ successes ≤ count, count ≥ 1.
    """
    if not 0 <= successes <= count or count < 1:
        raise Problem(f"{successes} successes of {count} are no proportion: give 0 <= successes <= count, count >= 1")
    z = _normal_quantile(level)
    centre = successes + z**2 / 2
    half = z * math.sqrt(successes * (count - successes) / count + z**2 / 4)
    low = (centre - half) / (count + z**2) if successes > 0 else 0.0
    high = (centre + half) / (count + z**2) if successes < count else 1.0
    return Estimate(successes / count, (low, high))


def mean_of_epochs(correct: np.ndarray, level: float = 0.95) -> Estimate:
    """Mean of `correct` (epochs, samples; bool) over both axes, with an interval whose unit is the sample.

    The epochs of one run judge the same samples, so a sample counts once, with its mean m_i over the epochs:
    mean(m) ± z s/√n, s the standard deviation of the m_i (divisor n − 1), clipped to [0, 1].
    Where all outcomes are the same, s is 0 and would promise certainty; then the interval is Wilson's for n samples.
    A Problem for an array of another shape or kind, or an empty one.
    """
    correct = np.asarray(correct)
    if correct.dtype != bool or correct.ndim != 2 or correct.size == 0:
        raise Problem(
            f"outcomes are {correct.dtype} of shape {correct.shape}: give booleans of shape (epochs, samples)"
        )
    count = correct.shape[1]
    if correct.all() or not correct.any():
        return wilson(count if correct.all() else 0, count, level)
    per_sample = correct.mean(axis=0)
    mean = float(per_sample.mean())
    if count == 1:
        return Estimate(mean, None)
    half = _normal_quantile(level) * float(per_sample.std(ddof=1)) / math.sqrt(count)
    return Estimate(mean, (max(0.0, mean - half), min(1.0, mean + half)))


def over_seeds(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Mean of one value per seed with Student's interval, mean ± t s/√n, t of n − 1 degrees of freedom.

    One seed has a mean and no interval. A Problem if there is no value or one is not finite.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise Problem(f"{values.tolist()} cannot be averaged over seeds: give one finite number per seed, at least one")
    mean = float(values.mean())
    if values.size == 1:
        return Estimate(mean, None)
    # Here, because every evaluation imports this module, few need Student's t, and scipy costs 0.2 s.
    from scipy.special import stdtrit

    t = float(stdtrit(values.size - 1, _upper(level)))
    half = t * float(values.std(ddof=1)) / math.sqrt(values.size)
    return Estimate(mean, (mean - half, mean + half))


def _normal_quantile(level: float) -> float:
    return NormalDist().inv_cdf(_upper(level))


def _upper(level: float) -> float:
    """Probability below the upper bound of a two-sided interval."""
    if not 0 < level < 1:
        raise Problem(f"a level of {level} has no interval: give one between 0 and 1, such as 0.95")
    return 0.5 + level / 2
