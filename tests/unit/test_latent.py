"""Latent vectors are what the last layer is given, and their embedding keeps neighbours."""

import json

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness
from torch import nn

from robustloss import latent, models, outcomes, training
from robustloss.errors import Problem
from robustloss.models.frozen import evaluation_copy

PLAIN = {"name": "small", "width": 8, "mean": 0.5, "std": 0.25, "pretrained": "none"}
HEAD = PLAIN | {"head": {"name": "unit_norm", "dimension": 3}}


@pytest.mark.parametrize("name", ["small", "small_separable", "lenet5"])
def test_the_last_linear_layer_makes_logits_of_latent_vectors(name):
    torch.manual_seed(0)
    spec = PLAIN | {"name": name}
    if name == "lenet5":
        spec.pop("width")
    model = evaluation_copy(models.build(spec, 4, (16, 16, 1)), "cpu")
    vectors, logits = latent.latent(model, torch.rand(5, 1, 16, 16))
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    assert vectors.shape == (5, last.in_features)
    assert vectors.shape[1] != logits.shape[1]
    torch.testing.assert_close(last(vectors), logits)


def test_with_a_head_latent_vectors_are_its_features():
    torch.manual_seed(0)
    model = evaluation_copy(models.build(HEAD, 4, (16, 16, 1)), "cpu")
    images = torch.rand(5, 1, 16, 16)
    vectors, logits = latent.latent(model, images)
    assert vectors.shape == (5, 3)
    torch.testing.assert_close(model.head(vectors), logits)
    torch.testing.assert_close(model(images), logits)


def test_an_embedding_keeps_neighbours_and_is_the_same_each_time():
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 6, (4, 80))
    vectors = (centres[:, None] + rng.normal(size=(4, 30, 80))).reshape(-1, 80).astype(np.float32)
    points, divergence = latent.embedding(vectors, 15)
    again, _ = latent.embedding(vectors, 15)
    assert points.shape == (120, 2)
    np.testing.assert_array_equal(points, again)
    assert divergence > 0
    assert trustworthiness(vectors, points, n_neighbors=10) > 0.8
    # The nearest neighbour of every point is of its own cloud.
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag(np.full(120, np.inf))
    assert (distances.argmin(1) // 30 == np.arange(120) // 30).all()


def test_a_perplexity_needs_more_images():
    with pytest.raises(Problem, match="perplexity 30 needs more images than that, not 20"):
        latent.embedding(np.zeros((20, 5), np.float32), 30)


def test_measured_points_are_those_of_the_split(tmp_path, bars, spec):
    spec |= {"epochs": 1, "model": spec["model"] | {"head": {"name": "linear", "dimension": 2}}}
    training.train(spec, bars, tmp_path / "run", "cpu")
    own = {"name": "latent", "split": "test", "count": 40}
    latent.measure(tmp_path / "run", bars, own, tmp_path / "measured", "cpu")
    arrays = outcomes.load(tmp_path / "measured" / "arrays.npz")
    assert arrays["points"].shape == (40, 2)
    assert arrays["labels"].tolist() == bars.labels("test")[arrays["index"]].tolist()
    latent.measure(tmp_path / "run", bars, own | {"perplexity": 5}, tmp_path / "embedded", "cpu")
    assert outcomes.load(tmp_path / "embedded" / "arrays.npz")["points"].shape == (40, 2)
    summary = json.loads((tmp_path / "embedded" / "measurement.json").read_text())["summary"]
    assert (summary["count"], summary["dimension"]) == (40, 2)
