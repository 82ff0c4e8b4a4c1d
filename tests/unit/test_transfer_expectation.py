"""Attacks made of another one: on a second network, and on the mean of a random network's answers."""

import pytest
import torch
from small_networks import seeded
from torch import nn

from robustloss import attacks
from robustloss.attacks.parts import answers
from robustloss.errors import Problem

EPSILON = 0.1
FGSM = {"name": "fgsm", "epsilon": EPSILON}
PGD = {"name": "pgd", "epsilon": EPSILON, "step_size": 0.02, "steps": 10}


class Linear(nn.Module):
    """Logits 0 and w · x + b: class 1 where the latter is positive; calls are counted."""

    def __init__(self, weights, bias=0.0):
        super().__init__()
        self.weights, self.bias, self.calls = weights, bias, 0
        self.eval()

    def forward(self, images):
        self.calls += 1
        score = images.flatten(1) @ self.weights + self.bias
        return torch.stack([torch.zeros_like(score), score], 1)


class Flickering(Linear):
    """The same plus a random multiple of a direction, of mean 0, that drowns w in each single answer."""

    def __init__(self, weights, bias, generator):
        super().__init__(weights, bias)
        self.generator = generator

    def forward(self, images):
        noise = 30 * torch.randn(images[0].numel(), generator=self.generator, dtype=images.dtype)
        answer = super().forward(images)
        return answer + torch.stack([torch.zeros(len(images)), (images - 0.5).flatten(1) @ noise], 1)


@pytest.fixture
def drawn():
    weights = torch.randn(36, generator=seeded(1), dtype=torch.float64)
    images = torch.rand(200, 1, 6, 6, generator=seeded(2), dtype=torch.float64) * 0.6 + 0.2
    model = Linear(weights, -float(weights.sum()) / 2)
    return model, images, model(images).argmax(1)


def right(model, images, labels):
    return model(images).argmax(1) == labels


def test_transfer_goes_along_the_source_s_gradient(drawn):
    """Both networks are linear, so the outcome is known: the attacked score moves by epsilon w · sign(v)."""
    model, images, labels = drawn
    other = torch.randn(36, generator=seeded(3), dtype=torch.float64) + model.weights
    source = Linear(other, -float(other.sum()) / 2)
    labels = torch.where(right(source, images, labels), labels, 1 - labels)
    sides = 1 - 2 * labels
    expected = images + EPSILON * (sides[:, None] * other.sign()).view(-1, 1, 6, 6)
    before = model.calls
    found = attacks.load("transfer")(model, images, labels, seeded(), source=source, attack=FGSM)
    # Once, to see that it gives logits.
    assert model.calls == before + 1
    assert torch.allclose(found.images, expected)
    assert (found.queries == 0).all()
    moved = right(model, images, labels) & ~right(model, found.images, labels)
    at_best = attacks.load("fgsm")(model, images, labels, seeded(), epsilon=EPSILON).images
    assert 0 < moved.sum() < (right(model, images, labels) & ~right(model, at_best, labels)).sum()


def test_transfer_from_itself_is_the_attack(drawn):
    model, images, labels = drawn
    found = attacks.load("transfer")(model, images, labels, seeded(), source=model, attack=PGD | {"random_start": True})
    alone = attacks.run(PGD | {"random_start": True}, model, images, labels, seeded())
    assert torch.equal(found.images, alone.images)
    assert torch.equal(found.iterations, alone.iterations)


def test_the_mean_of_many_answers_has_the_gradient_that_one_hides(drawn):
    steady, images, labels = drawn
    broken = {}
    for name, spec in {"one": PGD, "mean": {"name": "expectation", "draws": 3000, "attack": PGD}}.items():
        model = Flickering(steady.weights, steady.bias, seeded(4))
        found = attacks.run(spec, model, images, labels, seeded())
        assert (found.images - images).abs().max() <= EPSILON + 1e-6
        broken[name] = ~right(steady, found.images, labels)
    optimum = ~right(steady, attacks.run(FGSM, steady, images, labels, seeded()).images, labels)
    assert broken["mean"].sum() >= 0.95 * optimum.sum() > 0
    assert broken["one"].sum() < 0.5 * optimum.sum()


def test_the_mean_is_that_of_the_logits(drawn):
    steady, images, _ = drawn
    mean = answers.Mean(Flickering(steady.weights, steady.bias, seeded(5)), 4)
    again = Flickering(steady.weights, steady.bias, seeded(5))
    assert torch.allclose(mean(images), sum(again(images) for _ in range(4)) / 4)
    assert not mean.training


def test_a_steady_network_is_asked_once(drawn):
    model, images, labels = drawn
    alone = attacks.run(PGD, model, images, labels, seeded())
    before = model.calls
    attacks.run(PGD, model, images, labels, seeded())
    cost, before = model.calls - before, model.calls
    found = attacks.run({"name": "expectation", "draws": 50, "attack": PGD}, model, images, labels, seeded())
    # Two more, to see that it answers the same twice.
    assert model.calls - before == cost + 2
    assert torch.equal(found.images, alone.images)
    assert torch.equal(found.queries, alone.queries)


def test_queries_count_every_answer(drawn):
    steady, images, labels = drawn
    model = Flickering(steady.weights, steady.bias, seeded())
    one = attacks.run(FGSM, steady, images, labels, seeded())
    found = attacks.run({"name": "expectation", "draws": 7, "attack": FGSM}, model, images, labels, seeded())
    assert torch.equal(found.queries, 7 * one.queries)


def test_an_ensemble_hands_its_epsilon_to_what_its_members_are_made_of(drawn):
    model, images, labels = drawn
    members = [
        {"name": "transfer", "source": model, "attack": {"name": "fgsm"}},
        {"name": "expectation", "draws": 2, "attack": {"name": "pgd", "step_size": 0.02, "steps": 3}},
        {"name": "noise", "draws": 2},
    ]
    for member in members:
        found = attacks.run(
            {"name": "worst_case", "epsilon": 0.07, "attacks": [member]}, model, images, labels, seeded()
        )
        assert 0.05 < (found.images - images).abs().max() <= 0.07 + 1e-6, member["name"]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"name": "expectation", "draws": 0, "attack": FGSM}, "draws is a whole number from 1, not 0"),
        ({"name": "expectation", "draws": 2, "attack": {"name": "fgms"}}, "there is no 'fgms'; did you mean 'fgsm'?"),
        ({"name": "expectation", "draws": 2, "attack": FGSM | {"steps": 2}}, "attack fgsm: unknown key 'steps'"),
        ({"name": "transfer", "source": "XE", "attack": FGSM}, "source is a network, not 'XE'"),
    ],
)
def test_bad_settings_are_refused(drawn, spec, sentence):
    with pytest.raises(Problem) as caught:
        attacks.run(spec, *drawn, seeded())
    assert sentence in str(caught.value)
