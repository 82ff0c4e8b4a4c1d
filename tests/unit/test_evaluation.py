"""Attack and feature stages: outcomes and summaries agree with a direct computation, and both go on after a kill."""

import csv
import shutil

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from robustloss import batch_sizes, checkpoints, evaluation, features, latent, models, outcomes, training
from robustloss.audit import stage
from robustloss.errors import Problem
from robustloss.files import read_json, write_record

PGD = {
    "name": "pgd",
    "epsilon": 8 / 255,
    "step_size": 2 / 255,
    "steps": 5,
    "split": "evaluation",
    "epochs": "all",
    "count": None,
}


@pytest.fixture
def run(tmp_path, bars, spec):
    spec["epochs"] = 2
    training.train(spec, bars, tmp_path / "run", "cpu")
    return tmp_path / "run"


def rows(path) -> list[dict]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def logits_of(run, bars, epoch: int, split: str) -> np.ndarray:
    model = checkpoints.network(run, read_json(run / "run.json"), bars, epoch).eval()
    with torch.no_grad():
        return model(torch.from_numpy(bars.images(split).copy()).permute(0, 3, 1, 2) / 255).numpy()


def test_features_agree_with_a_direct_computation(run, bars):
    features.measure(run, bars, run / "features", "cpu")
    table = {(row["epoch"], row["split"]): row for row in rows(run / "features" / "epochs.csv")}
    assert len(table) == 6
    logits, labels = logits_of(run, bars, 2, "test"), bars.labels("test")
    row = table["2", "test"]
    predictions = logits.argmax(1)
    assert float(row["accuracy"]) == pytest.approx((predictions == labels).mean())
    assert float(row["balanced_accuracy"]) == pytest.approx(balanced_accuracy_score(labels, predictions))
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels.copy()))
    assert float(row["cross_entropy"]) == pytest.approx(float(expected), rel=1e-4)
    centres = np.stack([logits[labels == label].mean(0) for label in range(3)])
    spread = [np.linalg.norm(logits[labels == label] - centres[label], axis=1).mean() for label in range(3)]
    assert float(row["d_ic"]) == pytest.approx(np.mean(spread), rel=1e-4)
    between = [np.linalg.norm(centres[i] - centres[j]) for i in range(3) for j in range(3) if i != j]
    assert float(row["d_cc"]) == pytest.approx(np.mean(between), rel=1e-4)


def test_summary_of_features_is_the_mean_of_its_epochs(run, bars):
    features.measure(run, bars, run / "features", "cpu")
    accuracies = [float(row["accuracy"]) for row in rows(run / "features" / "epochs.csv") if row["split"] == "test"]
    summary = read_json(run / "features" / "features.json")["summary"]["test"]
    assert summary["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert summary["accuracy"]["last"] == pytest.approx(accuracies[-1])
    assert summary["accuracy"]["last_low"] <= accuracies[-1] <= summary["accuracy"]["last_high"]
    assert (summary["majority"], summary["count"]) == (pytest.approx(1 / 3), 60)


def test_a_run_that_kept_its_best_epoch_is_measured_after_that_one(tmp_path, bars, spec):
    """The second of four: the rate grows a hundredfold after it, and what was learnt is lost."""
    schedule = {"name": "multistep", "rate": 0.02, "epochs": [2], "factor": 100}
    run = tmp_path / "run"
    training.train(spec | {"keep": "best", "schedule": schedule}, bars, run, "cpu")
    kept = read_json(run / "run.json")["kept"]
    assert kept["epoch"] == 2 and kept["test_accuracy"] > max(kept["test_accuracies"][2:]) + 0.2
    features.measure(run, bars, run / "features", "cpu")
    assert {row["epoch"] for row in rows(run / "features" / "epochs.csv")} == {"2"}
    summary = read_json(run / "features" / "features.json")["summary"]["test"]
    assert summary["accuracy"]["last"] == pytest.approx(kept["test_accuracy"])
    for epochs in ("all", "last", "best"):
        evaluation.attack(run, bars, PGD | {"epochs": epochs}, run / epochs, "cpu")
        assert [row["epoch"] for row in rows(run / epochs / "epochs.csv")] == ["2"]
    transferred = {key: value for key, value in PGD.items() if key in ("name", "epsilon", "step_size", "steps")}
    spec = {"name": "transfer", "source": "run", "attack": transferred, "split": "evaluation", "count": None}
    evaluation.attack(run, bars, spec | {"epochs": "last"}, run / "transfer", "cpu")
    stage.audit(run, bars, {"split": "test", "epsilon": 0.1, "count": 4}, run / "audit", "cpu")
    latent.measure(run, bars, {"name": "latent", "split": "test", "count": 60}, run / "latent", "cpu")
    predictions = np.load(run / "latent" / "arrays.npz")["predictions"]
    assert np.array_equal(predictions, logits_of(run, bars, 2, "test").argmax(1))


def test_classes_count_every_image(run, bars):
    features.measure(run, bars, run / "features", "cpu")
    last = [row for row in rows(run / "features" / "classes.csv") if (row["epoch"], row["split"]) == ("2", "train")]
    assert [(row["name"], row["count"]) for row in last] == [("left", "32"), ("right", "32"), ("none", "32")]


def test_attack_outcomes_agree_with_the_network(run, bars):
    evaluation.attack(run, bars, PGD, run / "attacks" / "pgd", "cpu")
    found = outcomes.load(outcomes.outcomes_path(run / "attacks" / "pgd", 2))
    labels = bars.labels("evaluation")
    assert (found["labels"] == labels).all()
    assert (found["clean_predictions"] == logits_of(run, bars, 2, "evaluation").argmax(1)).all()
    assert found["linf"].max() <= 8 / 255 + 1e-6
    assert (found["adversarial_cross_entropy"] >= found["clean_cross_entropy"] - 1e-5).mean() > 0.9
    row = rows(run / "attacks" / "pgd" / "epochs.csv")[-1]
    robust = (found["clean_predictions"] == labels) & (found["adversarial_predictions"] == labels)
    assert float(row["robust_accuracy"]) == pytest.approx(robust.mean())


def test_a_larger_epsilon_is_never_survived_better(run, bars):
    def robust(epsilon: float) -> float:
        spec = PGD | {"epsilon": epsilon, "step_size": epsilon / 4, "epochs": "last"}
        directory = run / "attacks" / f"pgd{epsilon}"
        evaluation.attack(run, bars, spec, directory, "cpu")
        return read_json(directory / "attack.json")["summary"]["robust_accuracy"]["last"]

    found = [robust(epsilon / 255) for epsilon in (1, 16, 64)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0]


def test_a_source_is_the_last_network_of_a_run_beside(run, bars, spec):
    training.train(spec | {"seed": 4}, bars, run.parent / "twin", "cpu")
    pgd = {key: PGD[key] for key in ("name", "epsilon", "step_size", "steps")}
    transfer = {"name": "transfer", "source": "twin", "attack": pgd}
    scope = {"split": "evaluation", "epochs": "last", "count": None}
    evaluation.attack(run.parent / "twin", bars, PGD | {"epochs": "last"}, run / "twin", "cpu")
    evaluation.attack(run, bars, scope | transfer, run / "transfer", "cpu")
    evaluation.attack(
        run, bars, scope | {"name": "worst_case", "attacks": [transfer, PGD | {"steps": 1}]}, run / "worst", "cpu"
    )
    white, moved, worst = (
        outcomes.load(outcomes.outcomes_path(run / name, 2)) for name in ("twin", "transfer", "worst")
    )
    # The perturbation is the one that was made for the other network; what it does is seen on this one.
    assert np.array_equal(moved["linf"], white["linf"]) and np.allclose(moved["l2"], white["l2"])
    assert np.array_equal(moved["clean_predictions"], logits_of(run, bars, 2, "evaluation").argmax(1))
    fooled = (moved["clean_predictions"] == moved["labels"]) & (moved["adversarial_predictions"] != moved["labels"])
    assert np.array_equal(worst["broken_by"] == 0, fooled)
    record = read_json(run / "transfer" / "attack.json")
    assert record["spec"]["source"] == "twin"


def test_finished_epochs_are_not_attacked_again(run, bars, monkeypatch):
    directory = run / "attacks" / "pgd"
    evaluation.attack(run, bars, PGD, directory, "cpu")
    whole = (directory / "epochs.csv").read_text()
    outcomes.outcomes_path(directory, 2).unlink()
    attacked = []
    original = evaluation._outcomes
    monkeypatch.setattr(
        evaluation, "_outcomes", lambda *arguments: attacked.append(arguments[-1]) or original(*arguments)
    )
    evaluation.attack(run, bars, PGD, directory, "cpu")
    assert len(attacked) == 1
    assert (directory / "epochs.csv").read_text() == whole


def test_a_killed_evaluation_goes_on_after_its_last_batch(run, bars, monkeypatch):
    """Batches of 7, of which the third fails the first time: none is attacked twice, and the outcome is the same."""
    spec = PGD | {"random_start": True, "epochs": "last"}
    monkeypatch.setattr(batch_sizes, "LARGEST", {"cpu": 7})
    evaluation.attack(run, bars, spec, run / "whole", "cpu")
    outcome, sizes = evaluation._outcomes, []

    def failing(model, inputs, labels, *rest):
        sizes.append(len(labels))
        if len(sizes) == 3:
            raise KeyboardInterrupt
        return outcome(model, inputs, labels, *rest)

    monkeypatch.setattr(evaluation, "_outcomes", failing)
    with pytest.raises(KeyboardInterrupt):
        evaluation.attack(run, bars, spec, run / "killed", "cpu")
    assert not (run / "killed" / "attack.json").exists()
    evaluation.attack(run, bars, spec, run / "killed", "cpu")
    assert sizes == [7, 7, 7, 7, 7, 2]
    names = [path.name for path in (run / "killed" / "samples").iterdir()]
    assert names == ["epoch-002.npz"]
    whole, killed = (outcomes.load(outcomes.outcomes_path(run / name, 2)) for name in ("whole", "killed"))
    assert all(np.array_equal(whole[name], killed[name]) for name in whole)
    assert whole["batch"].tolist() == [number // 7 for number in range(30)]


def test_the_size_of_batches_changes_what_is_drawn_and_nothing_else(run, bars, monkeypatch):
    for size in (30, 7):
        monkeypatch.setattr(batch_sizes, "LARGEST", {"cpu": size})
        for name, spec in (("plain", PGD), ("random", PGD | {"random_start": True})):
            evaluation.attack(run, bars, spec | {"epochs": "last"}, run / f"{name}-{size}", "cpu")
    found = {path.name: outcomes.load(outcomes.outcomes_path(path, 2)) for path in run.glob("*-*[07]")}
    equal = {name: np.array_equal(found[f"{name}-30"]["l2"], found[f"{name}-7"]["l2"]) for name in ("plain", "random")}
    assert equal == {"plain": True, "random": False}


def test_where_a_gpu_has_no_room_batches_are_halved(run, bars, monkeypatch, capsys):
    """A batch of more than 8 images has none; batches of one size and of another are not mixed."""
    outcome, sizes = evaluation._outcomes, []

    def crowded(model, inputs, *rest):
        sizes.append(len(inputs))
        if len(inputs) > 8 and len(sizes) > 1:
            raise torch.OutOfMemoryError
        return outcome(model, inputs, *rest)

    monkeypatch.setattr(evaluation, "_outcomes", crowded)
    monkeypatch.setattr(batch_sizes, "LARGEST", {"cpu": 16})
    evaluation.attack(run, bars, PGD | {"epochs": "last"}, run / "attacks" / "pgd", "cpu")
    assert sizes == [16, 14, 8, 8, 8, 6]
    assert "the GPU's memory is too small, so batches are of 8 images" in capsys.readouterr().err
    found = outcomes.load(outcomes.outcomes_path(run / "attacks" / "pgd", 2))
    assert found["batch"].tolist() == [number // 8 for number in range(30)]
    assert [path.name for path in (run / "attacks" / "pgd" / "samples").iterdir()] == ["epoch-002.npz"]


def test_logits_that_are_not_finite_are_refused_with_where_they_are(run, bars, monkeypatch):
    """Of the second batch of 8 two images have no logits."""
    copy = models.evaluation_copy

    def broken(*arguments):
        model = copy(*arguments)
        spoilt = torch.from_numpy(bars.images("evaluation")[[9, 12]].copy()).permute(0, 3, 1, 2).float().div_(255)

        def spoil(_, inputs, logits):
            hit = (inputs[0][:, None] == spoilt).flatten(2).all(2).any(1)
            return torch.where(hit[:, None], torch.nan, logits)

        model.register_forward_hook(spoil)
        return model

    monkeypatch.setattr(models, "evaluation_copy", broken)
    monkeypatch.setattr(batch_sizes, "LARGEST", {"cpu": 8})
    with pytest.raises(Problem) as refusal:
        evaluation.attack(run, bars, PGD, run / "attacks" / "pgd", "cpu")
    assert str(refusal.value) == (
        "run, pgd, epoch 1, batch 2 of 4: the network's logits are NaN or infinite for 2 clean images: train it again"
    )


@pytest.mark.parametrize("target", [None, 1, "random"], ids=["untargeted", "class", "random"])
def test_success_is_what_the_attack_was_to_reach(run, bars, target):
    """With a target another wrong class is no success, nor is the target where it is the label."""
    spec = PGD | {"epsilon": 40 / 255, "step_size": 10 / 255, "epochs": "last", "target": target}
    evaluation.attack(run, bars, spec, run / "attacks" / "pgd", "cpu")
    found = outcomes.load(outcomes.outcomes_path(run / "attacks" / "pgd", 2))
    predicted, labels = found["adversarial_predictions"], found["labels"]
    assert ((found["adversarial_margin"] > 0) == (predicted != labels)).all()
    if target is None:
        assert "targets" not in found and np.array_equal(found["success"], predicted != labels)
    else:
        assert target == "random" or (found["targets"] == target).all()
        assert np.array_equal(found["success"], (predicted == found["targets"]) & (found["targets"] != labels))
    assert found["success"].any() and not found["success"].all()


def test_batches_of_the_target_s_own_images_stay_as_they_are(run, bars, monkeypatch):
    """One image a batch, so that a third of the batches hold nothing else."""
    monkeypatch.setattr(batch_sizes, "choose", lambda *_: 1)
    spec = PGD | {"epsilon": 40 / 255, "step_size": 10 / 255, "epochs": "last", "target": 1}
    evaluation.attack(run, bars, spec, run / "attacks/a", "cpu")
    found = outcomes.load(outcomes.outcomes_path(run / "attacks/a", 2))
    own = found["labels"] == 1
    assert 0 < own.sum() < len(own)
    assert not found["linf"][own].any() and not found["queries"][own].any() and found["linf"][~own].all()


def test_a_target_that_is_every_image_s_class_is_refused(run, bars):
    spec = PGD | {"epochs": "last", "target": 0, "count": 1}
    with pytest.raises(Problem, match=r"attack pgd: all images to attack are of the class 0, which is its target"):
        evaluation.attack(run, bars, spec, run / "attacks/a", "cpu")


def test_margins_are_the_largest_wrong_logit_s_lead(run, bars):
    evaluation.attack(run, bars, PGD | {"epochs": "last"}, run / "attacks" / "pgd", "cpu")
    found = outcomes.load(outcomes.outcomes_path(run / "attacks" / "pgd", 2))
    logits, labels = logits_of(run, bars, 2, "evaluation"), bars.labels("evaluation")
    own = np.eye(3, dtype=bool)[labels]
    expected = np.where(own, -np.inf, logits).max(1) - logits[own]
    np.testing.assert_allclose(found["clean_margin"], expected, rtol=1e-4, atol=1e-5)


def test_count_takes_images_spread_over_the_split(run, bars):
    evaluation.attack(run, bars, PGD | {"count": 4, "epochs": "last"}, run / "attacks" / "few", "cpu")
    assert outcomes.load(outcomes.outcomes_path(run / "attacks" / "few", 2))["index"].tolist() == [0, 8, 16, 24]


def test_a_run_on_other_data_is_refused(run, bars, tmp_path):
    record = read_json(run / "run.json")
    write_record(run / "run.json", record | {"data_digest": "0" * 64})
    with pytest.raises(Problem, match="trained on data with digest 000000000000"):
        features.measure(run, bars, run / "features", "cpu")


@pytest.mark.parametrize("damage", [lambda raw: raw[:200], lambda raw: raw[:8] + b"\0" * 50 + raw[58:]])
def test_damaged_weights_are_named(run, bars, damage):
    path = checkpoints.weights_path(run, 2)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Problem, match=r"epoch-002\.safetensors is damaged"):
        features.measure(run, bars, run / "features", "cpu")


def test_weights_of_another_run_are_refused(run, bars):
    shutil.copy(checkpoints.weights_path(run, 1), checkpoints.weights_path(run, 2))
    with pytest.raises(Problem, match=r"made with other settings \(epoch is 1, expected 2\)"):
        features.measure(run, bars, run / "features", "cpu")


def test_damaged_outcomes_are_named(run, bars):
    directory = run / "attacks" / "pgd"
    evaluation.attack(run, bars, PGD, directory, "cpu")
    path = outcomes.outcomes_path(directory, 1)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(Problem, match=r"epoch-001\.npz is damaged"):
        evaluation.attack(run, bars, PGD, directory, "cpu")
