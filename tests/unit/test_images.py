import itertools

import numpy as np
import pytest
from scipy.stats import qmc

from robustloss.images import spread


@pytest.mark.parametrize("available", [1, 2, 30, 64, 1000])
def test_chosen_images_are_the_first_of_van_der_corputs_sequence(available):
    length = 1 << max(1, (available - 1).bit_length())
    sequence = (length * qmc.Halton(d=1, scramble=False).random(length)[:, 0]).round().astype(int)
    sequence = sequence[sequence < available]
    for count in range(1, available + 1):
        assert spread(available, count).tolist() == sorted(sequence[:count].tolist())


def test_more_images_have_all_of_fewer_and_too_many_are_all():
    chosen = [set(spread(700, count).tolist()) for count in range(1, 701)]
    assert all(fewer < more for fewer, more in itertools.pairwise(chosen))
    assert spread(700, 1000).tolist() == list(range(700))


def test_chosen_images_leave_no_gap():
    for count in range(2, 700):
        ends = np.concatenate([[-1], spread(700, count).numpy(), [700]])
        # Whole powers of two of the sequence are a grid, 1024 being the first that holds 700.
        assert np.diff(ends).max() <= 1024 >> (count.bit_length() - 1)
