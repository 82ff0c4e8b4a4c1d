"""DeepFool against exact distances and a recursion of scalars."""

import copy

import pytest
import torch
from minimal_distances import boxed, centres, lengths, linear, rectified
from small_networks import Function, digits, predictions, problem, seeded, smooth, two_classes

from robustloss import attacks
from robustloss.attacks import deepfool

perturb = attacks.load("deepfool")


def close(found, exact, overshoot=0.02):
    """Past the boundary by the overshoot, and by the thousandth of the clean margin that a step aims beyond it."""
    ratio = found / ((1 + overshoot) * exact)
    return ratio.min() > 1 - 1e-4 and ratio.max() < 1.0015


def attack(model, images, labels, **settings):
    return perturb(model, images, labels, seeded(), **settings)


@pytest.mark.parametrize("overshoot", [0, 0.02, 0.1])
def test_linear_network_is_crossed_at_its_nearest_boundary_in_one_step(overshoot):
    model, images, labels, distances = linear()
    found = attack(model, images, labels, overshoot=overshoot)
    assert (predictions(model, found.images) != labels).all()
    assert close(lengths(found.images, images), distances.amin(1), overshoot)
    assert (found.iterations == 1).all()
    assert (found.queries == 2).all()


def test_without_overshoot_the_distance_is_exact_on_a_linear_network():
    model, images, labels, distances = linear()
    ratio = lengths(attack(model, images, labels, overshoot=0).images, images) / distances.amin(1)
    assert ratio.min() > 1
    assert ratio.max() < 1.002


def test_candidates_are_the_most_likely_wrong_classes_of_the_clean_image():
    model, images, labels, distances = linear(classes=8, count=80)
    order = model(images).scatter(1, labels[:, None], -torch.inf).argsort(1, descending=True)
    other = 0
    for candidates in range(1, 8):
        nearest = distances.gather(1, order[:, :candidates]).amin(1)
        found = lengths(attack(model, images, labels, candidates=candidates).images, images)
        assert close(found, nearest)
        other += (nearest > distances.amin(1)).sum()
    assert other > 10


def test_a_bounding_box_is_reached_along_the_shortest_way():
    weight = torch.randn(27, generator=seeded(), dtype=torch.float64)
    images = torch.rand(30, 3, 3, 3, generator=seeded(1), dtype=torch.float64).mul(1.6).sub(0.3).clamp(0, 1)
    model = two_classes(weight, -(weight.sum() / 2).item())
    labels = predictions(model, images)
    free = (images.flatten(1) - 0.5) @ weight / weight.norm()
    exact = boxed(weight, -(weight.sum() / 2), images)
    found = attack(model, images, labels)
    assert (predictions(model, found.images) != labels).all()
    assert (exact > 1.05 * free.abs()).float().mean() > 0.5  # the box mattered
    ratio = lengths(found.images, images) / exact
    assert ratio.min() >= 1
    assert ratio.max() < 1.002


def test_piecewise_linear_network_is_crossed_near_its_exact_distance():
    model, images, labels, exact = rectified()
    found = attack(model, images, labels, overshoot=0.001)
    ratio = lengths(found.images, images) / exact
    assert (predictions(model, found.images) != labels).all()
    assert ratio.min() > 1 - 1e-6
    # It adds up steps, each to the nearest boundary as it looks from where it stands: across a bend that is a detour.
    assert (ratio < 1.02).double().mean() >= 0.9
    assert 1.02 < ratio.max() < 1.2


@pytest.mark.parametrize("rounds", [1, 3])
def test_straightened_the_way_across_bends_has_the_exact_length(rounds):
    model, images, labels, exact = rectified()
    found = attack(model, images, labels, overshoot=0.001, straighten=rounds)
    assert (predictions(model, found.images) != labels).all()
    ratio = lengths(found.images, images) / exact
    assert ratio.min() > 1 - 1e-6
    assert ratio.max() < 1.02


def test_straightening_only_ever_finds_what_is_nearer():
    model, images, labels = digits(60)
    bent, straight = (attack(model, images, labels, straighten=rounds) for rounds in (0, 2))
    assert (predictions(model, straight.images) != labels).all()
    before, after = (lengths(found.images, images) for found in (bent, straight))
    assert (after <= before).all()
    assert (after < before).any()
    assert torch.equal(straight.queries, bent.queries + 4 * (bent.images != images).flatten(1).any(1))


def test_classes_that_are_passed_over_are_not_the_nearest(monkeypatch):
    model, images, labels = digits(100)
    passes = []
    original = deepfool._ask
    monkeypatch.setattr(deepfool, "_ask", lambda *given: passes.append(len(given[3])) or original(*given))
    found, few = attack(model, images, labels), sum(passes)
    passes.clear()
    monkeypatch.setattr(deepfool, "GROWTH", float("inf"))
    all_asked = attack(model, images, labels)
    assert torch.allclose(found.images, all_asked.images, rtol=0, atol=1e-5)
    assert torch.equal(found.iterations, all_asked.iterations)
    assert few < 0.75 * sum(passes)


@pytest.mark.parametrize("scale", [1, 100, 0.01])
def test_logits_all_below_zero_and_of_any_size_give_the_exact_distances(scale):
    model, images, labels, exact = centres(torch.float64, scale)
    found = attack(model, images, labels)
    assert (predictions(model, found.images) != labels).all()
    assert close(lengths(found.images, images), exact)


@pytest.mark.parametrize("scale", [100, 0.01])
def test_distances_do_not_depend_on_the_scale_of_the_logits(scale):
    model, images, labels = digits(60)
    one, other = (attack(net, images, labels).images for net in (model, Function(lambda x: scale * model(x))))
    assert torch.allclose(lengths(one, images), lengths(other, images), rtol=0.01, atol=0)


@pytest.mark.parametrize("norm", [0.05, 0.2, 0.5, 1.5])
def test_unnormalised_step_is_the_faulty_recursion(norm):
    """r <- r + |f| w / |w| for one plane at distance 0.5, by scalars: below |w| = 1 it never crosses the plane."""
    weight = torch.zeros(1, 4, 4, dtype=torch.float64)
    weight[0, 0, 0] = norm
    images, labels = torch.full((1, 1, 4, 4), 0.1, dtype=torch.float64), torch.zeros(1, dtype=torch.int64)
    plane, seen = two_classes(weight, -0.6 * norm), []

    def watched(x):
        seen.append(x[0, 0, 0, 0].item() - 0.1)
        return plane(x)

    settings = {"steps": 3, "overshoot": 0.01, "step": "unnormalised"}
    found = attack(Function(watched), images, labels, **settings)
    moved = [0.0]
    while 1.01 * moved[-1] < 0.5 and len(moved) < 4:
        moved.append(moved[-1] + norm * (0.5 - 1.01 * moved[-1]))
    assert seen == pytest.approx([1.01 * way for way in moved], abs=1e-9)
    assert (predictions(plane, found.images) != labels).item() == (norm > 1)
    assert torch.equal(found.images, images) == (norm < 1)
    assert (predictions(plane, attack(plane, images, labels, steps=3).images) != labels).all()


def test_one_more_step_than_needed_changes_nothing_and_one_less_leaves_the_image():
    model, images, labels = digits(20)
    found = attack(model, images, labels)
    assert found.iterations.max() > 2
    for image, label, kept, taken in zip(images, labels, found.images, found.iterations.tolist(), strict=True):
        image, label = image[None], label[None]
        enough = attack(model, image, label, steps=taken)
        assert torch.allclose(enough.images[0], kept, rtol=0, atol=1e-5)
        if taken > 1:
            assert torch.equal(attack(model, image, label, steps=taken - 1).images, image)


@pytest.mark.parametrize("size", [1, 5, 17])
def test_results_do_not_depend_on_the_batch_size(size):
    model, images, labels = digits(40)
    model, images = copy.deepcopy(model).double(), images.double()
    whole = attack(model, images, labels)
    parts = [attack(model, *part) for part in zip(images.split(size), labels.split(size), strict=True)]
    assert torch.allclose(torch.cat([part.images for part in parts]), whole.images, rtol=0, atol=1e-9)
    assert torch.equal(torch.cat([part.iterations for part in parts]), whole.iterations)
    assert torch.equal(torch.cat([part.queries for part in parts]), whole.queries)


def test_counts_are_those_of_the_network_itself():
    model, images, labels = digits(5)
    for image, label in zip(images, labels, strict=True):
        counted = Function(model)
        found = attack(counted, image[None], label[None])
        assert found.queries.item() == counted.asked == found.iterations.item() + 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"steps": 0}, "steps is a whole number from 1"),
        ({"overshoot": -0.1}, "overshoot is a finite number from 0"),
        ({"overshoot": float("nan")}, "overshoot is a finite number from 0"),
        ({"candidates": 0}, "candidates is a whole number from 1"),
        ({"candidates": 5}, "candidates is from 1 to 4, as many as there are wrong classes, not 5"),
        ({"straighten": -1}, "straighten is a whole number from 0"),
        ({"step": "exakt"}, "did you mean 'exact'"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    assert sentence in problem(perturb, *smooth(), seeded(), **settings)
