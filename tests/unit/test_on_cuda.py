"""What is done on CUDA keeps its tensors there, waits for the card no more than it must, and gives the CPU's results.

Where there is a card, it is taken; elsewhere a pretended one (see `pretended_cuda`). By hand chen2019's demo ran on two
pretended ones.
"""

import numpy as np
import pretended_cuda
import pytest
import test_attack_inputs
import test_objectives
import test_trajectories
import torch
from pretended_cuda import CUDA, REAL
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from robustloss import attacks, audit, evaluation, features, landscape, latent, models, outcomes, training, trajectories
from robustloss.checkpoints import weights_path

LAST = {"epochs": "last", "split": "evaluation", "count": None}
STEPS = {"epsilon": 0.1, "step_size": 0.04, "steps": 3}
# A real card's arithmetic is its own; the pretended one lacks the CPU's quick layers.
CLOSE = {"rtol": 1e-2, "atol": 1e-3} if REAL else {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture
def card():
    with pretended_cuda.card():
        yield


@pytest.fixture
def waits():
    """A pretended card even where there is one: it alone counts what was waited for."""
    with pretended_cuda.gpu() as counted:
        yield counted


def there(*shape):
    return torch.rand(shape, device="cuda")


@pytest.mark.parametrize(
    "call",
    [
        lambda: there(3) + torch.ones(3),
        lambda: there(3).add_(torch.ones(3)),
        lambda: torch.where(there(3) > 0, torch.ones(3), 0),
        lambda: torch.cat([there(3), torch.ones(3)]),
        lambda: torch.stack([there(), torch.ones(())]),
        lambda: F.cross_entropy(there(3, 2), torch.tensor([0, 1, 0])),
        lambda: nn.Linear(3, 2)(there(4, 3)),
        lambda: nn.Linear(3, 2).to("cuda")(torch.rand(4, 3)),
        lambda: torch.ones(3)[torch.arange(2, device="cuda")],
        lambda: there(3).index_select(0, torch.arange(2)),
        lambda: there(3).gather(0, torch.arange(2)),
        lambda: there(3).__setitem__(torch.tensor([0, 1]), torch.ones(2)),
        lambda: torch.rand(3, device="cuda", generator=torch.Generator()),
        lambda: torch.rand(3, generator=torch.Generator("cuda")),
        lambda: there(3).uniform_(generator=torch.Generator()),
        lambda: there(3).numpy(),
        lambda: np.asarray(there(3)),
    ],
)
def test_a_card_refuses(card, call):
    """So that what passes below means something; a real card is asked the same."""
    with pytest.raises((RuntimeError, TypeError), match=r"same device|indices should be|device type|convert cuda"):
        call()


def test_a_card_takes(card):
    assert (there(3) * torch.tensor(2.0)).device == CUDA
    assert there(3)[torch.tensor([0, 1])].device == CUDA
    assert torch.zeros(3).copy_(there(3)).device.type == "cpu"
    assert there(3).cpu().numpy().shape == (3,)
    assert torch.rand(3, device="cuda", generator=torch.Generator("cuda")).device == CUDA
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to("cuda")
    network(there(4, 3)).sum().backward()
    assert {tensor.device for tensor in (*network.state_dict().values(), network[0].weight.grad)} == {CUDA}


ATTACKS = test_attack_inputs.ATTACKS | {
    "pgd l2": {"name": "pgd", **STEPS, "norm": "l2", "random_start": True},
    "pgd random target": {"name": "pgd", **STEPS, "target": "random"},
    "multi_targeted restarts": {"name": "multi_targeted", **STEPS, "restarts": 2},
    "deepfool unnormalised": {"name": "deepfool", "steps": 5, "step": "unnormalised"},
    "carlini_wagner searching": {"name": "carlini_wagner", "steps": 20, "search_steps": 3},
    "simba dct": {"name": "simba", "step": 0.1, "queries": 30, "basis": "dct"},
    "worst_case of many": {
        "name": "worst_case",
        "epsilon": 0.1,
        "attacks": [
            {"name": "pgd", "step_size": 0.02, "steps": 3, "random_start": True, "stop_at_success": True},
            {"name": "noise", "draws": 3},
            {"name": "autoattack", "steps": 3, "queries": 10},
        ],
    },
}


def network_and_images(device: str):
    torch.manual_seed(0)
    spec = {"name": "small", "width": 8, "mean": [0.5], "std": [0.25], "pretrained": "none"}
    model = models.build(spec, test_attack_inputs.CLASSES, (8, 8, 1)).to(device)
    frozen = models.evaluation_copy(model, torch.device(device))
    images = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(1)).to(device)
    return frozen, images, frozen(images).argmax(1)


def attacked(spec: dict, device: str):
    model, images, labels = network_and_images(device)
    source = {"source": model} if spec["name"] == "transfer" else {}
    found = attacks.run(spec | source, model, images, labels, torch.Generator(device).manual_seed(0))
    return {name: value for name, value in found._asdict().items() if value is not None}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_stays_on_the_card_and_finds_what_it_finds_on_the_cpu(card, name):
    found, expected = (attacked(ATTACKS[name], device) for device in ("cuda", "cpu"))
    assert found.keys() == expected.keys()
    assert {value.device for value in found.values()} == {CUDA}
    if not REAL:  # whose random numbers are its own
        apart = (found["images"].cpu() - expected["images"]).abs().flatten(1).amax(1) > 1e-4
        # The sign of a gradient that is all but zero may be either.
        assert apart.sum() <= 1


@pytest.mark.parametrize("steps", [2, 20])
def test_pgd_for_all_steps_waits_for_none_of_them(waits, steps):
    model, images, labels = network_and_images("cuda")
    waits.clear()
    attacks.run({"name": "pgd", **STEPS, "steps": steps}, model, images, labels, torch.Generator("cuda"))
    assert sum(waits.values()) == 3  # to look at the images with their labels, the gradients and the first logits


# Each loss on its head, and each way to train that has code of its own.
TRAININGS = {
    loss: {"objective": [{"loss": loss, "weight": 1, **settings}], "head": head}
    for loss, (settings, head) in test_objectives.CASES.items()
} | {
    "two updates": {"then": [{"loss": "complement_entropy", "weight": 1}]},
    "adam": {"optimizer": {"name": "adam"}},
    "decay of convolutions": {
        "optimizer": {"name": "sgd", "momentum": 0.9, "weight_decay": 1e-3, "decayed": "convolutions"}
    },
    "centres of their own rate": {
        "objective": [{"loss": "cross_entropy", "weight": 1}, {"loss": "center", "weight": 0.01}],
        "head": {"name": "linear", "centres": True, "centre_rate": 0.5},
    },
    "random centres": {
        "objective": [{"loss": "mmc", "weight": 1}],
        "head": {"name": "max_mahalanobis", "centres": "random"},
    },
    "moved images, their own mean": {
        "augmentation": {"shift": 1, "fill": "zero", "flip": True},
        "model": {"mean": "pixels", "standardise": True},
    },
    "the best epoch": {"keep": "best"},
    "pgd": {"perturbation": {"name": "pgd", **STEPS, "random_start": True}},
    "borderline": {
        "perturbation": {"name": "sai_fgsm", **STEPS, "smallest_step": 0.001},
        "clean": [{"loss": "cross_entropy", "weight": 1}],
        "warm_up": 1,
    },
}


def specification(spec: dict, name: str) -> dict:
    changes = dict(TRAININGS[name])
    head = changes.pop("head", None)
    model = spec["model"] | changes.pop("model", {}) | ({"head": {"dimension": 4, **head}} if head else {})
    schedule = {"name": "constant", "rate": 0.01}
    return spec | {"precision": "float32", "epochs": 2, "schedule": schedule} | changes | {"model": model}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_training_gives_the_weights_that_it_gives_on_the_cpu(card, tmp_path, bars, spec, name):
    wanted = specification(spec, name)
    for device in ("cuda", "cpu"):
        training.train(wanted, bars, tmp_path / device, device)
    if REAL and "perturbation" in wanted:  # whose random numbers are its own
        return
    found, expected = (load_file(sorted((tmp_path / device / "weights").iterdir())[-1]) for device in ("cuda", "cpu"))
    torch.testing.assert_close(found, expected, **CLOSE)


def test_a_training_waits_for_no_step(waits, tmp_path, bars, spec):
    waited = []
    for size in (48, 8):
        waits.clear()
        training.train(spec | {"batch_size": size}, bars, tmp_path / str(size), "cuda")
        waited.append(sum(waits.values()))
    assert waited[0] == waited[1] > 0


def test_a_training_that_was_stopped_goes_on(card, tmp_path, bars, spec, monkeypatch):
    spec |= {"optimizer": {"name": "adam"}}
    epoch = training._epoch

    def stopping(spec, number, *rest):
        if number == 3:
            raise KeyboardInterrupt
        return epoch(spec, number, *rest)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(training, "_epoch", stopping)
        training.train(spec, bars, tmp_path / "stopped", "cuda")
    for directory in ("stopped", "whole"):
        training.train(spec, bars, tmp_path / directory, "cuda")
    found, expected = (load_file(weights_path(tmp_path / directory, 4)) for directory in ("stopped", "whole"))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_every_stage_runs_on_the_card(card, tmp_path, bars, spec):
    """With bfloat16, as `precision: auto` has it; only the network's weights are compared above."""
    run = tmp_path / "run"
    training.train(spec | {"model": spec["model"] | {"head": {"name": "linear", "dimension": 3}}}, bars, run, "cuda")
    features.measure(run, bars, run / "features", "cuda")
    defended = {"defence": {"name": "random_padding", "smallest": 8, "size": 10, "passes": 2}}
    for number, attack in enumerate(({}, {"random_start": True}, {"target": 1}, defended)):
        evaluation.attack(run, bars, {"name": "pgd", **STEPS, **LAST, **attack}, run / f"attacks/{number}", "cuda")
    audited = {"split": "test", "epsilon": 0.1, "count": 12, "steps": 4, "restarts": 2, "queries": 10, "draws": 5}
    audit.audit(run, bars, audited | {"source": "run"}, run / "audit", "cuda")
    drawn = {"split": "test", "count": 40}
    latent.measure(run, bars, {"name": "latent", **drawn}, run / "latent", "cuda")
    landscape.measure(run, bars, {"name": "landscape", **drawn, "radius": 0.1, "points": 3}, run / "landscape", "cuda")
    climbed = {"name": "trajectories", "class": 1, "targets": ["entropy", 2], "attack": test_trajectories.ATTACK}
    trajectories.measure(run, bars, {**climbed, "split": "test", "count": 7}, run / "trajectories", "cuda")
    found = outcomes.load(outcomes.outcomes_path(run / "attacks/0", 4))
    assert found["linf"].max() == pytest.approx(0.1, abs=1e-6)
