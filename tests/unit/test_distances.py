"""Feature distances against a hand-computed configuration, SciPy, scikit-learn and the simplex."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import NearestCentroid

from robustloss.distances import class_distances
from robustloss.errors import Problem


def test_three_classes_by_hand():
    # Centres (0, 0), (3, 4), (0, 4), 5, 4 and 3 apart; mean distances to them 1, 2 and 0.
    features = torch.tensor([[1.0, 0], [-1, 0], [3, 2], [3, 6], [0, 4]])
    labels = torch.tensor([0, 0, 1, 1, 2])
    d_ic, d_cc = class_distances(features, labels, 3)
    assert d_ic == pytest.approx(1, abs=1e-12)
    assert d_cc == pytest.approx(4, abs=1e-12)


def test_agrees_with_scipy_and_scikit_learn_on_unequal_classes():
    generator = np.random.default_rng(0)
    labels = generator.choice(7, 500, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.02])
    features = generator.normal(size=(500, 7)) * 3 + 5 * np.eye(7)[labels]
    centres = NearestCentroid().fit(features, labels).centroids_
    to_centre = pairwise_distances(features, centres)[np.arange(500), labels]
    within = [to_centre[labels == index].mean() for index in range(7)]
    d_ic, d_cc = class_distances(torch.from_numpy(features), torch.from_numpy(labels), 7)
    assert d_ic == pytest.approx(np.mean(within), rel=1e-12)
    assert d_cc == pytest.approx(pdist(centres).mean(), rel=1e-12)


@pytest.mark.parametrize(("gap", "expected"), [(math.log(7), 2.752), (math.log(6), 2.534), (1.899, 2.686)])
def test_simplex_has_its_edge_as_distance_between_centres(gap, expected):
    labels = torch.arange(7).repeat(3)
    features = gap * torch.nn.functional.one_hot(labels, 7).double() + 100
    d_ic, d_cc = class_distances(features, labels, 7)
    assert d_ic == pytest.approx(0, abs=1e-12)
    assert d_cc == pytest.approx(math.sqrt(2) * gap, abs=1e-12)
    assert d_cc == pytest.approx(expected, abs=1e-3)


def test_scale_moves_with_the_features_and_translation_does_not_count():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    labels = torch.arange(60) % 5
    moved = class_distances(3 * features - 7, labels, 5)
    assert moved == pytest.approx([3 * value for value in class_distances(features, labels, 5)], rel=1e-12)


def test_classes_without_samples_are_left_out():
    features = torch.tensor([[0.0, 0], [2, 0], [0, 3]])
    dense = class_distances(features, torch.tensor([0, 0, 1]), 2)
    assert class_distances(features, torch.tensor([1, 1, 4]), 7) == dense


def test_float32_features_are_summed_in_float64():
    # Around 1e4 a float32 sum over 20,000 samples is off by more than the whole distance.
    features = torch.full((20_000, 1), 1e4) + torch.tensor([-0.0625, 0.0625]).repeat(10_000)[:, None]
    features[10_000:] += 0.5
    d_ic, d_cc = class_distances(features, torch.arange(20_000) // 10_000, 2)
    assert d_ic == pytest.approx(0.0625, abs=1e-9)
    assert d_cc == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize(
    ("features", "labels", "sentence"),
    [
        (torch.zeros(3, 2), torch.tensor([0, 0, 0]), "two classes at least, but there are 1"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), "two classes at least, but there are 0"),
        (torch.tensor([[0.0], [math.nan]]), torch.tensor([0, 1]), "NaN or infinite"),
        (torch.zeros(2, 2), torch.tensor([0, 7]), "from 0 to 6, not from 0 to 7"),
        (torch.zeros(2, 2), torch.tensor([-1, 0]), "not from -1"),
        (torch.zeros(2, 2, 2), torch.tensor([0, 1]), "features \\(N, d\\)"),
        (torch.zeros(3, 2), torch.tensor([0, 1]), "labels \\(N,\\)"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(features, labels, sentence):
    with pytest.raises(Problem, match=sentence):
        class_distances(features, labels, 7)
