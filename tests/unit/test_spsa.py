"""SPSA against the known mean and variance of its estimate, closed forms, torch's Adam, and another library."""

import math

import pytest
import torch
from small_networks import Function, digits, predictions, seeded, smooth, success, two_classes

from robustloss import attacks
from robustloss.attacks import spsa
from robustloss.attacks.parts import gradients
from robustloss.errors import Problem

perturb = attacks.load("spsa")
SETTINGS = {"epsilon": 0.1, "step_size": 0.02, "steps": 6, "samples": 32}


def repeated(value, images, samples, delta=0.01, times=400):
    generator = seeded()
    return torch.stack([spsa.estimate(value, images, samples, delta, generator) for _ in range(times)])


@pytest.mark.parametrize("samples", [1, 7, 64])
def test_estimate_of_a_linear_function_has_the_known_mean_and_variance(samples):
    weight = torch.randn(2, 3, 2, generator=seeded(9), dtype=torch.float64)
    images = torch.rand(3, 2, 3, 2, generator=seeded(1), dtype=torch.float64)
    found = repeated(lambda x: (x * weight).flatten(1).sum(1), images, samples)
    assert torch.allclose(found[:, 0], found[:, 1], rtol=0, atol=1e-9)  # all take the same directions
    deviation = ((weight.square().sum() - weight.square()) / samples).sqrt()
    scores = (found[:, 0] - weight) / deviation
    assert (scores.mean(0) * math.sqrt(400)).abs().max() < 4
    assert scores.square().mean(0).sub(1).abs().max() < 5 * math.sqrt(2 / 400)


def test_estimate_of_a_quadratic_function_is_unbiased_at_any_delta():
    root = torch.randn(6, 6, generator=seeded(9), dtype=torch.float64)
    images = torch.rand(2, 1, 2, 3, generator=seeded(1), dtype=torch.float64)

    def value(x):
        return (x.flatten(1) @ root).square().sum(1)

    exact = 2 * (images.flatten(1) @ root @ root.T)
    for delta in (1e-3, 1.0):
        found = repeated(value, images, 16, delta).flatten(2)
        spread = ((exact.square().sum(1, keepdim=True) - exact.square()) / 16 / 400).sqrt()
        assert ((found.mean(0) - exact).abs() < 4 * spread).all()


def test_estimate_in_one_dimension_is_the_central_difference():
    images = torch.rand(4, 1, 1, 1, generator=seeded(1), dtype=torch.float64)
    found = spsa.estimate(lambda x: x.flatten().exp(), images, 3, 0.1, seeded())
    assert torch.allclose(found, ((images + 0.1).exp() - (images - 0.1).exp()) / 0.2, rtol=0, atol=1e-12)


@pytest.mark.parametrize("at_once", [1, 40, 150, 2**18])
def test_estimate_is_the_same_in_any_number_of_parts(at_once, monkeypatch):
    images = torch.rand(3, 1, 3, 3, generator=seeded(1), dtype=torch.float64)
    sizes = []

    def value(x):
        sizes.append(len(x))
        return x.flatten(1).sin().sum(1)

    expected = spsa.estimate(value, images, 10, 0.01, seeded())
    sizes.clear()
    monkeypatch.setitem(spsa.AT_ONCE, "cpu", at_once)
    assert torch.allclose(spsa.estimate(value, images, 10, 0.01, seeded()), expected, rtol=0, atol=1e-12)
    assert sum(sizes) == 2 * 10 * 3
    assert max(sizes) == max(3, min(30, at_once // 27 * 3))


def test_steps_are_those_of_torchs_adam():
    parameter = torch.zeros(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([parameter], lr=0.1, eps=0, maximize=True)
    mean = square = place = torch.zeros(2, 1, 3, 3, dtype=torch.float64)
    for step in range(1, 8):
        gradient = torch.randn(2, 1, 3, 3, generator=seeded(step), dtype=torch.float64)
        parameter.grad = gradient
        optimizer.step()
        mean, square, change = spsa._adam(gradient, mean, square, step)
        place = place + 0.1 * change
        assert torch.allclose(place, parameter, rtol=0, atol=1e-12)


def test_reaches_the_optimum_of_a_linear_model():
    weight = torch.randn(2, 2, 3, generator=seeded(), dtype=torch.float64)
    weight = weight + 0.3 * weight.sign()
    images = torch.rand(6, 2, 2, 3, generator=seeded(1), dtype=torch.float64)
    labels = torch.tensor([0, 1] * 3)
    away = (labels == 0).double().view(-1, 1, 1, 1) * 2 - 1
    optimum = (images + 0.1 * away * weight.sign()).clamp(0, 1)
    for name, bias in (("margin", -100.0), ("exact_cross_entropy", -100.0)):
        for label, sign in ((0, 1), (1, -1)):
            model, of = two_classes(weight, sign * bias), labels == label
            found = perturb(
                model, images[of], labels[of], seeded(), epsilon=0.1, step_size=0.02, steps=60, samples=256, loss=name
            )
            assert torch.allclose(found.images, optimum[of], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("epsilon", [2 / 255, 0.3, 1.0])
def test_stays_in_the_ball_and_among_images(epsilon, dtype):
    model, images, labels = smooth(dtype=dtype)
    images[0], images[1] = 0, 1
    labels = predictions(model, images)
    before = images.clone()
    found = perturb(model, images, labels, seeded(), epsilon=epsilon, step_size=epsilon, steps=4, samples=8).images
    assert found.dtype == dtype
    assert (found - images).abs().max() <= epsilon + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(images, before)
    assert (found != images).flatten(1).any(1).all()


def test_queries_are_the_images_that_the_network_was_given():
    model, images, labels = smooth()
    labels[:2] = (labels[:2] + 1) % 5
    model.asked = 0
    found = perturb(model, images, labels, seeded(), **{**SETTINGS, "epsilon": 0.2, "step_size": 0.01, "steps": 12})
    # A batch of twelve keeps none that are done.
    assert model.asked == found.queries.sum()
    assert torch.equal(found.queries, 1 + found.iterations * (2 * 32 + 1))
    assert found.iterations[:2].tolist() == [0, 0]
    assert torch.equal(found.images[:2], images[:2])
    assert found.iterations.unique().numel() > 3
    stayed = predictions(model, found.images) == labels
    assert (found.iterations[stayed] == 12).all()


def test_a_sample_keeps_its_first_misclassified_iterate():
    model, images, labels = smooth(count=40)
    settings = {**SETTINGS, "epsilon": 0.2, "step_size": 0.01}
    runs = [perturb(model, images, labels, seeded(), **{**settings, "steps": steps}) for steps in range(1, 9)]
    last = runs[-1]
    for steps, run in enumerate(runs, 1):
        over = last.iterations <= steps
        assert torch.allclose(run.images[over], last.images[over], rtol=0, atol=1e-9)
        assert ((predictions(model, run.images) == labels) | over).all()
        assert torch.equal(run.iterations, last.iterations.clamp(max=steps))
    assert last.iterations.unique().numel() > 4


@pytest.mark.parametrize("target", ["second", "least_likely", "random", 2])
def test_reaches_its_targets(target):
    model, images, labels = smooth(count=20)
    found = perturb(model, images, labels, seeded(), epsilon=0.5, step_size=0.1, steps=30, samples=64, target=target)
    reached = predictions(model, found.images)
    if target == 2:
        assert (labels == 2).any()
        assert torch.equal(found.images[labels == 2], images[labels == 2])
        assert (reached == 2).float().mean() > 0.8
    elif target != "random":
        logits = model(images).detach()
        aims = {
            "second": logits.topk(2, 1).indices[:, 1],
            "least_likely": logits.argmin(1),
        }[target]
        assert (reached == aims).float().mean() > 0.8
    else:
        assert (reached != labels).all()
        assert reached.unique().numel() > 3


def test_a_network_without_gradients_is_attacked_as_one_with_them():
    model, images, labels = smooth()
    settings = {**SETTINGS, "epsilon": 0.3, "steps": 12}
    expected = perturb(model, images, labels, seeded(), **settings)
    cut = Function(lambda x: model(x.detach()).detach())
    assert torch.equal(perturb(cut, images, labels, seeded(), **settings).images, expected.images)
    stairs = Function(lambda x: (20 * model(x)).round() / 20)
    assert success(model, expected.images, labels) > 0.5
    assert success(stairs, perturb(stairs, images, labels, seeded(), **settings).images, labels) > 0.5
    with torch.enable_grad():
        assert not perturb(model, images.requires_grad_(False), labels, seeded(), **settings).images.requires_grad


@pytest.mark.parametrize("scale", [2.0**-60, 2.0**60])
def test_images_are_the_same_bit_by_bit_at_any_scale_of_the_logits(scale):
    model, images, labels = smooth(dtype=torch.float32)
    first, other = (
        perturb(Function(lambda x, factor=factor: factor * model(x)), images, labels, seeded(), **SETTINGS)
        for factor in (1, scale)
    )
    assert torch.equal(first.images, other.images)
    assert not torch.equal(first.images, images)


def test_repeated_calls_agree_bit_by_bit_and_other_seeds_do_not():
    model, images, labels = smooth()
    first, again, other = (perturb(model, images, labels, seeded(seed), **SETTINGS).images for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_is_nearly_as_strong_as_true_gradients_and_no_weaker_than_torchattacks():
    model, images, labels = digits()
    settings = {"epsilon": 0.08, "step_size": 0.02, "steps": 15}
    found = success(model, perturb(model, images, labels, seeded(), **settings, samples=64).images, labels)
    with_gradients = success(model, attacks.load("pgd")(model, images, labels, seeded(), **settings).images, labels)
    assert 0.3 < with_gradients < 0.98
    assert found >= with_gradients - 0.06
    torchattacks = pytest.importorskip("torchattacks")
    torch.manual_seed(0)
    other = torchattacks.SPSA(model, eps=0.08, lr=0.02, nb_iter=15, nb_sample=64)
    assert found >= success(model, other(images, labels), labels) - 0.02


def test_its_losses_are_those_of_gradients():
    model, images, labels = smooth()
    terms = [{"loss": "cross_entropy", "weight": 1.0}]
    by_name = {
        name: perturb(model, images, labels, seeded(), **SETTINGS, loss=name).images
        for name in ("margin", "cross_entropy")
    }
    by_terms = perturb(model, images, labels, seeded(), **SETTINGS, loss=terms).images
    assert torch.allclose(by_terms, by_name["cross_entropy"], rtol=0, atol=1e-9)
    assert not torch.allclose(by_name["margin"], by_name["cross_entropy"], rtol=0, atol=1e-3)
    assert gradients.choose("margin").value(model(images), labels).max() < 0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epsilon": 8}, "write 8/255, not 8"),
        ({"epsilon": float("nan")}, "epsilon must be above 0"),
        ({"step_size": 0}, "step_size is a fraction"),
        ({"steps": 0}, "steps is a whole number from 1"),
        ({"delta": 0}, "delta is a fraction of the pixel range"),
        ({"delta": 2}, "delta is a fraction of the pixel range"),
        ({"samples": 0}, "samples is a whole number from 1, not 0"),
        ({"loss": "margins"}, "did you mean 'margin'"),
        ({"target": "all"}, "there is no target 'all'"),
        ({"target": 5}, "class 5 is not one of the network's 5 classes"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    model, images, labels = smooth()
    with pytest.raises(Problem, match=sentence):
        perturb(model, images, labels, seeded(), **{**SETTINGS, **settings})


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (lambda x: x.mean((2, 3)) * float("nan"), "NaN or infinite"),
        (lambda x: x.mean((1, 2, 3)), "must return logits"),
    ],
)
def test_networks_that_cannot_be_attacked_are_refused_in_one_sentence(output, sentence):
    images = torch.rand(6, 3, 4, 4, generator=seeded())
    with pytest.raises(Problem, match=sentence):
        perturb(Function(output), images, torch.zeros(6, dtype=torch.int64), seeded(), **SETTINGS)
