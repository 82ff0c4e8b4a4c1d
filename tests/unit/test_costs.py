"""What jobs are expected to cost, against passes that were really made and networks that were really counted."""

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from robustloss import attacks, config, defences, runs
from robustloss.code import defaults, plugin, plugins
from robustloss.costs import jobs, rates, table, work
from robustloss.costs.rates import DataSet

ROOT = Path(__file__).parents[2]
CLASSES, SIDE = 5, 8
DATA = DataSet(CLASSES, SIDE, 1, {"train": 100, "test": 60, "evaluation": 50})
# Attacks that make all their steps on every image: what is counted is what is made, to the pass of a check or two.
WHOLE = [
    {"name": "fgsm", "epsilon": 0.1},
    {"name": "bim", "epsilon": 0.1, "step_size": 0.02, "steps": 6},
    {"name": "mim", "epsilon": 0.1, "step_size": 0.02, "steps": 6},
    {"name": "pgd", "epsilon": 0.1, "step_size": 0.02, "steps": 8},
    {"name": "sign_unprojected", "epsilon": 0.1, "steps": 7},
    {"name": "ddn", "steps": 9},
]
# Attacks that leave an image when its question is answered: no more than counted, on a network that withstands.
PARTLY = [
    {"name": "pgd", "epsilon": 1e-4, "step_size": 1e-5, "steps": 5, "restarts": 3, "random_start": True},
    {"name": "multi_targeted", "epsilon": 1e-4, "step_size": 1e-5, "steps": 6},
    {"name": "noise", "epsilon": 1e-4, "draws": 9},
    {"name": "square", "epsilon": 1e-4, "queries": 40},
    {"name": "simba", "step": 1e-4, "queries": 30},
    {"name": "deepfool", "steps": 6},
    {"name": "carlini_wagner", "steps": 20, "search_steps": 3},
    {"name": "apgd", "epsilon": 1e-4, "steps": 12, "targets": 3},
    {"name": "fab", "epsilon": 1e-4, "steps": 10, "targets": 3},
    {"name": "autoattack", "epsilon": 1e-4, "steps": 12, "targets": 3, "queries": 40},
]


class Counting(nn.Module):
    """A linear network that counts the images that pass it, there and back to the image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIDE * SIDE, CLASSES)
        self.passes = 0
        self.requires_grad_(False)
        self.eval()

    def forward(self, images):
        self.passes += len(images)
        if images.requires_grad:
            images.register_hook(self._back)
        return self.layer(images.flatten(1))

    def _back(self, gradient):
        self.passes += len(gradient)


def made(attack: dict) -> float:
    """Passes of one image that an attack really makes, on the defence that it names."""
    torch.manual_seed(0)
    model, count = Counting(), 10
    images = torch.rand(count, 1, SIDE, SIDE)
    labels = model(images).argmax(1)
    model.passes = 0
    settings = {key: value for key, value in attack.items() if key not in ("name", "defence")}
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    defended = defences.build(attack["defence"], model, generators[0]) if "defence" in attack else model
    attacks.load(attack["name"])(defended, images, labels, generators[1], **settings)
    return model.passes / count


@pytest.fixture
def in_full(monkeypatch):
    """As if no image ever left."""
    monkeypatch.setattr(work, "share", lambda attack: 1.0)


@pytest.mark.parametrize("attack", WHOLE, ids=lambda attack: attack["name"])
def test_passes_of_whole_attacks(attack, in_full):
    assert made(attack) == pytest.approx(work.passes_of(attack, DATA), abs=4)


@pytest.mark.parametrize("attack", PARTLY, ids=lambda attack: attack["name"])
def test_passes_of_attacks_that_images_leave(attack, in_full):
    found = made(attack)
    assert found <= 1.1 * work.passes_of(attack, DATA) + 4
    assert found >= 0.2 * work.passes_of(attack, DATA)


@pytest.mark.parametrize("defended", [False, True])
def test_only_a_random_network_is_asked_for_every_draw(defended, in_full):
    steps = {"name": "pgd", "epsilon": 0.1, "step_size": 0.02, "steps": 8}
    attack = {"name": "expectation", "draws": 10, "attack": steps}
    if defended:
        # What it pads to has the network's own size.
        sizes = {"smallest": SIDE - 1, "size": SIDE, "passes": 3, "flip": True}
        attack["defence"] = {"name": "random_padding"} | sizes
    assert made(attack) == pytest.approx(work.passes_of(attack, DATA), rel=0.15, abs=4)


def test_an_ensemble_is_the_sum_of_its_parts(in_full):
    one, two = WHOLE[2:4]
    parts = work.passes_of(one, DATA) + work.passes_of(two, DATA)
    assert work.passes_of({"name": "worst_case", "attacks": [one, two]}, DATA) == parts + 2


@pytest.mark.parametrize("name", plugins("attacks"))
def test_defaults_read_from_the_source_are_python_s_own(name):
    module = plugin("attacks", name)
    parameters = inspect.signature(import_module(module).perturb).parameters.values()
    own = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    assert defaults(module, "perturb") == {
        key: value for key, value in own.items() if value is not inspect.Parameter.empty
    }


def trained(**settings) -> dict:
    return {"epochs": 3, "batch_size": 32, **settings}


def test_updates_of_a_training():
    # Forward, to the image and to the weights: 3 passes of 100 images in 4 batches, 3 times.
    assert work.updates(trained(), DATA) == (900, 36)
    assert work.updates(trained(then=[]), DATA) == (1800, 72)
    steps = {"name": "pgd", "epsilon": 0.1, "step_size": 0.1, "steps": 5}
    images, launches = work.updates(trained(perturbation=steps), DATA)
    assert (images, launches) == (300 * (3 + 2 + 10), 12 * (3 + 2 + 10))
    assert work.updates(trained(perturbation=steps, clean=[]), DATA)[0] == images + 900


@pytest.fixture(scope="module")
def plans():
    settings = config.read_yaml(ROOT / "config.yaml")
    found = {}
    for scale in ("demo", "paper"):
        loaded, papers = config.load(settings | {"scale": scale})
        found[scale] = runs.plan(loaded, papers)
    return found


def count(body: nn.Module, shape: tuple[int, int, int]) -> float:
    """Multiply-adds of one image's forward pass, by torch's own counter of floating-point operations."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        body.eval()(torch.zeros(1, shape[2], *shape[:2]))
    return counter.get_total_flops() / 2


def test_every_network_of_the_papers_is_known_within_a_half(plans):
    seen = {}
    for plan in plans.values():
        for text in plan.runs.values():
            spec = yaml.safe_load(text)
            data = rates.data_set(spec["data"])
            settings = {key: spec["model"][key] for key in ("depth", "width", "preactivation") if key in spec["model"]}
            seen[spec["model"]["name"], data.side, data.channels, data.classes, *settings.items()] = (spec, data)
    for (name, side, channels, classes, *settings), (spec, data) in seen.items():
        shape = (side, side, channels)
        body = import_module(f"robustloss.models.{name}").network(classes, shape, **dict(settings))
        network = rates.network(spec["model"], data)
        # Small ones differ most: their linear layers do not grow with the image.
        assert network.multiply_adds == pytest.approx(count(body, shape), rel=0.5), (name, side, settings)
        if name != "lenet5":
            parameters = sum(parameter.numel() for parameter in body.parameters())
            assert network.parameters == pytest.approx(parameters, rel=0.6), (name, side, settings)


def test_an_unknown_network_or_attack_has_an_estimate():
    assert rates.network({"name": "brought-along"}, DATA).multiply_adds > 0
    assert work.passes_of({"name": "brought-along", "steps": 10}, DATA) == 22


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_job_of_every_plan_is_estimated(plans, device):
    for plan in plans.values():
        for rule, job in table.jobs_of(plan, jobs.Estimator(plan, device)):
            assert 0 < job.seconds < 60 * 86_400 * (100 if device == "cpu" else 1), rule
            assert 1e8 < job.memory < 1e11, rule
            assert job.disk >= 0


def test_limits_grow_with_every_attempt_and_are_never_small():
    job = jobs.Job(seconds=3600, memory=4e9)
    assert [jobs.minutes(job, attempt) for attempt in (1, 2, 3)] == [180, 360, 540]
    found = [jobs.megabytes(job, attempt) for attempt in (1, 2, 3)]
    assert found == sorted(set(found))
    assert all(megabytes % 100 == 0 for megabytes in found)
    assert (jobs.minutes(jobs.Job(1, 1)), jobs.megabytes(jobs.Job(1, 1))) == (10, 500)


def test_more_epochs_cost_more_and_a_gpu_less(plans):
    plan = plans["paper"]
    name = next(run for run in plan.runs if run.startswith("cholec80-resnet50"))
    slow, fast = (jobs.Estimator(plan, device).train(name).seconds for device in ("cpu", "cuda"))
    assert slow > 20 * fast
    assert jobs.Estimator(plan, "cpu", threads=4).train(name).seconds < slow / 3


def test_the_table_counts_the_jobs_of_a_plan(plans):
    plan = plans["demo"]
    found = table.bill(plan, "cpu").jobs
    assert found["train"] == found["features"] == len(plan.runs)
    # Every clip is drawn once and extracted once for each data set that it is in.
    assert found["data"] == 12 + 12 + 1 + 1
    assert found["papers"] == 2 * len(plan.manifests) + len(plan.counted) + 1


def test_telling_the_costs_imports_no_torch():
    program = "import sys; from robustloss.__main__ import main; main(['cost']); assert 'torch' not in sys.modules"
    environment = {"PYTHONPATH": "workflow", "PATH": ""}
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert "| pang2020 | paper |" in said
    assert "estimate" in said
