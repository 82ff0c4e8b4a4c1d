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

from robustloss import checkpoints, config, heads, models, optimizers, selection, training
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
CENTRES = {"head": {"name": "linear", "dimension": 3, "centres": True, "centre_rate": 10}}
CENTRES_TERMS = [{"loss": "cross_entropy", "weight": 1}, {"loss": "center", "weight": 0.1}]
ELASTIC_TERMS = [{"loss": "mmc", "weight": 1}, {"loss": "elastic_centres", "weight": 0.1}]


@pytest.mark.parametrize(
    ("after", "changes"),
    [
        (1, {}),
        (2, {}),
        (3, {}),
        (2, {"then": COMPLEMENT}),
        (2, {"model": ELASTIC, "objective": ELASTIC_TERMS}),
        (2, {"model": CENTRES, "objective": CENTRES_TERMS}),
        (2, {"optimizer": {"name": "adam", "decayed": "convolutions", "weight_decay": 0.01}}),
        (2, {"augmentation": {"shift": 1, "fill": "zero", "flip": True}}),
        (2, {"perturbation": PGD, "clean": [{"loss": "cross_entropy", "weight": 0.5}]}),
    ],
    ids=["1", "2", "3", "two objectives", "elastic head", "followed centres", "Adam", "augmentation", "adversarial"],
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


def best(spec: dict) -> dict:
    """A training whose best epoch is not its last: the rate that it ends at undoes what it learnt."""
    return spec | {"keep": "best", "schedule": {"name": "multistep", "rate": 0.1, "epochs": [3], "factor": 100}}


def test_the_epoch_of_the_best_test_accuracy_is_kept(tmp_path, bars, spec):
    """Every epoch's network is measured here as well; the earliest of equals is the one that is kept."""
    spec = best(spec)
    training.train(spec | {"keep": "all"}, bars, tmp_path / "all", "cpu")
    training.train(spec, bars, tmp_path / "best", "cpu")
    images = torch.from_numpy(bars.images("test").copy()).permute(0, 3, 1, 2) / 255
    accuracies = []
    for epoch in range(1, 5):
        model = models.build(spec["model"], 3, bars.image_shape)
        model.load_state_dict(final(tmp_path / "all", epoch))
        accuracies.append((model.eval()(images).argmax(1).numpy() == bars.labels("test")).mean())
    epoch = 1 + max(range(4), key=lambda index: (accuracies[index], -index))
    assert 1 < epoch < 4
    assert [path.name for path in (tmp_path / "best" / "weights").iterdir()] == [f"epoch-00{epoch}.safetensors"]
    assert same(final(tmp_path / "best", epoch), final(tmp_path / "all", epoch))
    kept = read_json(tmp_path / "best" / "run.json")["kept"]
    assert kept == {"epoch": epoch, "test_accuracy": max(accuracies), "test_accuracies": accuracies}
    with open(tmp_path / "best" / "history.csv", newline="") as stream:
        assert [float(row["test_accuracy"]) for row in csv.DictReader(stream)] == accuracies


def test_of_equal_epochs_the_earliest_is_kept():
    history = [{"test_accuracy": accuracy} for accuracy in (0.5, 0.75, 0.25, 0.75)]
    assert selection.kept({"keep": "best"}, history)["kept"]["epoch"] == 2
    assert selection.kept({"keep": "last"}, history) == {}


@pytest.mark.parametrize("after", [1, 2, 3, 4])
@pytest.mark.parametrize("name", ["save_tensors", "drop_others"])
def test_the_best_epoch_survives_a_stop(tmp_path, bars, spec, monkeypatch, name, after):
    """Stopped right after the `after`-th time that weights or state were written, or others dropped."""
    spec = best(spec)
    training.train(spec, bars, tmp_path / "whole", "cpu")
    calls, function = iter(range(1, after + 1)), getattr(checkpoints, name)

    def stopped(*arguments):
        function(*arguments)
        if next(calls) == after:
            raise RuntimeError("stopped")

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="stopped"):
        patched.setattr(checkpoints, name, stopped)
        training.train(spec, bars, tmp_path / "run", "cpu")
    training.train(spec, bars, tmp_path / "run", "cpu")
    files = {path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.*")}
    assert {path.relative_to(tmp_path / "run") for path in (tmp_path / "run").rglob("*.*")} == files
    for file in files - {Path("run.json")}:
        # The header of weights holds the run's name, which is its folder's.
        if file.suffix == ".safetensors":
            assert same(load_file(tmp_path / "run" / file), load_file(tmp_path / "whole" / file))
        else:
            assert (tmp_path / "run" / file).read_text() == (tmp_path / "whole" / file).read_text()
    records = [read_json(tmp_path / name / "run.json") for name in ("whole", "run")]
    assert records[0]["kept"] == records[1]["kept"]


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


def center_objective(paper: str) -> dict:
    path = LIBRARY / "papers" / f"{paper}.yaml"
    return config.numbers(config.read_yaml(path))["objectives"]["Center"]


@pytest.mark.parametrize("optimizer", [{"name": "adam"}, {"name": "sgd", "momentum": 0.9}], ids=["adam", "sgd"])
@pytest.mark.parametrize("paper", ["pang2020", "song2022"])
def test_learned_centres_follow_their_class_s_features_at_the_yaml_s_settings(tmp_path, bars, spec, paper, optimizer):
    """In 72 steps each centre comes near the mean of its class, though the term weighs 0.003."""
    center = center_objective(paper)
    spec |= {"objective": center["terms"], "schedule": {"name": "constant", "rate": 0.02}, "epochs": 12}
    spec |= {"model": spec["model"] | {"head": center["head"] | {"dimension": 5}}, "optimizer": optimizer}
    training.train(spec, bars, tmp_path / "run", "cpu")
    model = models.build(spec["model"], 3, bars.image_shape)
    model.load_state_dict(final(tmp_path / "run", 12))
    images = torch.from_numpy(bars.images("train").copy()).permute(0, 3, 1, 2) / 255
    features, labels = model.eval().features(images), torch.from_numpy(bars.labels("train").copy())
    means = torch.stack([features[labels == label].mean(0) for label in range(3)])
    distances = torch.cdist(model.head.centres, means)
    # Without a rate of their own they stay at 0.4 or more of this distance.
    assert distances.diagonal().max() < 0.1 * torch.pdist(means).min()


def test_centres_with_a_rate_take_steps_of_plain_descent_beside_the_optimiser():
    """Each step goes rate × gradient, whatever the optimiser remembers, and at a weight decay of the others."""
    torch.manual_seed(0)
    head = heads.build({"name": "linear", "dimension": 4, "centres": True, "centre_rate": 3}, 5)
    optimizer = optimizers.build({"name": "adam", "weight_decay": 0.5}, head, 0.1)
    for _ in range(3):
        optimizer.zero_grad(set_to_none=True)
        (head(torch.randn(6, 4)).square().mean() + head.centres.pow(3).sum() / 100).backward()
        expected = head.centres.detach() - 3 * head.centres.grad
        optimizer.step()
        torch.testing.assert_close(head.centres.detach(), expected)
    assert len([name for name in optimizers.state(optimizer) if name.endswith("exp_avg")]) == 2


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
    """A training that stops before its second epoch."""
    first = iter([training._epoch])
    with monkeypatch.context() as patched, pytest.raises((StopIteration, RuntimeError)):
        patched.setattr(training, "_epoch", lambda *arguments: next(first)(*arguments))
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
