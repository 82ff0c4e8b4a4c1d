"""The objectives of ding2025, Table 2, against its printed gradients, finite differences and other implementations."""

import math

import pytest
import torch
from scipy.optimize import brentq, minimize_scalar
from torch.nn import functional as F

from robustloss import losses
from robustloss.errors import Problem

K = 7
FUNCTIONS = {
    1: [("cross_entropy", 1)],
    2: [("cross_entropy", 2)],
    3: [("cross_entropy", 1), ("false_label", -1)],
    4: [("cross_entropy", 2), ("false_label", -1)],
    5: [("cross_entropy", 1), ("all_one", 1 / 6)],
    6: [("cross_entropy", 5 / 6), ("all_one", 1 / 6)],
    7: [("cross_entropy", 1), ("entropy", -1)],
    8: [("cross_entropy", 1), ("entropy", 1)],
}


def objective(index):
    return losses.objective([{"loss": name, "weight": weight} for name, weight in FUNCTIONS[index]])


def draw(count=200, scale=3.0, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(count, K, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randint(K, (count,), generator=generator)


def printed_gradient(index, logits, labels):
    """Table 2, minus signs restored; f, Y and p are the paper's symbols."""
    f = logits.softmax(1)
    y = F.one_hot(labels, K).double()
    p = F.one_hot(logits.argmax(1), K).double()
    wrong = (logits.argmax(1) != labels)[:, None]
    spread = f * (f.log() - (f.log() * f).sum(1, keepdim=True))
    return {
        1: f - y,
        2: 2 * f - 2 * y,
        3: torch.where(wrong, p - y, f - y),
        4: torch.where(wrong, f - 2 * y + p, 2 * f - 2 * y),
        5: f - y + (7 * f - 1) / 6,
        6: 2 * f - 5 / 6 * y - 1 / 6,
        7: f - y + spread,
        8: f - y - spread,
    }[index]


def autograd(index, logits, labels):
    logits = logits.clone().requires_grad_()
    # The objective is a mean over samples; Table 2 is for one of them.
    (gradient,) = torch.autograd.grad(objective(index)(logits, labels) * len(labels), logits)
    return gradient


@pytest.mark.parametrize("index", FUNCTIONS)
def test_gradient_is_the_printed_one(index):
    logits, labels = draw()
    right = (logits.argmax(1) == labels).sum()
    assert 10 < right < 190  # both cases of functions 3 and 4
    assert torch.allclose(autograd(index, logits, labels), printed_gradient(index, logits, labels), rtol=0, atol=1e-10)


@pytest.mark.parametrize("index", FUNCTIONS)
def test_gradient_is_the_finite_difference(index):
    logits, labels = draw(40)
    evaluate, h = objective(index), 1e-5
    gradient = autograd(index, logits, labels)
    for column in range(K):
        step = torch.zeros(K, dtype=torch.float64)
        step[column] = h
        difference = torch.stack(
            [
                evaluate(row[None] + step, label[None]) - evaluate(row[None] - step, label[None])
                for row, label in zip(logits, labels, strict=True)
            ]
        )
        assert torch.allclose(difference / (2 * h), gradient[:, column], rtol=0, atol=1e-8)


@pytest.mark.parametrize(("index", "factor", "true", "other"), [(5, 13 / 6, 7 / 13, 1 / 13), (6, 2, 1 / 2, 1 / 12)])
def test_functions_5_and_6_are_label_smoothing(index, factor, true, other):
    logits, labels = draw()
    targets = torch.full((len(labels), K), other, dtype=torch.float64)
    targets[torch.arange(len(labels)), labels] = true
    expected = factor * F.cross_entropy(logits, targets)
    assert objective(index)(logits, labels).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize(("index", "sign"), [(7, -1), (8, 1)])
def test_functions_7_and_8_weigh_the_entropy_that_torch_distributions_has(index, sign):
    logits, labels = draw()
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    expected = F.cross_entropy(logits, labels) + sign * entropy
    assert objective(index)(logits, labels).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize(("index", "gap"), [(5, math.log(7)), (6, math.log(6)), (7, 1.899)])
def test_optimal_logit_gap(index, gap):
    label = torch.tensor([0])

    def value(z):
        return objective(index)(torch.tensor([[z] + [0.0] * (K - 1)], dtype=torch.float64), label).item()

    found = minimize_scalar(value, bounds=(0, 10), method="bounded", options={"xatol": 1e-9}).x
    assert found == pytest.approx(gap, abs=5e-4)


def test_function_7_is_stationary_where_the_gap_is_one_over_the_probability():
    # With equal wrong logits the printed gradient at y is (1 - f_y)(f_y × gap - 1), so gap = 1 + (K - 1) exp(-gap).
    gap = brentq(lambda z: 1 + (K - 1) * math.exp(-z) - z, 0, 10, xtol=1e-14)
    logits = torch.tensor([[gap] + [0.0] * (K - 1)], dtype=torch.float64)
    assert autograd(7, logits, torch.tensor([0])).abs().max() < 1e-12
    assert gap == pytest.approx(1.899, abs=5e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [0.0, 50.0, 200.0, 1e4])
@pytest.mark.parametrize("index", FUNCTIONS)
def test_large_logits_stay_finite(index, size, dtype):
    signs = torch.tensor([[1, -1, -1, -1, -1, -1, -1], [-1, 1, 1, -1, -1, -1, -1], [1, 1, 1, 1, 1, 1, 1], [0] * 7])
    logits = (size * signs).to(dtype).requires_grad_()
    for label in range(K):
        value = objective(index)(logits, torch.full((4,), label))
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.isfinite()
        assert gradient.isfinite().all()


def test_logits_of_low_precision_are_taken_to_float32_and_float64_stays():
    logits, labels = draw()
    evaluate = objective(7)
    assert evaluate(logits, labels).dtype == torch.float64
    assert evaluate(logits.bfloat16(), labels).dtype == torch.float32
    assert torch.equal(evaluate(logits.bfloat16(), labels), evaluate(logits.bfloat16().float(), labels))


def test_false_label_is_zero_exactly_where_the_prediction_is_right():
    from robustloss.losses.false_label import loss

    logits, labels = draw()
    values = loss(logits, labels)
    right = logits.argmax(1) == labels
    assert (values[right] == 0).all()
    assert torch.allclose(values[~right], -logits.log_softmax(1).amax(1)[~right], rtol=0, atol=1e-12)
    assert (values[~right] > 0).all()


def test_the_mean_is_over_samples_and_any_number_of_terms_adds_up():
    logits, labels = draw()
    terms = [{"loss": "cross_entropy", "weight": weight} for weight in (0.5, 0.25, -2, 3)]
    expected = 1.75 * F.cross_entropy(logits, labels)
    assert losses.objective(terms)(logits, labels).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize(
    ("terms", "sentence"),
    [
        ([], "at least one term"),
        ([{"loss": "cross_entropi", "weight": 1}], "did you mean 'cross_entropy'.*all_one, .*cross_entropy, .*entropy"),
        ([{"loss": "../cross_entropy", "weight": 1}], "no '../cross_entropy'"),
        ([{"loss": "entropy", "weight": 1, "temperature": 2}], "entropy: unknown key 'temperature'"),
        ([{"loss": "entropy"}], "entropy: the weight must be a finite number"),
        ([{"loss": "entropy", "weight": float("nan")}], "finite"),
        ([{"loss": "entropy", "weight": "1/0"}], "finite"),
        ([{"weight": 1}], "names no loss"),
    ],
)
def test_bad_terms_are_refused_in_one_sentence(terms, sentence):
    with pytest.raises(Problem, match=sentence):
        losses.objective(terms)
