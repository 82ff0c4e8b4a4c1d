"""The losses that attacks climb: against finite differences, hand computations, a peer, and other scales of logits."""

import pytest
import torch
from small_networks import Scaled, seeded
from torch import nn
from torch.nn import functional as F

from robustloss import attacks, losses
from robustloss.attacks.parts import gradients
from robustloss.errors import Problem

NAMES = ["cross_entropy", "exact_cross_entropy", "scaled_cross_entropy", "true_logit", "margin", "dlr"]
INVARIANT = ["scaled_cross_entropy", "margin", "dlr"]
GCE = [{"loss": "gce", "weight": 1, "alpha": 0.333}]
DING = [{"loss": "cross_entropy", "weight": 1}, {"loss": "all_one", "weight": 0.2}, {"loss": "entropy", "weight": -0.5}]


def draw(count=60, classes=7, dtype=torch.float64):
    """Logits, labels of which some are predicted and some are not, and targets other than the labels."""
    logits = 3 * torch.randn(count, classes, generator=seeded(), dtype=dtype)
    labels = torch.randint(classes, (count,), generator=seeded(1))
    labels[: count // 2] = logits[: count // 2].argmax(1)
    targets = (labels + torch.randint(1, classes, (count,), generator=seeded(2))) % classes
    return logits, labels, targets


def differences(value, logits):
    """The gradient (N, K) of per-sample values by central differences."""
    shifts = 1e-5 * torch.eye(logits.shape[1], dtype=logits.dtype)
    return torch.stack([(value(logits + shift) - value(logits - shift)) / 2e-5 for shift in shifts], 1)


def gaps(logits):
    top = logits.topk(2, 1).values
    return (top[:, 0] - top[:, 1])[:, None]


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("loss", [*NAMES, GCE, DING], ids=str)
def test_directions_are_gradients_of_the_values_by_finite_differences(loss, targeted):
    logits, labels, targets = draw()
    ends = (labels, targets) if targeted else (labels,)
    found = gradients.choose(loss)
    value, factor = (lambda z: found.value(z, *ends)), 1
    if loss == "scaled_cross_entropy":
        scale, exact = gaps(logits), gradients.choose("exact_cross_entropy")
        value = lambda z: scale[:, 0] * exact.value(z / scale, *ends)  # noqa: E731
        assert torch.allclose(found.value(logits, *ends), value(logits), rtol=0, atol=1e-12)
    if loss == "dlr":
        ranked = logits.sort(1, descending=True).values
        factor = ranked[:, :1] - (ranked[:, 2:4].mean(1, keepdim=True) if targeted else ranked[:, 2:3])
    direction = found.direction(logits, *ends)
    assert direction.abs().amax(1).median() > 1e-2
    # Where the gap is small, its soft maximum bends sharply.
    close = 1e-5 if loss == "scaled_cross_entropy" else 1e-8
    assert torch.allclose(direction, factor * differences(value, logits), rtol=0, atol=close)


def test_values_are_those_of_the_formulas():
    logits, labels, targets = draw()
    expected = {name: [] for name in ("margin", "dlr", "true_logit", "margin t", "dlr t", "true_logit t")}
    for z, y, t in zip(logits.tolist(), labels.tolist(), targets.tolist(), strict=True):
        ranked = sorted(z, reverse=True)
        rival = max(z[:y] + z[y + 1 :])
        expected["margin"].append(rival - z[y])
        expected["dlr"].append(-(z[y] - rival) / (ranked[0] - ranked[2]))
        expected["true_logit"].append(-z[y])
        expected["margin t"].append(z[t] - z[y])
        expected["dlr t"].append(-(z[y] - z[t]) / (ranked[0] - (ranked[2] + ranked[3]) / 2))
        expected["true_logit t"].append(z[t])
    for name, values in expected.items():
        ends = (labels, targets) if name.endswith(" t") else (labels,)
        found = gradients.choose(name.removesuffix(" t")).value(logits, *ends)
        assert torch.allclose(found, torch.tensor(values, dtype=found.dtype), rtol=0, atol=1e-12), name
    for ends, sign, classes in (((labels,), 1, labels), ((labels, targets), -1, targets)):
        found = gradients.choose("cross_entropy").value(logits, *ends)
        usual = F.cross_entropy(logits, classes, reduction="none")
        assert torch.allclose(found, sign * usual, rtol=0, atol=1e-12)


def test_dlr_is_that_of_a_peer():
    torchattacks = pytest.importorskip("torchattacks")
    logits, labels, targets = draw()
    apgd = torchattacks.APGD(nn.Identity())
    peer = torchattacks.APGDT(nn.Identity())
    peer.y_target = targets
    found = gradients.choose("dlr")
    # They add 1e-12 to the denominator.
    assert torch.allclose(found.value(logits, labels), apgd.dlr_loss(logits, labels), rtol=1e-9, atol=1e-9)
    expected = peer.dlr_loss_targeted(logits, labels, targets)
    assert torch.allclose(found.value(logits, labels, targets), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("terms", [GCE, DING], ids=["gce", "ding2025"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_terms_are_the_training_objective(terms, dtype):
    logits, labels, _ = draw(dtype=torch.float64)
    logits = logits.to(dtype)
    found = gradients.choose(terms)
    inputs = losses.fine(logits).requires_grad_()
    total = losses.objective(terms)(inputs, labels)
    (gradient,) = torch.autograd.grad(len(labels) * total, inputs)
    with torch.no_grad():
        direction, value = found.direction(logits, labels), found.value(logits, labels)
    assert direction.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.allclose(direction, gradient, rtol=0, atol=1e-5 if dtype != torch.float64 else 1e-12)
    assert value.mean().item() == pytest.approx(total.item(), abs=1e-5)


@pytest.mark.parametrize("scale", [0.01, 0.1, 1, 10, 100])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("loss", INVARIANT)
def test_invariant_directions_do_not_depend_on_the_scale_of_logits(loss, targeted, scale):
    logits, labels, targets = draw(500, dtype=torch.float32)
    ends = (labels, targets) if targeted else (labels,)
    direction = gradients.choose(loss).direction
    found = direction((scale * logits.double()).float(), *ends).double()
    expected = direction(logits.double(), *ends)
    # Where the label's logit is the third, dlr is at its end of 1 and has no direction.
    flat = (loss == "dlr") & (not targeted) & (logits.argsort(1, descending=True)[:, 2] == labels)
    assert (found[flat].abs() < 1e-5).all()
    # The gap between two logits that nearly tie is known to few digits.
    assert (1 - F.cosine_similarity(found, expected, dim=1))[~flat].max() < 1e-4
    assert (found - expected).abs().median() < 1e-6


def test_success_of_invariant_losses_does_not_depend_on_the_scale_of_logits_and_that_of_cross_entropy_does():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(36, 64), nn.ReLU(), nn.Linear(64, 10)).eval()
    images = torch.rand(200, 1, 6, 6, generator=seeded())
    with torch.no_grad():
        labels = body(images).argmax(1)
        body = Scaled(body, 5 / gaps(body(images)).median().item())

    def success(scale, loss):
        model = Scaled(body, scale)
        settings = {"epsilon": 0.1, "step_size": 0.02, "steps": 10, "loss": loss}
        adversarial = attacks.load("pgd")(model, images, labels, seeded(), **settings).images
        with torch.no_grad():
            return (model(adversarial).argmax(1) != labels).float().mean().item()

    for loss in INVARIANT:
        rates = [success(scale, loss) for scale in (0.01, 0.1, 1, 10, 100)]
        assert min(rates) > 0.8
        assert max(rates) - min(rates) <= 0.01, loss
    assert success(1, "cross_entropy") > 0.8
    assert success(100, "cross_entropy") < 0.3


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("loss", INVARIANT)
def test_directions_are_finite_and_not_0_where_logits_tie_or_are_extreme(loss, targeted):
    rows = [[0.0] * 5, [1.0, 1, 1, 1, 0], [2.0, 2, 1, 0, 0], [1e30, -1e30, 0, 1, 2], [1e-30, 0, 0, 0, -1e-30]]
    logits, labels = torch.tensor(rows), torch.tensor([0, 0, 0, 0, 0])
    ends = (labels, torch.full_like(labels, 4)) if targeted else (labels,)
    found = gradients.choose(loss).direction(logits, *ends)
    assert found.isfinite().all()
    assert found.any(1).all()
    assert not gradients.choose(loss).value(logits, *ends).isnan().any()


def test_true_logit_on_the_max_mahalanobis_head_is_half_of_the_authors_objective():
    logits, labels, _ = draw()
    found, mmc = gradients.choose("true_logit"), gradients.choose([{"loss": "mmc", "weight": 2}])
    assert torch.equal(found.value(logits, labels), mmc.value(logits, labels))
    assert torch.equal(found.direction(logits, labels), mmc.direction(logits, labels))


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        ("margins", "there is no loss 'margins'; did you mean 'margin'"),
        (None, "there is no loss 'None'"),
        ({"loss": "gce"}, "there is no loss"),
        ([], "an objective needs at least one term"),
        ([{"loss": "gce", "weight": 1}], "loss gce: the key 'alpha' is missing"),
        ([{"loss": "gcee", "weight": 1}], "did you mean 'gce'"),
        ([{"loss": "gce", "weight": "1", "alpha": 0.5}], "the weight must be a finite number"),
        (
            [{"loss": "center", "weight": 1}],
            "center is computed from the network's features as well, but an attack only",
        ),
        ([{"loss": "arcface", "weight": 1}], "arcface is computed from the network's head as well, but an attack only"),
    ],
)
def test_losses_that_are_none_are_refused_in_one_sentence(loss, sentence):
    with pytest.raises(Problem, match=sentence):
        gradients.choose(loss)


def test_dlr_refuses_too_few_classes():
    for classes, targeted in ((2, False), (3, True)):
        logits, labels, targets = draw(classes=classes)
        with pytest.raises(Problem, match=f"the loss dlr needs {classes + 1} classes"):
            gradients.choose("dlr").direction(logits, labels, *([targets] if targeted else []))


def test_losses_without_classes_lead_to_the_uniform_prediction():
    logits, labels, targets = draw()
    f = logits.softmax(1)
    expected = {"all_one": f.log().sum(1), "negative_entropy": -(f * f.log()).sum(1)}
    for name, values in expected.items():
        found = gradients.choose(name)
        assert torch.allclose(found.value(logits, labels), values, rtol=0, atol=1e-12), name
        slopes = differences(lambda z, found=found: found.value(z, labels), logits)
        direction = found.direction(logits, labels)
        assert (F.cosine_similarity(direction, slopes, dim=1) > 1 - 1e-9).all(), name
        assert torch.equal(found.direction(logits, targets), direction)
        uniform = torch.zeros_like(logits)
        assert (found.value(uniform, labels) > values).all()
        assert found.direction(uniform, labels).abs().max() < 1e-12
        with pytest.raises(Problem, match=f"the loss {name} leads to no class"):
            gradients.choose(name, 0)


@pytest.mark.parametrize("loss", ["all_one", "negative_entropy"])
def test_pgd_along_them_makes_predictions_more_uniform(loss):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 64), nn.ReLU(), nn.Linear(64, 10)).double().eval()
    images = torch.rand(50, 1, 6, 6, generator=seeded(), dtype=torch.float64)
    labels = model(images).argmax(1)
    settings = {"epsilon": 0.1, "step_size": 0.02, "steps": 10, "loss": loss}
    found = attacks.load("pgd")(model, images, labels, seeded(), **settings).images
    value = gradients.choose(loss).value
    with torch.no_grad():
        assert (value(model(found), labels) > value(model(images), labels)).all()
