"""Heads: centres against closed forms and known best packings, logits against other libraries, and inside a network."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import multivariate_normal
from sklearn.metrics.pairwise import cosine_similarity
from torch import nn

from robustloss import checkpoints, code, heads, models
from robustloss.errors import Problem
from robustloss.heads import centres

# (s, m) of song2022, Figure 4, at the ends of its ranges and between.
BONUSES = [(1, 0.02), (1, 0.1), (1.5, 0.06), (2, 0.02), (2, 0.1)]
HEADS = ["linear", "max_mahalanobis", "gaussian", "cosine", "unit_norm"]


def build(name, classes=7, dimension=5, seed=0, **settings) -> nn.Module:
    torch.manual_seed(seed)
    return heads.build({"name": name, "dimension": dimension, **settings}, classes)


def draw(count=20, dimension=5, scale=3.0, dtype=torch.float64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(count, dimension, generator=generator, dtype=torch.float64).to(dtype)


def off_diagonal(vectors: torch.Tensor) -> np.ndarray:
    cosines = cosine_similarity(vectors.numpy())
    return cosines[~np.eye(len(cosines), dtype=bool)]


def published_recursion(classes: int, dimension: int) -> np.ndarray:
    """mu_1 = e_1; mu_i(j) = -(1 / (L - 1) + <mu_i, mu_j>) / mu_j(j) for j < i; mu_i(i) makes the norm 1."""
    mu = np.zeros((classes, max(classes, dimension)))
    mu[0, 0] = 1
    for i in range(1, classes):
        for j in range(i):
            mu[i, j] = -(1 / (classes - 1) + mu[i] @ mu[j]) / mu[j, j] if j < classes - 1 else 0
        mu[i, i] = math.sqrt(abs(1 - mu[i] @ mu[i]))
    return mu[:, :dimension]


def test_every_head_is_tested_here():
    assert set(HEADS) == set(code.plugins("heads"))


@pytest.mark.parametrize("classes", [7, 10, 100, 200])
def test_optimal_centres_are_a_simplex(classes):
    found = build("max_mahalanobis", classes, 256, scale=10).centres
    assert found.dtype == torch.float32
    assert np.allclose(found.norm(dim=1), 10, rtol=0, atol=1e-5)
    assert np.allclose(off_diagonal(found.double()), -1 / (classes - 1), rtol=0, atol=1e-6)
    between = cdist(found, found, "sqeuclidean")[~np.eye(classes, dtype=bool)]
    assert np.allclose(between, 2 * 100 * classes / (classes - 1), rtol=1e-5)


@pytest.mark.parametrize(("classes", "dimension"), [(2, 1), (7, 6), (10, 9), (10, 10), (10, 256), (200, 256)])
def test_optimal_centres_are_those_of_the_published_recursion(classes, dimension):
    expected = published_recursion(classes, dimension)
    assert np.allclose(centres.optimal(classes, dimension), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("classes", "dimension", "best"),
    [(10, 2, math.cos(math.pi / 5)), (6, 3, 0), (12, 3, 1 / math.sqrt(5)), (8, 4, 0)],
    ids=["decagon", "octahedron", "icosahedron", "cross-polytope"],
)
def test_more_classes_than_a_simplex_has_come_close_to_the_best_known_packing(classes, dimension, best):
    found = centres.optimal(classes, dimension)
    assert np.allclose(found.norm(dim=1), 1)
    assert best - 1e-9 <= off_diagonal(found).max() <= best + 1e-3
    torch.manual_seed(0)
    drawn = [off_diagonal(centres.random(classes, dimension)).max() for _ in range(50)]
    assert off_diagonal(found).max() < min(drawn)


def test_centres_that_are_searched_for_are_the_same_every_time():
    search = centres.optimal.__wrapped__
    torch.manual_seed(1)
    first = search(10, 3)
    torch.manual_seed(2)
    assert torch.equal(first, search(10, 3))


def test_random_centres_lie_on_the_sphere_and_follow_from_the_seed():
    first, again, other = (build("max_mahalanobis", centres="random", seed=seed).centres for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert np.allclose(first.norm(dim=1), 10)
    assert off_diagonal(first).max() > -1 / 6 + 0.1


def test_hierarchical_centres_are_the_superclass_s_plus_one_of_its_own():
    superclasses = [4, 0, 4, 2, 0, 4, 0, 4]
    settings = {"centres": "hierarchical", "superclasses": superclasses, "scale": 10, "subclass_scale": 2}
    found = build("max_mahalanobis", 8, 16, **settings).centres
    above = 10 * published_recursion(3, 16)
    of_four, of_three = 2 * published_recursion(4, 16), 2 * published_recursion(3, 16)
    expected = [
        above[2] + of_four[0],
        above[0] + of_three[0],
        above[2] + of_four[1],
        above[1],
        above[0] + of_three[1],
        above[2] + of_four[2],
        above[0] + of_three[2],
        above[2] + of_four[3],
    ]
    assert np.allclose(found, np.stack(expected), rtol=0, atol=1e-5)


def test_logits_are_what_other_libraries_compute():
    z = draw()
    linear, mahalanobis, gaussian, cosine, unit = (build(name).double() for name in HEADS)
    assert np.allclose(linear(z).detach(), z.numpy() @ linear.weight.detach().numpy().T + linear.bias.detach().numpy())
    assert np.allclose(mahalanobis(z), -cdist(z, mahalanobis.centres, "sqeuclidean"))
    densities = [multivariate_normal(mean=mean).logpdf(z) for mean in gaussian.centres.detach().numpy()]
    constant = 5 / 2 * math.log(2 * math.pi)
    assert np.allclose(gaussian(z).detach(), np.stack(densities, 1) + constant)
    assert np.allclose(cosine(z).detach(), 64 * cosine_similarity(z, cosine.weight.detach()))
    raw = unit.layer(z).detach().numpy()
    assert np.allclose(unit(z).detach(), raw / np.linalg.norm(raw, axis=1, keepdims=True))


@pytest.mark.parametrize("name", ["max_mahalanobis", "gaussian"])
def test_distances_keep_their_digits_near_a_centre(name):
    head = build(name, 10, 256)
    points = head.centres.detach() + draw(10, 256, 1e-3, torch.float32)
    exact = build(name, 10, 256).double()(points.double())
    assert torch.allclose(head(points).double(), exact, rtol=1e-4, atol=0)


def test_unit_norm_without_a_layer_of_its_own_normalises_what_it_is_given():
    z = draw(dimension=7).numpy()
    found = build("unit_norm", 7, 7, linear=False)(torch.from_numpy(z))
    assert np.allclose(found, z / np.linalg.norm(z, axis=1, keepdims=True))
    assert not list(build("unit_norm", 7, 7, linear=False).parameters())


def test_elastic_centres_are_parameters_and_remember_where_they_started():
    fixed, elastic = (build("max_mahalanobis", elastic=elastic) for elastic in (False, True))
    assert not list(fixed.parameters())
    assert [name for name, _ in elastic.named_parameters()] == ["centres"]
    assert torch.equal(elastic.centres, fixed.centres)
    with torch.no_grad():
        elastic.centres += 1
    assert torch.equal(elastic.presets, fixed.centres)


def network(head: dict | None, classes=7, seed=0, **settings) -> models.Network:
    torch.manual_seed(seed)
    spec = {"name": "small", "mean": 0.5, "std": 0.25, **settings, **({"head": head} if head else {})}
    return models.build(spec, classes, (16, 16, 3))


def images(count=6) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", HEADS)
def test_network_computes_the_head_of_the_body_s_features(name):
    model = network({"name": name, "dimension": 3}).eval()
    features = model.features(images())
    assert features.shape == (6, 3)
    assert torch.equal(features, model.body((images() - 0.5) / 0.25))
    assert model(images()).shape == (6, 7)
    assert torch.equal(model(images()), model.head(features))


def test_without_a_head_nothing_is_added():
    model = network(None).eval()
    assert torch.equal(model(images()), model.body((images() - 0.5) / 0.25))
    assert torch.equal(model.features(images()), model(images()))
    assert all(name.startswith("body.") for name in model.state_dict())


def test_networks_of_one_seed_have_the_same_body_under_every_head():
    kinds = [{"name": name, "dimension": 3} for name in HEADS]
    kinds.append({"name": "max_mahalanobis", "dimension": 3, "centres": "random"})
    first, *others = (network(kind).body.state_dict() for kind in kinds)
    assert all(torch.equal(first[key], other[key]) for other in others for key in first)


@pytest.mark.parametrize("name", HEADS)
def test_evaluation_copy_under_a_head_has_the_same_logits_and_input_gradients(name, capsys):
    model = network({"name": name, "dimension": 3})
    model(images(50))  # statistics of batch normalisation that are not the first ones
    model.eval()
    copy = models.evaluation_copy(model, "cpu")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in copy.modules())
    assert "not folded" not in capsys.readouterr().err
    found = []
    for each in (model, copy):
        inputs = images().requires_grad_()
        logits = each(inputs)
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), inputs)
        found.append((logits.detach(), gradient))
    (logits, gradient), (copied_logits, copied_gradient) = found
    assert (copied_logits - logits).abs().max() <= 1e-5 * logits.abs().max()
    assert (copied_gradient - gradient).abs().max() <= 1e-4 * gradient.abs().max()


@pytest.mark.parametrize(
    "head",
    [
        {"name": "max_mahalanobis", "dimension": 3, "centres": "random"},
        {"name": "max_mahalanobis", "dimension": 3, "elastic": True},
        {"name": "linear", "dimension": 3, "centres": True},
        {"name": "gaussian", "dimension": 3},
    ],
)
def test_weights_files_hold_the_centres(head, tmp_path):
    model, other = network(head, seed=0), network(head, seed=1)
    checkpoints.save_tensors(tmp_path / "weights.safetensors", model.state_dict(), {})
    other.load_state_dict(checkpoints.read_tensors(tmp_path / "weights.safetensors")[0])
    assert torch.equal(other.head.centres, model.head.centres)
    assert torch.equal(other.eval()(images()), model.eval()(images()))


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"name": "liner", "dimension": 3}, "heads: there is no 'liner'; did you mean 'linear'"),
        ({"name": "distance", "dimension": 3}, "defines no function 'head'"),
        ({"dimension": 3}, "head: the key 'name' is missing"),
        ({"name": "linear"}, "head: the key 'dimension' is missing"),
        ({"name": "linear", "dimension": 0}, "head linear: dimension must be a whole number from 1, not 0"),
        ({"name": "linear", "dimension": 2.5}, "head linear: dimension must be a whole number from 1, not 2.5"),
        ({"name": "linear", "dimension": 3, "centre_rate": 1}, "centre_rate is a number above 0 and needs"),
        ({"name": "linear", "dimension": 3, "centers": True}, "unknown key 'centers'; did you mean 'centres'"),
        ({"name": "cosine", "dimension": 3, "scale": 0}, "head cosine: scale must be above 0, not 0"),
        ({"name": "max_mahalanobis", "dimension": 3, "scale": -1}, "scales must be above 0"),
        ({"name": "max_mahalanobis", "dimension": 1}, "7 centres cannot lie apart in 1 dimension"),
        ({"name": "max_mahalanobis", "dimension": 3, "centres": "optimum"}, "did you mean 'optimal'"),
        ({"name": "max_mahalanobis", "dimension": 3, "centres": "hierarchical"}, "need each other"),
        ({"name": "max_mahalanobis", "dimension": 3, "superclasses": [0] * 7}, "need each other"),
        ({"name": "unit_norm", "dimension": 3, "linear": False}, "the dimension must be that of 7 classes"),
    ],
)
def test_bad_heads_are_refused_in_one_sentence(spec, sentence):
    with pytest.raises(Problem, match=sentence) as raised:
        network(spec)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("superclasses", "sentence"),
    [([0, 1], "has 2 entries, but there are 7"), ([0] * 7, "one superclass"), ("0123456", "a list of whole numbers")],
)
def test_bad_superclasses_are_refused(superclasses, sentence):
    with pytest.raises(Problem, match=sentence):
        build("max_mahalanobis", centres="hierarchical", superclasses=superclasses)


def test_arg_max_of_distance_logits_is_the_nearest_centre():
    for name, z in itertools.product(["max_mahalanobis", "gaussian"], [draw(), draw(scale=200.0)]):
        head = build(name).double()
        assert np.array_equal(head(z).argmax(1), cdist(z, head.centres.detach()).argmin(1))


def raised(logits: torch.Tensor, s: float, m: float) -> torch.Tensor:
    """s f + m in place of the largest logit f (song2022, Section 3.2)."""
    largest = logits.argmax(1, keepdim=True)
    return logits.scatter(1, largest, s * logits.gather(1, largest) + m)


@pytest.mark.parametrize(("s", "m"), BONUSES)
def test_the_bonus_of_prediction_time_changes_a_decision_only_below_a_bound(s, m):
    """Never with s = 1, and never where the largest logit is at least -m / (s - 1), 0 among them."""
    logits = build("unit_norm", 10, 10, linear=False)(draw(20_000, 10))
    logits = torch.cat([logits, -logits.abs()])
    changed = raised(logits, s, m).argmax(1) != logits.argmax(1)
    bound = -math.inf if s == 1 else -m / (s - 1)
    assert not changed[logits.amax(1) >= bound].any()
    assert changed.any() == (s > 1)


def test_a_decision_that_the_bonus_changes():
    """Ten negative logits of norm 1, one at -0.300 and nine at -0.318: s = 2 and m = 0.02 make the first -0.580."""
    logits = torch.tensor([[-0.3] + [-math.sqrt((1 - 0.3**2) / 9)] * 9], dtype=torch.float64)
    assert torch.allclose(build("unit_norm", 10, 10, linear=False)(logits), logits)
    assert logits.argmax() == 0 and raised(logits, 1, 0.02).argmax() == 0
    assert raised(logits, 2, 0.02).argmax() != 0
