"""What the attacks that look for the nearest adversarial image in L2 have in common."""

import pytest
import torch
from minimal_distances import lengths
from small_networks import Function, predictions, problem, seeded, smooth, success

from robustloss import attacks

ATTACKS = {
    "carlini_wagner": {"steps": 60, "rate": 0.05, "search_steps": 6},
    "deepfool": {},
    "ddn": {},
}


@pytest.fixture(params=ATTACKS)
def attack(request):
    perturb, settings = attacks.load(request.param), ATTACKS[request.param]
    return lambda model, images, labels: perturb(model, images, labels, seeded(), **settings)


def test_what_is_misclassified_stays_as_it_is(attack):
    model, images, labels = smooth(count=8)
    labels = torch.cat([labels[:4], (labels[4:] + 1) % 5])
    found = attack(model, images, labels)
    assert (predictions(model, found.images) != labels).all()
    assert torch.equal(found.images[4:], images[4:])
    assert (lengths(found.images, images)[:4] > 0).all()
    assert found.iterations[4:].tolist() == [0] * 4
    assert found.queries[4:].tolist() == [1] * 4


@pytest.mark.parametrize(
    "never",
    [
        lambda x: torch.stack([x.sum((1, 2, 3)) * 0 + 2, x.sum((1, 2, 3)) * 0], 1),
        lambda x: torch.stack([x.mean((1, 2, 3)) + 1, -x.mean((1, 2, 3))], 1),
    ],
    ids=["no gradient", "no boundary in the box"],
)
def test_what_never_will_be_misclassified_stays_as_it_is(attack, never):
    images = smooth(count=8)[1]
    zeros = torch.zeros(len(images), dtype=torch.int64)
    assert torch.equal(attack(Function(never), images, zeros).images, images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_examples_are_images_and_the_inputs_stay(attack, dtype):
    model, images, _ = smooth(dtype=dtype, shape=(3, 4, 4))
    images[0], images[1] = 0, 1
    labels, before = predictions(model, images), images.clone()
    found = attack(model, images, labels)
    assert found.images.dtype == dtype
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert success(model, found.images, labels) == 1
    assert torch.equal(images, before)
    assert not found.images.requires_grad
    with torch.no_grad():
        assert torch.equal(attack(model, images, labels).images, found.images)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda x: x.mean((2, 3)) * float("nan"), "NaN or infinite"),
        (lambda x: (x - x).sqrt().mean((2, 3)) + torch.tensor([2, 0, 0]), "gradient are NaN"),
        (lambda x: (x - x).sqrt().mean((2, 3)), "gradient are NaN"),
        (lambda x: x.mean((1, 2, 3)), "must return logits"),
        (lambda x: x.detach().mean((2, 3)), "differentiably"),
    ],
)
def test_networks_that_cannot_be_attacked_are_refused_in_one_sentence(attack, function, sentence):
    images, labels = torch.rand(6, 3, 4, 4, generator=seeded()), torch.zeros(6, dtype=torch.int64)
    assert sentence in problem(attack, Function(function), images, labels)
