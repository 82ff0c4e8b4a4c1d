"""Step-adaptive i-FGSM against closed forms, hand computations and autograd."""

import itertools
import math

import loss_networks
import pytest
import torch
from small_networks import predictions, seeded
from torch import nn
from torch.nn import functional as F

from robustloss import attacks, config
from robustloss.attacks.parts import gradients
from robustloss.errors import Problem

SETTINGS = {"epsilon": 0.1, "step_size": 0.02, "smallest_step": 0.001, "steps": 10}
TRACKERS = ["rescale", "trigonometric", "probability", "constant"]
TARGETS = [None, "all_one", "entropy", "second", 2]


class Plane(nn.Module):
    """Two classes whose logits differ by w x + b, so that an image's Linf distance to the boundary is known."""

    def __init__(self, weight, bias):
        super().__init__()
        self.weight, self.bias, self.sizes = nn.Parameter(weight), bias, []

    def margin(self, images):
        return images.flatten(1) @ self.weight + self.bias

    def forward(self, images):
        self.sizes.append(len(images))
        margin = self.margin(images)
        return torch.stack([-margin / 2, margin / 2], 1)


class Crowd(nn.Module):
    """The plane's margin as the logit of class 0, and nine further classes that are all at 0."""

    def __init__(self, plane):
        super().__init__()
        self.plane = plane

    def forward(self, images):
        return F.pad(self.plane.margin(images)[:, None], (0, 9))


def perturb(*arguments, **settings):
    return attacks.load("sai_fgsm")(*arguments, **settings).images


def linear(count=40):
    """Images far from the ends of [0, 1] at distances of about 0 to 0.1, with the classes that the model gives them."""
    weight = torch.randn(27, generator=seeded(), dtype=torch.float64)
    images = 0.3 + 0.4 * torch.rand(count, 3, 3, 3, generator=seeded(1), dtype=torch.float64)
    model = Plane(weight, -(images.flatten(1) @ weight).mean().item()).eval()
    return model, images, (model.margin(images) > 0).long()


def network(classes=5, gap=3.0, dtype=torch.float64, count=24, fitted=0.75):
    """A smooth network whose median gap between the top logits is `gap`; `fitted` of the labels are its predictions."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 32), nn.GELU(), nn.Linear(32, classes)).to(dtype).eval()
    images = torch.rand(count, 1, 6, 6, generator=seeded(1), dtype=dtype)
    images[0, 0, 0], images[1, 0, 0] = 0, 1
    with torch.no_grad():
        top = model(images).topk(2, 1).values
        model[3].weight *= gap / (top[:, 0] - top[:, 1]).median()
        model[3].bias *= gap / (top[:, 0] - top[:, 1]).median()
        labels = model(images).argmax(1)
    labels[int(fitted * count) :] = (labels[int(fitted * count) :] + 1) % classes
    return model, images, labels


def by_hand(loss, tracker, step_size, smallest_step, at_boundary=None):
    ratio = min(loss / (at_boundary or math.log(2)), 1)
    factors = {
        "rescale": 1 - ratio,
        "trigonometric": math.cos(math.pi * ratio / 2),
        "probability": math.exp(-loss),
        "constant": 1,
    }
    return max(smallest_step, step_size * factors[tracker])


def descended(target, logits, labels):
    """The loss (N,) that an attack descends, written with torch's own functions."""
    log_f = logits.log_softmax(1)
    if target is None:
        return -F.cross_entropy(logits, labels, reduction="none")
    if target == "all_one":
        return -log_f.sum(1)
    if target == "entropy":
        return (log_f.exp() * log_f).sum(1)
    return F.cross_entropy(logits, labels if target == "second" else torch.full_like(labels, target), reduction="none")


def second(logits, labels):
    """The most likely wrong class of each sample."""
    return torch.tensor(
        [
            next(k for k in row.argsort(descending=True).tolist() if k != y)
            for row, y in zip(logits, labels, strict=True)
        ]
    )


@pytest.mark.parametrize("boundary", ["log2", "tie"])
@pytest.mark.parametrize("tracker", TRACKERS)
def test_borderline_samples_of_a_linear_model_are_where_a_recursion_of_scalars_puts_them(tracker, boundary):
    model, images, labels = linear()
    settings = {"epsilon": 0.2, "step_size": 0.01, "smallest_step": 0.0005, "steps": 200, "tracker": tracker}
    found = perturb(model, images, labels, seeded(), **settings, boundary=boundary)
    slope = model.weight.abs().sum().item()
    for image, adversarial, margin in zip(images, found, model.margin(images).abs().tolist(), strict=True):
        total = last = 0.0
        while margin > 0:
            last = by_hand(math.log1p(math.exp(-margin)), tracker, 0.01, 0.0005)
            total, margin = total + last, margin - last * slope
        moved = (adversarial - image).abs()
        assert torch.allclose(moved, torch.full_like(moved, total), rtol=0, atol=1e-9)
        distance = model.margin(image[None]).abs().item() / slope
        assert distance <= total < distance + last
    assert (predictions(model, found) != labels).all()


@pytest.mark.parametrize("tracker", ["rescale", "trigonometric", "probability"])
def test_adaptive_steps_reach_the_boundary_as_often_as_constant_ones_with_less_perturbation(tracker):
    model, images, labels = linear()
    settings = {"epsilon": 0.2, "step_size": 0.02, "smallest_step": 0.001, "steps": 100}
    norms = {}
    for name in (tracker, "constant"):
        found = perturb(model, images, labels, seeded(), **settings, tracker=name)
        assert (predictions(model, found) != labels).all()
        norms[name] = (found - images).abs().amax((1, 2, 3)).mean()
    distance = (model.margin(images).abs() / model.weight.abs().sum()).mean()
    assert distance < norms[tracker] < norms["constant"]
    if tracker != "probability":  # whose steps are still half as long at the boundary
        assert norms[tracker] - distance < (norms["constant"] - distance) / 3


def margins(model, images, labels):
    """How far the label's logit is above the largest of the others."""
    with torch.no_grad():
        logits = model(images)
    truth = labels[:, None]
    return (logits.gather(1, truth) - logits.scatter(1, truth, -torch.inf).amax(1, keepdim=True))[:, 0]


def borderline(model, images, labels, tracker, epsilon=0.15):
    """What ding2025's yaml does, with its proportions of steps to a radius that digits of 8 x 8 pixels need."""
    paper = config.numbers(config.read_yaml(config.WORKFLOW / "papers" / "ding2025.yaml"))
    settings = {key: value for key, value in paper["perturbations"]["borderline"].items() if key != "name"}
    sizes = {key: settings[key] / settings["epsilon"] * epsilon for key in ("epsilon", "step_size", "smallest_step")}
    return perturb(model, images, labels, seeded(), **settings | sizes | {"tracker": tracker})


# The share of images that cross, their perturbation as a part of that of constant steps, and the median distance of
# their margin from 0 as a part of the clean one. Measured: 62, 79 and 78 %, of which 91, 93 and 96 %, and 0.6, 0.9 and
# 4.9 %; constant steps let 83 % cross, to 9 % or more of the clean margin.
@pytest.mark.parametrize(
    ("tracker", "crossing", "shorter", "median"),
    [("rescale", 0.55, 0.95, 0.015), ("trigonometric", 0.7, 0.96, 0.02), ("probability", 0.7, 0.98, 0.07)],
)
def test_borderline_samples_of_a_trained_network_lie_at_the_boundary_nearer_than_those_of_constant_steps(
    tracker, crossing, shorter, median
):
    model, images, labels = loss_networks.right("plain", 400)
    found, constant = (borderline(model, images, labels, name) for name in (tracker, "constant"))
    crossed, also = (margins(model, each, labels) <= 0 for each in (found, constant))
    assert crossing < crossed.double().mean() < also.double().mean() < 0.9
    both = crossed & also
    for norm in (2, math.inf):
        lengths = [(each - images).flatten(1)[both].norm(norm, dim=1) for each in (found, constant)]
        assert lengths[0].mean() < shorter * lengths[1].mean()
    left, across = (
        (margins(model, each, labels).abs() / margins(model, images, labels))[both] for each in (found, constant)
    )
    assert left.median() < median < 0.08 < across.median()


@pytest.mark.parametrize("boundary", ["log2", "tie"])
@pytest.mark.parametrize("smallest_step", [1e-4, 0.015])
@pytest.mark.parametrize("tracker", TRACKERS)
def test_one_step_is_as_long_as_the_formula_says_by_hand(tracker, smallest_step, boundary):
    model, images, labels = network(gap=1)
    settings = {**SETTINGS, "steps": 1, "smallest_step": smallest_step, "tracker": tracker}
    found = perturb(model, images, labels, seeded(), **settings, boundary=boundary, stop_at_boundary=False)
    inputs = images.clone().requires_grad_()
    logits = model(inputs)
    losses = F.cross_entropy(logits, labels, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), inputs)
    if boundary == "log2":
        ends = [math.log(2)] * len(labels)
    else:
        tied = logits.detach().clone()
        for row, label in zip(tied, labels, strict=True):
            row[label] = max(row[k] for k in range(len(row)) if k != label)
        ends = F.cross_entropy(tied, labels, reduction="none").tolist()
    sizes = [by_hand(loss, tracker, 0.02, smallest_step, end) for loss, end in zip(losses.tolist(), ends, strict=True)]
    expected = images + torch.tensor(sizes, dtype=torch.float64).view(-1, 1, 1, 1) * gradient.sign()
    assert torch.allclose(found, expected.clamp(0, 1), rtol=0, atol=1e-12)
    assert tracker == "constant" or len(set(sizes)) > 1
    assert smallest_step in sizes or tracker == "constant" or smallest_step == 1e-4


@pytest.mark.parametrize("steps", [1, 3, 12])
def test_constant_steps_without_a_stop_are_those_of_pgd(steps):
    model, images, labels = network()
    settings = {"epsilon": 0.05, "step_size": 0.02, "steps": steps}
    expected = attacks.load("pgd")(model, images, labels, seeded(), **settings).images
    settings |= {"smallest_step": 0.02, "tracker": "constant", "stop_at_boundary": False}
    found = perturb(model, images, labels, seeded(), **settings)
    assert not torch.equal(found, images)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("tracker", ["trigonometric", "constant"])
def test_keeps_the_first_iterate_of_another_class_else_the_last(tracker, target):
    model, images, labels = network(gap=1.5)
    settings = {**SETTINGS, "smallest_step": 0.005, "steps": 15, "tracker": tracker, "target": target}
    found = perturb(model, images, labels, seeded(), **settings)
    expected, crossed, when = images.clone(), predictions(model, images) != labels, set()
    assert crossed.any()
    assert torch.equal(found[crossed], images[crossed])
    for steps in range(1, 16):
        iterate = perturb(model, images, labels, seeded(), **{**settings, "steps": steps}, stop_at_boundary=False)
        expected[~crossed] = iterate[~crossed]
        new = ~crossed & (predictions(model, iterate) != labels)
        when |= {steps} if new.any() else set()
        crossed |= new
    assert torch.allclose(found, expected, rtol=0, atol=1e-9)
    assert len(when) > 1
    assert not crossed.all()


def test_steps_that_follow_log2_stall_before_a_boundary_with_many_classes_and_those_that_follow_the_tie_do_not():
    plane, images, _ = linear()
    labels = torch.zeros(len(images), dtype=torch.int64)
    # The label's logit starts at 3 or more and nine others are 0: at the boundary the cross-entropy is log 10.
    plane.bias += 3 - plane.margin(images).min().item()
    model = Crowd(plane).eval()
    settings = {**SETTINGS, "epsilon": 0.3, "steps": 40}
    stalled = perturb(model, images, labels, seeded(), **settings)
    tied = perturb(model, images, labels, seeded(), **settings, boundary="tie")
    constant = perturb(model, images, labels, seeded(), **settings, tracker="constant")
    assert (predictions(model, stalled) == 0).all()
    assert (F.cross_entropy(model(stalled), labels, reduction="none") > math.log(2)).all()
    for found in (tied, constant):
        assert (predictions(model, found) != 0).all()
    assert (tied - images).abs().amax((1, 2, 3)).mean() < (constant - images).abs().amax((1, 2, 3)).mean()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("stop", [True, False])
def test_stays_in_the_ball_and_among_images(stop, target, dtype):
    model, images, labels = network(dtype=dtype, gap=8)
    before = images.clone()
    settings = {**SETTINGS, "epsilon": 0.03, "target": target, "stop_at_boundary": stop}
    found = perturb(model, images, labels, seeded(), **settings)
    assert found.shape == images.shape
    assert found.dtype == dtype
    assert 0.029 < (found - images).abs().max() <= 0.03 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(images, before)
    assert not found.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("target", TARGETS)
def test_iterates_follow_autograd_of_the_loss_towards_each_target(target):
    model, images, labels = network(fitted=1)
    with torch.no_grad():
        towards = second(model(images), labels) if target == "second" else labels
    expected = images.clone()
    for _ in range(5):
        inputs = expected.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(descended(target, model(inputs), towards).sum(), inputs)
        expected = torch.max(torch.min(expected - 0.02 * gradient.sign(), images + 0.05), images - 0.05).clamp(0, 1)
    settings = {"epsilon": 0.05, "step_size": 0.02, "smallest_step": 0.02, "steps": 5, "stop_at_boundary": False}
    found = perturb(model, images, labels, seeded(), **settings, target=target)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    with torch.no_grad():
        assert (descended(target, model(found), towards) < descended(target, model(images), towards)).all()


@pytest.mark.parametrize(
    ("direction", "target", "scale"),
    [
        (gradients.all_one, "all_one", lambda f, labels: torch.ones(len(f), 1)),
        (gradients.entropy, "entropy", lambda f, labels: 1 - f.amax(1, keepdim=True)),
        (gradients.to_class, "second", lambda f, labels: 1 - f.gather(1, labels[:, None])),
    ],
)
def test_directions_are_gradients_by_autograd_and_by_finite_differences(direction, target, scale):
    logits = 3 * torch.randn(50, 7, generator=seeded(), dtype=torch.float64)
    labels = torch.randint(7, (50,), generator=seeded())
    found = direction(logits, labels) * scale(logits.softmax(1), labels)
    inputs = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(descended(target, inputs, labels).sum(), inputs)
    assert torch.allclose(found, -gradient, rtol=0, atol=1e-12)
    for column, shift in enumerate(1e-5 * torch.eye(7, dtype=torch.float64)):
        difference = descended(target, logits + shift, labels) - descended(target, logits - shift, labels)
        assert torch.allclose(found[:, column], -difference / 2e-5, rtol=0, atol=1e-8)


@pytest.mark.parametrize("direction", [gradients.all_one, gradients.entropy, gradients.to_class])
@pytest.mark.parametrize("gap", [1, 20, 60, 200])
def test_directions_survive_large_logits_in_float32(direction, gap):
    logits = torch.randn(30, 7, generator=seeded(), dtype=torch.float64)
    logits[:, 0] += gap
    labels = torch.randint(1, 7, (30,), generator=seeded())
    logits = logits.float().double()
    expected = direction(logits, labels)
    found = direction(logits.float(), labels)
    assert found.dtype == torch.float32
    assert expected.abs().amax(1).min() > 0.05
    assert torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-5)


def test_confident_samples_are_moved_to_the_boundary_in_float32():
    model, images, labels = linear()
    steep = Plane(300 * model.weight.detach().float(), 300 * model.bias).eval()
    assert steep.margin(images.float()).abs().median() > 90
    for target in (None, "all_one", "entropy", "second"):
        settings = {**SETTINGS, "epsilon": 0.2, "steps": 20, "target": target}
        found = perturb(steep, images.float(), labels, seeded(), **settings)
        assert (predictions(steep, found) != labels).all()


def test_second_target_leaves_images_that_are_misclassified_when_clean():
    model, images, labels = network()
    wrong = predictions(model, images) != labels
    assert 0 < wrong.sum() < len(wrong)
    found = perturb(model, images, labels, seeded(), **SETTINGS, target="second", stop_at_boundary=False)
    assert torch.equal(found[wrong], images[wrong])
    assert (found - images).flatten(1).any(1)[~wrong].all()
    with torch.no_grad():
        reached = model(found)[~wrong].argmax(1) == second(model(images), labels)[~wrong]
    assert reached.float().mean() > 0.8


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", [1, 7])
def test_results_do_not_depend_on_the_batch_size(size, target):
    model, images, labels = network(gap=1.5)
    settings = {**SETTINGS, "target": target}
    whole = perturb(model, images, labels, seeded(), **settings)
    batches = zip(images.split(size), labels.split(size), strict=True)
    parts = torch.cat([perturb(model, *batch, seeded(), **settings) for batch in batches])
    assert torch.allclose(parts, whole, rtol=0, atol=1e-9)


def test_samples_that_are_done_leave_the_batch_in_few_different_sizes():
    model, images, labels = linear(200)
    settings = {**SETTINGS, "epsilon": 0.2, "steps": 100}
    perturb(model, images, labels, seeded(), **settings)
    assert sum(model.sizes) < 0.75 * 200 * len(model.sizes)
    assert len(model.sizes) < 100
    assert 3 <= len(set(model.sizes)) <= 34
    assert all(size % 6 == 0 or size == 200 for size in model.sizes)


@pytest.mark.parametrize("stop", [True, False])
def test_counts_are_the_steps_and_passes_until_a_sample_stops(stop):
    model, images, labels = network(gap=1.5)
    settings = {**SETTINGS, "epsilon": 0.5, "tracker": "constant", "stop_at_boundary": stop}
    found = attacks.load("sai_fgsm")(model, images, labels, seeded(), **settings)
    iterates = [images]
    for steps in range(1, 11):
        iterates.append(perturb(model, images, labels, seeded(), **{**settings, "steps": steps}))
    moves = torch.stack([(b - a).flatten(1).any(1) for a, b in itertools.pairwise(iterates)]).sum(0)
    assert torch.equal(found.iterations, moves)
    assert torch.equal(found.queries, (moves + 1).clamp(max=10))
    assert len(moves.unique()) > 3 if stop else (moves == 10).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epsilon": 2}, "write 8/255, not 2"),
        ({"step_size": 0}, "step_size is a fraction"),
        ({"smallest_step": 0}, "smallest_step must be above 0"),
        ({"smallest_step": 0.03}, "smallest_step must be above 0 and at most step_size 0.02, not 0.03"),
        ({"steps": 0}, "steps is a whole number from 1, not 0"),
        ({"tracker": "trigonometrik"}, "did you mean 'trigonometric'"),
        ({"boundary": "ties"}, "did you mean 'tie'"),
        ({"target": "al_one"}, "did you mean 'all_one'"),
        ({"target": True}, "there is no target 'True'"),
        ({"target": -1}, "there is no target '-1'"),
        ({"target": 5}, "class 5 is not one of the network's 5 classes"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    with pytest.raises(Problem, match=sentence):
        perturb(*network(), seeded(), **{**SETTINGS, **settings})


def test_networks_and_inputs_that_cannot_be_attacked_are_refused():
    model, images, labels = network()
    with pytest.raises(Problem, match="divide pixels by 255"):
        perturb(model, 255 * images, labels, seeded(), **SETTINGS)
    with pytest.raises(Problem, match="training mode"):
        perturb(model.train(), images, labels, seeded(), **SETTINGS)
    model.eval()[3].bias.data[0] = torch.nan
    with pytest.raises(Problem, match="NaN or infinite"):
        perturb(model, images, labels, seeded(), **SETTINGS)
