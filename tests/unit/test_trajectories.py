"""Iterates of an attack: those of a linear network are known by hand, those of a run agree with its own network."""

import json

import numpy as np
import pytest
import torch
from small_networks import Function, two_classes
from torch import nn

from robustloss import checkpoints, outcomes, training, trajectories
from robustloss.errors import Problem
from robustloss.files import read_json

STEP = 0.01
ATTACK = {
    "name": "sai_fgsm",
    "epsilon": 0.2,
    "step_size": STEP,
    "smallest_step": STEP,
    "steps": 6,
    "tracker": "constant",
    "stop_at_boundary": False,
}
SPEC = {"name": "trajectories", "split": "test", "class": 1, "count": 7, "targets": ["entropy", 2], "attack": ATTACK}


@pytest.fixture(scope="module")
def run(tmp_path_factory, bars):
    spec = {
        "data": {"name": "bars"},
        "model": {"name": "small", "width": 8, "mean": [0.5] * 3, "std": [0.25] * 3, "pretrained": "none"},
        "objective": [{"loss": "cross_entropy", "weight": 1}],
        "schedule": {"name": "constant", "rate": 0.1},
        "seed": 3,
        "epochs": 2,
        "batch_size": 16,
        "optimizer": {"name": "sgd", "momentum": 0.9},
        "precision": "auto",
        "keep": "last",
    }
    folder = tmp_path_factory.mktemp("runs") / "run"
    training.train(spec, bars, folder, "cpu")
    return folder


def test_a_linear_network_loses_the_same_margin_at_each_step():
    weight = torch.tensor([[0.5, -2.0], [1.0, 0.0]])
    images = torch.full((3, 1, 2, 2), 0.5)
    labels = torch.zeros(3, dtype=torch.int64)
    model = two_classes(weight, bias=-3)
    found = trajectories.iterates(model, images, labels, ATTACK | {"target": 1})
    assert found.shape == (7, 3, 2)
    margins = found[:, 0, 1] - found[:, 0, 0]
    clean = 0.5 * float(weight.sum()) - 3
    expected = [clean + STEP * k * float(weight.abs().sum()) for k in range(7)]
    assert margins.tolist() == pytest.approx(expected, abs=1e-5)


def test_nothing_listens_afterwards():
    images, labels = torch.full((1, 1, 2, 2), 0.5), torch.zeros(1, dtype=torch.int64)
    model = two_classes(torch.ones(2, 2), bias=-3)
    trajectories.iterates(model, images, labels, ATTACK | {"target": 1})
    with pytest.raises(Problem):
        trajectories.iterates(model, images, labels, ATTACK | {"target": "nowhere"})
    assert not model._forward_hooks


def test_an_attack_that_lets_images_go_has_no_iterates():
    weight = torch.ones(2, 2)
    # The first image crosses the boundary at once, the second never.
    images = torch.stack([torch.full((1, 2, 2), 0.751), torch.full((1, 2, 2), 0.3)])
    labels = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(Problem, match="sai_fgsm does not pass every image once a step"):
        trajectories.iterates(
            two_classes(weight, bias=-3.01), images, labels, ATTACK | {"target": 1, "stop_at_boundary": True}
        )


def test_log_probabilities_of_clean_images_are_the_networks(run, bars, tmp_path):
    trajectories.measure(run, bars, SPEC, tmp_path / "measured", "cpu")
    arrays = outcomes.load(tmp_path / "measured" / "arrays.npz")
    assert arrays["log_probabilities"].shape == (2, 7, 7, 3)
    assert arrays["labels"].tolist() == [1] * 7
    # Of the class's 20 images the first seven of 0, 16, 8, 4, 12, 2, 18, ...
    assert arrays["index"].tolist() == [1 + 3 * place for place in (0, 2, 4, 8, 12, 16, 18)]
    model = checkpoints.network(run, read_json(run / "run.json"), bars, 2).eval()
    inputs = torch.from_numpy(bars.images("test")[arrays["index"]]).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected = model(inputs).log_softmax(1).numpy()
    for target in range(2):
        np.testing.assert_allclose(arrays["log_probabilities"][target, 0], expected, atol=1e-4)
    # Towards class 2 its probability grows.
    towards = arrays["log_probabilities"][1, :, :, 2].mean(1)
    assert towards[-1] > towards[0]


def test_the_record_says_what_was_measured(run, bars, tmp_path):
    trajectories.measure(run, bars, SPEC, tmp_path / "measured", "cpu")
    record = json.loads((tmp_path / "measured" / "measurement.json").read_text())
    assert record["spec"] == SPEC
    assert record["classes"] == bars.classes
    assert record["data_digest"] == bars.digest
    predictions = outcomes.load(tmp_path / "measured" / "arrays.npz")["log_probabilities"].argmax(-1)
    right = predictions == 1
    assert record["summary"]["right_when_clean"] == right[0, 0].sum()
    changed = [int((one[0] & ~one.all(0)).sum()) for one in right]
    assert list(record["summary"]["changed"].values()) == changed


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"class": 3}, "no image of class 3 in split test"), ({"targets": [3]}, "there is no class 3: .* has 3 classes")],
)
def test_a_class_that_the_data_lack_is_refused(run, bars, tmp_path, change, sentence):
    with pytest.raises(Problem, match=sentence):
        trajectories.measure(run, bars, SPEC | change, tmp_path / "measured", "cpu")
    assert not (tmp_path / "measured" / "measurement.json").exists()


def test_float64_logits_are_kept_as_float32():
    layer = nn.Linear(4, 3).double()
    model = Function(lambda images: layer(images.flatten(1)))
    images = torch.rand(2, 1, 2, 2, dtype=torch.float64)
    found = trajectories.iterates(model, images, torch.zeros(2, dtype=torch.int64), ATTACK | {"target": 1})
    assert found.dtype == torch.float32
