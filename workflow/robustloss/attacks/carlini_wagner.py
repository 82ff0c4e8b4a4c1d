"""Carlini and Wagner's attack for L2, with a binary search for its constant (Carlini and Wagner 2017, Section VI.A)."""

from typing import NamedTuple

import torch

from robustloss.attacks.parts import batches, checks, gradients, margins, network, targets
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.errors import Problem

# Pixels are drawn in by this factor before atanh: at an end of [0, 1] their derivative is then 1e-3, not 0.
INSIDE = 0.999
# Of Adam, as usual.
BETAS, EPS = (0.9, 0.999), 1e-8
# Below this share of what it was a fifth of the steps ago, a loss or distance still falls.
FALLS = 0.999


class Settings(NamedTuple):
    model: torch.nn.Module
    # 1 where the logit of `classes` is to rise above the others, -1 where it is to fall below one of them.
    sign: int
    confidence: float
    steps: int
    rate: float
    abort_early: bool
    highest: int


class Results(NamedTuple):
    """Of all samples, the class in question, the nearest success so far, its squared distance, and the steps taken.

    `firm` marks successes by more than rounding, which replace all others.
    """

    classes: torch.Tensor
    images: torch.Tensor
    distances: torch.Tensor
    firm: torch.Tensor
    iterations: torch.Tensor


class Descent(NamedTuple):
    """Of the samples in the batch: which they are, what is minimised, Adam's moments, and what shows progress."""

    rows: torch.Tensor
    moving: torch.Tensor
    clean: torch.Tensor
    constants: torch.Tensor
    angles: torch.Tensor
    mean: torch.Tensor
    square: torch.Tensor
    success: torch.Tensor
    lowest: torch.Tensor
    lowest_before: torch.Tensor
    distances_before: torch.Tensor


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    confidence: float = 0.0,
    steps: int = 1000,
    rate: float = 0.01,
    search_steps: int = 9,
    first_constant: float = 1e-3,
    target: str | int | None = None,
    abort_early: bool = True,
) -> Perturbed:
    """The nearest adversarial images met while minimising |x' - x|² + c max(z_y - max_{k != y} z_k, -confidence).

    With a `target` t (a class from 0, or "random", "second" or "least_likely" as in `targets`) it is the maximum of
    max_{k != t} z_k - z_t and -confidence, and only the prediction t is a success. x' = (tanh(w) / 0.999 + 1) / 2, cut
    to [0, 1]: as in the paper, but for the factor, so that w starts exactly at x and pixels of 0 or 1 can move. Adam
    changes w `steps` times with `rate` for each of `search_steps` constants c, a sample's own: `first_constant`, ten
    times more until there is a success, and then the middle between the largest without and the smallest with one.

    With `abort_early` a sample ends such a descent when neither its smallest loss nor its smallest distance fell by a
    thousandth within a fifth of the steps. A success exceeds `confidence`, a difference of logits, by more than
    rounding; by less counts where nothing else is found, as where all features of a network are 0. An image that is
    misclassified when clean stays as it is, and so does one without a success or whose label is the target. Nothing is
    random but the target "random". Raises Problem for settings or inputs out of range, and for logits or gradients that
    are not finite.
    """
    _check_settings(confidence, steps, rate, search_steps, first_constant, target)
    highest = targets.highest(target, checks.check_inputs(model, images, labels))
    scores = network.forward(model, images, labels, highest)[1].detach()
    classes = labels if target is None else targets.choose(target, scores, labels, generator)
    sought = (scores.argmax(1) == labels) & ((classes != labels) | (target is None))
    settings = Settings(model, -1 if target is None else 1, confidence, steps, rate, abort_early, highest)
    none = torch.full_like(margins.rounding(scores), torch.inf, dtype=images.dtype)
    results = Results(classes, images.clone(), none, torch.zeros_like(sought), torch.zeros_like(labels))
    constants, low, high = torch.full_like(none, first_constant), torch.zeros_like(none), none.clone()
    finite = scores.sum().isfinite()
    for _ in range(search_steps):
        reached, sound = _descend(settings, results, images, sought, constants)
        finite &= sound
        low, high = torch.where(reached, low, constants), torch.where(reached, constants, high)
        constants = torch.where(high.isinf(), 10 * constants, (low + high) / 2)
    checks.check_finite(finite)
    return Perturbed(results.images, results.iterations, results.iterations + 1)


def _descend(settings, results, images, sought, constants):
    """Minimise for one constant (N,) of each sample; who of all had a success (N,), and whether all was finite."""
    reached, finite = torch.zeros_like(sought), torch.ones((), dtype=torch.bool, device=images.device)
    state = _start(results, images, sought, constants)
    for taken in range(1, settings.steps + 1):
        if not len(state.rows):
            break
        tanh = state.angles.tanh()
        pixels = tanh.div(2 * INSIDE).add_(0.5).clamp_(0, 1)
        inputs, logits = network.forward(settings.model, pixels, state.rows, settings.highest)
        classes = results.classes[state.rows]
        excess, direction = _excess(settings, logits.detach(), classes)
        direction *= (state.constants * (excess > 0)).view(-1, 1)
        gradient = network.backward(logits, inputs, direction)
        difference = pixels - state.clean
        distances = difference.square().sum((1, 2, 3))
        _record(results, state, pixels, distances, excess <= 0, _barely(settings, logits.detach(), excess, classes))
        torch.minimum(state.lowest, distances + state.constants * excess.clamp(min=0), out=state.lowest)
        finite &= (excess.sum() + gradient.sum()).isfinite()
        slope = tanh.square_().neg_().add_(1).div_(2 * INSIDE)
        _step(state, gradient.add_(difference, alpha=2).mul_(slope), taken, settings.rate)
        if (settings.steps - taken) % max(1, settings.steps // 10) == 0:
            # Only what it ends in says whether a constant suffices: Adam's first steps are as long for the least one.
            reached[state.rows] = torch.where(state.moving, state.success, reached[state.rows])
            state.success.zero_()
        if settings.abort_early and (settings.steps - taken) % max(1, settings.steps // 5) == 0:
            state = _leave(results, state, len(images))
    return reached, finite


def _start(results, images, sought, constants) -> Descent:
    rows = batches.still_needed(sought, len(images))
    clean, none = images[rows], torch.full_like(constants[rows], torch.inf)
    return Descent(
        rows=rows,
        moving=sought[rows],
        clean=clean,
        constants=constants[rows],
        angles=clean.mul(2).sub_(1).mul_(INSIDE).atanh_(),
        mean=torch.zeros_like(clean),
        square=torch.zeros_like(clean),
        success=torch.zeros_like(rows, dtype=torch.bool),
        lowest=none,
        lowest_before=none.clone(),
        distances_before=results.distances[rows],
    )


def _excess(settings, logits, classes):
    """How much a sample's margin lacks to a success (n,), at most 0 if it is one, and its gradient by the logits."""
    margin = settings.sign * gradients.margin_value(logits, classes)
    direction = settings.sign * gradients.margin(logits, classes)
    return margin + settings.confidence + margins.rounding(logits), direction


def _barely(settings, logits, excess, classes) -> torch.Tensor:
    """Who is a success (n,), perhaps by rounding alone."""
    hit = (logits.argmax(1) == classes) == (settings.sign > 0)
    return hit & (excess <= margins.rounding(logits))


def _record(results, state, pixels, distances, firm, barely) -> None:
    """Keep what is nearer than the nearest so far, or the first that is firm."""
    before = results.firm[state.rows]
    success = firm | (barely & ~before)
    state.success.logical_or_(success)
    nearer = success & state.moving & ((distances < results.distances[state.rows]) | (firm & ~before))
    results.iterations[state.rows] += state.moving
    results.firm[state.rows] = before | (firm & state.moving)
    results.distances[state.rows] = torch.where(nearer, distances, results.distances[state.rows])
    results.images[state.rows] = torch.where(nearer.view(-1, 1, 1, 1), pixels, results.images[state.rows])


def _step(state, gradient, taken, rate) -> None:
    """Adam, in place (Kingma and Ba 2015, Algorithm 1)."""
    state.mean.lerp_(gradient, 1 - BETAS[0])
    state.square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    size = state.square.div(1 - BETAS[1] ** taken).sqrt_().add_(EPS)
    state.angles.addcdiv_(state.mean, size, value=-rate / (1 - BETAS[0] ** taken))


def _leave(results, state, count) -> Descent:
    """The samples whose loss or distance still falls, and a few others (see `batches`)."""
    distances = results.distances[state.rows]
    falls = (state.lowest < FALLS * state.lowest_before) | (distances < FALLS * state.distances_before)
    state = state._replace(moving=state.moving & falls, lowest_before=state.lowest.clone(), distances_before=distances)
    kept = batches.still_needed(state.moving, count)
    return state if len(kept) == len(state.rows) else Descent(*(values[kept] for values in state))


def _check_settings(confidence, steps, rate, search_steps, first_constant, target) -> None:
    checks.check_steps(steps)
    if search_steps < 1:
        raise Problem(f"attack: search_steps is a whole number from 1, not {search_steps}")
    if not 0 <= confidence < float("inf"):
        raise Problem(f"attack: confidence is a difference of logits, finite and from 0, not {confidence}")
    for name, value in (("rate", rate), ("first_constant", first_constant)):
        if not 0 < value < float("inf"):
            raise Problem(f"attack: {name} must be finite and above 0, not {value}")
    targets.check(target)
