"""The ensemble against its parts, and against torchattacks' copy of the official code at the official settings."""

import digit_networks as digits
import pytest
import torch
from digit_networks import Counted
from small_networks import Linear, Scaled, predictions, seeded

from robustloss import attacks
from robustloss.attacks import apgd, autoattack, fab, square
from robustloss.errors import Problem

SHORT = {"steps": 15, "queries": 80}


def perturb(*arguments, **settings):
    return attacks.load("autoattack")(*arguments, **settings)


def test_robust_samples_are_those_that_withstand_every_part():
    model, (images, labels), epsilon = digits.network("robust"), digits.held_out(100), 0.17
    before = images.clone()
    found = perturb(model, images, labels, seeded(), epsilon=epsilon, targets=3, **SHORT)
    clean, robust = (predictions(model, x) == labels for x in (images, found.images))
    assert (found.images - images).abs().max() <= epsilon + 1e-6
    assert found.images.aminmax().min >= 0
    assert found.images.aminmax().max <= 1
    assert torch.equal(images, before)
    assert 0.1 < robust.float().mean() < clean.float().mean() - 0.2
    assert torch.equal(found.broken_by == -1, ~clean | robust)
    unchanged = (found.images == images).flatten(1).all(1)
    assert torch.equal(unchanged, ~clean | robust)
    # The first part is as if it were alone; the others miss nothing that they find alone.
    settings = {"epsilon": epsilon, "steps": 15}
    alone = [
        apgd.perturb(model, images, labels, seeded(), **settings),
        apgd.perturb(model, images, labels, seeded(1), **settings, loss="dlr", targets=3),
        fab.perturb(model, images, labels, seeded(1), **settings, targets=3),
        square.perturb(model, images, labels, seeded(1), epsilon=epsilon, queries=80),
    ]
    broken = torch.stack([clean & (predictions(model, part.images) != labels) for part in alone])
    assert torch.equal(found.broken_by == 0, broken[0])
    # One sample that another random start finds or misses.
    assert (robust & broken.any(0)).sum() <= 1


def test_each_part_gets_what_the_ones_before_left():
    """Samples that only one of the parts can break: the others do not see its perturbation, or no gradient to it."""
    images = torch.full((3, 1, 4, 4), 0.5)

    def logits(x):
        up = x.flatten(1).sum(1) - 8
        return torch.stack([1 - up, up, -torch.ones_like(up)], 1)

    model = torch.nn.Module()
    model.forward = logits
    labels = torch.tensor([0, 1, 0])
    found = perturb(model.eval(), images, labels, seeded(), epsilon=0.2, **SHORT)
    assert found.broken_by.tolist() == [0, -1, 0]  # the second is misclassified when clean
    assert found.queries[1] < 10

    def blind(x):
        """What the gradient cannot tell: the logits as a function of the rounded image."""
        rounded = (x * 64).round() / 64
        return logits(rounded) + 0 * x.flatten(1)[:, :3]

    model.forward = blind
    found = perturb(model, images, labels, seeded(), epsilon=0.2, steps=3, queries=300)
    assert found.broken_by.tolist() == [3, -1, 3]


def test_queries_are_the_forward_passes():
    model = Counted(digits.network("robust"))
    for image, label in zip(*(part[:6].split(1) for part in digits.held_out()), strict=True):
        model.sizes.clear()
        found = perturb(model, image, label, seeded(), epsilon=0.17, targets=2, steps=5, queries=20)
        if found.broken_by in (-1, 0, 1, 2):
            assert found.queries.item() == sum(model.sizes)
        assert found.iterations.item() <= 5 + 2 * 5 + 2 * 5 + 20


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_few_classes_take_the_margin_and_the_targets_that_there_are(classes):
    model = Linear(torch.randn(classes, 27, generator=seeded(), dtype=torch.float64))
    images = 0.3 + 0.4 * torch.rand(60, 3, 3, 3, generator=seeded(1), dtype=torch.float64)
    labels = predictions(model, images)
    logits = model(images)
    normals = model.weight[None] - model.weight[labels][:, None]
    gaps = logits.gather(1, labels[:, None]) - logits
    own = torch.eye(classes, dtype=torch.bool)[labels]
    needed = (gaps / normals.abs().sum(2).masked_fill(own, 1)).masked_fill(own, torch.inf).amin(1)
    # Just above a sample's own distance to the boundary there would be nothing to tell an attack by.
    epsilon = needed.quantile(0.4).item()
    found = perturb(model, images, labels, seeded(), epsilon=epsilon, **SHORT)
    breakable = needed < epsilon
    assert 0.3 < breakable.double().mean() < 0.5
    assert torch.equal(found.broken_by >= 0, breakable)


def test_large_logits_do_not_hide_a_sample():
    model, (images, labels) = digits.network("robust"), digits.held_out(100)
    first, large = (
        perturb(net, images, labels, seeded(), epsilon=0.17, targets=3, **SHORT).images
        for net in (model, Scaled(model, 100))
    )
    assert digits.robust_accuracy("robust", large) == pytest.approx(digits.robust_accuracy("robust", first), abs=0.011)


@pytest.mark.parametrize("kind", ["plain", "robust"])
def test_is_as_strong_as_torchattacks(kind):
    """Its AutoAttack takes 10 steps by gradients, so its parts are put together here with as many as ours."""
    torchattacks = pytest.importorskip("torchattacks")
    model, epsilon, (images, labels) = digits.network(kind), digits.EPSILON[kind], digits.held_out(80)
    common = {"eps": epsilon, "seed": 0}
    parts = [
        torchattacks.APGD(model, **common, steps=20),
        torchattacks.APGDT(model, **common, steps=20),
        torchattacks.FAB(model, **common, steps=20, multi_targeted=True),
        torchattacks.Square(model, **common, n_queries=200),
    ]
    theirs = digits.robust_accuracy(kind, torchattacks.MultiAttack(parts)(images, labels))
    ours = perturb(model, images, labels, seeded(), epsilon=epsilon, steps=20, queries=200).images
    assert 0.1 < theirs < 0.8
    assert digits.robust_accuracy(kind, ours) <= theirs + 0.005


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epsilon": 8}, "epsilon is a fraction of the pixel range: write 8/255, not 8"),
        ({"targets": 0}, "targets is a whole number from 1, not 0"),
        ({"steps": 0}, "steps is a whole number from 1, not 0"),
        ({"queries": 0}, "queries is a whole number from 1, not 0"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    with pytest.raises(Problem, match=sentence):
        perturb(digits.network("plain"), *digits.held_out(4), seeded(), **{"epsilon": 0.1, **settings})


def test_attacks_are_numbered_in_their_order():
    assert len(autoattack.ATTACKS) == len(autoattack._attacks(0.1, 9, 1, 1, 10))
