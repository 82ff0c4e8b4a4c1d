"""FAB-T against exact minimal distances, its projection against scipy's optimisers, and torchattacks on digits."""

import digit_networks as digits
import numpy as np
import pytest
import torch
from digit_networks import Counted
from scipy.optimize import linprog, minimize
from small_networks import Linear, Scaled, predictions, seeded

from robustloss import attacks
from robustloss.attacks.parts import hyperplanes
from robustloss.errors import Problem

ORDER = {"linf": torch.inf, "l2": 2}
DUAL = {"linf": 1, "l2": 2}


def perturb(*arguments, **settings):
    return attacks.load("fab")(*arguments, **settings)


def hyperplane(count=40, size=7):
    """Points in the box, some at its faces, normals of all lengths with some zeros, and rises that the box allows."""
    points, goals, where = torch.rand(3, count, size, generator=seeded(), dtype=torch.float64)
    points = torch.where(where < 0.2, points.round(), points)
    normals = torch.randn(count, size, generator=seeded(1), dtype=torch.float64)
    normals = normals * (torch.rand(count, size, generator=seeded(2)) < 0.85)
    normals = normals * 10 ** torch.linspace(-4, 4, count, dtype=torch.float64)[:, None]
    return points, normals, (normals * (goals - points)).sum(1)


def smallest_linf(point, normal, rise):
    """Minimise t subject to -t <= d <= t, 0 <= point + d <= 1, <normal, d> = rise."""
    size, one = len(point), np.ones((len(point), 1))
    both = np.vstack([np.hstack([np.eye(size), -one]), np.hstack([-np.eye(size), -one])])
    bounds = [*((-value, 1 - value) for value in point), (0, None)]
    cost = np.r_[np.zeros(size), 1]
    return linprog(cost, both, np.zeros(2 * size), [np.r_[normal, 0]], [rise], bounds).fun


def smallest_l2(point, normal, rise):
    def excess(move):
        return normal @ move - rise

    found = minimize(
        lambda move: move @ move / 2,
        np.zeros(len(point)),
        jac=lambda move: move,
        bounds=[(-value, 1 - value) for value in point],
        constraints={"type": "eq", "fun": excess, "jac": lambda move: normal},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert abs(excess(found.x)) < 1e-9
    return np.sqrt(2 * found.fun)


@pytest.mark.parametrize(("norm", "solver"), [("linf", smallest_linf), ("l2", smallest_l2)])
def test_projection_is_what_general_optimisers_find(norm, solver):
    points, normals, rises = hyperplane()
    moves = hyperplanes.displacement(points, normals, rises, norm)
    scale = normals.abs().amax(1)
    assert torch.allclose((normals * moves).sum(1) / scale, rises / scale, rtol=0, atol=1e-12)
    assert (points + moves).min() >= 0
    assert (points + moves).max() <= 1
    problems = zip(points.numpy(), (normals / scale[:, None]).numpy(), (rises / scale).numpy(), strict=True)
    expected = torch.tensor([float(solver(*problem)) for problem in problems], dtype=torch.float64)
    assert torch.allclose(moves.norm(p=ORDER[norm], dim=1), expected, rtol=0, atol=1e-7)
    # The box binds for some and not for others.
    free = rises.abs() / normals.norm(p=DUAL[norm], dim=1)
    assert (expected > free + 1e-3).any()
    assert torch.isclose(expected, free, atol=1e-7).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_of_unreachable_hyperplanes_is_the_corner(norm):
    points, normals, _ = hyperplane()
    reach = torch.where(normals > 0, 1 - points, -points) * (normals != 0)
    most = (normals * reach).sum(1)
    moves = hyperplanes.displacement(points, normals, 1.5 * most + 1e-9, norm)
    assert torch.allclose(moves, reach, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_projection_is_indifferent_to_the_length_of_the_normal(norm):
    points, normals, rises = (part.float() for part in hyperplane())
    expected = hyperplanes.displacement(points, normals, rises, norm)
    scale = normals.abs().amax(1, keepdim=True) * 1e30
    tiny = hyperplanes.displacement(points, normals / scale, rises / scale[:, 0], norm)
    assert torch.allclose(tiny, expected, rtol=0, atol=1e-5)
    assert (hyperplanes.displacement(points, 0 * normals, rises, norm) == 0).all()
    assert (hyperplanes.displacement(points, normals, 0 * rises, norm) == 0).all()


def test_projection_takes_several_points_to_one_hyperplane():
    points, normals, rises = hyperplane()
    together = hyperplanes.displacement(
        torch.stack([points, 1 - points]), normals, torch.stack([rises, -rises]), "linf"
    )
    assert torch.equal(together[0], hyperplanes.displacement(points, normals, rises, "linf"))
    assert torch.equal(together[1], hyperplanes.displacement(1 - points, normals, -rises, "linf"))


def linear(margin, classes=5, count=30):
    """A linear model, images at least `margin` from 0 and 1, and their predictions."""
    model = Linear(torch.randn(classes, 27, generator=seeded(), dtype=torch.float64))
    images = margin + (1 - 2 * margin) * torch.rand(count, 3, 3, 3, generator=seeded(1), dtype=torch.float64)
    return model, images, predictions(model, images)


@pytest.mark.parametrize("targets", [None, 4])
@pytest.mark.parametrize(("norm", "margin"), [("linf", 0.3), ("l2", 0.45), ("linf", 0.0), ("l2", 0.0)])
def test_finds_the_exact_distances_of_a_linear_model(norm, margin, targets):
    model, images, labels = linear(margin)
    found = perturb(model, images, labels, seeded(), norm=norm, targets=targets)
    logits = model(images)
    gaps = logits.gather(1, labels[:, None]) - logits
    normals = model.weight[None] - model.weight[labels][:, None]
    truth = torch.eye(5, dtype=torch.bool)[labels]
    if margin:
        distances = gaps / normals.norm(p=DUAL[norm], dim=2)
    else:
        solver = smallest_linf if norm == "linf" else smallest_l2
        distances = torch.full_like(gaps, torch.inf)
        for sample, other in (~truth).nonzero().tolist():
            problem = images[sample].flatten(), normals[sample, other], gaps[sample, other]
            distances[sample, other] = solver(*(part.numpy() for part in problem)) or torch.inf
    exact = distances.masked_fill(truth, torch.inf).amin(1)
    assert (predictions(model, found.images) != labels).all()
    size = (found.images - images).flatten(1).norm(p=ORDER[norm], dim=1)
    assert (size >= exact - 1e-9).all()
    assert (size <= 1.02 * exact).all()


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize(("norm", "radii"), [("linf", digits.EPSILON), ("l2", digits.EPSILON_L2)])
def test_returns_what_is_within_epsilon_and_leaves_the_others(norm, radii, stop):
    model, (images, labels) = digits.network("robust"), digits.held_out(60)
    epsilon, before = radii["robust"], images.clone()
    settings = {"norm": norm, "steps": 20, "targets": 3}
    found = perturb(model, images, labels, seeded(), **settings, epsilon=epsilon, stop=stop)
    smallest = perturb(model, images, labels, seeded(), **settings).images
    right = predictions(model, images) == labels
    size = (found.images - images).flatten(1).norm(p=ORDER[norm], dim=1)
    broken = right & (predictions(model, found.images) != labels)
    assert 0.1 < broken.float().mean() < 0.9
    assert size.max() <= epsilon + 1e-6
    assert (size[~broken] == 0).all()
    assert found.images.aminmax().min >= 0
    assert found.images.aminmax().max <= 1
    assert torch.equal(images, before)
    reachable = (smallest - images).flatten(1).norm(p=ORDER[norm], dim=1)
    assert torch.equal(broken, right & (predictions(model, smallest) != labels) & (reachable <= epsilon))
    if stop:
        assert (size[broken] >= reachable[broken] - 1e-6).all()
        assert found.queries[broken].float().mean() < 0.5 * found.queries[right & ~broken].float().mean()
    else:
        assert torch.equal(found.images[broken], smallest[broken])
        assert (found.queries[right] == 1 + 3 * 20 * 2).all()
        assert (found.iterations[right] == 3 * 20).all()
    assert (found.queries[~right] == 1).all()
    assert (found.iterations[~right] == 0).all()


def test_queries_are_the_forward_passes():
    model = Counted(digits.network("robust"))
    for image, label in zip(*(part[:8].split(1) for part in digits.held_out()), strict=True):
        model.sizes.clear()
        found = perturb(model, image, label, seeded(), epsilon=0.17, steps=6, targets=3, stop=True)
        assert found.queries.item() == sum(model.sizes)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_restarts_find_what_is_smaller(norm):
    model, (images, labels) = digits.network("robust"), digits.held_out(60)
    once, thrice = (
        (perturb(model, images, labels, seeded(), norm=norm, steps=10, targets=2, restarts=restarts).images - images)
        .flatten(1)
        .norm(p=ORDER[norm], dim=1)
        for restarts in (1, 3)
    )
    assert (thrice <= once).all()
    assert (thrice < once - 1e-4).any()


def test_large_logits_do_not_hide_a_sample():
    model, (images, labels) = digits.network("robust"), digits.held_out(60)
    first, other = (
        perturb(net, images, labels, seeded(), steps=15, targets=3).images for net in (model, Scaled(model, 2.0**7))
    )
    assert torch.equal(first, other)
    far = perturb(Scaled(model, 100), images, labels, seeded(), steps=15, targets=3).images
    assert torch.allclose((far - images).abs().amax((1, 2, 3)), (first - images).abs().amax((1, 2, 3)), atol=5e-3)


@pytest.mark.parametrize("kind", ["plain", "robust"])
@pytest.mark.parametrize(("norm", "name", "radii"), [("linf", "Linf", digits.EPSILON), ("l2", "L2", digits.EPSILON_L2)])
def test_is_as_strong_as_torchattacks(kind, norm, name, radii):
    torchattacks = pytest.importorskip("torchattacks")
    model, epsilon, (images, labels) = digits.network(kind), radii[kind], digits.held_out(100)
    settings = {"norm": name, "eps": epsilon, "steps": 50, "multi_targeted": True, "seed": 0}
    theirs = digits.robust_accuracy(kind, torchattacks.FAB(model, **settings)(images, labels))
    found = perturb(model, images, labels, seeded(), epsilon=epsilon, norm=norm, steps=50).images
    assert 0.1 < theirs < 0.8
    assert digits.robust_accuracy(kind, found) <= theirs + 0.005


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epsilon": 8}, "epsilon is a fraction of the pixel range: write 8/255, not 8"),
        ({"epsilon": 0}, "epsilon must be above 0"),
        ({"norm": "l1"}, "there is no norm 'l1'"),
        ({"steps": 0}, "steps is a whole number from 1, not 0"),
        ({"restarts": 0}, "restarts is a whole number from 1, not 0"),
        ({"targets": 0}, "targets is a whole number from 1, not 0"),
        ({"targets": 10}, "targets is from 1 to 9, as many as there are wrong classes, not 10"),
        ({"alpha_max": 1.5}, "alpha_max lies in"),
        ({"beta": 1}, "beta between 0 and 1"),
        ({"eta": 0.9}, "eta goes to the hyperplane or beyond it"),
        ({"epsilon": None, "stop": True}, "set epsilon or stop: false"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    with pytest.raises(Problem, match=sentence):
        perturb(digits.network("plain"), *digits.held_out(4), seeded(), **{"epsilon": 0.1, **settings})


def test_networks_without_a_finite_gradient_are_refused():
    model = torch.nn.Module()
    model.forward = lambda images: (images - images).sqrt().mean((2, 3)) + torch.tensor([2.0, 0, 0])
    images = torch.rand(4, 3, 3, 3, generator=seeded())
    with pytest.raises(Problem, match="NaN or infinite"):
        perturb(model.eval(), images, torch.zeros(4, dtype=torch.int64), seeded(), epsilon=0.1)
