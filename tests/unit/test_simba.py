"""SimBA against closed forms, a plain version, and scipy's cosine transform."""

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from small_networks import Function, predictions, seeded, smooth, success, two_classes

from robustloss import attacks
from robustloss.attacks import simba
from robustloss.errors import Problem

perturb = attacks.load("simba")


def grey(count, *shape, dtype=torch.float64):
    return 0.3 + 0.4 * torch.rand(count, *shape, generator=seeded(5), dtype=dtype)


def unreachable(weight):
    """Two classes of which 1 is far away, so that the margin rises along `weight` and nothing ever stops."""
    return two_classes(weight, bias=-1000.0)


@pytest.mark.parametrize("score", ["log_odds", "margin"])
def test_one_round_of_pixels_follows_the_signs_of_a_linear_model(score):
    weight = torch.randn(2, 4, 3, generator=seeded(), dtype=torch.float64)
    weight[0, 0] = 0  # neither step helps
    image = grey(1, 2, 4, 3)
    cost = 1 + torch.where(weight < 0, 1, 2).sum().item()
    found = perturb(unreachable(weight), image, torch.tensor([0]), seeded(), step=0.1, queries=cost, score=score)
    assert torch.allclose(found.images, image + 0.1 * weight.sign(), rtol=0, atol=1e-12)
    assert found.iterations == weight.numel()
    assert found.queries == cost


@pytest.mark.parametrize("low", [None, 2])
def test_one_round_of_waves_follows_the_signs_of_the_weights_transform(low):
    weight = torch.randn(2, 4, 3, generator=seeded(), dtype=torch.float64)
    image = grey(1, 2, 4, 3)
    coefficients = dctn(weight.numpy(), axes=(1, 2), norm="ortho")
    kept = np.zeros_like(coefficients)
    kept[:, :low, :low] = 1
    cost = 1 + int((kept * np.where(coefficients < 0, 1, 2)).sum())
    settings = {"step": 0.01, "queries": cost, "basis": "dct", "low_frequencies": low}
    found = perturb(unreachable(weight), image, torch.tensor([0]), seeded(), **settings)
    change = dctn((found.images - image)[0].numpy(), axes=(1, 2), norm="ortho")
    assert np.allclose(change, 0.01 * np.sign(coefficients) * kept, rtol=0, atol=1e-12)
    assert found.iterations == kept.sum()
    assert found.queries == cost


@pytest.mark.parametrize("shape", [(8, 8), (5, 7), (1, 3)])
def test_waves_are_scipys_orthonormal_transform(shape):
    columns, lines = simba.bases(*shape, "dct")
    image = torch.rand(*shape, generator=seeded(), dtype=torch.float64)
    assert np.allclose(columns @ image @ lines.T, dctn(image.numpy(), norm="ortho"), rtol=0, atol=1e-12)
    for waves in (columns, lines):
        assert torch.allclose(waves @ waves.T, torch.eye(len(waves), dtype=torch.float64), rtol=0, atol=1e-12)


def plain(model, image, label, order, step, queries, waves=None):
    """One image (1, ...) as the paper's algorithm has it: minus, else plus, along pixels or `waves` (n, ...)."""

    def odds(x):
        with torch.no_grad():
            logits = model(x.clamp(0, 1))[0]
        return logits[label].item() - torch.cat([logits[:label], logits[label + 1 :]]).logsumexp(0).item()

    x, best, asked = image.clone(), odds(image), 1
    for coordinate in order:
        for sign in (-1, 1):
            if asked == queries or predictions(model, x.clamp(0, 1)) != label:
                return x.clamp(0, 1), asked
            if waves is None:
                tried = x.clone()
                tried.view(-1)[coordinate] = (tried.view(-1)[coordinate] + sign * step).clamp(0, 1)
            else:
                tried = x + sign * step * waves[coordinate]
            asked += 1
            if odds(tried) < best or predictions(model, tried.clamp(0, 1)) != label:
                x, best = tried, odds(tried)
                break
    return x.clamp(0, 1), asked


@pytest.mark.parametrize("basis", ["pixel", "dct"])
@pytest.mark.parametrize(("step", "queries"), [(0.1, 30), (0.3, 30), (0.3, 31), (0.3, 2), (0.4, 300)])
def test_images_and_queries_are_those_of_the_plain_version(basis, step, queries):
    model, images, labels = smooth(shape=(2, 4, 4), count=10)
    images[:, 0, :2] = 0  # pixels that cannot fall
    images[:, 1, 3] = 1
    labels = predictions(model, images)
    found = perturb(model, images, labels, seeded(), step=step, queries=queries, basis=basis)
    orders = simba._orders(seeded(), len(images), 32, queries)
    # Column by column the inverse transform of the unit vectors.
    places = torch.eye(4, dtype=torch.float64)
    waves = torch.from_numpy(np.linalg.inv(dctn(np.eye(4), axes=0, norm="ortho")).T.copy())
    lines = {"pixel": places, "dct": waves}[basis]
    both = torch.einsum("cd,ui,vj->cuvdij", torch.eye(2, dtype=torch.float64), lines, lines).reshape(32, 2, 4, 4)
    for image, label, order, got, asked in zip(images, labels, orders, found.images, found.queries, strict=True):
        expected, count = plain(
            model, image[None], label.item(), order.tolist(), step, queries, both if basis == "dct" else None
        )
        assert torch.allclose(got, expected[0], rtol=0, atol=1e-9)
        assert asked == count
    assert found.queries.max() == queries or success(model, found.images, labels) == 1


def test_pixels_that_come_again_start_where_the_cut_left_them():
    body, images, _ = smooth(shape=(1, 3, 3))
    held = torch.tensor([0.0, 0.0, 1000.0, 0.0, 0.0], dtype=torch.float64)
    model = Function(lambda x: body(x) + held)
    labels = torch.full((12,), 2)
    found = perturb(model, images, labels, seeded(), step=0.4, queries=120)
    orders = simba._orders(seeded(), 12, 9, 120)
    assert (found.queries == 120).all()
    for image, order, got in zip(images, orders, found.images, strict=True):
        expected, _ = plain(model, image[None], 2, order.tolist(), 0.4, 120)
        assert torch.allclose(got, expected[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("basis", ["pixel", "dct"])
def test_queries_are_the_images_that_the_network_was_given_and_none_of_a_batch_depends_on_the_others(basis):
    model, images, labels = smooth(shape=(1, 6, 6), count=40)
    settings = {"step": 0.2, "queries": 40, "basis": basis}
    whole = perturb(model, images, labels, seeded(), **settings)
    generator = seeded()
    for row in range(len(images)):
        model.asked = 0
        one = slice(row, row + 1)
        found = perturb(model, images[one], labels[one], generator, **settings)
        assert model.asked == found.queries == whole.queries[row]
        assert found.iterations == whole.iterations[row]
        assert torch.allclose(found.images, whole.images[one], rtol=0, atol=1e-12)
    assert whole.queries.max() == 40
    assert whole.queries.unique().numel() > 3
    assert (whole.iterations <= whole.queries - 1).all()
    assert (whole.queries - 1 <= 2 * whole.iterations + 1).all()


def test_a_negative_step_of_a_pixel_at_0_counts_but_is_not_asked():
    weight = torch.ones(1, 4, 4, dtype=torch.float64)
    image = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    for queries, rises in ((17, 8), (18, 8), (19, 9)):
        model = unreachable(weight)
        found = perturb(model, image, torch.tensor([0]), seeded(), step=0.2, queries=queries)
        assert found.queries == queries
        assert (found.images > 0).sum() == found.iterations == rises
        # An odd one out is spent on a negative step, and its sample only found to be done.
        assert model.asked == 1 + rises + (queries == 18)


def test_every_pixel_comes_once_before_any_comes_again():
    weight = -torch.ones(1, 4, 4, dtype=torch.float64)
    image = torch.full((1, 1, 4, 4), 0.9, dtype=torch.float64)
    for queries in (1 + 5, 1 + 16, 1 + 16 + 7, 1 + 48):
        found = perturb(unreachable(weight), image, torch.tensor([0]), seeded(), step=0.1, queries=queries)
        visits = ((image - found.images) / 0.1).round().flatten()
        assert visits.sum() == found.iterations == queries - 1
        assert visits.max() - visits.min() <= 1


def test_orders_are_random_and_each_samples_own():
    weight = -torch.ones(1, 6, 6, dtype=torch.float64)
    images = torch.full((300, 1, 6, 6), 0.5, dtype=torch.float64)
    found = perturb(unreachable(weight), images, torch.zeros(300, dtype=torch.int64), seeded(), step=0.1, queries=10)
    visited = (found.images != images).flatten(1).double()
    assert (visited.sum(1) == 9).all()
    # 9 of 36 at random: each pixel about 75 of 300 times, standard deviation 7.5.
    assert (visited.sum(0) - 75).abs().max() < 5 * 7.5
    assert visited.unique(dim=0).shape[0] > 290
    again = perturb(unreachable(weight), images, torch.zeros(300, dtype=torch.int64), seeded(), step=0.1, queries=10)
    assert torch.equal(again.images, found.images)
    other = perturb(unreachable(weight), images, torch.zeros(300, dtype=torch.int64), seeded(1), step=0.1, queries=10)
    assert not torch.equal(other.images, found.images)


def test_log_odds_orders_as_probability_does_and_does_not_stand_still_with_it():
    model, images, labels = smooth(dtype=torch.float32)
    settings = {"step": 0.1, "queries": 100}
    by_log_odds = perturb(model, images, labels, seeded(), **settings)
    by_probability = perturb(model, images, labels, seeded(), **settings, score="probability")
    assert (by_log_odds.images - by_probability.images).abs().max() < 1e-6
    assert success(model, by_log_odds.images, labels) > 0.5
    large = Function(lambda x: 1000 * model(x))
    still = perturb(large, images, labels, seeded(), **settings, score="probability")
    moved = perturb(large, images, labels, seeded(), **settings)
    margin = perturb(large, images, labels, seeded(), **settings, score="margin")
    assert success(large, still.images, labels) < 0.5
    assert success(large, moved.images, labels) >= success(model, by_log_odds.images, labels)
    assert success(large, margin.images, labels) >= success(model, by_log_odds.images, labels)


def test_what_is_misclassified_stays_and_costs_one_query():
    model, images, labels = smooth()
    labels[:4] = (labels[:4] + 1) % 5
    found = perturb(model, images, labels, seeded(), step=0.3, queries=50)
    assert torch.equal(found.images[:4], images[:4])
    assert found.queries[:4].tolist() == [1] * 4
    assert found.iterations[:4].tolist() == [0] * 4
    assert (found.queries[4:] > 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("basis", "step"), [("pixel", 1.0), ("dct", 3.0)])
def test_images_stay_in_range_and_keep_their_dtype(basis, step, dtype):
    model, images, labels = smooth(dtype=dtype)
    images[0] = 0
    before = images.clone()
    labels = predictions(model, images)
    found = perturb(model, images, labels, seeded(), step=step, queries=30, basis=basis)
    assert found.images.dtype == dtype
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert torch.equal(images, before)
    assert not torch.equal(found.images, images)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"step": 0}, "step is a number above 0"),
        ({"step": float("nan")}, "step is a number above 0"),
        ({"step": 2}, "for pixels at most 1"),
        ({"step": float("inf"), "basis": "dct"}, "step is a number above 0"),
        ({"queries": 1}, "queries is a whole number from 2"),
        ({"basis": "pixels"}, "did you mean 'pixel'"),
        ({"low_frequencies": 3}, "low_frequencies is for basis: dct"),
        ({"low_frequencies": 0, "basis": "dct"}, "low_frequencies is a whole number from 1 to 5, not 0"),
        ({"low_frequencies": 6, "basis": "dct"}, "low_frequencies is a whole number from 1 to 5, not 6"),
        ({"score": "probabilities"}, "did you mean 'probability'"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    model, images, labels = smooth()
    with pytest.raises(Problem, match=sentence):
        perturb(model, images, labels, seeded(), **{"step": 0.2, "queries": 9, **settings})


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (lambda x: x.mean((2, 3)) * float("nan"), "NaN or infinite"),
        (lambda x: x.mean((1, 2, 3)), "must return logits"),
        (lambda x: x.mean((2, 3))[:, :2], "class 2 is not one of the network's 2 classes"),
    ],
)
def test_networks_that_cannot_be_attacked_are_refused_in_one_sentence(output, sentence):
    images = torch.rand(6, 3, 4, 4, generator=seeded())
    with pytest.raises(Problem, match=sentence):
        perturb(Function(output), images, torch.full((6,), 2), seeded(), step=0.2, queries=9)
