"""FGSM, BIM, MIM and unprojected sign steps against their textbook versions."""

import pytest
import torch
from small_networks import predictions, seeded
from torch import nn
from torch.nn import functional as F

from robustloss import attacks
from robustloss.errors import Problem

SETTINGS = {
    "fgsm": {"epsilon": 0.03},
    "bim": {"epsilon": 0.03, "step_size": 0.01, "steps": 7},
    "mim": {"epsilon": 0.03, "step_size": 0.01, "steps": 7},
}


def network(dtype=torch.float64, scale=1.0):
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 6, 3, padding=1), nn.GELU(), nn.Flatten(), nn.Linear(150, 4)]
    model = nn.Sequential(*layers).to(dtype).eval()
    model[3].weight.data *= scale
    return model


def draw(dtype=torch.float64):
    images = torch.rand(12, 2, 5, 5, generator=seeded(1), dtype=dtype)
    images[0], images[1] = 0, 1
    return images, torch.randint(4, (12,), generator=seeded(2))


def attack(name, model, images, labels, **settings):
    return attacks.load(name)(model, images, labels, seeded(), **{**SETTINGS.get(name, {}), **settings}).images


def gradient_of(model, images, labels):
    inputs = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(inputs), labels), inputs)
    return gradient


def project(x, images, epsilon):
    return torch.max(torch.min(x, images + epsilon), images - epsilon).clamp(0, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fgsm_is_epsilon_times_the_sign_exactly(dtype):
    model, (images, labels) = network(dtype), draw(dtype)
    sign = gradient_of(model, images, labels).sign()
    assert (sign != 0).all()
    assert torch.equal(attack("fgsm", model, images, labels), (images + 0.03 * sign).clamp(0, 1))


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_bim_is_kurakins(steps):
    model, (images, labels) = network(scale=5), draw()
    expected = images
    for _ in range(steps):
        expected = project(expected + 0.01 * gradient_of(model, expected, labels).sign(), images, 0.03)
    assert torch.allclose(attack("bim", model, images, labels, steps=steps), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_mim_is_the_algorithm_of_dong_et_al(steps, decay):
    model, (images, labels) = network(scale=30), draw()
    expected, momentum = images, 0
    for _ in range(steps):
        gradient = gradient_of(model, expected, labels)
        norms = torch.stack([sample.flatten().norm(p=1) for sample in gradient])
        momentum = decay * momentum + gradient / norms[:, None, None, None]
        expected = project(expected + 0.1 * momentum.sign(), images, 0.3)
    # Large steps, so that gradients change enough from one to the next for their weights to matter.
    sizes = {"epsilon": 0.3, "step_size": 0.1, "steps": steps}
    found = attack("mim", model, images, labels, **sizes, decay=decay)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    if steps == 9:
        plain = attack("bim", model, images, labels, **sizes)
        assert torch.allclose(found, plain, rtol=0, atol=1e-12) == (decay == 0)


def test_mim_does_not_weigh_samples_or_steps_by_how_large_their_loss_is():
    model, (images, labels) = network(scale=5), draw()
    usual, exact = (
        attack("mim", model, images, labels, loss=loss) for loss in ("cross_entropy", "exact_cross_entropy")
    )
    assert torch.allclose(usual, exact, rtol=0, atol=1e-9)


def test_mim_leaves_an_image_without_a_gradient_as_it_is():
    images, labels = draw()
    model = nn.Sequential(nn.Flatten(), nn.Linear(50, 4, dtype=torch.float64)).eval()
    model[1].weight.data.zero_()
    assert torch.equal(attack("mim", model, images, labels), images)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("epsilon", [0.03, 0.5])
def test_stays_in_the_ball_and_among_images(name, epsilon):
    model, (images, labels) = network(torch.float32), draw(torch.float32)
    before = images.clone()
    sizes = {} if name == "fgsm" else {"step_size": epsilon / 2}
    found = attack(name, model, images, labels, epsilon=epsilon, **sizes)
    assert (found - images).abs().max() == pytest.approx(epsilon, abs=1e-6)
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(images, before)
    assert not found.requires_grad


@pytest.mark.parametrize("name", SETTINGS)
def test_results_do_not_depend_on_the_batch_size(name):
    model, (images, labels) = network(), draw()
    parts = torch.cat([attack(name, model, *part) for part in zip(images.split(5), labels.split(5), strict=True)])
    assert torch.allclose(parts, attack(name, model, images, labels), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["bim", "mim"])
@pytest.mark.parametrize("target", [None, 2])
def test_stopping_at_success_keeps_the_first_iterate_that_succeeds_else_the_last(name, target):
    model = network(scale=5)
    images = torch.rand(64, 2, 5, 5, generator=seeded(1), dtype=torch.float64)
    labels = predictions(model, images)
    labels[:4] = (labels[:4] + 1) % 4
    settings = {"epsilon": 0.1, "step_size": 0.02, "target": target}
    if name == "mim":
        settings |= {"decay": 0.7}
    path = [images, *(attack(name, model, images, labels, **settings, steps=steps) for steps in range(1, 9))]
    predicted = torch.stack([predictions(model, x) for x in path])
    wanted = predicted != labels if target is None else predicted == target
    first = torch.where(wanted.any(0), wanted.int().argmax(0), 8)
    first[labels == target if target is not None else slice(0, 0)] = 0
    found = attacks.load(name)(model, images, labels, seeded(), **settings, steps=8, stop_at_success=True)
    assert torch.allclose(found.images, torch.stack(path)[first, torch.arange(64)], rtol=0, atol=1e-9)
    assert torch.equal(found.iterations, first)
    assert len(first.unique()) > 3
    assert not wanted.any(0).all()


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("target", ["second", "least_likely"])
def test_targets_descend_their_cross_entropy(name, target):
    model, (images, _) = network(scale=5), draw()
    with torch.no_grad():
        order = model(images).argsort(1, descending=True)
    labels, aims = order[:, 0], order[:, 1 if target == "second" else -1]
    found = attack(name, model, images, labels, target=target)
    settings = SETTINGS[name]
    expected, momentum = images, 0
    for _ in range(settings.get("steps", 1)):
        gradient = -gradient_of(model, expected, aims)
        momentum = (momentum if name == "mim" else 0) + gradient / gradient.abs().sum((1, 2, 3), keepdim=True)
        step = settings.get("step_size", settings["epsilon"])
        expected = project(expected + step * momentum.sign(), images, settings["epsilon"])
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_training_objective_can_be_climbed(name):
    model, (images, labels) = network(scale=5), draw()
    sizes = {"epsilon": 0.03, "step_size": 0.03, "steps": 1} if name != "fgsm" else {"epsilon": 0.03}
    inputs = images.clone().requires_grad_()
    f = model(inputs).softmax(1)
    own = f.gather(1, labels[:, None])
    q = f / (1 - own)
    guided = own[:, 0] ** 0.5 * (q * q.log()).scatter(1, labels[:, None], 0).sum(1)
    (gradient,) = torch.autograd.grad(guided.sum(), inputs)
    found = attack(name, model, images, labels, **sizes, loss=[{"loss": "gce", "weight": 2, "alpha": 0.5}])
    assert torch.allclose(found, (images + 0.03 * gradient.sign()).clamp(0, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("steps", [1, 30])
def test_unprojected_steps_follow_the_models_own_prediction_without_a_ball(steps, targeted):
    model, (images, labels) = network(scale=5), draw()
    with torch.no_grad():
        clean = model(images)
    assert (clean.argmax(1) != labels).any()
    expected = 2 * images - 1  # the scale on which the epsilon of song2022 is meant
    for _ in range(steps):
        inputs = expected.clone().requires_grad_()
        ends = clean.argmin(1) if targeted else clean.argmax(1)
        (gradient,) = torch.autograd.grad(F.cross_entropy(model((inputs + 1) / 2), ends), inputs)
        length = gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        expected = (expected + (-1 if targeted else 1) * 0.02 * (gradient / length).sign()).clamp(-1, 1)
    settings = {"epsilon": 0.02, "steps": steps, "target": "least_likely" if targeted else None}
    found = attacks.load("sign_unprojected")(model, images, labels, seeded(), **settings)
    assert torch.allclose(found.images, (expected + 1) / 2, rtol=0, atol=1e-12)
    assert (found.iterations == steps).all()
    assert (found.queries == steps + 1 + targeted).all()
    if steps == 30:
        assert (found.images - images).abs().max() > 0.2


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("fgsm", {"epsilon": 8}, "attack: epsilon is a fraction of the pixel range"),
        ("fgsm", {"loss": "hinge"}, "there is no loss 'hinge'"),
        ("bim", {"step_size": 0}, "step_size is a fraction"),
        ("bim", {"steps": 0}, "whole number from 1"),
        ("mim", {"epsilon": 0}, "epsilon must be above 0"),
        ("mim", {"step_size": 2}, "step_size is a fraction"),
        ("mim", {"steps": 0}, "steps is a whole number from 1"),
        ("mim", {"decay": -1}, "decay is a finite number from 0, not -1"),
        ("mim", {"decay": float("inf")}, "decay is a finite number from 0"),
        ("mim", {"loss": "cross_entropi"}, "did you mean 'cross_entropy'"),
        ("mim", {"target": "secnd"}, "did you mean 'second'"),
        ("fgsm", {"target": 4}, "class 4 is not one of the network's 4 classes"),
        ("sign_unprojected", {"epsilon": 2.5, "steps": 5}, "epsilon is a step on the scale of"),
        ("sign_unprojected", {"epsilon": 0.02, "steps": 0}, "steps is a whole number from 1"),
        ("sign_unprojected", {"epsilon": 0.02, "steps": 5, "target": "last"}, "there is no target 'last'"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(name, settings, sentence):
    with pytest.raises(Problem, match=sentence):
        attack(name, network(), *draw(), **settings)


def test_a_network_whose_logits_are_not_finite_is_refused():
    model = network()
    model[3].bias.data[0] = torch.nan
    for name in SETTINGS:
        with pytest.raises(Problem, match="NaN or infinite"):
            attack(name, model, *draw())
