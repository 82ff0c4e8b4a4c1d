"""Auto-PGD against closed forms, and against torchattacks on networks trained on digits."""

import copy

import digit_networks as digits
import pytest
import torch
from digit_networks import Counted
from small_networks import Linear, Scaled, predictions, seeded

from robustloss import attacks
from robustloss.attacks import apgd
from robustloss.attacks.parts import gradients
from robustloss.errors import Problem

LOSSES = ["exact_cross_entropy", "cross_entropy", "dlr", "margin"]
SEEDS = range(3)


def perturb(*arguments, **settings):
    return attacks.load("apgd")(*arguments, **settings)


def draw(count=20, shape=(3, 3, 3), classes=2, margin=0.0):
    """Images at least `margin` away from 0 and 1, and labels."""
    images = margin + (1 - 2 * margin) * torch.rand(count, *shape, generator=seeded(1), dtype=torch.float64)
    return images, torch.randint(classes, (count,), generator=seeded(2))


def linear(classes=2, pixels=27):
    return Linear(torch.randn(classes, pixels, generator=seeded(), dtype=torch.float64))


def margin(model, images, labels):
    return gradients.margin_value(model(images), labels)


def others(model, labels):
    """w_t - w_y for every class t (N, K, pixels); zero for the label."""
    return model.weight[None] - model.weight[labels][:, None]


@pytest.mark.parametrize("stop", [True, False])
@pytest.mark.parametrize("loss", ["exact_cross_entropy", "cross_entropy", "margin"])
def test_reaches_the_optimum_of_a_linear_model(loss, stop):
    model, (images, labels) = linear(), draw()
    model.bias = torch.where(torch.eye(2, dtype=torch.bool)[labels], 12.0, 0.0)  # so that no sample ever leaves
    found = perturb(model, images, labels, seeded(), epsilon=0.1, steps=20, loss=loss, stop=stop).images
    direction = (model.weight[1 - labels] - model.weight[labels]).view_as(images)
    assert torch.allclose(found, (images + 0.1 * direction.sign()).clamp(0, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("norm", "dual", "epsilon"), [("linf", 1, 0.1), ("l2", 2, 0.3)])
def test_raises_the_margin_by_epsilon_times_the_dual_norm(norm, dual, epsilon):
    """With targets each of the wrong classes is climbed to its own optimum, and the best of these is returned."""
    model, (images, labels) = linear(classes=5), draw(classes=5, margin=0.3)
    settings = {"epsilon": epsilon, "loss": "margin", "targets": 4, "norm": norm, "stop": False}
    found = perturb(model, images, labels, seeded(), **settings).images
    clean, truth = model(images), torch.eye(5, dtype=torch.bool)[labels]
    reachable = clean - clean.gather(1, labels[:, None]) + epsilon * others(model, labels).norm(p=dual, dim=2)
    optimum = reachable.masked_fill(truth, -torch.inf).amax(1)
    assert torch.allclose(margin(model, found, labels), optimum, rtol=0, atol=1e-9)


def test_halving_steps_converge_where_the_optimum_is_inside_the_ball():
    images, labels = draw(margin=0.3)
    summit = images + 0.1 * (2 * torch.rand(images.shape, generator=seeded(3), dtype=torch.float64) - 1)

    def roof(moved):
        height = -(moved - summit).abs().sum((1, 2, 3))
        return torch.where(torch.eye(2, dtype=torch.bool)[labels], 0, height[:, None])

    model = torch.nn.Module()
    model.forward = roof
    settings = {"epsilon": 0.1, "loss": "margin", "stop": False}
    found = perturb(model.eval(), images, labels, seeded(), **settings).images
    assert (found - summit).abs().mean() < 0.1 / 20
    # Two halvings, after 1 and 2 of 3 steps, are not enough.
    short = perturb(model, images, labels, seeded(), **settings, steps=3).images
    assert (short - summit).abs().mean() > 0.1 / 20


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        # int(0.22 n), then shorter by int(0.03 n) each but at least int(0.06 n) long, all of these at least 1.
        (1, [1]),
        (4, [1, 2, 3, 4]),
        (10, [2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (20, [4, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]),
        (50, [11, 21, 30, 38, 45]),
        (100, [22, 41, 57, 70, 80, 87, 93, 99]),
        (1000, [220, 410, 570, 700, 800, 870, 930, 990]),
    ],
)
def test_checkpoints_are_the_authors(steps, expected):
    assert apgd.checkpoints(steps) == expected


class Seen(torch.nn.Module):
    """Keeps the images that the network was asked about."""

    def __init__(self, body):
        super().__init__()
        self.body, self.seen = body, []
        self.eval()

    def forward(self, images):
        self.seen.append(images.detach().clone())
        return self.body(images)


@pytest.mark.parametrize(("norm", "order"), [("linf", torch.inf), ("l2", 2)])
def test_climbs_start_at_random_points_of_the_surface(norm, order):
    model, (images, labels) = Seen(linear(classes=5)), draw(200, classes=5, margin=0.3)
    perturb(model, images, labels, seeded(), epsilon=0.1, steps=1, norm=norm, stop=False)
    noise = (model.seen[1] - images).flatten(1)
    assert torch.allclose(noise.norm(p=order, dim=1), torch.tensor(0.1, dtype=noise.dtype), rtol=0, atol=1e-12)
    assert (noise.abs() >= 0.1 - 1e-12).sum(1).max() <= 1
    # In each value the mean of 200 is within four standard deviations of 0.
    assert (noise.mean(0).abs() < 4 * noise.std(0) / 200**0.5).all()


def textbook(model, image, start, label, epsilon, steps, loss):
    """A climb in Linf by the authors' rules, of one image; of its iterates the one of the largest margin."""

    def ask(point):
        point = point.detach().requires_grad_()
        logits = model(point)
        (gradient,) = torch.autograd.grad((logits * loss.direction(logits.detach(), label)).sum(), point)
        tried.append((margin(model, point, label).item(), point.detach()))
        return loss.value(logits.detach(), label).item(), gradient

    def inside(point):
        return point.clamp(image - epsilon, image + epsilon).clamp(0, 1)

    tried, x, before = [], start, start
    value, gradient = ask(x)
    values, size, best = [value], 2 * epsilon, (value, x, gradient)
    reduced, best_then, last = True, value, 0
    for step in range(1, steps + 1):
        share = 0.75 if step > 1 else 1.0
        ahead = inside(x + size * gradient.sign())
        x, before = inside(x + share * (ahead - x) + (1 - share) * (x - before)), x
        value, gradient = ask(x)
        values.append(value)
        if value > best[0]:
            best = value, x, gradient
        if step in apgd.checkpoints(steps):
            rises = sum(values[at] > values[at - 1] for at in range(last + 1, step + 1))
            reduced = rises <= 0.75 * (step - last) or (not reduced and best[0] <= best_then)
            best_then, last = best[0], step
            if reduced:
                size, (_, x, gradient) = size / 2, best
    return max(tried, key=lambda found: found[0])[1]


@pytest.mark.parametrize("steps", [7, 30])
@pytest.mark.parametrize("loss", ["exact_cross_entropy", "dlr"])
def test_a_climb_is_that_of_the_textbook(loss, steps):
    model = Seen(copy.deepcopy(digits.network("robust")).double())
    images, labels = (part[:12] for part in digits.held_out())
    images = images.double()
    found = perturb(model, images, labels, seeded(), epsilon=0.17, steps=steps, loss=loss, stop=False)
    rows = zip(*(part.split(1) for part in (images, model.seen[1], labels)), strict=True)
    climbed = gradients.choose(loss)
    expected = torch.cat([textbook(model.body, *row, epsilon=0.17, steps=steps, loss=climbed) for row in rows])
    clean = margin(model.body, images, labels) > margin(model.body, expected, labels)
    expected = torch.where(clean.view(-1, 1, 1, 1), images, expected)
    assert torch.allclose(found.images, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("norm", "radii"), [("linf", digits.EPSILON), ("l2", digits.EPSILON_L2)])
@pytest.mark.parametrize("targets", [None, 4])
@pytest.mark.parametrize("stop", [True, False])
def test_stays_in_the_ball_and_among_images(norm, radii, loss, targets, stop):
    images, labels = digits.held_out(30)
    before = images.clone()
    settings = {"epsilon": radii["robust"], "norm": norm, "loss": loss, "targets": targets, "stop": stop}
    model = digits.network("robust")
    found = perturb(model, images, labels, seeded(), **settings, steps=12, restarts=2)
    order = torch.inf if norm == "linf" else 2
    assert (found.images - images).flatten(1).norm(p=order, dim=1).max() <= radii["robust"] + 1e-6
    assert found.images.aminmax().min >= 0
    assert found.images.aminmax().max <= 1
    assert torch.equal(images, before)
    assert not found.images.requires_grad
    with torch.no_grad():
        assert (margin(model, found.images, labels) >= margin(model, images, labels)).all()
    climbs = 2 * (targets or 1)
    if stop:
        right = predictions(model, images) == labels
        assert torch.equal(found.images[~right], images[~right])
        assert (found.iterations[~right] == 0).all()
        assert (found.queries[~right] == 1).all()
        withstood = predictions(model, found.images) == labels
        assert (found.queries[withstood] == 1 + climbs * 13).all()
        assert (found.queries[right & ~withstood] < 1 + climbs * 13).any()
    else:
        assert (found.iterations == climbs * 12).all()
        assert (found.queries == 1 + climbs * 13).all()


def test_queries_are_the_forward_passes():
    model = Counted(digits.network("robust"))
    for image, label in zip(*(part[:12].split(1) for part in digits.held_out()), strict=True):
        model.sizes.clear()
        found = perturb(model, image, label, seeded(), epsilon=0.17, steps=8, loss="dlr", targets=3)
        assert found.queries.item() == sum(model.sizes)
        assert found.iterations.item() <= 3 * 8


def test_samples_leave_and_targets_share_a_batch():
    model, (images, labels) = Counted(digits.network("robust")), digits.held_out(64)
    found = perturb(model, images, labels, seeded(), epsilon=0.17, steps=20, loss="dlr", targets=9)
    withstood = predictions(model, found.images) == labels
    rounds = 9 * withstood.sum() / 64
    assert max(model.sizes) == 64
    # The first round with all samples, the others with little more than those that are left.
    assert len(model.sizes) < (3 + rounds) * 21
    assert sum(model.sizes) < 1.3 * found.queries.sum()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("settings", [{"restarts": 3, "targets": 3, "stop": False}, {"restarts": 1}])
def test_results_do_not_depend_on_the_batch(norm, settings):
    images, labels = (part[:12] for part in digits.held_out())
    model, images = copy.deepcopy(digits.network("robust")).double(), images.double()
    settings = {"epsilon": 0.15 if norm == "linf" else 0.7, "norm": norm, "steps": 15, "loss": "dlr", **settings}
    whole, generator = perturb(model, images, labels, seeded(), **settings), seeded()
    batches = zip(images.split(5), labels.split(5), strict=True)
    parts = [perturb(model, *batch, generator, **settings) for batch in batches]
    assert torch.allclose(torch.cat([part.images for part in parts]), whole.images, rtol=0, atol=1e-9)
    assert torch.equal(torch.cat([part.queries for part in parts]), whole.queries)


def test_repeated_calls_agree_bit_by_bit_and_other_seeds_do_not():
    model, (images, labels) = digits.network("robust"), digits.held_out(40)
    first, again, other = (
        perturb(model, images, labels, seeded(seed), epsilon=0.17, steps=10).images for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("loss", ["scaled_cross_entropy", "dlr", "margin"])
@pytest.mark.parametrize("targets", [None, 3])
@pytest.mark.parametrize("scale", [2.0**-7, 2.0**7])
def test_scale_of_the_logits_has_no_part(loss, targets, scale):
    model, (images, labels) = digits.network("robust"), digits.held_out(40)
    first, other = (
        perturb(net, images, labels, seeded(), epsilon=0.17, steps=15, loss=loss, targets=targets).images
        for net in (model, Scaled(model, scale))
    )
    assert torch.equal(first, other)


@pytest.mark.parametrize(("loss", "targets"), [("scaled_cross_entropy", None), ("dlr", None), ("dlr", 3)])
def test_success_is_the_same_at_every_scale_of_the_logits(loss, targets):
    model, (images, labels) = digits.network("robust"), digits.held_out()
    settings = {"epsilon": 0.17, "steps": 20, "loss": loss, "targets": targets}
    rates = [
        digits.robust_accuracy("robust", perturb(net, images, labels, seeded(), **settings).images)
        for net in (model, *(Scaled(model, scale) for scale in (0.01, 0.1, 10, 100)))
    ]
    assert 0.2 < rates[0] < 0.8
    assert max(rates) - min(rates) <= 0.01


@pytest.mark.parametrize("targets", [None, 3])
def test_large_logits_do_not_hide_a_sample_from_the_exact_cross_entropy(targets):
    """It turns into the margin, which is as strong but not the same."""
    model, (images, labels) = digits.network("robust"), digits.held_out()
    settings = {"epsilon": 0.17, "steps": 40, "targets": targets}
    first, other = (
        digits.robust_accuracy("robust", perturb(net, images, labels, seeded(), **settings).images)
        for net in (model, Scaled(model, 100))
    )
    assert other == pytest.approx(first, abs=0.02)


@pytest.fixture(scope="module")
def torchattacks():
    return pytest.importorskip("torchattacks")


def mean_robust_accuracy(kind, attack):
    """Over seeds, since climbs from single random starts differ by some samples."""
    images, labels = digits.held_out(400)
    found = (attack(images, labels, seed) for seed in SEEDS)
    return sum(digits.robust_accuracy(kind, images) for images in found) / len(SEEDS)


@pytest.mark.parametrize("kind", ["plain", "robust"])
@pytest.mark.parametrize(("norm", "name", "radii"), [("linf", "Linf", digits.EPSILON), ("l2", "L2", digits.EPSILON_L2)])
@pytest.mark.parametrize(("loss", "peer"), [("exact_cross_entropy", "ce"), ("cross_entropy", "ce"), ("dlr", "dlr")])
def test_is_as_strong_as_torchattacks(torchattacks, kind, norm, name, radii, loss, peer):
    model, epsilon = digits.network(kind), radii[kind]

    def theirs(images, labels, seed):
        return torchattacks.APGD(model, norm=name, eps=epsilon, steps=100, loss=peer, seed=seed)(images, labels)

    def ours(images, labels, seed):
        return perturb(model, images, labels, seeded(seed), epsilon=epsilon, norm=norm, loss=loss).images

    known = mean_robust_accuracy(kind, theirs)
    assert 0.1 < known < 0.8
    assert mean_robust_accuracy(kind, ours) <= known + 0.005


@pytest.mark.parametrize("kind", ["plain", "robust"])
@pytest.mark.parametrize(("norm", "name", "radii"), [("linf", "Linf", digits.EPSILON), ("l2", "L2", digits.EPSILON_L2)])
def test_targeted_is_as_strong_as_torchattacks(torchattacks, kind, norm, name, radii):
    model, epsilon, (images, labels) = digits.network(kind), radii[kind], digits.held_out()
    theirs = torchattacks.APGDT(model, norm=name, eps=epsilon, steps=100, seed=0)(images, labels)
    settings = {"epsilon": epsilon, "norm": norm, "loss": "dlr", "targets": 9}
    ours = perturb(model, images, labels, seeded(), **settings).images
    assert digits.robust_accuracy(kind, ours) <= digits.robust_accuracy(kind, theirs) + 0.005


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epsilon": 8}, "epsilon is a fraction of the pixel range: write 8/255, not 8"),
        ({"epsilon": 0}, "epsilon must be above 0"),
        ({"epsilon": float("nan")}, "epsilon must be above 0"),
        ({"epsilon": -1, "norm": "l2"}, "epsilon must be above 0"),
        ({"norm": "l1"}, "there is no norm 'l1'"),
        ({"steps": 0}, "steps is a whole number from 1, not 0"),
        ({"restarts": 0}, "restarts is a whole number from 1, not 0"),
        ({"targets": 0}, "targets is a whole number from 1, not 0"),
        ({"targets": 10}, "targets is from 1 to 9, as many as there are wrong classes, not 10"),
        ({"rho": 0}, "rho is a share of the steps"),
        ({"rho": 1.5}, "rho is a share of the steps"),
        ({"loss": "dlrs"}, "did you mean 'dlr'"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    with pytest.raises(Problem, match=sentence):
        perturb(digits.network("plain"), *digits.held_out(4), seeded(), **{"epsilon": 0.1, **settings})


@pytest.mark.parametrize(("classes", "targets"), [(2, None), (3, 2)])
def test_dlr_needs_enough_classes(classes, targets):
    model, (images, _) = linear(classes), draw()
    labels = predictions(model, images)
    with pytest.raises(Problem, match=r"dlr needs \d classes"):
        perturb(model, images, labels, seeded(), epsilon=0.1, loss="dlr", targets=targets)


@pytest.mark.parametrize("broken", [lambda x: x.mean((2, 3)) * float("nan"), lambda x: (x - x).sqrt().mean((2, 3))])
def test_networks_without_a_finite_gradient_are_refused(broken):
    model = torch.nn.Module()
    model.forward = broken
    images, _ = draw()
    labels = torch.zeros(len(images), dtype=torch.int64)
    with pytest.raises(Problem, match="NaN or infinite"):
        perturb(model.eval(), images, labels, seeded(), epsilon=0.1, stop=False)
