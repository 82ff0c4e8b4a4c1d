"""DDN against exact distances, another library and a network whose gradients mislead DeepFool."""

import copy

import peers
import pytest
import torch
from minimal_distances import boxed, centres, lengths, linear, rectified
from small_networks import Function, digits, predictions, problem, seeded, smooth, success, two_classes

from robustloss import attacks

perturb = attacks.load("ddn")


def attack(model, images, labels, **settings):
    return perturb(model, images, labels, seeded(), **settings)


def assert_exact(found, model, images, labels, exact, more=1.01):
    """All are misclassified, none nearer than anything can be, and none much farther."""
    assert success(model, found.images, labels) == 1
    ratio = lengths(found.images, images) / exact
    assert ratio.min() > 1 - 1e-6
    assert ratio.max() < more


def test_linear_network_of_two_classes_is_crossed_at_its_boundary():
    model, images, labels, distances = linear(classes=2)
    found = attack(model, images, labels, steps=300)
    assert_exact(found, model, images, labels, distances.amin(1), 1.05)


@pytest.mark.parametrize("target", ["second", "least_likely", 2])
def test_targets_of_a_linear_network_are_reached(target):
    model, images, labels, _ = linear()
    found = attack(model, images, labels, steps=200, target=target)
    away = found.targets != labels
    assert away.sum() > 10
    assert torch.equal(predictions(model, found.images)[away], found.targets[away])
    assert torch.equal(found.images[~away], images[~away])


def test_nearest_point_of_the_box_is_found_where_pixels_are_0_and_1():
    weight = torch.randn(27, generator=seeded(), dtype=torch.float64)
    images = torch.rand(30, 3, 3, 3, generator=seeded(1), dtype=torch.float64).mul(1.6).sub(0.3).clamp(0, 1)
    model = two_classes(weight, -(weight.sum() / 2).item())
    labels = predictions(model, images)
    exact = boxed(weight, -(weight.sum() / 2), images)
    assert_exact(attack(model, images, labels, steps=400, gamma=0.02), model, images, labels, exact, 1.03)


def test_pixels_that_the_network_does_not_see_are_left_as_they_are():
    weight = torch.randn(27, generator=seeded())
    weight[::2] = 0
    images = 0.5 + 0.1 * torch.rand(30, 3, 3, 3, generator=seeded(1))
    model = two_classes(weight, -(weight.sum() * 0.55).item())
    labels = predictions(model, images)
    exact = ((images.flatten(1) - 0.55) @ weight).abs() / weight.norm()
    found = attack(model, images, labels, steps=300, start=0.1)
    assert success(model, found.images, labels) == 1
    assert torch.equal(found.images.flatten(1)[:, ::2], images.flatten(1)[:, ::2])
    assert (lengths(found.images, images) / exact).median() < 1.03


def test_piecewise_linear_network_is_crossed_near_its_exact_distance():
    model, images, labels, exact = rectified()
    found = attack(model, images, labels, steps=400, gamma=0.02, start=0.3, loss="scaled_cross_entropy")
    ratio = lengths(found.images, images) / exact
    assert success(model, found.images, labels) == 1
    assert ratio.min() > 1 - 1e-6
    # It goes down one way, which may lead to a corner that is not the nearest.
    assert (ratio < 1.03).double().mean() >= 0.9


@pytest.mark.parametrize("scale", [1e-25, 1e-3, 1e3])
def test_distances_do_not_depend_on_the_scale_of_the_logits(scale):
    """In float32 squares of gradients of 1e-25 are 0, and cross-entropy's own gradient is 0 at a scale of 1,000."""
    found = []
    for factor in (1.0, scale):
        model, images, labels, exact = centres(scale=factor)
        found.append(lengths(attack(model, images, labels, steps=300, loss="scaled_cross_entropy").images, images))
    ratio = found[0] / exact
    assert ratio.min() > 1 - 1e-3
    # Of a few the nearest class is another one than the likeliest.
    assert (ratio < 1.01).float().mean() > 0.7
    assert torch.allclose(*found, rtol=1e-2)


def test_a_margin_that_is_flat_far_from_the_boundary_leads_deepfool_astray_and_not_this_one():
    weight = torch.randn(27, generator=seeded(), dtype=torch.float64)
    weight /= weight.norm()
    images = 0.5 + 0.1 * torch.rand(30, 3, 3, 3, generator=seeded(1), dtype=torch.float64)

    def flat(x):
        margin = torch.tanh(8 * ((x - 0.5).flatten(1) @ weight))
        return torch.stack([margin, -margin], 1)

    model = Function(flat)
    exact = ((images - 0.5).flatten(1) @ weight).abs()
    kept = exact > 0.1
    images, exact = images[kept], exact[kept]
    assert len(images) > 5
    labels = predictions(model, images)
    assert_exact(attack(model, images, labels, steps=300), model, images, labels, exact, 1.03)
    astray = attacks.load("deepfool")(model, images, labels, seeded()).images
    assert (lengths(astray, images) > 1.5 * exact).double().mean() > 0.5


@pytest.mark.parametrize("loss", ["cross_entropy", "scaled_cross_entropy"])
def test_finds_what_another_library_finds(loss):
    pytest.importorskip("adv_lib.attacks")
    model, images, labels = digits(60)
    model, images = copy.deepcopy(model).double(), images.double()
    theirs = peers.adv_lib(model, images, labels, "ddn", steps=100, levels=None)
    ours = attack(model, images, labels, loss=loss).images
    assert success(model, theirs, labels) == success(model, ours, labels) == 1
    if loss == "cross_entropy":
        # Its norms are in float32.
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-4)
    else:
        assert lengths(ours, images).mean() < 1.05 * lengths(theirs, images).mean()


def test_more_steps_come_nearer():
    model, images, labels = digits(60)
    few, many = (lengths(attack(model, images, labels, steps=steps).images, images) for steps in (30, 300))
    assert many.mean() < 0.98 * few.mean()


@pytest.mark.parametrize("size", [1, 5])
def test_results_do_not_depend_on_the_batch_size(size):
    model, images, labels = digits(9)
    model, images = copy.deepcopy(model).double(), images.double()
    whole, generator = attack(model, images, labels, target="random"), seeded()
    pairs = zip(images.split(size), labels.split(size), strict=True)
    parts = [perturb(model, *pair, generator, target="random") for pair in pairs]
    assert torch.allclose(torch.cat([part.images for part in parts]), whole.images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("target", [None, "second"])
def test_counts_are_those_of_the_network_itself(target):
    model, images, labels = digits(3)
    for image, label in zip(images, labels, strict=True):
        counted = Function(model)
        found = attack(counted, image[None], label[None], steps=20, target=target)
        assert found.queries.item() == counted.asked == found.iterations.item() + 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 0}, "steps is a whole number from 1"),
        ({"gamma": 1}, "gamma is between 0 and 1, not 1"),
        ({"gamma": 0}, "gamma is between 0 and 1, not 0"),
        ({"gamma": "0.05"}, "gamma is a number"),
        ({"start": 0}, "start is an L2 norm"),
        ({"start": float("inf")}, "start is an L2 norm"),
        ({"target": "secnd"}, "did you mean 'second'"),
        ({"loss": "cross-entropy"}, "did you mean 'cross_entropy'"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    assert sentence in problem(perturb, *smooth(), seeded(), **settings)
