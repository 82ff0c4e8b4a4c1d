"""The signs of gradient masking: raised by networks that mask their gradients, and by no others."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom
from small_networks import Function, all_digits, problem, seeded, smooth, two_classes
from torch import nn
from torch.nn import functional as F

from robustloss import audit, checkpoints, models, outcomes, progress, training
from robustloss.attacks import pgd
from robustloss.audit import hard_label, measurements, stage
from robustloss.audit.judgement import judge, no_chance
from robustloss.audit.rules import RULES
from robustloss.audit.verdict import accuracies, verdict
from robustloss.errors import Problem
from robustloss.files import read_json
from robustloss.heads import max_mahalanobis
from robustloss.images import spread

EPSILON = 0.1
QUICK = {"epsilon": EPSILON, "steps": 40, "restarts": 5, "queries": 100, "draws": 20}


class Digits:
    """Networks for the 8 x 8 digits, and images that none of them has seen."""

    def __init__(self):
        images, labels = all_digits()
        order = torch.randperm(len(labels), generator=seeded())
        images, labels = images[order], labels[order]
        self.images, self.labels = images[1200:1350], labels[1200:1350]
        self.train = images[:1200], labels[:1200]
        self.plain = self.network(30)
        self.adversarial = self.network(15, adversarial=True)
        # Max-Mahalanobis centres of pang2020's norm, and its loss.
        head = max_mahalanobis.head(10, 32, scale=10.0)
        self.mmc = self.network(60, lambda logits, labels: -logits.gather(1, labels[:, None]).mean() / 2, head)

    def network(self, epochs, loss=F.cross_entropy, head=None, adversarial=False):
        torch.manual_seed(0)
        images, labels = self.train
        body = [nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10 if head is None else 32)]
        model = nn.Sequential(*body, *([] if head is None else [head]))
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3, foreach=False)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * math.ceil(len(images) / 64))
        for _ in range(epochs):
            for rows in torch.randperm(len(images)).split(64):
                inputs = self.perturbed(model.eval(), images[rows], labels[rows]) if adversarial else images[rows]
                optimizer.zero_grad()
                loss(model.train()(inputs), labels[rows]).backward()
                optimizer.step()
                schedule.step()
        return model.eval().requires_grad_(False)

    @staticmethod
    def perturbed(model, images, labels):
        settings = {"epsilon": EPSILON, "step_size": EPSILON / 3, "steps": 5, "random_start": True}
        return pgd.perturb(model, images, labels, seeded(), **settings).images

    def signs(self, model, source=None) -> dict[str, audit.Sign]:
        return {sign.name: sign for sign in audit.signs(model, self.images, self.labels, None, source, **QUICK)}


@pytest.fixture(scope="module")
def digits():
    return Digits()


def grey(margin, count=60, shape=(1, 8, 8)):
    """A network of two classes whose margin is a function of the images, grey images, and their labels, all 0."""

    def logits(images):
        second = margin(images)
        return torch.stack([torch.zeros_like(second), second], 1)

    return Function(logits), torch.full((count, *shape), 0.5), torch.zeros(count, dtype=torch.int64)


def along(images):
    """How far images have gone from grey towards the white corner of the ball, at which it is 1 (N,)."""
    return (images - 0.5).flatten(1).mean(1) / EPSILON


def flagged(signs) -> set[str]:
    return {sign.name for sign in (signs.values() if isinstance(signs, dict) else signs) if sign.flagged}


# Networks that mask their gradients, and networks that do not.


@pytest.mark.parametrize("name", ["plain", "adversarial"])
def test_nothing_is_flagged_where_gradients_serve(digits, name):
    """Trained with cross-entropy, on clean images and on PGD's; the other is what transfers."""
    source = digits.adversarial if name == "plain" else digits.plain
    signs = digits.signs(getattr(digits, name), source)
    assert flagged(signs) == set()
    assert all(sign.value is not None for sign in signs.values())


def test_large_logits_vanish_in_float32(digits):
    signs = digits.signs(Function(lambda images: 100 * digits.plain(images)))
    assert {"saturation", "zero_gradient", "scale", "queries", "half", "unbounded"} <= flagged(signs)
    assert not {"randomness", "probabilities", "silent_success", "steps"} & flagged(signs)


def test_max_mahalanobis_vanishes_in_float32(digits):
    """pang2020's C = 10, fitted well: the example that masks without being made to."""
    signs = digits.signs(digits.mmc, digits.plain)
    assert {"saturation", "zero_gradient", "scale", "queries", "unbounded", "transfer"} <= flagged(signs)


def test_a_quantised_input_has_no_gradient(digits):
    signs = digits.signs(Function(lambda images: digits.plain((8 * images).round() / 8)), digits.plain)
    assert {"zero_gradient", "no_rise", "noise", "queries", "queries_alone", "decisions"} <= flagged(signs)
    assert {"half", "unbounded", "transfer"} <= flagged(signs)
    # Nothing is rounded but the images, so no scale and no precision of the logits helps.
    assert not {"saturation", "scale", "unavailable"} & flagged(signs)


@pytest.mark.parametrize("cut", ["detached", "numpy"])
def test_a_network_without_a_gradient_is_attacked_without_one(digits, cut):
    """Where the graph is cut, and where a pass that is to be differentiated fails."""
    logits = {
        "detached": lambda images: digits.plain(images).detach(),
        "numpy": lambda images: torch.from_numpy(digits.plain(images).numpy()),
    }
    signs = digits.signs(Function(logits[cut]), digits.adversarial)
    assert {"unavailable", "zero_gradient", "noise", "queries", "decisions", "unbounded", "transfer"} <= flagged(signs)
    assert signs["unavailable"].sentence == "No gradient reaches 145 of 150 images from their logits."
    assert not {"randomness", "saturation", "scale", "unstable"} & flagged(signs)


def test_a_forward_pass_that_computes_gradients_is_seen(digits):
    """It takes a step towards its own prediction before it answers."""

    def purified(images):
        with torch.enable_grad():
            inputs = images.detach().requires_grad_()
            sure = digits.plain(inputs).log_softmax(1).amax(1).sum()
            (gradient,) = torch.autograd.grad(sure, inputs)
        return digits.plain(images + 0.02 * gradient.sign())

    signs = digits.signs(Function(purified))
    assert "inner_gradients" in flagged(signs) and "unavailable" not in flagged(signs)


def test_logits_that_jump_from_point_to_point_are_unstable(digits):
    rough = Function(lambda images: digits.plain(images) * (1 + torch.sin(1e4 * images.sum((1, 2, 3)))[:, None]))
    assert {"unstable", "no_rise", "decisions"} <= flagged(digits.signs(rough))


def test_dropout_at_test_time_is_random(digits):
    torch.manual_seed(0)
    drop = Function(lambda features: F.dropout(features, 0.3, training=True))
    signs = digits.signs(nn.Sequential(digits.plain[:3], drop, digits.plain[3]).eval())
    assert {"randomness", "silent_success"} <= flagged(signs)


def test_probabilities_are_no_logits(digits):
    assert "probabilities" in flagged(digits.signs(nn.Sequential(digits.plain, nn.Softmax(1)).eval()))


def test_a_hill_that_one_step_clears():
    """The loss rises to a small hill, falls, and rises to success: small steps stay on the hill."""
    found = audit.signs(
        *grey(lambda images: -1 - (along(images) - 0.2).abs() + 20 * F.relu(along(images) - 0.8)), **QUICK
    )
    assert "one_step" in flagged(found) and "steps" not in flagged(found)


def test_a_hill_that_longer_steps_clear():
    """From the hill a step of a sixteenth of the ball falls short of the slope beyond it, one of a quarter does not."""
    found = audit.signs(
        *grey(lambda images: -1 - (along(images) - 0.2).abs() + 20 * F.relu(along(images) - 0.35)), **QUICK
    )
    assert "step_size" in flagged(found) and "steps" not in flagged(found)


def test_a_success_that_only_short_steps_meet():
    """Success is a narrow band on the way: short steps of a small ball land in it, long ones step over it."""
    found = audit.signs(
        *grey(lambda images: -1 + along(images) / 2 + 3 * ((along(images) - 0.2).abs() < 0.015)), **QUICK
    )
    assert {"radius", "silent_success"} <= flagged(found)


def test_a_staircase_takes_more_steps():
    """Each pixel counts only once the one before is through, so the loss is still rising after all steps."""

    def margin(images):
        through, total = torch.ones(len(images)), torch.full((len(images),), -3.55)
        for pixel in ((images - 0.5) / EPSILON).flatten(1).unbind(1):
            total = total + through * pixel.clamp(max=0.9)
            through = through * (pixel > 0.9)
        return total

    found = audit.signs(*grey(margin, shape=(1, 2, 2)), **QUICK)
    assert {"steps", "unfinished"} <= flagged(found) and "one_step" not in flagged(found)


def test_a_plateau_is_won_by_chance():
    """A tenth of the ball is misclassified, and nothing points there."""
    found = audit.signs(
        *grey(lambda images: 0 * along(images) - 1 + 2 * (images[:, 0, 0, 0] > 0.58), shape=(1, 2, 2)), **QUICK
    )
    assert {"restarts", "zero_gradient", "noise"} <= flagged(found) and "saturation" not in flagged(found)


# Measurements, against closed forms and textbook loops.


def test_on_a_linear_network_all_radii_are_the_closed_form():
    """Within a box the margin <w, x> + b is largest at the corner that the signs of w name."""
    weight = torch.randn(1, 4, 4, generator=seeded(), dtype=torch.float64)
    images = torch.rand(80, 1, 4, 4, generator=seeded(1), dtype=torch.float64)
    bias = -0.3 - (images * weight).sum((1, 2, 3)).max()
    model, labels = two_classes(weight, bias), torch.zeros(80, dtype=torch.int64)
    found = measurements.measure(model, images, labels, seeded(), **QUICK)

    def broken(radius):
        corner = torch.where(weight > 0, (images + radius).clamp(max=1), (images - radius).clamp(min=0))
        return (corner * weight).sum((1, 2, 3)) + bias > 0

    radii = {f"_radius_{factor:g}": factor * EPSILON for factor in measurements.RADII}
    for name, radius in (radii | {"": EPSILON, "_last": EPSILON, "_half": 0.5, "_unbounded": 1.0}).items():
        assert torch.equal(found[f"pgd{name}"], broken(radius)), name
    assert found["pgd_radius_4"].any() and not found["pgd_radius_4"].all()
    for name in ("pgd_restarts", "pgd_twice_restarts", "pgd_exact", "pgd_scale_100", "pgd_scale_0.01", "strong"):
        assert torch.equal(found[name], broken(EPSILON)), name
    others = ("one_step", "noise", "square", "decisions", "pgd_twice_steps", "pgd_step_sizes", "no_rise")
    assert not any((found[name] & ~found["pgd"]).any() for name in others)


@pytest.mark.parametrize("queries", [30, 1500])
def test_predictions_alone_lead_to_the_boundary(queries):
    """A linear network's nearest corner is margin / |w|_1 away: nothing farther off is broken, all nearer by 3 %."""
    weight = torch.randn(1, 4, 4, generator=seeded(), dtype=torch.float64)
    images = 0.3 + 0.4 * torch.rand(60, 1, 4, 4, generator=seeded(1), dtype=torch.float64)
    bias = -0.3 - (images * weight).sum((1, 2, 3)).max()
    model, labels = two_classes(weight, bias), torch.zeros(60, dtype=torch.int64)
    nearest = -((images * weight).sum((1, 2, 3)) + bias) / weight.abs().sum()
    epsilon = nearest.median().item()
    found = hard_label.breaks(model, images, labels, epsilon, queries, 1)
    assert not found[nearest > epsilon].any()
    assert model.asked <= 60 * (queries + hard_label.HALVINGS)
    assert found[nearest < 0.97 * epsilon].all() == (queries == 1500)


def test_nothing_is_broken_by_predictions_that_never_change():
    """Also where the ball holds every image."""
    model, labels = two_classes(torch.zeros(1, 4, 4), -1.0), torch.zeros(8, dtype=torch.int64)
    images = torch.rand(8, 1, 4, 4, generator=seeded())
    assert not hard_label.breaks(model, images, labels, 1.0, 50, 1).any()


def test_the_margin_s_change_is_a_mean_over_points_on_both_sides():
    """Of a margin that is linear in the mean of an image the change is that of the mean."""
    images = torch.full((3, 1, 1, 1), 0.5, dtype=torch.float64)
    model = two_classes(torch.tensor([[[1.0]]], dtype=torch.float64), -1.0)
    labels = torch.zeros(3, dtype=torch.int64)
    found = measurements.measure(model, images, labels, seeded(), **QUICK | {"draws": 2000})["instability"]
    # |d| is 2/255 on average, and the margin 0.5.
    torch.testing.assert_close(found, torch.full_like(found, 2 / 255 / 0.5), rtol=0.05, atol=0)


def test_the_ordinary_attack_is_the_textbook_s():
    """Madry et al.'s loop with torch's own cross-entropy, from the same points."""
    model, images, labels = smooth(count=60)
    settings = QUICK | {"epsilon": 0.02, "steps": 20}
    found = measurements.measure(model, images, labels, seeded(3), **settings)
    start = torch.rand(60, 25, generator=seeded(3), dtype=torch.float64).view_as(images)
    low, high = (images - 0.02).clamp(min=0), (images + 0.02).clamp(max=1)
    adversarial, wrong, values = (images + 0.02 * (2 * start - 1)).clamp(low, high), [], []
    for step in range(settings["steps"] + 1):
        adversarial.requires_grad_()
        logits = model(adversarial)
        loss = F.cross_entropy(logits, labels, reduction="none")
        wrong.append(logits.argmax(1) != labels)
        values.append(loss.detach().expm1().log())  # of the odds against the label
        if step < settings["steps"]:
            (gradient,) = torch.autograd.grad(loss.sum(), adversarial)
            adversarial = (adversarial.detach() + 2.5 * 0.02 / 20 * gradient.sign()).clamp(low, high)
    assert torch.equal(found["pgd_last"], wrong[-1]) and 10 < wrong[-1].sum() < 50
    assert torch.equal(found["pgd"], torch.stack(wrong).any(0))
    best = [max(column) for column in zip(*(value.tolist() for value in values[: 15 + 1]), strict=True)]
    whole = torch.stack(values).amax(0)
    expected = (whole - torch.tensor(best)) / (whole - values[0])
    torch.testing.assert_close(found["movement"], expected)


def test_gradients_at_the_image_are_autograd_s(digits):
    model = Function(lambda images: 15 * digits.plain(images))
    right = measurements.right(model, digits.images, digits.labels)
    images, labels = digits.images[right].requires_grad_(), digits.labels[right]
    logits = model(images)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), images)
    zero = (gradient == 0).flatten(1).all(1)
    rounded = 1 - logits.detach().softmax(1).gather(1, labels[:, None])[:, 0] == 0
    found = measurements.measure(model, images.detach(), labels, seeded(), **QUICK)
    assert torch.equal(found["zero_gradient"], zero) and 0 < zero.sum() < len(zero)
    # Whether 1 - p or p - 1 is formed, a probability may differ in its last place.
    assert (found["saturated"] != rounded).sum() <= 1 and 0 < rounded.sum() < len(rounded)


def test_five_passes_are_apart_by_their_largest_distance():
    """Logits (1, 0), (0.6, 0.8) and (0, 1) in turn: unit vectors of which two are √2 apart."""
    turn = iter(range(10**6))
    rows = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])

    def logits(images):
        return rows[next(turn) % 3].expand(len(images), 2) + 0 * images.sum((1, 2, 3))[:, None]

    images, labels = torch.full((4, 1, 2, 2), 0.5), torch.zeros(4, dtype=torch.int64)
    found = measurements.measure(Function(logits), images, labels, seeded(), **QUICK)
    torch.testing.assert_close(found["variation"], torch.full((4,), math.sqrt(2)))


def test_the_same_seed_finds_the_same(digits):
    signs = [
        audit.signs(digits.mmc, digits.images[:30], digits.labels[:30], seeded(seed), **QUICK) for seed in (1, 1, 2)
    ]
    assert signs[0] == signs[1]
    assert signs[0] != signs[2]


# From measurements to flags.

COUNT = 200
LABELS = np.arange(COUNT) % 10


def measured(**changed) -> dict[str, np.ndarray]:
    """Measurements of 200 images of which nothing breaks any, but an attack without bound all; some are changed."""
    radii, scales = ([f"pgd_{kind}_{factor:g}" for factor in factors] for kind, factors in _GRIDS.items())
    quiet = ["pgd_last", "pgd", "pgd_restarts", "pgd_twice_restarts", "pgd_twice_steps", "pgd_exact", "pgd_float64"]
    quiet += [
        "scaled",
        "strong",
        "one_step",
        "noise",
        "square",
        "decisions",
        "transfer",
        "pgd_step_sizes",
        "no_rise",
        "unavailable",
        "inner_gradients",
        "zero_gradient",
        "saturated",
        "probabilities",
    ]
    arrays = {name: np.zeros(COUNT, bool) for name in [*quiet, *radii, *scales]}
    arrays |= {name: np.ones(COUNT, bool) for name in ("pgd_half", "pgd_unbounded")}
    arrays |= {name: np.zeros(COUNT) for name in ("movement", "variation", "instability")}
    for name, values in changed.items():
        arrays[name.replace("__", ".")] = values
    return arrays


_GRIDS = {"radius": measurements.RADII, "scale": measurements.SCALES}


def first(count):
    return np.arange(COUNT) < count


# For each sign, what makes `count` images count for it, and how many are not yet enough of 200.
CASES = {
    "one_step": (lambda count: {"one_step": first(count)}, 3),
    "noise": (lambda count: {"noise": first(count)}, 0),
    "queries": (lambda count: {"square": first(count), "strong": first(count)}, 3),
    "queries_alone": (lambda count: {"square": first(count)}, 2),
    "decisions": (lambda count: {"decisions": first(count)}, 3),
    "radius": (lambda count: {"pgd_radius_0__5": first(count)}, 3),
    "half": (lambda count: {"pgd_half": ~first(20 + count)}, 0),
    "unbounded": (lambda count: {"pgd_unbounded": ~first(count)}, 0),
    "steps": (lambda count: {"pgd_twice_steps": first(count)}, 5),
    "step_size": (lambda count: {"pgd_step_sizes": first(count)}, 5),
    "restarts": (lambda count: {"pgd_twice_restarts": first(count)}, 5),
    "unavailable": (lambda count: {"unavailable": first(count)}, 0),
    "inner_gradients": (lambda count: {"inner_gradients": first(count)}, 0),
    "zero_gradient": (lambda count: {"zero_gradient": first(count)}, 0),
    "saturation": (lambda count: {"pgd_float64": first(count)}, 5),
    "scale": (lambda count: {"pgd_scale_0__01": first(count)}, 5),
    "silent_success": (
        lambda count: {"pgd": first(count), "pgd_radius_2": first(count), "pgd_radius_4": first(count)},
        5,
    ),
    "no_rise": (lambda count: {"no_rise": first(count)}, 5),
    "unfinished": (lambda count: {"movement": 0.06 * first(count)}, 15),
    "randomness": (lambda count: {"variation": 2e-4 * first(count)}, 0),
    "unstable": (lambda count: {"instability": 1.0 * first(count)}, 100),
    "probabilities": (lambda count: {"probabilities": first(count)}, 5),
    "transfer": (lambda count: {"transfer": first(count)}, 5),
}


@pytest.mark.parametrize("share", [0.0, 0.002, 0.01, 0.05])
def test_no_chance_is_less_than_one_in_twenty(share):
    for count in range(30):
        assert no_chance(count, COUNT, share) == (binom.sf(count - 1, COUNT, share) < 0.05)


def test_no_chance_holds_for_any_number_of_images():
    """Of so many that no image at all is less likely than a computer's smallest number."""
    for images, share in ((15_000, 0.05), (80_000, 0.01)):
        least = next(count for count in range(images) if no_chance(count, images, share))
        assert binom.sf(least - 1, images, share) < 0.05 <= binom.sf(least - 2, images, share)
        assert no_chance(images, images, share)


def test_all_signs_have_a_case():
    assert list(CASES) == list(RULES)


@pytest.mark.parametrize("name", CASES)
def test_a_sign_is_flagged_above_its_threshold_and_alone(name):
    change, enough = CASES[name]
    assert flagged(judge(measured(**change(enough)), LABELS)) == set()
    signs = judge(measured(**change(enough + 1)), LABELS)
    assert flagged(signs) == {name}
    sign = next(sign for sign in signs if sign.name == name)
    assert sign.evidence["count"] == enough + 1 and str(enough + 1 + 20 * (name == "half")) in sign.sentence


def test_a_better_loss_of_any_kind_is_a_sign_of_scale():
    assert set(measurements.SCALES) == {0.01, 0.1, 10, 100}
    for name in ("scaled", *(f"pgd_scale_{scale:g}".replace(".", "__") for scale in measurements.SCALES)):
        assert flagged(judge(measured(**{name: first(6)}), LABELS)) == {"scale"}
    assert flagged(judge(measured(pgd_exact=first(6)), LABELS)) == {"saturation"}


def test_what_is_only_harder_at_another_scale_is_no_sign():
    """Any network's cross-entropy vanishes when its logits are multiplied by 100; that says nothing of the network."""
    broken = {"pgd_last": first(50), "pgd": first(50), "pgd_restarts": first(50), "pgd_twice_restarts": first(50)}
    broken |= {"pgd_exact": first(50), "pgd_float64": first(50), "pgd_radius_2": first(90), "pgd_radius_4": first(200)}
    assert flagged(judge(measured(**broken), LABELS)) == set()


def test_a_network_without_float64_is_judged_without():
    arrays = measured()
    del arrays["pgd_float64"]
    sign = next(sign for sign in judge(arrays, LABELS) if sign.name == "saturation")
    assert (sign.value, sign.evidence["more_in_float64"]) == (0, None)


def test_without_a_source_transfer_is_not_measured():
    arrays = measured()
    del arrays["transfer"]
    sign = judge(arrays, LABELS)[-1]
    assert (sign.name, sign.value, sign.flagged) == ("transfer", None, False)
    assert sign.sentence == "Not measured, since no other network was given."


def test_accuracies_count_images_and_not_attacks():
    """100 right when clean: 10 fall to the last iterate, 20 to any, 30 to others, and 5 more to noise."""
    arrays = {name: values[:100] for name, values in measured().items()}
    for name, count in {"pgd_last": 10, "pgd": 20, "pgd_restarts": 20, "strong": 30}.items():
        arrays[name] = first(count)[:100]
    arrays["noise"] = np.roll(first(5), 30)[:100]
    found = accuracies(arrays, 200, 100)
    assert [found[name]["accuracy"] for name in found] == [0.5, 0.45, 0.4, 0.35, 0.325]
    assert found["clean"]["accuracy_low"] < 0.5 < found["clean"]["accuracy_high"]


def said(**changed) -> str:
    arrays = measured(**changed)
    return verdict(judge(arrays, LABELS), accuracies(arrays, COUNT, COUNT))


def test_the_verdict_names_the_gap_and_its_cause():
    rounded = {"saturated": first(180), "pgd_exact": first(86), "strong": first(86), "square": first(40)}
    assert said(**rounded) == (
        "Cross-entropy PGD overstates this network's robustness by 43 points (100.0 % of the images withstand it, "
        "57.0 % all attacks): its gradients vanish in floating point (1 - p_y rounds to 0 on 180 of 200 images, and "
        "gradients that are rounded less break 86 more)."
    )
    assert said() == (
        "Cross-entropy PGD shows no sign of gradient masking: 100.0 % of the images withstand it, 100.0 % all attacks."
    )
    assert said(zero_gradient=first(9)).startswith(
        "Cross-entropy PGD shows signs of gradient masking, but no attack finds more (100.0 % of the images withstand "
        "it, 100.0 % all attacks): its gradients are zero ("
    )
    assert "outputs are random" in said(**rounded, variation=np.ones(COUNT))


def test_of_a_network_that_is_never_right_nothing_is_said(digits):
    wrong = Function(lambda images: -digits.plain(images))
    images, labels = digits.images[:20], digits.plain(digits.images[:20]).argmax(1)
    signs = audit.signs(wrong, images, labels, **QUICK)
    assert [sign.value for sign in signs] == [None] * len(RULES)
    assert verdict(signs, accuracies({}, 20, 0)) == (
        "The network classifies no image correctly, so there is no robustness to judge."
    )


def test_the_page_lists_every_sign_with_its_threshold_and_source():
    page = (Path(__file__).parents[2] / "docs/audit.md").read_text()
    rows = {row[1]: row for row in (re.split(r"\s*\|\s*", line) for line in page.splitlines()) if len(row) > 4}
    for name, rule in RULES.items():
        row = rows[f"`{name}`"]
        number, percent = re.match(r"([0-9.]+)( %)?", row[3]).groups()
        assert float(number) / (100 if percent else 1) == pytest.approx(rule.threshold), name
        assert row[4] == rule.source, name


# What is refused.


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"epsilon": 8}, "attack: epsilon is a fraction of the pixel range: write 8/255, not 8"),
        ({"steps": 0}, "audit: steps is a whole number from 1, not 0"),
        ({"restarts": 2.5}, "audit: restarts is a whole number from 1, not 2.5"),
        ({"queries": 0}, "audit: queries is a whole number from 1, not 0"),
        ({"draws": -1}, "audit: draws is a whole number from 1, not -1"),
    ],
)
def test_bad_settings_are_refused(digits, changed, sentence):
    assert problem(audit.signs, digits.plain, digits.images, digits.labels, **QUICK | changed) == sentence


def test_bad_inputs_are_refused(digits):
    images, labels = digits.images[:4], digits.labels[:4]
    nothing = Function(lambda images: digits.plain(images) * math.nan)
    cases = {
        "in training mode": (nn.Sequential(digits.plain), images, labels),
        "images must lie in [0, 1], not in [0, 255]": (digits.plain, 255 * images, labels),
        "labels must be int64, not torch.int32": (digits.plain, images, labels.int()),
        "NaN or infinite": (nothing, images, labels),
        "class 12 is not one of the network's 10 classes": (digits.plain, images, labels + 12 - labels.max()),
    }
    for sentence, arguments in cases.items():
        assert sentence in problem(audit.signs, *arguments, **QUICK)


# The stage.

SPEC = {"split": "evaluation", "count": 24, "epsilon": 8 / 255, "steps": 5, "restarts": 2, "queries": 20, "draws": 4}


@pytest.fixture
def run(tmp_path, bars, spec):
    spec["epochs"] = 2
    training.train(spec, bars, tmp_path / "run", "cpu")
    return tmp_path / "run"


def test_the_record_says_what_the_signs_of_the_last_network_are(run, bars):
    audit.audit(run, bars, SPEC, run / "audit", "cpu")
    record = read_json(run / "audit" / "audit.json")
    model = models.evaluation_copy(checkpoints.network(run, read_json(run / "run.json"), bars, 2), "cpu")
    rows = spread(30, 24).numpy()
    images = torch.from_numpy(bars.images("evaluation")[rows]).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(bars.labels("evaluation")[rows])
    settings = {key: value for key, value in SPEC.items() if key not in ("split", "count")}
    expected = audit.signs(model, images, labels, **settings)
    assert record["signs"] == json.loads(json.dumps([vars(sign) for sign in expected]))
    clean = (model(images).argmax(1) == labels).double().mean().item()
    assert record["summary"]["robust_accuracy"]["clean"]["accuracy"] == pytest.approx(clean)
    assert record["summary"]["flagged"] == [sign.name for sign in expected if sign.flagged]
    assert (record["run"], record["epoch"], record["spec"], record["summary"]["count"]) == ("run", 2, SPEC, 24)
    assert outcomes.load(outcomes.outcomes_path(run / "audit", 2))["index"].tolist() == rows.tolist()


def test_a_killed_audit_goes_on_after_its_last_batch(run, bars, monkeypatch):
    monkeypatch.setattr(stage, "BATCH", 10)
    audit.audit(run, bars, SPEC, run / "whole", "cpu")
    measure, sizes = stage._measured, []

    def failing(model, inputs, *rest):
        sizes.append(len(inputs))
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return measure(model, inputs, *rest)

    monkeypatch.setattr(stage, "_measured", failing)
    with pytest.raises(KeyboardInterrupt):
        audit.audit(run, bars, SPEC, run / "killed", "cpu")
    assert not (run / "killed" / "audit.json").exists()
    audit.audit(run, bars, SPEC, run / "killed", "cpu")
    assert sizes == [10, 10, 10, 4]
    assert [path.name for path in (run / "killed" / "samples").iterdir()] == ["epoch-002.npz"]
    whole, killed = (read_json(run / name / "audit.json") for name in ("whole", "killed"))
    assert (whole["signs"], whole["summary"]) == (killed["signs"], killed["summary"])


def test_an_audit_says_how_fast_it_goes_and_how_many_withstand(run, bars, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0)
    monkeypatch.setattr(stage, "BATCH", 12)
    audit.audit(run, bars, SPEC, run / "audit", "cpu")
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("batches: ")]
    worst = 100 * read_json(run / "audit" / "audit.json")["summary"]["robust_accuracy"]["worst_case"]["accuracy"]
    assert len(lines) == 2 and re.search(f"{worst:.1f} % of 24 images robust, [1-9].* images per second", lines[1])


def test_a_defence_and_another_run_belong_to_the_audited_network(run, bars, spec):
    training.train(spec | {"seed": 4, "epochs": 1}, bars, run.parent / "twin", "cpu")
    padding = {"name": "random_padding", "smallest": 5, "size": 8, "passes": 1}
    audit.audit(run, bars, SPEC | {"defence": padding, "source": "twin"}, run / "audit", "cpu")
    signs = {sign["name"]: sign for sign in read_json(run / "audit" / "audit.json")["signs"]}
    assert signs["randomness"]["flagged"] and signs["transfer"]["value"] is not None


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"epsilon": None}, "audit: the key 'epsilon' is missing"),
        ({"split": None}, "audit: the key 'split' is missing"),
        ({"split": "tests"}, "audit: there is no split 'tests'; did you mean 'test'"),
        ({"step": 3}, "audit: unknown key 'step'; did you mean 'steps'"),
        ({"count": 0}, "audit: count is a whole number from 1, not 0"),
        ({"source": "nowhere"}, "nowhere/run.json is missing"),
    ],
)
def test_a_bad_specification_is_refused(run, bars, changed, sentence):
    wanted = {key: value for key, value in (SPEC | changed).items() if value is not None}
    with pytest.raises(Problem, match=re.escape(sentence)):
        audit.audit(run, bars, wanted, run / "audit", "cpu")
    assert not (run / "audit" / "audit.json").exists()
