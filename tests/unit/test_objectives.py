"""The losses of song2022, pang2020 and chen2019: gradients, finite values, and each against an independent oracle."""

import functools
import importlib
import inspect
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import entropy, multivariate_normal
from torch import nn
from torch.nn import functional as F

from robustloss import code, heads, losses
from robustloss.errors import Problem

K, D = 5, 4
MAHALANOBIS = {"name": "max_mahalanobis"}
# Every loss with its settings, on the head that it is for.
CASES = {
    "all_one": ({}, None),
    "arcface": ({"margin": 0.5}, {"name": "cosine", "scale": 16}),
    "center": ({}, {"name": "linear", "centres": True}),
    "complement_entropy": ({}, None),
    "complement_entropy_official": ({}, None),
    "cross_entropy": ({}, MAHALANOBIS),
    "elastic_centres": ({}, MAHALANOBIS | {"elastic": True}),
    "entropy": ({}, None),
    "false_label": ({}, None),
    "gce": ({"alpha": 1 / 3}, None),
    "gce_official": ({"alpha": 1 / 3}, None),
    "isce": ({"s": 1.5, "m": 0.1}, {"name": "unit_norm"}),
    "isce_official": ({"s": 1.5, "m": 0.1}, {"name": "unit_norm"}),
    "label_smoothing": ({"epsilon": 0.1}, None),
    "label_smoothing_song2022": ({"epsilon": 0.1}, None),
    "lgm": ({"margin": 0.3, "likelihood": 0.1}, {"name": "gaussian"}),
    "mmc": ({}, MAHALANOBIS),
    "second_label": ({}, None),
}


def objective(name, **settings):
    return losses.objective([{"loss": name, "weight": 1, **settings}])


def build(spec: dict | None, dtype=torch.float64, classes=K, dimension=D) -> nn.Module:
    if spec is None:
        return nn.Identity()
    torch.manual_seed(0)
    head = heads.build({"dimension": dimension, **spec}, classes).to(dtype)
    if hasattr(head, "presets"):
        head.centres.data += 0.5 * torch.randn(head.centres.shape).to(dtype)
    return head


def extreme(dimension: int, noise: float) -> torch.Tensor:
    """Rows of 0, ±50 and ±200, and random ones; `noise` keeps them off points without a derivative."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(-1, 2, (6, dimension), generator=generator)
    rows = [torch.zeros(1, dimension), 50 * signs, 200 * signs, 200 * torch.eye(dimension)]
    rows.append(3 * torch.randn(12, dimension, generator=generator))
    found = torch.cat(rows).double()
    return found + noise * torch.randn(found.shape, generator=generator, dtype=torch.float64)


def draw(count=100, classes=K, scale=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (count,), generator=generator)


def test_every_loss_is_tested_here():
    assert set(CASES) == set(code.plugins("losses"))


class PerSample(nn.Module):
    """A loss of every sample as a function of features, labels and the head's parameters."""

    def __init__(self, name: str):
        super().__init__()
        settings, spec = CASES[name]
        self.head = build(spec)
        self.loss = functools.partial(importlib.import_module(code.plugin("losses", name)).loss, **settings)
        self.wanted = set(inspect.signature(self.loss).parameters) & {"features", "head"}

    def forward(self, features, labels):
        given = {"features": features, "head": self.head}
        return self.loss(self.head(features), labels, **{key: given[key] for key in self.wanted})


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_central_difference(name):
    module = PerSample(name)
    rows = extreme(K if CASES[name][1] is None else D, noise=0.3).requires_grad_()
    labels = torch.arange(len(rows)) % K
    names = [key for key, _ in module.named_parameters()]

    def values(features, *parameters):
        return torch.func.functional_call(module, dict(zip(names, parameters, strict=True)), (features, labels))

    inputs = (rows, *(parameter.detach().clone().requires_grad_() for parameter in module.parameters()))
    assert torch.autograd.gradcheck(values, inputs, eps=1e-5, atol=1e-5, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_stay_finite(name, dtype):
    settings, spec = CASES[name]
    evaluate, head = objective(name, **settings), build(spec, dtype)
    rows = extreme(K if spec is None else D, noise=0)
    features = torch.cat([rows, 50 * rows]).to(dtype).requires_grad_()
    for label in range(K):
        value = evaluate(head(features), torch.full((len(features),), label), features, head)
        gradients = torch.autograd.grad(value, [features, *head.parameters()], allow_unused=True)
        assert value.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients if gradient is not None)


def test_gradients_are_finite_along_a_weight_vector_and_where_there_is_no_direction():
    """Where cos(theta_y) is 1 or -1 up to rounding, and at zero."""
    head = build({"name": "cosine"}, torch.float32, classes=200)
    head.weight.data[0] = torch.tensor([2.0, 0, 0, 0])  # its cosine with itself is 1 without rounding
    for factor in (3, -3, 0):
        features = (factor * head.weight).detach().requires_grad_()
        value = objective("arcface")(head(features), torch.arange(200), head=head)
        assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(value, [features, head.weight]))
    logits = torch.zeros(1, K, requires_grad=True)
    unit = build({"name": "unit_norm", "linear": False}, dimension=K)
    (gradient,) = torch.autograd.grad(objective("isce")(unit(logits), torch.tensor([0])), logits)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_label_smoothing_is_torch_s(epsilon):
    logits, labels = draw()
    expected = F.cross_entropy(logits, labels, label_smoothing=epsilon)
    assert objective("label_smoothing", epsilon=epsilon)(logits, labels).item() == pytest.approx(expected.item())


def test_label_smoothing_of_song2022_has_the_printed_target():
    logits, labels = draw()
    target = np.full((len(labels), K), 0.1 / K)
    target[np.arange(len(labels)), labels] = 0.9
    expected = -(target * log_softmax(logits.numpy(), 1)).sum(1).mean()
    found = objective("label_smoothing_song2022", epsilon=0.1)(logits, labels).item()
    assert found == pytest.approx(expected)
    assert found != pytest.approx(objective("label_smoothing", epsilon=0.1)(logits, labels).item(), rel=1e-3)


def test_second_label_is_the_most_likely_wrong_one():
    logits, labels = draw()
    expected = []
    for row, label in zip(softmax(logits.numpy(), 1), labels.tolist(), strict=True):
        expected.append(-math.log(max(np.delete(row, label))))
    assert objective("second_label")(logits, labels).item() == pytest.approx(np.mean(expected))


def complement(logits: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
    rows = zip(softmax(logits.numpy(), 1), labels.tolist(), strict=True)
    return np.array([entropy(np.delete(row, label), base=logits.shape[1] - 1) for row, label in rows])


def test_complement_entropy_is_scipy_s_entropy_of_the_wrong_classes():
    logits, labels = draw()
    assert objective("complement_entropy")(logits, labels).item() == pytest.approx(-complement(logits, labels).mean())
    assert objective("gce", alpha=0)(logits, labels).item() == pytest.approx(-complement(logits, labels).mean())


@pytest.mark.parametrize("alpha", [1 / 5, 1 / 3, 1])
def test_gce_is_the_entropy_weighted_by_a_power_of_the_true_probability(alpha):
    logits, labels = draw()
    f_y = softmax(logits.numpy(), 1)[np.arange(len(labels)), labels]
    expected = -(f_y**alpha * complement(logits, labels)).mean()
    assert objective("gce", alpha=alpha)(logits, labels).item() == pytest.approx(expected)


def test_released_complement_entropy_is_the_exact_one_times_a_logarithm_over_the_classes():
    """log(9) / 10, a 4.55th, for ten classes, in value and gradient, where nothing is rounded."""
    logits, labels = draw(classes=10, scale=1.0)
    logits.requires_grad_()
    values = [objective(name)(logits, labels) for name in ("complement_entropy_official", "complement_entropy")]
    assert values[0].item() == pytest.approx(math.log(9) / 10 * values[1].item(), abs=1e-6)
    found, exact = (torch.autograd.grad(value, logits)[0] for value in values)
    assert torch.allclose(found, math.log(9) / 10 * exact, rtol=0, atol=1e-8)
    rows = zip(softmax(logits.detach().numpy(), 1), labels.tolist(), strict=True)
    assert values[0].item() == pytest.approx(-np.mean([entropy(np.delete(*row)) for row in rows]) / 10, abs=1e-6)


def gaps(values, dtype=torch.float32) -> torch.Tensor:
    """Ten logits each, the first larger than the equal others by a gap."""
    logits = torch.zeros(len(values), 10, dtype=dtype)
    logits[:, 0] = torch.as_tensor(values)
    return logits


def each(name, logits, **settings) -> np.ndarray:
    """The loss of every row, whose label is 0."""
    evaluate = objective(name, **settings)
    return np.array([evaluate(row[None], torch.tensor([0])).item() for row in logits])


def test_gce_falls_to_its_minimum_of_minus_one_in_float32():
    values = each("gce", gaps(np.arange(-20, 200.5, 0.5)), alpha=1 / 3)
    assert (np.diff(values) <= 0).all()
    assert values[0] > -0.01
    assert values[-1] == pytest.approx(-1, abs=1e-6)


def released_gce(p: np.ndarray) -> np.ndarray:
    """The released code in numpy, from rows of ten float32 probabilities of which the first is the true class's."""
    q = p / (1 - p[:, :1] + np.float32(1e-7))
    terms = q[:, 1:] * np.log(q[:, 1:] + np.float32(1e-10))
    return (p[:, 0] + np.float32(1e-7)) ** np.float32(1 / 3) * terms.sum(1) / np.float32(math.log(10))


def test_released_gce_rises_and_jumps_in_float32():
    """Where 1 - f_y is rounded much, the value depends on how softmax adds up: numpy's is held against numpy's."""
    logits = gaps([5, 10, 13, 15, 16, 17, 20])
    expected = [-0.936, -0.954, -0.951, -0.917, -0.879, -1.005, -0.313]
    exponentials = np.exp(logits.numpy() - logits.numpy().max(1, keepdims=True))
    assert np.allclose(released_gce(exponentials / exponentials.sum(1, keepdims=True)), expected, rtol=0, atol=6e-4)
    values = each("gce_official", logits, alpha=1 / 3)
    assert np.allclose(values, released_gce(logits.softmax(1).numpy()), rtol=0, atol=1e-5)
    assert np.allclose(values[[0, 1, 2, 6]], np.array(expected)[[0, 1, 2, 6]], rtol=0, atol=6e-4)
    assert values.max() == values[6] and values[3] > values[1] + 0.01


def test_released_gce_differs_from_the_exact_one_by_its_logarithm_where_nothing_is_rounded():
    logits, labels = draw(scale=1.0)
    found, exact = (objective(name, alpha=1 / 3)(logits, labels).item() for name in ("gce_official", "gce"))
    assert found == pytest.approx(exact * math.log(K - 1) / math.log(K), abs=1e-5)


@pytest.mark.parametrize("name", ["gce", "gce_official", "isce", "isce_official", "label_smoothing", "second_label"])
def test_descent_raises_the_true_class_except_under_second_label(name):
    """The signs that the papers' printed equations have lost: chen2019's form as printed drives f_y to 0."""
    settings = {key: value for key, value in CASES[name][0].items() if key != "s"}
    logits = (0.1 * draw(1, 10)[0]).requires_grad_()
    evaluate, label = objective(name, **settings), torch.tensor([3])
    for _ in range(2000):
        (gradient,) = torch.autograd.grad(evaluate(logits, label), logits)
        logits = (logits - gradient).detach().requires_grad_()
    f_y = logits.softmax(1)[0, 3].item()
    assert f_y < 0.02 if name == "second_label" else f_y > 0.85


def test_descent_on_complement_entropy_levels_the_wrong_classes_and_leaves_the_true_one():
    logits, labels = draw(20, scale=1.0)
    start = logits.gather(1, labels[:, None])
    logits.requires_grad_()
    for _ in range(500):
        (gradient,) = torch.autograd.grad(objective("complement_entropy")(logits, labels) * 20, logits)
        logits = (logits - gradient).detach().requires_grad_()
    assert torch.equal(logits.detach().gather(1, labels[:, None]), start)
    assert complement(logits.detach(), labels).min() > 0.999


@pytest.mark.parametrize(("s", "m"), [(1, 0), (1, 0.1), (2, 0.05)])
def test_isce_is_cross_entropy_of_the_printed_probability(s, m):
    logits, labels = draw(scale=0.5)
    e = np.exp(logits.numpy())
    rows = np.arange(len(labels))
    raised = np.exp(s * logits.numpy()[rows, labels] + m)
    expected = -np.log(raised / (raised + e.sum(1) - e[rows, labels]))
    assert objective("isce", s=s, m=m)(logits, labels).item() == pytest.approx(expected.mean())


def test_released_isce_raises_the_largest_logit_whatever_the_label():
    head = build({"name": "unit_norm"})
    logits = head(draw(classes=D)[0]).detach()
    labels = draw()[1]
    raised = logits.numpy().copy()
    largest = raised.argmax(1)
    raised[np.arange(len(labels)), largest] = np.clip(1.5 * (raised.max(1) + 0.1), -1, 1)
    expected = -log_softmax(raised, 1)[np.arange(len(labels)), labels]
    assert 5 < (largest == labels.numpy()).sum() < 95
    assert objective("isce_official", s=1.5, m=0.1)(logits, labels).item() == pytest.approx(expected.mean())


@pytest.mark.parametrize(("m", "best"), [(0, 0.242), (0.1, 0.261)])
def test_best_softmax_on_the_unit_sphere(m, best):
    head, label = build({"name": "unit_norm", "linear": False}, classes=10, dimension=10), torch.tensor([0])

    def value(raw):
        raw = torch.from_numpy(raw)[None].requires_grad_()
        found = objective("isce", m=m)(head(raw), label)
        return found.item(), torch.autograd.grad(found, raw)[0][0].numpy()

    starts = np.random.default_rng(0).normal(size=(10, 10))
    found = [minimize(value, start, jac=True).fun for start in starts]
    assert math.exp(-min(found)) == pytest.approx(best, abs=5e-4)


def test_best_softmax_on_the_unit_sphere_under_the_released_clip():
    head, label = build({"name": "unit_norm", "linear": False}, classes=10, dimension=10), torch.tensor([0])

    def logits(own):
        rest = -math.sqrt((1 - own**2) / 9)
        return head(torch.tensor([[own] + [rest] * 9], dtype=torch.float64))

    found = minimize_scalar(lambda own: objective("isce_official", m=0.1)(logits(own), label).item(), bounds=(0.5, 1))
    assert found.x == pytest.approx(0.9, abs=1e-4)
    assert math.exp(-found.fun) == pytest.approx(0.259, abs=5e-4)
    past = logits(0.95).requires_grad_()
    (gradient,) = torch.autograd.grad(objective("isce_official", m=0.1)(past, label), past)
    assert gradient[0, 0] == 0


def test_arcface_is_the_published_formula():
    head = build({"name": "cosine", "scale": 16}, classes=7)
    z, labels = draw(300, D)[0], draw(300, 7, seed=1)[1]
    found = objective("arcface", margin=0.5)(head(z), labels, head=head).item()
    w = head.weight.detach().numpy()
    cosines = (z.numpy() / np.linalg.norm(z, axis=1)[:, None]) @ (w / np.linalg.norm(w, axis=1)[:, None]).T
    logits, fallbacks = 16 * cosines, 0
    for row, label in enumerate(labels):
        own = cosines[row, label]
        if own > math.cos(math.pi - 0.5):
            logits[row, label] = 16 * math.cos(math.acos(own) + 0.5)
        else:
            fallbacks += 1
            logits[row, label] = 16 * (own - 0.5 * math.sin(math.pi - 0.5))
    assert 5 < fallbacks < 100
    assert found == pytest.approx(-log_softmax(logits, 1)[np.arange(300), labels].mean())


# Cosines of five samples with five classes; the labels are the diagonal. Under a margin of 0.5 the third and the fourth
# angle pass pi, under 0.35 the third alone.
COSINES = [
    [0.9, -0.2, 0.1, 0.3, -0.5],
    [0.4, 0.2, -0.7, 0.6, 0.0],
    [-0.3, 0.5, -0.95, 0.25, 0.1],
    [0.1, -0.1, 0.35, -0.88, 0.7],
    [0.05, 0.15, -0.25, 0.45, -0.87],
]


@pytest.mark.parametrize(
    ("scale", "margin", "expected"),
    [
        (64, 0.5, [0.0000000156, 57.2302532131, 108.1416173479, 116.4616172355, 92.7922186253]),
        (16, 0.35, [0.0018433705, 12.0095496507, 25.1400106988, 27.0360080223, 22.9909860765]),
    ],
)
def test_arcface_has_the_values_of_its_authors_implementation(scale, margin, expected):
    """Cross-entropies of the logits that recognition/arcface_torch/losses.py gave, in float64, for these cosines.

    deepinsight/insightface at commit 2e2e8c97c7bc3e79a4d5403ae12cd5dd2bd69658.
    """
    head = build({"name": "cosine", "scale": scale})
    logits = scale * torch.tensor(COSINES, dtype=torch.float64)
    found = [
        objective("arcface", margin=margin)(row[None], torch.tensor([label]), head=head).item()
        for label, row in enumerate(logits)
    ]
    assert np.allclose(found, expected, rtol=0, atol=1e-9)


def test_arcface_without_a_margin_is_cross_entropy():
    head = build({"name": "cosine"})
    z, labels = draw(classes=D)[0], draw()[1]
    found, expected = (
        objective(name, **settings)(head(z), labels, head=head).item()
        for name, settings in (("arcface", {"margin": 0}), ("cross_entropy", {}))
    )
    assert found == pytest.approx(expected)


def test_mmc_is_half_the_squared_distance_to_the_own_centre():
    head = build(MAHALANOBIS)
    z, labels = draw(classes=D)[0], draw()[1]
    expected = 0.5 * np.linalg.norm(z.numpy() - head.centres.numpy()[labels], axis=1) ** 2
    assert objective("mmc")(head(z), labels).item() == pytest.approx(expected.mean())


def test_cross_entropy_on_max_mahalanobis_logits_is_linear_discriminant_analysis():
    """MMLDA: the posterior of Gaussians with equal priors and covariance 1/2."""
    head = build(MAHALANOBIS | {"scale": 2})
    z, labels = draw(classes=D)[0], draw()[1]
    densities = [multivariate_normal(mean, 0.5).pdf(z) for mean in head.centres.numpy()]
    posterior = np.stack(densities, 1) / np.sum(densities, 0)[:, None]
    expected = -np.log(posterior[np.arange(len(labels)), labels]).mean()
    assert objective("cross_entropy")(head(z), labels).item() == pytest.approx(expected)


def test_lgm_is_margin_classification_plus_likelihood():
    head = build({"name": "gaussian"})
    z, labels = draw(classes=D, scale=1)[0], draw()[1]
    rows = np.arange(len(labels))
    halves = 0.5 * ((z.numpy()[:, None] - head.centres.detach().numpy()) ** 2).sum(2)
    widened = halves.copy()
    widened[rows, labels] *= 1.3
    expected = -log_softmax(-widened, 1)[rows, labels] + 0.1 * halves[rows, labels]
    found = objective("lgm", margin=0.3, likelihood=0.1)(head(z), labels).item()
    assert found == pytest.approx(expected.mean())


def test_elastic_penalty_is_the_squared_way_that_the_centres_have_moved():
    head = heads.build(MAHALANOBIS | {"dimension": D, "elastic": True}, K)
    z, labels = draw(classes=D)[0].float(), draw()[1]
    assert objective("elastic_centres")(head(z), labels, head=head) == 0
    moved = torch.randn(K, D, generator=torch.Generator().manual_seed(0))
    head.centres.data += moved
    found = objective("elastic_centres")(head(z), labels, head=head).item()
    assert found == pytest.approx(np.linalg.norm(moved.numpy(), "fro") ** 2, rel=1e-5)


def test_center_loss_is_half_the_squared_distance_and_pulls_each_centre_to_its_class_s_features():
    head = build({"name": "linear", "centres": True})
    z, labels = draw(classes=D)[0].requires_grad_(), draw()[1].numpy()
    own = head.centres.detach().numpy()[labels]
    value = objective("center")(head(z), torch.from_numpy(labels), z, head)
    assert value.item() == pytest.approx(0.5 * ((z.detach().numpy() - own) ** 2).sum(1).mean())
    of_features, of_centres = torch.autograd.grad(value, [z, head.centres])
    pull = (own - z.detach().numpy()) / len(z)
    assert np.allclose(of_features, -pull)
    assert np.allclose(of_centres, [pull[labels == label].sum(0) for label in range(K)])


@pytest.mark.parametrize(
    ("term", "sentence"),
    [
        ({"loss": "gce"}, "loss gce: the key 'alpha' is missing"),
        ({"loss": "gce", "alpha": -1}, "alpha must be a number from 0"),
        ({"loss": "label_smoothing", "epsilon": 2}, "epsilon must be a number from 0 to 1, not 2"),
        ({"loss": "label_smoothing_song2022", "epsilon": -1}, "epsilon must be a number from 0 to 1, not -1"),
        ({"loss": "center", "head": 1}, "loss center: unknown key 'head': it takes no settings"),
        ({"loss": "elastic_centres", "head": 1}, "unknown key 'head': it takes no settings"),
        ({"loss": "center"}, "loss center: it is computed from the network's features as well, which was not given"),
        ({"loss": "arcface"}, "loss arcface: it is computed from the network's head as well"),
    ],
)
def test_what_a_loss_lacks_is_said_in_one_sentence(term, sentence):
    with pytest.raises(Problem, match=sentence) as raised:
        losses.objective([term | {"weight": 1}])(*draw())
    assert "\n" not in str(raised.value)


def test_heads_without_what_a_loss_needs_are_refused():
    logits, labels = draw()
    with pytest.raises(Problem, match="write `centres: true`"):
        objective("center")(logits, labels, logits, build({"name": "linear"}))
    with pytest.raises(Problem, match="write `elastic: true`"):
        objective("elastic_centres")(logits, labels, head=build(MAHALANOBIS))


@pytest.mark.parametrize("name", ["gce", "complement_entropy", "complement_entropy_official"])
def test_two_classes_have_no_complement_entropy(name):
    with pytest.raises(Problem, match="three classes at least"):
        objective(name, **CASES[name][0])(*draw(classes=2))


def test_losses_are_refused_on_heads_that_they_are_not_for():
    for name, (_, spec) in CASES.items():
        code.check_head("here", name, spec and spec["name"])
    with pytest.raises(Problem, match="here: loss mmc needs a network with the head max_mahalanobis; this has no head"):
        code.check_head("here", "mmc", None)
    with pytest.raises(Problem, match="the head gaussian; this has the head linear"):
        code.check_head("here", "lgm", "linear")
