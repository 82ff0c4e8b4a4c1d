"""Square attack against closed forms, its own rules, and torchattacks on networks trained on digits."""

import math

import digit_networks as digits
import pytest
import torch
from digit_networks import Counted
from small_networks import Linear, Scaled, predictions, seeded

from robustloss import attacks
from robustloss.attacks import square
from robustloss.attacks.parts import gradients
from robustloss.errors import Problem


def perturb(*arguments, **settings):
    return attacks.load("square")(*arguments, **settings)


class Recorded(torch.nn.Module):
    """Keeps all images that the network was asked about."""

    def __init__(self, body):
        super().__init__()
        self.body, self.asked = body, []
        self.eval()

    def forward(self, images):
        self.asked.append(images.clone())
        return self.body(images)


def steadfast(count=5, channels=2, side=4):
    """A linear model that no perturbation here deceives, images and labels."""
    weight = torch.randn(2, channels * side**2, generator=seeded(), dtype=torch.float64)
    images = torch.rand(count, channels, side, side, generator=seeded(1), dtype=torch.float64)
    return Linear(weight, torch.tensor([100.0, 0], dtype=torch.float64)), images, torch.zeros(count, dtype=torch.int64)


def test_reaches_the_optimum_of_a_linear_model():
    model, images, labels = steadfast()
    found = perturb(model, images, labels, seeded(), epsilon=0.1, queries=1500)
    direction = (model.weight[1] - model.weight[0]).view_as(images[0])
    assert torch.allclose(found.images, (images + 0.1 * direction.sign()).clamp(0, 1), rtol=0, atol=1e-12)
    assert (found.queries == 1502).all()
    assert (found.iterations == 1500).all()


def test_margin_never_falls_and_each_query_changes_one_square_to_the_edges_of_the_ball():
    body, images, labels = steadfast(side=9)
    model, queries = Recorded(body), 300
    perturb(model, images, labels, seeded(), epsilon=0.1, queries=queries)
    low, high = (images - 0.1).clamp(min=0), (images + 0.1).clamp(max=1)
    clean, best, *proposals = model.asked
    assert torch.equal(clean, images)
    # Stripes: in a channel and a column all pixels are at the same edge.
    up = best == high
    assert (up.all(2) | ~up.any(2)).all()
    sides = [edge for block, edge in square.blocks(queries, 0.8, (9, 9)) for _ in block]
    kept = 0
    for proposal, side in zip(proposals, sides, strict=True):
        assert ((proposal == low) | (proposal == high)).all()
        changed = (proposal != best).any(1)
        assert changed.flatten(1).any(1).all()
        for image in changed:
            rows, columns = (image.any(axis).nonzero()[:, 0] for axis in (1, 0))
            assert rows[-1] - rows[0] < side
            assert columns[-1] - columns[0] < side
        margins = [gradients.margin_value(body(x), labels) for x in (best, proposal)]
        helps = (margins[1] > margins[0]).view(-1, 1, 1, 1)
        best, kept = torch.where(helps, proposal, best), kept + helps.sum()
    assert kept > 20


def test_squares_shrink_as_in_the_authors_code():
    plan = list(square.blocks(10000, 0.8, (32, 32)))
    assert [number for block, _ in plan for number in block] == list(range(10000))
    sides = [side for block, side in plan for _ in block]
    halvings = {0: 1, 10: 1, 11: 2, 50: 2, 51: 4, 200: 4, 201: 8, 501: 16, 1001: 32, 2001: 64, 4001: 128, 6001: 256}
    for query, factor in (halvings | {8000: 256, 8001: 512, 9999: 512}).items():
        assert sides[query] == max(1, round(math.sqrt(0.8 / factor * 1024)))
    assert sides[0] == 29
    # Half as many queries go through the same plan twice as fast.
    assert [side for block, side in square.blocks(5000, 0.8, (32, 32)) for _ in block] == sides[::2]
    assert all(len(block) * side**2 <= max(1024, side**2) for block, side in plan)
    assert {side for _, side in square.blocks(100, 1.0, (4, 40))} <= {1, 2, 3, 4}


def test_places_are_uniform_over_all_that_fit():
    numbers = torch.rand(4000, 1, 2, generator=seeded())
    corners = square._pixels(numbers, 3, (4000, 1, 5, 4))[:, 0, 0]
    counts = torch.bincount(corners, minlength=20).view(5, 4)
    assert (counts[3:] == 0).all()
    assert (counts[:, 2:] == 0).all()
    assert ((counts[:3, :2] - 4000 / 6).abs() < 5 * math.sqrt(4000 / 6)).all()


@pytest.mark.parametrize("kind", ["plain", "robust"])
def test_stays_in_the_ball_and_is_as_strong_as_torchattacks(kind):
    model, epsilon, (images, labels) = digits.network(kind), digits.EPSILON[kind], digits.held_out(200)
    before = images.clone()
    found = perturb(model, images, labels, seeded(), epsilon=epsilon, queries=400)
    assert (found.images - images).abs().max() <= epsilon + 1e-6
    assert found.images.aminmax().min >= 0
    assert found.images.aminmax().max <= 1
    assert torch.equal(images, before)
    clean, adversarial = (predictions(model, x) == labels for x in (images, found.images))
    assert torch.equal(found.images[~clean], images[~clean])
    assert (found.queries[~clean] == 1).all()
    assert (found.queries[adversarial] == 402).all()
    assert (found.queries[clean & ~adversarial] < 402).any()
    torchattacks = pytest.importorskip("torchattacks")
    theirs = torchattacks.Square(model, eps=epsilon, n_queries=400, seed=0)(images, labels)
    known = digits.robust_accuracy(kind, theirs)
    assert 0.1 < known < 0.85
    assert adversarial.float().mean() <= known + 0.005


def test_queries_are_the_forward_passes():
    model = Counted(digits.network("robust"))
    for image, label in zip(*(part[:12].split(1) for part in digits.held_out()), strict=True):
        model.sizes.clear()
        found = perturb(model, image, label, seeded(), epsilon=0.17, queries=60)
        broken = predictions(model.body, found.images) != label
        # Looking whether it can leave is not done at each query.
        assert sum(model.sizes) - square.TOGETHER * broken <= found.queries.item() <= sum(model.sizes)


@pytest.mark.parametrize("size", [1, 5])
def test_results_do_not_depend_on_the_batch(size):
    model, (images, labels) = digits.network("robust"), (part[:12] for part in digits.held_out())
    whole, generator = perturb(model, images, labels, seeded(), epsilon=0.17, queries=100), seeded()
    batches = zip(images.split(size), labels.split(size), strict=True)
    parts = [perturb(model, *batch, generator, epsilon=0.17, queries=100) for batch in batches]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert torch.equal(torch.cat([part.queries for part in parts]), whole.queries)


def test_scale_of_the_logits_has_no_part_and_seeds_have():
    model, (images, labels) = digits.network("robust"), digits.held_out(60)
    first, large, other = (
        perturb(net, images, labels, seeded(seed), epsilon=0.17, queries=100).images
        for net, seed in ((model, 0), (Scaled(model, 2.0**7), 0), (model, 1))
    )
    assert torch.equal(first, large)
    assert not torch.equal(first, other)


def test_success_is_the_same_at_every_scale_of_the_logits():
    model, (images, labels) = digits.network("robust"), digits.held_out(200)
    rates = [
        digits.robust_accuracy("robust", perturb(net, images, labels, seeded(), epsilon=0.17, queries=100).images)
        for net in (model, Scaled(model, 0.01), Scaled(model, 100))
    ]
    assert 0.2 < rates[0] < 0.9
    assert max(rates) - min(rates) <= 0.01


def test_needs_no_gradient():
    body, (images, labels) = digits.network("robust"), digits.held_out(60)
    model = torch.nn.Module()
    model.forward = lambda x: (8 * body((64 * x).round() / 64)).round()
    found = perturb(model.eval(), images, labels, seeded(), epsilon=0.17, queries=200).images
    clean, adversarial = (predictions(model, x) == labels for x in (images, found))
    assert adversarial.float().mean() < clean.float().mean() - 0.2


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epsilon": 8}, "epsilon is a fraction of the pixel range: write 8/255, not 8"),
        ({"epsilon": 0}, "epsilon must be above 0"),
        ({"queries": 0}, "queries is a whole number from 1, not 0"),
        ({"p_init": 0}, "p_init is a share of the pixels"),
        ({"p_init": 1.1}, "p_init is a share of the pixels"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    with pytest.raises(Problem, match=sentence):
        perturb(digits.network("plain"), *digits.held_out(4), seeded(), **{"epsilon": 0.1, **settings})


def test_logits_that_are_not_finite_are_refused():
    model, images, labels = steadfast()
    with pytest.raises(Problem, match="NaN or infinite"):
        perturb(Scaled(model, float("nan")), images, labels, seeded(), epsilon=0.1, queries=5)
