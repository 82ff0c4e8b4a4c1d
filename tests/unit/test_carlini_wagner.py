"""Carlini and Wagner's L2 attack against exact distances, its own equations, and other libraries."""

import copy

import peers
import pytest
import torch
from minimal_distances import boxed, centres, lengths, linear, rectified
from small_networks import Function, digits, predictions, problem, seeded, smooth, success, two_classes

from robustloss import attacks
from robustloss.attacks import carlini_wagner

perturb = attacks.load("carlini_wagner")
SHORT = {"steps": 150}
FAST = {"steps": 60, "rate": 0.05, "search_steps": 6}


def attack(model, images, labels, **settings):
    return perturb(model, images, labels, seeded(), **{**SHORT, **settings})


def test_linear_network_is_crossed_at_its_nearest_boundary():
    model, images, labels, distances = linear()
    found = attack(model, images, labels, steps=200).images
    ratio = lengths(found, images) / distances.amin(1)
    assert (predictions(model, found) != labels).all()
    assert ratio.min() > 1
    assert ratio.median() < 1.01
    # The largest of the other logits need not belong to the nearest plane.
    assert (ratio < 1.02).double().mean() > 0.85


def test_nearest_of_all_targets_of_a_linear_network_is_at_the_exact_distance():
    model, images, labels, distances = linear()
    found = attack(model, images, labels, steps=400, target="each")
    assert (predictions(model, found.images) != labels).all()
    assert found.targets is None
    ratio = lengths(found.images, images) / distances.amin(1)
    assert ratio.min() > 1
    assert ratio.max() < 1.02


def test_each_target_is_the_nearest_of_the_targets_one_by_one():
    model, images, labels, _ = linear()
    one_by_one = [attack(model, images, labels, steps=50, target=k) for k in range(4)]
    each = attack(model, images, labels, steps=50, target="each")
    far = [lengths(found.images, images).masked_fill(labels == k, torch.inf) for k, found in enumerate(one_by_one)]
    # Sums differ in the last digits: images whose label is the target leave the batch.
    torch.testing.assert_close(lengths(each.images, images), torch.stack(far).amin(0), rtol=1e-6, atol=0)


@pytest.mark.parametrize("target", [1, "second"])
def test_targets_of_a_linear_network_are_reached_at_their_own_distance(target):
    # With two wrong classes at a distance, the nearest point of class t lies on its plane with y or beyond.
    model, images, labels, distances = linear(classes=3)
    found = attack(model, images, labels, target=target).images
    goal = torch.full_like(labels, 1)
    if target == "second":
        goal = model(images).scatter(1, labels[:, None], -torch.inf).argmax(1)
    able = goal != labels
    ratio = (lengths(found, images) / distances.gather(1, goal[:, None])[:, 0])[able]
    assert able.any()
    assert torch.equal(predictions(model, found), goal)
    assert ratio.min() > 1
    assert ratio.median() < 1.01
    assert torch.equal(found[~able], images[~able])


def test_nearest_point_of_the_box_is_found_where_pixels_are_0_and_1():
    weight = torch.randn(27, generator=seeded(), dtype=torch.float64)
    images = torch.rand(30, 3, 3, 3, generator=seeded(1), dtype=torch.float64).mul(1.6).sub(0.3).clamp(0, 1)
    bias = -(weight.sum() / 2).item()
    model = two_classes(weight, bias)
    labels = predictions(model, images)
    found = attack(model, images, labels, steps=200, rate=0.03).images
    ratio = lengths(found, images) / boxed(weight, bias, images)
    assert (predictions(model, found) != labels).all()
    assert ratio.min() > 1 - 1e-9
    assert ratio.median() < 1.01
    assert ratio.max() < 1.02
    for end in (0, 1):
        assert ((images == end) & ((found - end).abs() > 0.02)).any()


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_images_that_are_black_or_white_throughout_move(end):
    images, labels = torch.full((2, 1, 4, 4), end), torch.zeros(2, dtype=torch.int64)
    away = 1 - 2 * end
    model = two_classes(torch.full((16,), away), bias=-away * (16 * end + 8 * away * 0.5))
    found = attack(model, images, labels, steps=150, rate=0.03, search_steps=6).images
    assert (predictions(model, found) != labels).all()
    assert torch.allclose(lengths(found, images), torch.tensor(1.0), rtol=0.02)


def test_piecewise_linear_network_is_crossed_at_its_exact_distance():
    model, images, labels, exact = rectified()
    found = attack(model, images, labels, steps=200).images
    ratio = lengths(found, images) / exact
    assert (predictions(model, found) != labels).all()
    assert ratio.min() > 1 - 1e-6
    assert ratio.median() < 1.005
    assert ratio.max() < 1.02


@pytest.mark.parametrize("scale", [1, 100, 0.01])
def test_logits_all_below_zero_and_of_any_size_give_the_exact_distances(scale):
    model, images, labels, exact = centres(scale=scale)
    found = attack(model, images, labels).images
    ratio = lengths(found, images) / exact
    assert (model(images) < 0).all()
    assert (predictions(model, found) != labels).all()
    assert ratio.median() < 1.02


def test_distances_do_not_depend_on_the_scale_of_the_logits():
    model, images, labels = digits(30)
    medians = []
    for scale in (1, 100, 0.01):
        net = Function(lambda x, scale=scale: scale * model(x))
        found = attack(net, images, labels).images
        assert success(net, found, labels) == 1
        medians.append(lengths(found, images).median().item())
    assert medians[1:] == pytest.approx([medians[0]] * 2, rel=0.05)


def test_leaving_early_takes_fewer_steps_and_leaves_the_distances():
    model, images, labels = digits(30)
    early, late = (attack(model, images, labels, steps=300, abort_early=abort) for abort in (True, False))
    near, far = lengths(early.images, images), lengths(late.images, images)
    assert (late.iterations == 9 * 300).all()
    assert early.iterations.double().mean() < 0.85 * 9 * 300
    assert near.median() < 1.005 * far.median()
    assert near.mean() < 1.005 * far.mean()


def test_black_and_white_images_whose_loss_falls_slowly_at_first_are_not_given_up():
    model, images, _ = smooth(dtype=torch.float32, shape=(3, 4, 4))
    images[0], images[1] = 0, 1
    labels = predictions(model, images)
    early, late = (attack(model, images, labels, **FAST, abort_early=abort).images for abort in (True, False))
    assert success(model, late, labels) == 1
    assert success(model, early, labels) == 1
    ratio = lengths(early, images) / lengths(late, images)
    assert ratio[:2].max() < 1.005
    assert ratio.median() < 1.005


def test_finds_what_other_libraries_find_and_no_farther():
    pytest.importorskip("foolbox")
    pytest.importorskip("adv_lib.attacks")
    drawn = model, images, labels = digits(24)
    settings = {"binary_search_steps": 9, "confidence": 0, "initial_const": 1e-3, "abort_early": False}
    others = [
        peers.foolbox(*drawn, "L2CarliniWagnerAttack", steps=150, stepsize=0.01, **settings),
        peers.adv_lib(*drawn, "carlini_wagner_l2", max_iterations=150, learning_rate=0.01, **settings),
    ]
    ours = attack(model, images, labels).images
    assert success(model, ours, labels) == 1
    for theirs in others:
        assert success(model, theirs, labels) == 1
        assert lengths(ours, images).median() <= 1.02 * lengths(theirs, images).median()


@pytest.mark.parametrize("target", [None, "second"])
def test_the_step_is_the_gradient_of_the_printed_objective_under_torch_adam(target):
    """Every image that the network is given in one descent, against autograd and torch.optim on the same variables."""
    model, images, labels = smooth(count=6)
    seen = []

    def watched(x):
        seen.append(x.detach().clone())
        return model(x)

    settings = {"steps": 40, "rate": 0.02, "search_steps": 1, "first_constant": 0.3, "abort_early": False}
    attack(Function(watched), images, labels, target=target, **settings)
    angles = torch.atanh((2 * images - 1) * 0.999).requires_grad_()
    optimizer = torch.optim.Adam([angles], lr=0.02)
    goal = model(images).scatter(1, labels[:, None], -torch.inf).argmax(1)
    for given in seen[1:]:
        x = angles.tanh() / (2 * 0.999) + 0.5
        assert torch.allclose(given, x, rtol=0, atol=1e-9)
        logits = model(x)
        own = (labels if target is None else goal)[:, None]
        margin = logits.gather(1, own)[:, 0] - logits.scatter(1, own, -torch.inf).amax(1)
        lack = (margin if target is None else -margin).clamp(min=0)
        optimizer.zero_grad()
        ((x - images).square().sum((1, 2, 3)) + 0.3 * lack).sum().backward()
        optimizer.step()
    assert len(seen) == 41


@pytest.mark.parametrize("target", [None, "second"])
def test_confidence_is_a_margin_in_logits(target):
    model, images, labels = smooth(count=10)
    found = attack(model, images, labels, confidence=1.5, target=target).images
    logits = model(found)
    top = logits.topk(2, 1).values
    assert (logits.argmax(1) != labels).all()
    # Untargeted it is the lead over the label, targeted over all.
    lead = top[:, 0] - (logits.gather(1, labels[:, None])[:, 0] if target is None else top[:, 1])
    assert (lead > 1.5).all()
    assert lead.median() < 1.6


@pytest.mark.parametrize("target", ["random", "second", "least_likely", 2])
def test_targets_are_what_their_names_say(target):
    model, images, labels = smooth(count=20)
    found = attack(model, images, labels, target=target, steps=100, rate=0.03).images
    reached = predictions(model, found)
    order = model(images).argsort(1, descending=True)
    if target == "random":
        moved = reached != labels
        assert moved.all()
        assert len(reached.unique()) > 2
        again, other = (
            perturb(model, images, labels, seeded(seed), steps=100, rate=0.03, target="random").images
            for seed in (0, 1)
        )
        assert torch.equal(found, again)
        assert not torch.equal(reached, predictions(model, other))
    elif target == 2:
        assert (reached == 2).all()
        assert torch.equal(found[labels == 2], images[labels == 2])
        assert (labels == 2).any()
    else:
        assert torch.equal(reached, order[:, 1 if target == "second" else -1])


def test_a_constant_is_multiplied_by_10_until_it_suffices_and_then_halves_the_interval():
    """In one pixel, x' = x + d has |d|² + c (m - d)+: the least c that ends past the boundary d = m is 2 m."""
    images, labels = torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    model = two_classes(torch.ones(1, dtype=torch.float64), -0.7)
    low, high, constant, expected = 0.0, None, 1e-3, []
    for _ in range(9):
        expected.append(constant)
        if constant > 0.4:
            high = constant
        else:
            low = constant
        constant = 10 * constant if high is None else (low + high) / 2
    used = []

    def descend(settings, results, images, sought, constants):
        used.append(constants.item())
        return original(settings, results, images, sought, constants)

    original, carlini_wagner._descend = carlini_wagner._descend, descend
    try:
        found = attack(model, images, labels, steps=200)
    finally:
        carlini_wagner._descend = original
    assert used == pytest.approx(expected)
    assert lengths(found.images, images).item() == pytest.approx(0.2, rel=0.01)


@pytest.mark.parametrize("size", [1, 5])
def test_results_do_not_depend_on_the_batch_size(size):
    model, images, labels = digits(9)
    model, images = copy.deepcopy(model).double(), images.double()
    settings = {"steps": 40, "search_steps": 4, "first_constant": 0.1, "target": "random"}
    whole, generator = attack(model, images, labels, **settings), seeded()
    parts = [
        perturb(model, *part, generator, **settings)
        for part in zip(images.split(size), labels.split(size), strict=True)
    ]
    assert torch.allclose(torch.cat([part.images for part in parts]), whole.images, rtol=0, atol=1e-6)
    assert torch.equal(torch.cat([part.iterations for part in parts]), whole.iterations)


def test_counts_are_those_of_the_network_itself():
    model, images, labels = digits(3)
    for image, label in zip(images, labels, strict=True):
        counted = Function(model)
        found = attack(counted, image[None], label[None], steps=50)
        assert found.queries.item() == counted.asked == found.iterations.item() + 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 0}, "steps is a whole number from 1"),
        ({"search_steps": 0}, "search_steps is a whole number from 1"),
        ({"confidence": -1}, "confidence is a difference of logits"),
        ({"confidence": float("nan")}, "confidence is a difference of logits"),
        ({"rate": 0}, "rate must be finite and above 0"),
        ({"first_constant": float("inf")}, "first_constant must be finite and above 0"),
        ({"target": "secnd"}, "did you mean 'second'"),
        ({"target": -1}, "there is no target '-1'"),
        ({"target": 5}, "is not one of the network's 5 classes"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    assert sentence in problem(perturb, *smooth(), seeded(), **settings)
