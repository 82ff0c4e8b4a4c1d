"""PGD against closed forms, a textbook version, and the properties that an attack must have."""

import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import kstest
from small_networks import Linear, Scaled, seeded
from torch import nn
from torch.nn import functional as F

from robustloss import attacks, models
from robustloss.attacks.parts import gradients
from robustloss.errors import Problem

SETTINGS = {"epsilon": 8 / 255, "step_size": 2 / 255, "steps": 7}


def perturb(*arguments, **settings):
    return attacks.load("pgd")(*arguments, **settings).images


def network(shape=(12, 12, 3), classes=5, dtype=torch.float64):
    torch.manual_seed(0)
    return models.build({"name": "small", "width": 4, "mean": 0.5, "std": 0.25}, classes, shape).to(dtype).eval()


def draw(count=6, channels=3, side=12, classes=5, dtype=torch.float64):
    images = torch.rand(count, channels, side, side, generator=seeded(1), dtype=dtype)
    return images, torch.randint(classes, (count,), generator=seeded(2))


def mlp(inputs=36, classes=10):
    """A network in float32 whose typical gap between the two largest logits is 5, and images with its own labels."""
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, classes)).eval()
    images = torch.rand(200, 1, 6, 6, generator=seeded())
    with torch.no_grad():
        top = body(images).topk(2, 1).values
        model = Scaled(body, 5 / (top[:, 0] - top[:, 1]).median().item())
        return model, images, model(images).argmax(1)


def success(model, images, labels, **settings):
    adversarial = perturb(model, images, labels, seeded(), **settings)
    with torch.no_grad():
        return (model(adversarial).argmax(1) != labels).float().mean().item()


@pytest.mark.parametrize("loss", ["cross_entropy", "exact_cross_entropy"])
@pytest.mark.parametrize("random_start", [False, True])
def test_reaches_the_optimum_of_a_linear_model(loss, random_start):
    weight = torch.randn(2, 27, generator=seeded(), dtype=torch.float64)
    images, labels = draw(20, 3, 3, classes=2)
    other = weight[1 - labels] - weight[labels]
    optimum = (images + 0.1 * other.sign().view_as(images)).clamp(0, 1)
    settings = {"epsilon": 0.1, "step_size": 0.03, "steps": 8, "random_start": random_start, "loss": loss}
    found = perturb(Linear(weight), images, labels, seeded(), **settings)
    assert torch.allclose(found, optimum, rtol=0, atol=1e-12)


def textbook(model, images, labels, epsilon, step_size, steps):
    x = images.clone()
    for _ in range(steps):
        x.requires_grad_(True)
        F.cross_entropy(model(x), labels).backward()
        x = x.detach() + step_size * x.grad.sign()
        x = torch.max(torch.min(x, images + epsilon), images - epsilon).clamp(0, 1)
    return x


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_iterates_are_the_textbook_ones(steps):
    model, (images, labels) = network(), draw()
    expected = textbook(model, images, labels, 0.03, 0.01, steps)
    found = perturb(model, images, labels, seeded(), epsilon=0.03, step_size=0.01, steps=steps)
    assert not torch.equal(expected, images)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", ["cross_entropy", "exact_cross_entropy"])
@pytest.mark.parametrize(("random_start", "restarts"), [(False, 1), (True, 1), (True, 3)])
@pytest.mark.parametrize("epsilon", [2 / 255, 0.3, 1.0])
def test_stays_in_the_ball_and_among_images(epsilon, random_start, restarts, loss):
    model = network(dtype=torch.float32)
    images, labels = draw(dtype=torch.float32)
    images[0], images[1] = 0, 1
    before = images.clone()
    settings = {"step_size": epsilon / 2, "steps": 4, "random_start": random_start, "restarts": restarts, "loss": loss}
    found = perturb(model, images, labels, seeded(), epsilon=epsilon, **settings)
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert (found - images).abs().max() <= epsilon + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert not torch.equal(found, images)
    assert torch.equal(images, before)
    assert not found.requires_grad


@pytest.mark.parametrize("loss", ["cross_entropy", "exact_cross_entropy"])
def test_raises_the_loss_of_every_sample(loss):
    model, (images, labels) = network(), draw()
    found = perturb(model, images, labels, seeded(), **SETTINGS, loss=loss)
    with torch.no_grad():
        clean, adversarial = (F.cross_entropy(model(x), labels, reduction="none") for x in (images, found))
    assert (adversarial > clean).all()


def test_closed_form_gradients_are_those_of_autograd():
    logits = 3 * torch.randn(50, 7, generator=seeded(), dtype=torch.float64)
    labels = torch.randint(7, (50,), generator=seeded())
    for function, loss in (
        (gradients.cross_entropy, lambda z: F.cross_entropy(z, labels, reduction="sum")),
        (gradients.exact_cross_entropy, lambda z: gradients.wrong_log_odds(z, labels).sum()),
    ):
        inputs = logits.clone().requires_grad_()
        (expected,) = torch.autograd.grad(loss(inputs), inputs)
        assert torch.allclose(function(logits, labels), expected, rtol=0, atol=1e-12)
    probability = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    assert torch.allclose(gradients.wrong_log_odds(logits, labels), -torch.logit(probability), rtol=0, atol=1e-9)
    exact = gradients.exact_cross_entropy(logits, labels) * (1 - probability)[:, None]
    assert torch.allclose(exact, gradients.cross_entropy(logits, labels), rtol=0, atol=1e-12)


def test_exact_direction_keeps_its_success_when_logits_grow_and_the_usual_one_collapses():
    model, images, labels = mlp()
    settings = {"epsilon": 0.1, "step_size": 0.02, "steps": 10}
    scaled = {scale: Scaled(model, scale) for scale in (0.01, 1, 10, 100)}
    exact = {
        scale: success(net, images, labels, **settings, loss="exact_cross_entropy") for scale, net in scaled.items()
    }
    usual = {scale: success(net, images, labels, **settings) for scale, net in scaled.items()}
    assert usual[1] == pytest.approx(exact[1], abs=0.05)
    assert exact[1] > 0.8
    assert exact[10] == pytest.approx(exact[1], abs=0.03)
    assert exact[100] == pytest.approx(exact[1], abs=0.03)
    # Small logits weigh all wrong classes alike, which is another direction but not the loss of one.
    assert exact[0.01] > 0.75
    assert usual[100] < exact[100] / 2


@pytest.mark.parametrize("scale", [2.0**-7, 2.0**7])
def test_exact_direction_of_two_classes_is_the_same_bit_by_bit_at_any_scale(scale):
    weight = torch.randn(2, 27, generator=seeded())
    images, labels = draw(50, 3, 3, classes=2, dtype=torch.float32)
    first, other = (
        perturb(Scaled(Linear(weight), factor), images, labels, seeded(), **SETTINGS, loss="exact_cross_entropy")
        for factor in (1, scale)
    )
    assert torch.equal(first, other)


def test_restarts_keep_the_first_success_else_the_largest_loss():
    model, images, labels = mlp()
    model, images, labels = model.double(), images[:40].double(), labels[:40]
    settings = {"epsilon": 0.2, "step_size": 0.02, "steps": 1, "random_start": True}
    found = perturb(model, images, labels, seeded(), **settings, restarts=4)
    generator, kinds = seeded(), set()
    for image, label, kept in zip(images, labels, found, strict=True):
        image, label = image[None], label[None]
        candidates = torch.cat([perturb(model, image, label, generator, **settings) for _ in range(4)])
        with torch.no_grad():
            logits = model(candidates)
        wrong = logits.argmax(1) != label
        best = (
            wrong.int().argmax() if wrong.any() else F.cross_entropy(logits, label.expand(4), reduction="none").argmax()
        )
        kinds.add((wrong.any().item(), best.item() > 0))
        assert torch.allclose(kept, candidates[best], rtol=0, atol=1e-9)
    assert {(False, True), (True, True)} <= kinds  # both rules decided something


def test_random_start_is_uniform_in_the_ball():
    images, labels = torch.full((20, 3, 12, 12), 0.5, dtype=torch.float64), torch.zeros(20, dtype=torch.int64)
    settings = {"epsilon": 0.1, "step_size": 1e-12, "steps": 1, "random_start": True}
    start = (perturb(network(), images, labels, seeded(), **settings) - images).flatten().numpy()
    assert kstest(start, "uniform", args=(-0.1, 0.2)).pvalue > 0.01


def test_repeated_calls_agree_bit_by_bit_and_other_seeds_do_not():
    model = network(dtype=torch.float32)
    images, labels = draw(dtype=torch.float32)
    settings = {**SETTINGS, "random_start": True, "restarts": 2}
    first, again, other = (perturb(model, images, labels, seeded(seed), **settings) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("size", [1, 4, 7])
def test_results_do_not_depend_on_the_batch_size(size):
    model, (images, labels) = network(), draw(9)
    settings = {**SETTINGS, "random_start": True, "restarts": 3}
    whole = perturb(model, images, labels, seeded(), **settings)
    generator = seeded()
    parts = [
        perturb(model, *batch, generator, **settings)
        for batch in zip(images.split(size), labels.split(size), strict=True)
    ]
    assert torch.allclose(torch.cat(parts), whole, rtol=0, atol=1e-9)


def test_works_where_gradients_are_off_and_leaves_none_in_the_weights():
    model, (images, labels) = network(), draw()
    expected = perturb(model, images, labels, seeded(), **SETTINGS)
    with torch.no_grad():
        assert torch.equal(perturb(model, images, labels, seeded(), **SETTINGS), expected)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_evaluation_copy_is_attacked_as_the_model_is():
    model, (images, labels) = network(), draw()
    copy = models.evaluation_copy(model, "cpu")
    found, expected = (perturb(net, images, labels, seeded(), **SETTINGS) for net in (copy, model))
    assert torch.allclose(found, expected, rtol=0, atol=1e-9)


def sizes_of(model):
    """The sizes of the batches that the model is asked for from now on."""
    sizes = []
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    return sizes


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("epsilon", [0.2, 1.0, 2.5])
def test_l2_reaches_the_optimum_of_a_linear_model_in_the_ball_and_among_images(epsilon, random_start):
    weight = torch.randn(2, 27, generator=seeded(), dtype=torch.float64)
    images, labels = draw(20, 3, 3, classes=2)
    up = (weight[1 - labels] - weight[labels]).view_as(images)

    def cut(image, slope, length):
        return (image + length * slope).clamp(0, 1)

    optimum = []
    for image, slope in zip(images, up, strict=True):
        # The ends of the ball lie along the slope, cut to [0, 1]: as far as the norm allows.
        excess = lambda length: (cut(image, slope, length) - image).norm().item() - epsilon  # noqa: B023, E731
        optimum.append(cut(image, slope, brentq(excess, 0, 1e4, xtol=1e-15) if excess(1e4) > 0 else 1e4))
    settings = {"epsilon": epsilon, "step_size": 4.0, "steps": 300, "norm": "l2", "random_start": random_start}
    found = perturb(Linear(weight), images, labels, seeded(), **settings)
    assert torch.allclose(found, torch.stack(optimum), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("epsilon", [0.05, 1.5, 8.0])
def test_l2_stays_in_the_ball_and_among_images(epsilon, random_start, dtype):
    model = network(dtype=dtype)
    images, labels = draw(dtype=dtype)
    images[0], images[1] = 0, 1
    settings = {"epsilon": epsilon, "step_size": epsilon / 2, "steps": 5, "norm": "l2", "random_start": random_start}
    found = perturb(model, images, labels, seeded(), **settings)
    norms = (found - images).double().flatten(1).norm(dim=1)
    assert found.dtype == dtype
    assert norms.max() <= epsilon + 1e-6
    assert norms.min() > epsilon / 2
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_steps_do_not_depend_on_the_size_of_the_gradient(norm):
    weight = torch.randn(2, 27, generator=seeded(), dtype=torch.float64)
    images, labels = draw(20, 3, 3, classes=2)
    settings = {"epsilon": 0.4, "step_size": 0.3, "steps": 1, "norm": norm, "loss": "margin"}
    usual = perturb(Linear(weight), images, labels, seeded(), **settings)
    tiny = perturb(Scaled(Linear(weight.float()), 1e-35), images.float(), labels, seeded(), **settings)
    assert torch.allclose(tiny.double(), usual, rtol=0, atol=1e-6)
    flat = perturb(Linear(0 * weight), images, labels, seeded(), **settings)
    assert torch.equal(flat, images)


def test_l2_random_start_is_uniform_in_the_ball():
    images, labels = torch.full((300, 1, 4, 4), 0.5, dtype=torch.float64), torch.zeros(300, dtype=torch.int64)
    settings = {"epsilon": 0.3, "step_size": 1e-12, "steps": 1, "norm": "l2", "random_start": True}
    model = Linear(torch.randn(2, 16, dtype=torch.float64))
    start = (perturb(model, images, labels, seeded(), **settings) - images).flatten(1)
    radius = start.norm(dim=1)
    # The share of the ball within a radius is its 16th power; a coordinate of a direction has a known beta law.
    assert kstest(((radius / 0.3) ** 16).numpy(), "uniform").pvalue > 0.01
    along = ((start / radius[:, None])[:, 3] + 1) / 2
    assert kstest(along.numpy(), "beta", args=(7.5, 7.5)).pvalue > 0.01


def iterates(model, images, labels, steps, **settings):
    """The start and every iterate, by attacks of 1, 2, ... steps."""
    still = {**settings, "step_size": 1e-12, "steps": 1}
    start = perturb(model, images, labels, seeded(), **still) if settings.get("random_start") else images
    return [start, *(perturb(model, images, labels, seeded(), **settings, steps=n) for n in range(1, steps + 1))]


@pytest.mark.parametrize("target", [None, "second", 3])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("random_start", [False, True])
def test_stopping_at_success_keeps_the_first_iterate_that_succeeds_else_the_last(random_start, norm, target):
    model, images, labels = mlp()
    model, images, labels = model.double(), images[:80].double(), labels[:80].clone()
    labels[:8] = (labels[:8] + 1) % 10
    size = {"linf": 0.01, "l2": 0.05}[norm] * (3 if target == 3 else 1)
    sizes = {"epsilon": 6 * size, "step_size": size}
    settings = {**sizes, "norm": norm, "random_start": random_start, "target": target, "loss": "margin"}
    path = iterates(model, images, labels, 9, **settings)
    with torch.no_grad():
        predicted = torch.stack([model(x).argmax(1) for x in path])
        clean = model(images)
    aims = {
        "second": lambda: clean.scatter(1, labels[:, None], -torch.inf).argmax(1),
        3: lambda: torch.full_like(labels, 3),
    }
    wanted = predicted != labels if target is None else predicted == aims[target]()
    calls = sizes_of(model)
    settings |= {"steps": 9, "stop_at_success": True}
    found, iterations, queries, *_ = attacks.load("pgd")(model, images, labels, seeded(), **settings)
    first = torch.where(wanted.any(0), wanted.int().argmax(0), 9)
    expected = torch.stack(path)[first, torch.arange(80)]
    own = labels == 3 if target == 3 else torch.zeros_like(labels, dtype=torch.bool)
    expected[own], first[own] = images[own], 0
    assert torch.allclose(found, expected, rtol=0, atol=1e-9)
    assert torch.equal(iterations, first)
    assert len(first.unique()) > 3
    assert not wanted.any(0).all()
    assert torch.equal(queries[~own], ((first + 1).clamp(max=9) + (target is not None))[~own])
    assert queries.sum() <= sum(calls) <= 80 * len(calls)
    assert calls[-1] < 80


def test_restarts_with_a_stop_succeed_where_any_iterate_of_any_restart_does():
    model, images, labels = mlp()
    model, images, labels = model.double(), images[:60].double(), labels[:60]
    settings = {"epsilon": 0.05, "step_size": 0.02, "steps": 4, "random_start": True, "restarts": 5}
    settings |= {"stop_at_success": True}
    found, iterations, queries, *_ = attacks.load("pgd")(model, images, labels, seeded(), **settings)
    broken = torch.zeros(5, 60, dtype=torch.bool)
    uniform = torch.rand(60, 5, 36, generator=seeded(), dtype=torch.float64)
    for turn in range(5):
        x = (images + 0.05 * (2 * uniform[:, turn].view_as(images) - 1)).clamp(0, 1)
        for _ in range(5):
            inputs = x.clone().requires_grad_()
            logits = model(inputs)
            broken[turn] |= logits.argmax(1) != labels
            (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels), inputs)
            x = torch.max(torch.min(x + 0.02 * gradient.sign(), images + 0.05), images - 0.05).clamp(0, 1)
    with torch.no_grad():
        success = model(found).argmax(1) != labels
    assert torch.equal(success, broken.any(0))
    assert not torch.equal(success, broken[0])
    assert not success.all()
    assert (iterations[~success] == 20).all()
    assert (queries[~success] == 25).all()
    assert (iterations[success] < 20).float().mean() > 0.9


@pytest.mark.parametrize("settings", [{}, {"random_start": True, "restarts": 3}, {"target": "second"}])
def test_counts_are_those_of_the_forward_passes(settings):
    model, (images, labels) = network(), draw()
    calls = sizes_of(model)
    found = attacks.load("pgd")(model, images, labels, seeded(), **SETTINGS, **settings)
    assert (found.iterations == 7 * settings.get("restarts", 1)).all()
    assert (found.queries == len(calls)).all()
    assert found.queries.sum() == sum(calls)


@pytest.mark.parametrize("loss", ["cross_entropy", "exact_cross_entropy", "margin", "dlr", "true_logit"])
def test_targets_are_the_classes_that_they_name(loss):
    model, (images, labels) = network(), draw(30)
    with torch.no_grad():
        clean = model(images)
    order = clean.argsort(1, descending=True).tolist()
    wrong = [[k for k in row if k != y] for row, y in zip(order, labels.tolist(), strict=True)]
    aims = {"second": [row[0] for row in wrong], "least_likely": [row[-1] for row in wrong], 2: [2] * 30}
    for target, classes in aims.items():
        x, classes = images, torch.tensor(classes)
        for _ in range(7):
            inputs = x.clone().requires_grad_()
            logits = model(inputs)
            z_t, z_y = (logits.gather(1, k[:, None])[:, 0] for k in (classes, labels))
            ranked = logits.sort(1, descending=True).values
            climbed = {
                "margin": z_t - z_y,
                "true_logit": z_t,
                "dlr": (z_t - z_y) / (ranked[:, 0] - ranked[:, 2:4].mean(1)),
            }.get(loss, -F.cross_entropy(logits, classes, reduction="none"))
            (gradient,) = torch.autograd.grad(climbed.sum(), inputs)
            x = torch.max(torch.min(x + gradient.sign() * 2 / 255, images + 8 / 255), images - 8 / 255).clamp(0, 1)
        x = torch.where((classes == labels).view(-1, 1, 1, 1), images, x)
        found = perturb(model, images, labels, seeded(), **SETTINGS, loss=loss, target=target)
        assert torch.allclose(found, x, rtol=0, atol=1e-12), target


def test_random_targets_are_uniform_over_the_wrong_classes_and_come_from_the_generator():
    weight = torch.eye(5, 16, dtype=torch.float64)
    images, labels = torch.full((4000, 1, 4, 4), 0.5, dtype=torch.float64), torch.arange(4000) % 5
    settings = {"epsilon": 0.1, "step_size": 0.1, "steps": 1, "loss": "true_logit", "target": "random"}
    # The value that grew is the target.
    first, again, other = (
        (perturb(Linear(weight), images, labels, seeded(s), **settings) - images).flatten(1).argmax(1)
        for s in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    counts = torch.zeros(5, 5).index_put_((labels, first), torch.ones(4000), accumulate=True)
    assert (counts.diagonal() == 0).all()
    assert counts[~torch.eye(5, dtype=torch.bool)].min() > 150
    assert counts.max() < 250


def test_targeted_restarts_keep_the_first_that_reaches_the_target_else_the_nearest():
    model, images, labels = mlp()
    others = labels != 4
    model, images, labels = model.double(), images[others][:40].double(), labels[others][:40]
    settings = {"epsilon": 0.15, "step_size": 0.03, "steps": 2, "random_start": True, "target": 4, "loss": "margin"}
    found = perturb(model, images, labels, seeded(), **settings, restarts=4)
    generator, kinds = seeded(), set()
    for image, label, kept in zip(images, labels, found, strict=True):
        image, label = image[None], label[None]
        candidates = torch.cat([perturb(model, image, label, generator, **settings) for _ in range(4)])
        with torch.no_grad():
            logits = model(candidates)
        hit = logits.argmax(1) == 4
        best = hit.int().argmax() if hit.any() else (logits[:, 4] - logits[:, label.item()]).argmax()
        kinds.add((hit.any().item(), best.item() > 0))
        assert torch.allclose(kept, candidates[best], rtol=0, atol=1e-9)
    assert {(False, True), (True, True)} <= kinds  # both rules decided something


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epsilon": 8}, "epsilon is a fraction of the pixel range: write 8/255, not 8"),
        ({"epsilon": 0}, "epsilon must be above 0"),
        ({"epsilon": float("nan")}, "epsilon must be above 0"),
        ({"step_size": 0}, "step_size is a fraction"),
        ({"step_size": 2}, "step_size is a fraction"),
        ({"steps": 0}, "steps is a whole number from 1, not 0"),
        ({"restarts": 0, "random_start": True}, "restarts is a whole number from 1, not 0"),
        ({"restarts": 2}, "set random_start: true"),
        ({"loss": "cross_entropi"}, "did you mean 'cross_entropy'"),
        ({"norm": "l3"}, "there is no norm 'l3'; did you mean 'l2'"),
        (
            {"norm": "l2", "epsilon": 128},
            "epsilon is an L2 norm of images in .0, 1., which here differ by at most 20.78",
        ),
        ({"norm": "l2", "epsilon": 0}, "epsilon is an L2 norm .* above 0, not 0"),
        ({"norm": "l2", "step_size": float("nan")}, "step_size is an L2 norm .* not nan"),
        ({"target": "least_likly"}, "did you mean 'least_likely'"),
        ({"target": 5}, "class 5 is not one of the network's 5 classes"),
        ({"target": -1}, "there is no target '-1'"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, sentence):
    with pytest.raises(Problem, match=sentence):
        perturb(network(), *draw(), seeded(), **{**SETTINGS, **settings})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda images, labels: (images * 255, labels), "divide pixels by 255"),
        (lambda images, labels: (images - 0.5, labels), "must lie in"),
        (lambda images, labels: (images * float("nan"), labels), "must lie in"),
        (lambda images, labels: ((images * 255).byte(), labels), "floating-point"),
        (lambda images, labels: (images[0], labels), "images must be"),
        (lambda images, labels: (images[:0], labels[:0]), "images must be"),
        (lambda images, labels: (images, labels[1:]), "labels"),
        (lambda images, labels: (images, labels - 5), "labels count classes from 0, but one is -"),
        (lambda images, labels: (images, labels + 5), "is not one of the network's 5 classes"),
        (lambda images, labels: (images, labels.int()), "labels must be int64"),
    ],
)
def test_bad_inputs_are_refused_in_one_sentence(change, sentence):
    with pytest.raises(Problem, match=sentence):
        perturb(network(), *change(*draw()), seeded(), **SETTINGS)


class Wrong(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, images):
        return self.output(images)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (lambda x: x.mean((2, 3)) * float("nan"), "NaN or infinite"),
        (lambda x: x.mean((2, 3)) / 0, "NaN or infinite"),
        (lambda x: x.mean((2, 3)) + torch.tensor([0, 0, -torch.inf]), "NaN or infinite"),
        (lambda x: (x - x).sqrt().mean((2, 3)), "gradient are NaN"),
        (lambda x: x.mean((1, 2, 3)), "must return logits"),
        (lambda x: x.flatten(0, 1).mean(2), "must return logits"),
        (lambda x: x.detach().mean((2, 3)), "differentiably"),
        (lambda x: F.one_hot(x.mean((2, 3)).argmax(1), 3).float(), "differentiably"),
    ],
)
def test_networks_that_cannot_be_attacked_are_refused_in_one_sentence(output, sentence):
    images, labels = draw(classes=3)
    with pytest.raises(Problem, match=sentence):
        perturb(Wrong(output).eval(), images, labels, seeded(), **SETTINGS)


def test_a_network_in_training_mode_is_refused():
    with pytest.raises(Problem, match="training mode"):
        perturb(network().train(), *draw(), seeded(), **SETTINGS)


@pytest.mark.parametrize(
    ("name", "sentence"), [("pgb", "did you mean 'pgd'"), ("parts", "defines no function 'perturb'")]
)
def test_unknown_attacks_are_refused_in_one_sentence(name, sentence):
    with pytest.raises(Problem, match=sentence):
        attacks.load(name)
