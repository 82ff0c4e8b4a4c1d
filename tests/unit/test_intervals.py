import math

import numpy as np
import pytest
from scipy import stats

from robustloss.errors import Problem
from robustloss.intervals import mean_of_epochs, over_seeds, wilson


@pytest.mark.parametrize(
    ("successes", "count", "low", "high"),
    [(0, 10, 0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_gives_the_published_intervals(successes, count, low, high):
    """81/263 is the worked example of Newcombe 1998, Stat. Med. 17:857, table I, method 3."""
    estimate = wilson(successes, count)
    assert estimate.mean == successes / count
    assert estimate.interval == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("successes", "count"), [(0, 1), (1, 1), (0, 7260), (1451, 7260), (7260, 7260), (3, 8)])
def test_wilson_agrees_with_scipy(successes, count, level):
    theirs = stats.binomtest(successes, count).proportion_ci(level, method="wilson")
    assert wilson(successes, count, level).interval == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_reaches_the_ends_exactly():
    for count in range(1, 300):
        assert wilson(0, count).interval[0] == 0
        assert wilson(count, count).interval[1] == 1


def test_mean_of_epochs_gives_a_case_worked_by_hand():
    """Means of the samples are 1, 1/2, 0, 1: s² = 11/48, and the upper bound is clipped."""
    correct = np.array([[True, True, False, True], [True, False, False, True]])
    mean, (low, high) = mean_of_epochs(correct)
    assert mean == 0.625
    assert low == pytest.approx(0.625 - 1.959964 * math.sqrt(11 / 48 / 4), abs=1e-6)
    assert high == 1
    # The other way round the lower bound is.
    assert mean_of_epochs(~correct).interval == (0, pytest.approx(1 - low))


def test_repeating_an_epoch_adds_no_certainty():
    epoch = np.random.default_rng(0).random((1, 200)) < 0.3
    once, often = mean_of_epochs(epoch), mean_of_epochs(np.repeat(epoch, 10, axis=0))
    assert often.mean == pytest.approx(once.mean)
    assert often.interval == pytest.approx(once.interval)


def test_mean_of_epochs_covers_the_truth_as_often_as_it_says():
    """Samples differ in difficulty, so epochs agree; pairs counted as independent would cover 61 %."""
    generator = np.random.default_rng(1)
    covered = []
    for _ in range(1000):
        difficulty = generator.beta(0.5, 0.5, size=100)
        mean, (low, high) = mean_of_epochs(generator.random((10, 100)) < difficulty)
        covered.append(low <= 0.5 <= high)
        assert low < mean < high
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("outcome", [False, True])
def test_equal_outcomes_do_not_promise_certainty(outcome):
    assert mean_of_epochs(np.full((4, 30), outcome)) == wilson(30 * outcome, 30)


def test_one_undecided_sample_has_no_interval():
    assert mean_of_epochs(np.array([[True], [False]])) == (0.5, None)


@pytest.mark.parametrize(
    ("count", "level", "quantile"),
    [(2, 0.95, 12.706), (3, 0.95, 4.303), (5, 0.95, 2.776), (10, 0.95, 2.262), (31, 0.95, 2.042), (3, 0.99, 9.925)],
)
def test_over_seeds_uses_the_tabulated_quantile_of_t(count, level, quantile):
    values = np.random.default_rng(count).normal(size=count)
    mean, (low, high) = over_seeds(values, level)
    standard_error = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
    assert mean == pytest.approx(sum(values) / count)
    assert (high - mean) / standard_error == pytest.approx(quantile, abs=5e-4)
    assert mean - low == pytest.approx(high - mean)


def test_over_seeds_agrees_with_scipy():
    values = [20.03, 17.73, 31.09, 9.74]
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert over_seeds(values).interval == pytest.approx((theirs.low, theirs.high))


def test_one_seed_has_a_mean_and_no_interval():
    assert over_seeds([0.25]) == (0.25, None)


@pytest.mark.parametrize(
    "refused",
    [
        lambda: wilson(3, 2),
        lambda: wilson(-1, 2),
        lambda: wilson(0, 0),
        lambda: wilson(1, 2, level=95),
        lambda: wilson(1, 2, level=0),
        lambda: mean_of_epochs(np.zeros((2, 0), dtype=bool)),
        lambda: mean_of_epochs(np.zeros(5, dtype=bool)),
        lambda: mean_of_epochs(np.zeros((2, 5))),
        lambda: over_seeds([]),
        lambda: over_seeds([0.5, math.nan]),
        lambda: over_seeds([0.5, 0.6], level=1.0),
    ],
)
def test_what_has_no_interval_is_refused_in_a_sentence(refused):
    with pytest.raises(Problem, match="give"):
        refused()
