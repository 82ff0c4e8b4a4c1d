"""Attacks where the best that there is can be computed: linear networks, and piecewise linear ones in the plane."""

import math

import pytest
import torch
from minimal_distances import lengths, rectified
from small_networks import Function, predictions, seeded

from robustloss import attacks
from robustloss.attacks.parts import gradients

EPSILON, LENGTH = 0.1, 0.4
STEPS = {"epsilon": EPSILON, "step_size": EPSILON / 4, "steps": 10}
L2 = {"norm": "l2", "epsilon": LENGTH}
# Attacks that climb as far as they can, where none of the samples can be broken.
CLIMBS = {
    "fgsm": {"name": "fgsm", "epsilon": EPSILON},
    "bim": {"name": "bim", **STEPS},
    "mim": {"name": "mim", **STEPS},
    "pgd": {"name": "pgd", **STEPS},
    "pgd start": {"name": "pgd", **STEPS, "random_start": True},
    "pgd restarts": {"name": "pgd", **STEPS, "random_start": True, "restarts": 2, "loss": "margin"},
    "pgd stopping": {"name": "pgd", **STEPS, "stop_at_success": True, "loss": "exact_cross_entropy"},
    "pgd targeted": {"name": "pgd", **STEPS, "target": 1, "random_start": True},
    "pgd l2": {"name": "pgd", **L2, "step_size": LENGTH, "steps": 40, "random_start": True},
    "multi_targeted": {"name": "multi_targeted", **STEPS},
    "apgd": {"name": "apgd", "epsilon": EPSILON, "steps": 20},
    "apgd targeted": {"name": "apgd", "epsilon": EPSILON, "steps": 20, "loss": "margin", "targets": 1},
    "apgd l2": {"name": "apgd", **L2, "steps": 20},
}


def reached(spec, model, images, labels):
    found = attacks.run(spec, model, images, labels, seeded()).images
    return gradients.margin_value(model(found), labels)


@pytest.mark.parametrize("name", CLIMBS)
def test_bounded_attacks_reach_the_optimum_of_a_linear_network(name):
    """The margin of class 1 is <w, x> + b: each value moves as far as ball and [0, 1] let it, or all along w."""
    spec = CLIMBS[name]
    weight = torch.randn(27, generator=seeded(1), dtype=torch.float64)
    images = torch.rand(20, 3, 3, 3, generator=seeded(2), dtype=torch.float64)
    if "norm" in spec:
        images = 0.5 + 0.1 * (images - 0.5)  # so that the ball lies within [0, 1]
    model = Function(lambda x: torch.stack([torch.zeros(len(x), dtype=x.dtype), x.flatten(1) @ weight - 12], 1))
    labels = torch.zeros(20, dtype=torch.int64)
    clean = images.flatten(1) @ weight - 12
    if "norm" in spec:
        optimum = clean + LENGTH * weight.norm()
    else:
        ends = (images.flatten(1) + EPSILON * weight.sign()).clamp(0, 1)
        optimum = ends @ weight - 12
    assert optimum.max() < 0
    assert torch.allclose(reached(spec, model, images, labels), optimum, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("norm", "dual", "epsilon"), [("linf", 1, 0.05), ("l2", 2, 0.2)])
def test_targeted_climbs_reach_the_best_of_all_classes(norm, dual, epsilon):
    weight = torch.randn(5, 27, generator=seeded(1), dtype=torch.float64)
    images = 0.3 + 0.4 * torch.rand(20, 3, 3, 3, generator=seeded(2), dtype=torch.float64)
    model = Function(lambda x: x.flatten(1) @ weight.T + 20 * torch.eye(5, dtype=torch.float64)[0])
    labels = torch.zeros(20, dtype=torch.int64)
    optimum = (
        model(images)[:, 1:] - model(images)[:, :1] + epsilon * (weight[1:] - weight[0]).norm(p=dual, dim=1)
    ).amax(1)
    specs = [{"name": "apgd", "epsilon": epsilon, "norm": norm, "loss": "margin", "targets": 4, "steps": 30}]
    if norm == "linf":
        specs.append({"name": "multi_targeted", **STEPS, "epsilon": epsilon})
    assert optimum.max() < 0
    for spec in specs:
        assert torch.allclose(reached(spec, model, images, labels), optimum, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def plane():
    """A network on two pixels, and to the nearest misclassified point of each image its L2 and Linf distance.

    Both as the least and the most that they can be: the latter is that to a point of a grid, so too large by a few
    cells at most, where what is misclassified ends in a corner.
    """
    model, images, labels, exact = rectified()
    axis = torch.linspace(0, 1, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    wrong = predictions(model, grid.view(-1, 1, 1, 2)) != labels[:, None]
    far = (grid - images.flatten(1)[:, None]).abs().amax(2).masked_fill(~wrong, math.inf).amin(1)
    return model, images, labels, {"l2": (exact, exact), "linf": (far - 3 / 800, far)}


def bounded(norm, epsilon):
    """Strong settings, since local optima abound where a network has few units."""
    pgd = {"name": "pgd", "norm": norm, "epsilon": epsilon, "step_size": epsilon / 5, "steps": 20, "loss": "margin"}
    apgd = {"name": "apgd", "norm": norm, "epsilon": epsilon, "steps": 30, "restarts": 5}
    return {
        "pgd": pgd | {"random_start": True, "restarts": 10, "stop_at_success": True},
        "apgd": apgd | {"loss": "margin", "targets": 2},
    }


@pytest.mark.parametrize("name", ["pgd", "apgd"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_bounded_attacks_break_a_piecewise_linear_network_where_that_can_be_done(plane, norm, name):
    model, images, labels, distances = plane
    least, most = distances[norm]
    for share in (0.25, 0.5, 0.75):
        epsilon = least.quantile(share).item() * 1.001
        found = attacks.run(bounded(norm, epsilon)[name], model, images, labels, seeded()).images
        broken = predictions(model, found) != labels
        assert not broken[least > epsilon].any()
        assert broken[1.02 * most <= epsilon].all()
        assert (1.02 * most <= epsilon).sum() >= 5


def test_fab_finds_the_exact_distances_of_a_piecewise_linear_network(plane):
    model, images, labels, distances = plane
    for norm, (least, most) in distances.items():
        spec = {"name": "fab", "norm": norm, "steps": 40, "restarts": 5}
        found = attacks.run(spec, model, images, labels, seeded()).images
        assert (predictions(model, found) != labels).all()
        size = lengths(found, images) if norm == "l2" else (found - images).abs().amax((1, 2, 3))
        assert (size >= least - 1e-9).all()
        assert (size <= 1.02 * most).all()
