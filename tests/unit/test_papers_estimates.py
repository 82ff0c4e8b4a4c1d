"""Shares of several runs: their intervals hold the samples that the runs share, and the trainings."""

from types import SimpleNamespace

import numpy as np
import pytest

from robustloss.intervals import wilson
from robustloss.papers import estimates


def runs(outcomes: np.ndarray) -> list:
    """Runs whose records say what share of the samples (runs, samples) is right."""
    found = []
    for own in outcomes:
        share, (low, high) = wilson(int(own.sum()), len(own))
        found.append(SimpleNamespace(summary={"last": share, "last_low": low, "last_high": high}))
    return found


def interval(outcomes: np.ndarray) -> tuple[float, float]:
    return estimates.share(runs(outcomes), lambda run: run.summary, "last")[1:]


def test_runs_that_fail_on_all_samples_are_no_surer_than_one():
    for outcomes in (np.zeros((3, 200), bool), np.ones((3, 200), bool)):
        assert interval(outcomes) == pytest.approx(interval(outcomes[:1]))


def test_a_share_stays_between_none_and_all():
    outcomes = np.arange(200) < np.array([[0], [2], [30]])
    assert interval(outcomes)[0] == 0
    assert interval(~outcomes)[1] == 1


@pytest.mark.parametrize("noise", [0, 0.1, 0.5])
def test_the_interval_covers_other_samples_and_other_trainings(noise):
    """Of trainings that differ by `noise`, on samples of other difficulty; over trainings alone 70 % do with none."""
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        ease, skill = generator.normal(size=100), noise * generator.normal(size=(3, 1))
        low, high = interval(ease + skill + 0.3 * generator.normal(size=(3, 100)) > 0)
        covered += low <= 0.5 <= high
    assert covered / 1000 >= 0.94
