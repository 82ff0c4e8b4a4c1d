"""JSMA against an exhaustive search over all pairs, closed forms, and another library."""

import numpy as np
import peers
import pytest
import torch
from scipy import stats
from small_networks import Function, digits, predictions, seeded, smooth, success, two_classes

from robustloss import attacks
from robustloss.attacks import jsma
from robustloss.attacks.parts import batches, pairs, targets
from robustloss.errors import Problem

perturb = attacks.load("jsma")


def exhaustive(up, down):
    """The largest saliency (N,) over the matrix of all pairs; 0 where no pair has both sums above 0."""
    rise, fall = (values[:, :, None] + values[:, None] for values in (up, down))
    allowed = (rise > 0) & (fall > 0) & ~torch.eye(up.shape[1], dtype=torch.bool)
    return torch.where(allowed, rise * fall, 0).flatten(1).amax(1)


def saliency_of(up, down, pair):
    return up.gather(1, pair).sum(1) * down.gather(1, pair).sum(1)


def clouds(kind, count=40, features=60, dtype=torch.float64):
    """Points (up, down) in several shapes."""
    first, second = torch.randn(2, count, features, generator=seeded(), dtype=torch.float64)
    shapes = {
        "independent": (first, second),
        "rising": (first, first + 0.1 * second),
        "falling": (first, -first + 0.3 * second),
        "mostly negative": (first - 1.5, second - 1.5),
        "ties": ((2 * first).round(), (2 * second).round()),
        "equal": (torch.ones_like(first), torch.ones_like(first)),
        "an arc": (first.atan().add(torch.pi / 2).div(2).cos(), first.atan().add(torch.pi / 2).div(2).sin()),
        "some closed": (
            first.masked_fill(second.abs() < 0.5, -torch.inf),
            second.masked_fill(second.abs() < 0.5, -torch.inf),
        ),
        "none allowed": (first.abs(), -second.abs()),
        "all closed": (torch.full_like(first, -torch.inf), torch.full_like(first, -torch.inf)),
        "one open": (first.abs().index_fill(1, torch.arange(1, features), -torch.inf),) * 2,
    }
    return tuple(values.to(dtype) for values in shapes[kind])


KINDS = "independent|rising|falling|mostly negative|ties|equal|an arc|some closed|none allowed|all closed|one open"


@pytest.mark.parametrize("block", [2**21, 500])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", KINDS.split("|"))
def test_pair_is_the_best_of_all(kind, dtype, block, monkeypatch):
    monkeypatch.setattr(pairs, "BLOCK", block)
    up, down = clouds(kind, dtype=dtype)
    expected = exhaustive(up, down)
    pair, exists = pairs.best(up, down)
    assert torch.equal(exists, expected > 0)
    assert torch.equal(saliency_of(up, down, pair)[exists], expected[exists])
    assert (pair[exists][:, 0] != pair[exists][:, 1]).all()
    if kind in ("independent", "rising", "falling", "some closed"):
        assert exists.any()


def test_only_features_below_at_most_one_other_are_searched():
    up, down = clouds("independent", count=5, features=400)
    features, _ = pairs._front(up, down)
    below = ((up[:, :, None] < up[:, None]) & (down[:, :, None] < down[:, None])).sum(2)
    expected = (below <= 1).sum(1).max().item()
    assert features.shape[1] == expected
    assert expected < 40


def test_pairs_of_an_image_of_150_528_features_need_no_matrix():
    """All pairs would take 90 GB; here a bound leaves few features, all pairs of which are tried."""
    up, down = torch.randn(2, 2, 3 * 224 * 224, generator=seeded(), dtype=torch.float64)
    pair, exists = pairs.best(up, down)
    found = saliency_of(up, down, pair)
    assert exists.all()
    for row in range(2):
        bound = (up[row] + up[row].max()).clamp(min=0) * (down[row] + down[row].max()).clamp(min=0)
        possible = bound >= found[row]
        assert possible.sum() < 3000
        assert exhaustive(up[row : row + 1, possible], down[row : row + 1, possible]) == found[row]


def jacobian(model, image, outputs):
    function = (lambda x: model(x)[0].softmax(0)) if outputs == "probabilities" else (lambda x: model(x)[0])
    return torch.autograd.functional.jacobian(function, image).flatten(1)


def textbook(model, image, target, theta, gamma, outputs="logits"):
    """One image (1, ...), all pairs, as printed: until the target, or until too many features are changed."""
    x, n = image.clone(), image.numel()
    steps = 0
    while predictions(model, x) != target:
        derivatives = jacobian(model, x, outputs)
        alpha, beta = derivatives[target], derivatives.sum(0) - derivatives[target]
        flat = x.flatten()
        search = flat < 1 if theta > 0 else flat > 0
        changed = flat != image.flatten()
        if changed.sum() + 2 > int(gamma * n):
            search &= changed
        best, pair = 0, None
        for i in range(n):
            for j in range(i):
                a, b = alpha[i] + alpha[j], beta[i] + beta[j]
                fits = a > 0 > b if theta > 0 else a < 0 < b
                if search[i] and search[j] and fits and -a * b > best:
                    best, pair = -a * b, (i, j)
        if pair is None:
            break
        for p in pair:
            flat[p] = (flat[p] + theta).clamp(0, 1)
        steps += 1
    return x, steps


@pytest.mark.parametrize(
    ("theta", "gamma", "outputs"),
    [
        (1.0, 0.5, "logits"),
        (-1.0, 0.5, "logits"),
        (0.3, 0.3, "logits"),
        (1.0, 0.5, "probabilities"),
        (-0.4, 0.3, "probabilities"),
    ],
)
def test_images_are_those_of_the_textbook_with_all_pairs(theta, gamma, outputs):
    model, images, labels = smooth(count=6)
    settings = {"theta": theta, "gamma": gamma, "outputs": outputs, "target": "second"}
    found = perturb(model, images, labels, seeded(), **settings)
    aims = targets.choose("second", model(images).detach(), labels, seeded())
    for image, aim, got, steps in zip(images, aims, found.images, found.iterations, strict=True):
        expected, count = textbook(model, image[None], aim.item(), theta, gamma, outputs)
        assert torch.allclose(got, expected[0], rtol=0, atol=1e-12)
        assert steps == count
    assert (predictions(model, found.images) == aims).any()
    assert found.iterations.min() > 0


@pytest.mark.parametrize("theta", [1.0, -1.0])
def test_two_linear_classes_take_the_largest_weights_two_by_two(theta):
    weight = torch.randn(6, 6, generator=seeded(), dtype=torch.float64)
    images = 0.2 + 0.6 * torch.rand(20, 1, 6, 6, generator=seeded(1), dtype=torch.float64)
    images[:, 0, 0, :3] = 0.0 if theta < 0 else 1.0
    values = images.flatten(1)
    model = two_classes(weight, bias=-(values @ weight.flatten()).max().item() - 0.1)
    labels = torch.zeros(20, dtype=torch.int64)
    found = perturb(model, images, labels, seeded(), gamma=1.0, theta=theta, target=1)
    order = (theta * weight.flatten()).argsort(descending=True)
    order = order[~(order < 3)]  # these stand at their end
    for image, got, steps in zip(values, found.images.flatten(1), found.iterations, strict=True):
        expected, used = image.clone(), 0
        while expected @ weight.flatten() + model_bias(model, weight) <= 0:
            expected[order[2 * used : 2 * used + 2]] = float(theta > 0)
            used += 1
        assert steps == used
        assert torch.equal(got, expected)
    assert found.iterations.unique().numel() > 1


def model_bias(model, weight):
    with torch.no_grad():
        logits = model(torch.zeros(1, *weight.shape, dtype=weight.dtype))
    return (logits[0, 1] - logits[0, 0]).item()


def test_stays_in_its_budget_and_moves_one_way():
    model, images, labels = smooth()
    for theta, gamma in ((1.0, 0.1), (1.0, 0.3), (0.25, 0.3), (-1.0, 0.3)):
        before = images.clone()
        found = perturb(model, images, labels, seeded(), gamma=gamma, theta=theta)
        change = (found.images - images).flatten(1)
        assert torch.equal(images, before)
        assert 0 < (change != 0).sum(1).max() <= int(gamma * 25)
        assert (change * theta >= 0).all()
        assert found.images.min() >= 0
        assert found.images.max() <= 1
        # A spent sample has moved all that it may change to their ends.
        ends = found.images.flatten(1) == (1 if theta > 0 else 0)
        spent = (change != 0).sum(1) == int(gamma * 25) // 2 * 2
        assert spent.any()
        assert ends[spent][change[spent] != 0].all()


def test_gamma_is_rounded_down_but_not_for_what_floating_point_lacks():
    assert 0.58 * 100 < 58
    for gamma, features, budget in ((0.58, 100, 58), (400 / 784, 784, 400), (0.255, 784, 199), (1.0, 9, 9)):
        assert jsma._budget(1.0, gamma, features) == budget
    model, images, labels = smooth(shape=(1, 10, 10))
    assert perturb(model, images, labels, seeded(), gamma=0.07, target=0).iterations.max() == 3


def test_what_is_misclassified_or_of_the_target_class_stays():
    model, images, labels = smooth()
    wrong = labels.clone()
    wrong[:6] = (wrong[:6] + 1) % 5
    found = perturb(model, images, wrong, seeded(), gamma=0.5, target=labels[8].item())
    stays = (predictions(model, images) != wrong) | (wrong == labels[8])
    assert torch.equal(found.images[stays], images[stays])
    assert (found.iterations[stays] == 0).all()
    assert (found.queries[stays] == 1).all()
    assert (found.images[~stays] != images[~stays]).flatten(1).any(1).all()


def test_queries_are_the_images_that_the_network_was_given():
    model, images, labels = smooth()
    for target in ("second", "all"):
        whole = perturb(model, images, labels, seeded(), gamma=0.4, target=target)
        for row in range(len(images)):
            model.asked = 0
            one = slice(row, row + 1)
            found = perturb(model, images[one], labels[one], seeded(), gamma=0.4, target=target)
            # A batch of one has no others to fill it up, except for its other targets.
            assert found.queries == model.asked
            assert found.queries == whole.queries[row]
            assert found.iterations == whole.iterations[row]
            assert torch.allclose(found.images, whole.images[one], rtol=0, atol=1e-12)
        if target == "second":
            # The clean image's, then one a step and one that finds the sample done.
            assert torch.equal(whole.queries, whole.iterations + 2)


def test_all_targets_keep_the_first_to_get_there():
    model, images, labels = smooth()
    settings = {"gamma": 0.3, "theta": 0.5}
    every = perturb(model, images, labels, seeded(), **settings, target="all")
    single = [perturb(model, images, labels, seeded(), **settings, target=target) for target in range(5)]
    reached = torch.stack([(predictions(model, found.images) == target) for target, found in enumerate(single)])
    reached &= torch.arange(5)[:, None] != labels
    steps = torch.stack([found.iterations for found in single]).masked_fill(~reached, 10**6)
    first = steps.argmin(0)
    some = reached.any(0)
    assert some.sum() >= 6
    assert steps.amin(0).float().std() > 0
    for row in some.nonzero()[:, 0].tolist():
        assert every.iterations[row] == steps[first[row], row]
        assert any(
            torch.allclose(every.images[row], found.images[row], rtol=0, atol=1e-12)
            for target, found in enumerate(single)
            if steps[target, row] == steps[first[row], row]
        )


def test_all_targets_without_success_keep_the_closest():
    model, images, labels = smooth(shape=(1, 10, 10))
    every = perturb(model, images, labels, seeded(), gamma=0.02, target="all")

    def margins(candidates):
        logits = model(candidates).detach()
        return logits.scatter(1, labels[:, None], -torch.inf).amax(1) - logits.gather(1, labels[:, None])[:, 0]

    wrong = set(range(5)) - set(labels.unique().tolist())
    single = [perturb(model, images, labels, seeded(), gamma=0.02, target=target) for target in wrong]
    closest = torch.stack([margins(found.images) for found in single]).amax(0)
    failed = closest < 0
    assert failed.any()
    assert torch.allclose(margins(every.images)[failed], closest[failed], rtol=0, atol=1e-12)


def test_until_misclassified_stops_at_the_first_wrong_class():
    model, images, labels = smooth()
    settings = {"gamma": 0.5, "theta": 0.2, "target": "least_likely"}
    there = perturb(model, images, labels, seeded(), **settings)
    sooner = perturb(model, images, labels, seeded(), **settings, until="misclassified")
    wrong = predictions(model, sooner.images) != labels
    assert (sooner.iterations <= there.iterations).all()
    assert (sooner.iterations < there.iterations).any()
    assert torch.equal(wrong, (predictions(model, there.images) != labels) | wrong)
    last = sooner.iterations[wrong]
    assert (last > 0).all()


def test_probabilities_do_not_underflow_and_logits_may_have_any_scale():
    model, images, labels = smooth(dtype=torch.float32)
    for outputs, scales in (("logits", (2.0**-100, 2.0**100)), ("probabilities", (2.0**8,))):
        settings = {"gamma": 0.4, "target": "second", "outputs": outputs}
        expected = perturb(model, images, labels, seeded(), **settings)
        for scale in scales:
            scaled = Function(lambda x, scale=scale: scale * model(x))
            found = perturb(scaled, images, labels, seeded(), **settings)
            if outputs == "logits":
                assert torch.equal(found.images, expected.images)
            else:
                assert success(scaled, found.images, labels) == success(model, expected.images, labels) > 0.5


@pytest.mark.parametrize("size", [1, 3, 20])
def test_results_do_not_depend_on_the_batch(size):
    model, images, labels = smooth(count=40)
    whole = perturb(model, images, labels, seeded(), gamma=0.4)
    generator = seeded()
    parts = [
        perturb(model, *batch, generator, gamma=0.4)
        for batch in zip(images.split(size), labels.split(size), strict=True)
    ]
    for name in ("images", "iterations", "queries"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.allclose(joined, getattr(whole, name), rtol=0, atol=1e-12)
    assert whole.iterations.unique().numel() > 2


def test_random_targets_are_uniform_over_the_wrong_classes_and_follow_the_generator():
    labels = torch.randint(5, (4000,), generator=seeded())
    logits = torch.randn(4000, 5, generator=seeded(1))
    drawn = targets.choose("random", logits, labels, seeded(2))
    assert (drawn != labels).all()
    for label in range(5):
        counts = drawn[labels == label].bincount(minlength=5)
        assert stats.chisquare(np.delete(counts.numpy(), label)).pvalue > 0.001
    assert torch.equal(drawn, targets.choose("random", logits, labels, seeded(2)))
    assert not torch.equal(drawn, targets.choose("random", logits, labels, seeded(3)))
    assert torch.equal(targets.choose("random", logits[:, :2], labels % 2, seeded()), 1 - labels % 2)


def test_named_targets_are_the_wrong_classes_of_largest_and_smallest_logit():
    logits = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
    labels = torch.tensor([0, 1, 2])
    assert targets.choose("second", logits, labels, seeded()).tolist() == [1, 0, 0]
    assert targets.choose("least_likely", logits, labels, seeded()).tolist() == [2, 2, 1]
    assert targets.choose(1, logits, labels, seeded()).tolist() == [1, 1, 1]
    assert targets.every(logits, labels).tolist() == [[1, 2], [0, 2], [0, 1]]


def test_a_batch_keeps_those_that_move_and_few_sizes():
    for count in (5, 64, 100):
        sizes = set()
        for left in range(count + 1):
            moving = torch.zeros(count, dtype=torch.bool)
            moving[torch.randperm(count, generator=seeded(left))[:left]] = True
            kept = batches.still_needed(moving, count)
            assert set(moving.nonzero()[:, 0].tolist()) <= set(kept.tolist())
            assert kept.unique().numel() == len(kept) < left + max(1, count // 32)
            sizes.add(len(kept))
        assert len(sizes) <= 35


def test_art_finds_the_same_images_where_its_rule_is_the_papers():
    """It takes the two largest derivatives of the target alone, which is the best pair where logits sum to 0."""
    pytest.importorskip("art.attacks.evasion")
    body, images, labels = digits(24)
    centred = torch.nn.Sequential(body, Function(lambda logits: logits - logits.mean(1, keepdim=True))).eval()
    aims = targets.choose("random", centred(images), labels, seeded(3))
    settings = {"theta": 1.0, "gamma": 0.3, "batch_size": 24, "verbose": False}
    expected = peers.art(centred, images, aims, "SaliencyMapMethod", **settings)
    found = perturb(centred, images, labels, seeded(3), gamma=0.3)
    reached = predictions(centred, found.images) == aims
    assert reached.float().mean() > 0.5
    assert torch.equal(found.images[reached], expected[reached])


def test_probabilities_are_no_weaker_than_art():
    pytest.importorskip("art.attacks.evasion")
    model, images, labels = digits()
    aims = targets.choose("random", model(images), labels, seeded(3))
    settings = {"theta": 1.0, "gamma": 0.15, "batch_size": 100, "verbose": False}
    expected = peers.art(model, images, aims, "SaliencyMapMethod", **settings)
    found = perturb(model, images, labels, seeded(3), gamma=0.15, outputs="probabilities").images
    ours, theirs = ((predictions(model, x) == aims).float().mean() for x in (found, expected))
    assert 0.1 < theirs < 0.95
    assert ours >= theirs


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"theta": 0}, "theta is a fraction of the pixel range from 1/256 to 1"),
        ({"theta": -2}, "theta is a fraction"),
        ({"theta": float("nan")}, "theta is a fraction"),
        ({"gamma": 0}, "gamma is a share of the features"),
        ({"gamma": 1.5}, "gamma is a share of the features"),
        ({"gamma": 0.05}, "gamma 0.05 of 25 features is less than the two of a step"),
        ({"target": "secnod"}, "did you mean 'second'"),
        ({"target": -1}, "there is no target '-1'"),
        ({"target": None}, "needs a target"),
        ({"target": 7}, "class 7 is not one of the network's 5 classes"),
        ({"until": "wrong"}, "there is no until 'wrong'"),
        ({"outputs": "probability"}, "did you mean 'probabilities'"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    model, images, labels = smooth()
    with pytest.raises(Problem, match=sentence):
        perturb(model, images, labels, seeded(), **{"gamma": 0.5, **settings})


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (lambda x: x.mean((2, 3)) * float("nan"), "NaN or infinite"),
        (lambda x: (x - x).sqrt().mean((2, 3)) + torch.tensor([2.0, 0.0, 0.0]), "NaN or infinite"),
        (lambda x: x.mean((1, 2, 3)), "must return logits"),
        (lambda x: x.detach().mean((2, 3)), "differentiably"),
    ],
)
def test_networks_that_cannot_be_attacked_are_refused_in_one_sentence(output, sentence):
    images = torch.rand(6, 3, 4, 4, generator=seeded())
    logits = output(images)
    labels = logits.argmax(1) if logits.ndim == 2 else torch.zeros(6, dtype=torch.int64)
    with pytest.raises(Problem, match=sentence):
        perturb(Function(output), images, labels, seeded(), gamma=0.5)
