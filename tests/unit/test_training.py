"""Training: equal to the loop everybody writes, the same twice, and the same after a kill."""

import csv
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from robustloss import models, training
from robustloss.checkpoints import weights_path
from robustloss.errors import Problem
from robustloss.files import canonical, read_json

LIBRARY = Path(training.__file__).parents[1]


def final(directory: Path, epoch: int = 4) -> dict[str, torch.Tensor]:
    return load_file(weights_path(directory, epoch))


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture
def trained(tmp_path, bars, spec):
    training.train(spec, bars, tmp_path / "run", "cpu")
    return tmp_path / "run"


def test_weights_equal_those_of_a_plain_loop(trained, bars, spec):
    """A loop in plain PyTorch over the same batches, with nothing of ours but the network, gives the same weights."""
    torch.manual_seed(spec["seed"])
    model = models.build(spec["model"], 3, bars.image_shape).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    images = torch.from_numpy(bars.images("train").copy()).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(bars.labels("train").copy())
    step = 0
    for epoch in range(1, 5):
        order = torch.randperm(96, generator=torch.Generator().manual_seed(spec["seed"] * 1_000_003 + epoch))
        for rows in order.split(16):
            optimizer.param_groups[0]["lr"] = 0.1 / (1 + 0.01 * step)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
            step += 1
    found = final(trained)
    for name, expected in model.state_dict().items():
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)


COMPLEMENT = [{"loss": "complement_entropy", "weight": 0.5}]


def test_complement_objective_training_equals_a_loop_with_two_optimisers(tmp_path, bars, spec):
    """Each batch: a step on cross-entropy, then a new forward pass and a step of another optimiser."""
    spec |= {"then": COMPLEMENT, "optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 0.001}}
    training.train(spec, bars, tmp_path / "run", "cpu")
    torch.manual_seed(spec["seed"])
    model = models.build(spec["model"], 3, bars.image_shape).to(memory_format=torch.channels_last)
    first, second = (
        torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=0.001, foreach=False) for _ in range(2)
    )
    images = torch.from_numpy(bars.images("train").copy()).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(bars.labels("train").copy())
    step, complements = 0, []
    for epoch in range(1, 5):
        order = torch.randperm(96, generator=torch.Generator().manual_seed(spec["seed"] * 1_000_003 + epoch))
        for rows in order.split(16):
            for optimizer in (first, second):
                optimizer.param_groups[0]["lr"] = 0.1 / (1 + 0.01 * step)
            first.zero_grad()
            torch.nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            first.step()
            second.zero_grad()
            p = model(images[rows]).softmax(1)
            wrong = torch.stack([torch.cat([row[:y], row[y + 1 :]]) for row, y in zip(p, labels[rows], strict=True)])
            q = wrong / wrong.sum(1, keepdim=True)
            complement = 0.5 * (q * q.log()).sum(1).mean() / math.log(2)
            complement.backward()
            second.step()
            complements.append(complement.item())
            step += 1
    found = final(tmp_path / "run")
    for name, expected in model.state_dict().items():
        torch.testing.assert_close(found[name], expected, rtol=1e-3, atol=1e-4)
    with open(tmp_path / "run" / "history.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["epoch", "objective", "then", "rate"]
    assert float(rows[-1]["then"]) == pytest.approx(sum(complements[-6:]) / 6, rel=1e-3)


def test_the_same_spec_gives_the_same_weights_bit_for_bit(trained, tmp_path, bars, spec):
    training.train(spec, bars, tmp_path / "again", "cpu")
    for epoch in range(1, 5):
        assert same(final(trained, epoch), final(tmp_path / "again", epoch))


def test_another_seed_gives_other_weights(trained, tmp_path, bars, spec):
    training.train(spec | {"seed": 4}, bars, tmp_path / "other", "cpu")
    assert not same(final(trained), final(tmp_path / "other"))


def test_record_and_history_say_what_was_run(trained, bars, spec):
    record = read_json(trained / "run.json")
    assert (record["spec"], record["data_digest"], record["train_images"]) == (spec, bars.digest, 96)
    assert record["environment"]["device"] == "cpu"
    assert len((trained / "history.csv").read_text().splitlines()) == 5
    assert not (trained / "state.safetensors").exists()


def test_the_classes_are_learnt(trained, bars, spec):
    model = models.build(spec["model"], 3, bars.image_shape)
    model.load_state_dict(final(trained))
    images = torch.from_numpy(bars.images("test").copy()).permute(0, 3, 1, 2) / 255
    assert (model.eval()(images).argmax(1).numpy() == bars.labels("test")).mean() > 0.9


PGD = {"name": "pgd", "epsilon": 0.1, "step_size": 0.05, "steps": 3, "random_start": True}
ELASTIC = {"head": {"name": "max_mahalanobis", "dimension": 3, "scale": 1, "elastic": True}}
ELASTIC_TERMS = [{"loss": "mmc", "weight": 1}, {"loss": "elastic_centres", "weight": 0.1}]


@pytest.mark.parametrize(
    ("after", "changes"),
    [
        (1, {}),
        (2, {}),
        (3, {}),
        (2, {"then": COMPLEMENT}),
        (2, {"model": ELASTIC, "objective": ELASTIC_TERMS}),
        (2, {"optimizer": {"name": "adam", "decayed": "convolutions", "weight_decay": 0.01}}),
        (2, {"augmentation": {"shift": 1, "fill": "zero", "flip": True}}),
        (2, {"perturbation": PGD, "clean": [{"loss": "cross_entropy", "weight": 0.5}]}),
    ],
    ids=["1", "2", "3", "two objectives", "elastic head", "Adam", "augmentation", "adversarial"],
)
def test_a_training_killed_by_sigkill_goes_on_to_the_same_weights(tmp_path, bars, spec, after, changes):
    """The process is killed while it works on epoch `after` + 1, then the same command is given again."""
    spec |= changes | {"model": spec["model"] | changes.get("model", {})}
    trained = tmp_path / "run"
    training.train(spec, bars, trained, "cpu")
    directory = tmp_path / "run2" / "run"
    command = [sys.executable, "-m", "robustloss", "train", "--spec", canonical(spec), "--data", str(bars.directory)]
    command += ["--out", str(directory), "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(LIBRARY)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    while not weights_path(directory, after).exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (directory / "run.json").exists()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert same(final(trained), final(directory))
    assert (directory / "history.csv").read_text() == (trained / "history.csv").read_text()
    assert "going on after epoch" in again.stderr or after == 1


def test_features_gather_around_the_preset_centres(tmp_path, bars, spec):
    spec["model"]["head"] = {"name": "max_mahalanobis", "dimension": 5, "scale": 2}
    spec["objective"] = [{"loss": "mmc", "weight": 1}]
    training.train(spec, bars, tmp_path / "run", "cpu")
    model = models.build(spec["model"], 3, bars.image_shape)
    model.load_state_dict(final(tmp_path / "run"))
    images = torch.from_numpy(bars.images("test").copy()).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(bars.labels("test").copy())
    assert torch.equal(model.head.centres, models.build(spec["model"], 3, bars.image_shape).head.centres)
    assert (model.eval()(images).argmax(1) == labels).float().mean() > 0.9
    distances = torch.cdist(model.features(images), model.head.centres)
    assert distances.gather(1, labels[:, None]).mean() < 0.5 * distances.mean()


def test_learned_centres_follow_their_class_s_features(tmp_path, bars, spec):
    spec["model"]["head"] = {"name": "linear", "dimension": 5, "centres": True}
    spec["objective"] = [{"loss": "cross_entropy", "weight": 1}, {"loss": "center", "weight": 0.1, "centre_factor": 10}]
    training.train(spec, bars, tmp_path / "run", "cpu")
    model = models.build(spec["model"], 3, bars.image_shape)
    model.load_state_dict(final(tmp_path / "run"))
    images = torch.from_numpy(bars.images("train").copy()).permute(0, 3, 1, 2) / 255
    features, labels = model.eval().features(images), torch.from_numpy(bars.labels("train").copy())
    means = torch.stack([features[labels == label].mean(0) for label in range(3)])
    distances = torch.cdist(model.head.centres, means)
    assert torch.equal(distances.argmin(1), torch.arange(3))
    assert distances.diagonal().max() < 0.5 * torch.pdist(means).min()


def test_a_loss_that_the_head_does_not_fit_is_refused(tmp_path, bars, spec):
    spec["then"] = [{"loss": "mmc", "weight": 1}]
    with pytest.raises(Problem, match="network small: loss mmc needs a network with the head max_mahalanobis"):
        training.train(spec, bars, tmp_path / "run", "cpu")


def test_a_loss_that_becomes_nan_is_one_sentence_and_keeps_the_epochs_before(tmp_path, bars, spec):
    spec["schedule"] = {"name": "constant", "rate": 1e25}
    spec["objective"] = [{"loss": "cross_entropy", "weight": 1e30}]
    with pytest.raises(Problem, match=r"objective became (nan|inf) in epoch \d, step \d+ of 6: lower"):
        training.train(spec, bars, tmp_path / "run", "cpu")
    assert not (tmp_path / "run" / "run.json").exists()


def test_state_of_other_settings_is_refused(tmp_path, bars, spec, monkeypatch):
    directory = tmp_path / "run"
    interrupted(directory, bars, spec, monkeypatch)
    with pytest.raises(Problem, match=r"state\.safetensors was made with other settings \(spec is .* delete"):
        training.train(spec | {"seed": 5}, bars, directory, "cpu")


def test_damaged_state_is_named(tmp_path, bars, spec, monkeypatch):
    directory = tmp_path / "run"
    interrupted(directory, bars, spec, monkeypatch)
    state = directory / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(Problem, match=r"state\.safetensors is damaged"):
        training.train(spec, bars, directory, "cpu")


def interrupted(directory, bars, spec, monkeypatch) -> None:
    """A training that stops in its second epoch."""
    steps = iter(range(8))
    update = training._update

    def updated(*arguments):
        next(steps)
        return update(*arguments)

    with monkeypatch.context() as patched, pytest.raises((StopIteration, RuntimeError)):
        patched.setattr(training, "_update", updated)
        training.train(spec, bars, directory, "cpu")
    assert (directory / "state.safetensors").exists()


def test_a_last_batch_of_one_image_is_left_out(tmp_path, bars, spec):
    spec |= {"batch_size": 95, "epochs": 1}
    training.train(spec, bars, tmp_path / "run", "cpu")
    assert (tmp_path / "run" / "run.json").exists()


def test_cuda_that_is_not_there_is_refused(tmp_path, bars, spec):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(Problem, match="no CUDA device"):
        training.train(spec, bars, tmp_path / "run", "cuda")
