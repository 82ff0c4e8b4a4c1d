"""The intervals of differences: against scipy, closed forms and simulations."""

import math

import numpy as np
import pytest
from claims_fixture import right
from scipy import stats

from robustloss.claims.differences import over_images, over_trainings


def shares(first, second, level=0.95):
    return over_images(np.atleast_2d(first).astype(float), np.atleast_2d(second).astype(float), True).interval(level)


def table(only_first: int, only_second: int, of: int) -> tuple[np.ndarray, np.ndarray]:
    """Two rows of McNemar's table: how many images only one of them has right."""
    return right(only_first, of), np.roll(right(only_second, of), only_first)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_one_training_gives_the_interval_of_scipys_paired_t_test(level):
    generator = np.random.default_rng(0)
    first, second = generator.normal(0.3, size=40), generator.normal(size=40)
    found = over_images(first[None], second[None], False)
    theirs = stats.ttest_rel(first, second).confidence_interval(level)
    assert found.interval(level) == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    assert found.mean == pytest.approx(first.mean() - second.mean())


@pytest.mark.parametrize(("only_first", "only_second", "of"), [(0, 0, 50), (6, 0, 50), (30, 12, 400), (3, 9, 60)])
def test_shares_have_half_a_count_in_each_cell_of_mcnemars_table(only_first, only_second, of):
    """Agresti and Min 2005, Stat. Med. 24:729, equation 4, with t in place of z and n - 1 in place of n."""
    c, b, n = only_first + 0.5, only_second + 0.5, of + 2
    centre, error = (c - b) / n, math.sqrt((b + c - (c - b) ** 2 / n) / n / (n - 1))
    half = stats.t.ppf(0.975, n - 1) * error
    assert shares(*table(only_first, only_second, of)) == pytest.approx((centre - half, centre + half), rel=1e-9)


def test_an_interval_of_shares_excludes_zero_where_mcnemars_test_does():
    """The mid-p version (Fagerland et al. 2013, BMC Med. Res. Methodol. 13:91), at 5 %, but for its third digit."""
    for of in (50, 2000):
        for fewer in range(12):
            for more in range(fewer + 1, 30):
                middle = stats.binomtest(fewer, fewer + more).pvalue - stats.binom.pmf(fewer, fewer + more, 0.5)
                assert (shares(*table(more, fewer, of))[0] > 0) == (middle < 0.049), (of, fewer, more)


def test_numbers_of_trainings_have_the_interval_of_scipys_welch_test():
    first, second = np.array([0.7, 0.9, 0.75]), np.array([0.5, 0.62, 0.4, 0.55])
    theirs = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert over_trainings(first, second).interval() == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    assert over_trainings(first[:1], second) is None
    assert over_trainings(first, second[:1]) is None


def test_several_trainings_have_the_variance_of_a_two_way_layout():
    """The mean of (trainings, images) varies by (MS trainings + MS images - MS residual) / (trainings × images)."""
    generator = np.random.default_rng(1)
    trainings, images = 4, 30
    row = generator.normal(size=(trainings, images)) + generator.normal(size=(trainings, 1)) + generator.normal(size=30)
    squares = {
        "all": ((row - row.mean()) ** 2).sum(),
        "trainings": images * ((row.mean(1) - row.mean()) ** 2).sum(),
        "images": trainings * ((row.mean(0) - row.mean()) ** 2).sum(),
    }
    residual = squares["all"] - squares["trainings"] - squares["images"]
    parts = (
        squares["trainings"] / (trainings - 1),
        squares["images"] / (images - 1),
        -residual / (trainings - 1) / (images - 1),
    )
    found = over_images(row, np.zeros((trainings, images)), False)
    variance = found.images.variance * (1 - found.shared) + found.trainings.variance
    assert variance == pytest.approx(sum(parts) / trainings / images, rel=1e-9)
    assert (found.images.freedom, found.trainings.freedom) == pytest.approx((images - 1, trainings - 1))


@pytest.mark.parametrize(("accuracies", "of"), [((0.4, 0.3), 100), ((0.9, 0.88), 300), ((0.05, 0.02), 300)])
def test_the_interval_of_one_training_covers_the_truth_as_often_as_it_says(accuracies, of):
    """Images differ in difficulty, so that the rows agree more often than by chance."""
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(2000):
        ease = generator.random(of)
        first, second = ((ease + 0.2 * generator.normal(size=of)) % 1 < accuracy for accuracy in accuracies)
        low, high = shares(first, second)
        covered += low <= accuracies[0] - accuracies[1] <= high
    assert 0.93 <= covered / 2000 <= 0.97


@pytest.mark.parametrize("trainings", [2, 3])
@pytest.mark.parametrize("noise", [(0, 0), (0.1, 0.1), (0, 0.3), (0.3, 0.3)])
def test_the_interval_of_several_trainings_covers_new_trainings_as_well(trainings, noise):
    """Two rows of equal expectation, whose trainings differ by `noise`; over images alone half would miss the truth."""
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(2000):
        ease = generator.normal(size=80)

        def row(noise, ease=ease):
            skill = noise * generator.normal(size=(trainings, 1))
            return (ease + skill + 0.3 * generator.normal(size=(trainings, 80)) > 0).astype(float)

        low, high = shares(*map(row, noise))
        covered += low <= 0 <= high
    assert covered / 2000 >= 0.94
