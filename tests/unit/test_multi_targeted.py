"""The multi-targeted attack against a closed form, plain PGD, and brute force over classes."""

import pytest
import torch
from small_networks import seeded
from torch import nn

from robustloss import attacks
from robustloss.errors import Problem

perturb = attacks.load("multi_targeted")
SETTINGS = {"epsilon": 0.05, "step_size": 0.02, "steps": 10}


def linear(count=80, classes=6):
    """A linear model, and the largest margin z_t - z_y (N, K) that each class reaches in the ball."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, classes, dtype=torch.float64)).eval()
    images = torch.rand(count, 3, 3, 3, generator=seeded(1), dtype=torch.float64)
    with torch.no_grad():
        labels = model(images).argmax(1)
    labels[:5] = (labels[:5] + 1) % classes
    flat, (weight, bias) = images.flatten(1), model[1].parameters()
    slope = weight.detach()[None] - weight.detach()[labels][:, None]
    up, down = (flat + SETTINGS["epsilon"]).clamp(max=1), (flat - SETTINGS["epsilon"]).clamp(min=0)
    best = torch.where(slope > 0, up[:, None], down[:, None])
    margins = (slope * best).sum(2) + bias.detach() - bias.detach()[labels][:, None]
    return model, images, labels, margins.scatter(1, labels[:, None], -torch.inf)


def network(count=60):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 48), nn.ReLU(), nn.Linear(48, 6)).double().eval()
    images = torch.rand(count, 1, 6, 6, generator=seeded(1), dtype=torch.float64)
    with torch.no_grad():
        return model, images, model(images).argmax(1)


def broken(model, images, labels):
    with torch.no_grad():
        return model(images).argmax(1) != labels


def test_breaks_exactly_the_samples_of_a_linear_model_that_some_class_can_reach():
    model, images, labels, margins = linear()
    found = perturb(model, images, labels, seeded(), **SETTINGS)
    expected = margins.amax(1) > 0
    assert torch.equal(broken(model, found.images, labels), expected)
    assert 10 < expected.sum() < 70
    # Those that hold are left at the largest margin that any class reaches.
    with torch.no_grad():
        logits = model(found.images)
    reached = (logits - logits.gather(1, labels[:, None])).scatter(1, labels[:, None], -torch.inf).amax(1)
    assert torch.allclose(reached[~expected], margins.amax(1)[~expected], rtol=0, atol=1e-9)


@pytest.mark.parametrize("targets", [1, 2, 4])
def test_takes_the_most_likely_wrong_classes(targets):
    model, images, labels, margins = linear()
    with torch.no_grad():
        wrong = model(images).scatter(1, labels[:, None], -torch.inf)
    chosen = wrong.argsort(1, descending=True)[:, :targets]
    found = perturb(model, images, labels, seeded(), **SETTINGS, targets=targets)
    # On the way to one class another may be crossed, but nothing breaks that no class can.
    success = broken(model, found.images, labels)
    assert success[margins.gather(1, chosen).amax(1) > 0].all()
    assert not success[margins.amax(1) <= 0].any()
    assert found.iterations.max() == targets * SETTINGS["steps"]


def test_samples_leave_when_they_are_broken_and_count_their_own_passes():
    model, images, labels, margins = linear()
    calls = []
    model.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    found = perturb(model, images, labels, seeded(), **SETTINGS, restarts=2)
    holds = margins.amax(1) <= 0
    assert (found.iterations[holds] == 5 * 2 * 10).all()
    assert (found.queries[holds] == 1 + 5 * 2 * 11).all()
    assert (found.iterations[~holds] < 50).all()
    assert found.queries.sum() <= sum(calls)
    assert calls[-1] <= holds.sum() + len(images) // 8


def test_is_no_weaker_than_pgd_on_the_margin_and_stays_in_the_ball_and_among_images():
    model, images, labels = network()
    for epsilon in (0.12, 0.16, 0.2):
        settings = {"epsilon": epsilon, "step_size": epsilon / 4, "steps": 20}
        found = perturb(model, images, labels, seeded(), **settings, restarts=2)
        pgd = attacks.load("pgd")(model, images, labels, seeded(), **settings, random_start=True, loss="margin")
        success, plain = broken(model, found.images, labels), broken(model, pgd.images, labels)
        assert 0 < success.sum() < len(success)
        assert not (plain & ~success).any()
        assert (found.images - images).abs().max() <= epsilon + 1e-6
        assert found.images.min() >= 0
        assert found.images.max() <= 1


def test_images_that_are_misclassified_when_clean_and_other_seeds():
    model, images, labels = network()
    labels[:10] = (labels[:10] + 1) % 6
    first, again, other = (perturb(model, images, labels, seeded(seed), **SETTINGS) for seed in (0, 0, 1))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert broken(model, first.images, labels)[:10].all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"targets": 6}, "targets is from 1 to 5, as many as there are wrong classes, not 6"),
        ({"targets": 0}, "targets is a whole number from 1, not 0"),
        ({"restarts": 0}, "restarts is a whole number from 1, not 0"),
        ({"steps": 0}, "steps is a whole number from 1, not 0"),
        ({"epsilon": 8}, "write 8/255, not 8"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    with pytest.raises(Problem, match=sentence):
        perturb(*network(), seeded(), **{**SETTINGS, **settings})
