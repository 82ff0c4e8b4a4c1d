"""Carlini and Wagner's attack for L2, with a binary search for its constant (Carlini and Wagner 2017, Section VI.A)."""

import functools
from typing import NamedTuple

import torch

from robustloss.attacks.parts import batches, checks, gradients, margins, network, targets
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.errors import Problem

# Pixels are drawn in by this factor before atanh: at an end of [0, 1] their derivative is then 1e-3, not 0.
INSIDE = 0.999
# Of Adam, as usual.
BETAS, EPS = (0.9, 0.999), 1e-8
# A loss or distance falls by this share of itself, or would until the end at its present pace; before the first success
# a loss by the smaller share, since gradients may vanish for long before it drops, or by this share of its fall since
# the start: where pixels are 0 or 1, it falls slowly at first.
FALL, SLOW, RECENT = 0.03, 5e-4, 0.2
# Progress is looked at after each of so many parts of the steps, and compared with that so many parts before.
PARTS, BACK = 10, 2


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
    """Of samples, the class in question, the nearest success so far, its squared distance, and the steps taken.

    `firm` marks successes by more than rounding, which replace all others.
    """

    classes: torch.Tensor
    images: torch.Tensor
    distances: torch.Tensor
    firm: torch.Tensor
    iterations: torch.Tensor


class Descent(NamedTuple):
    """Of the samples in the batch: which they are, what is minimised, Adam's moments, and what shows progress.

    `success` tells of successes since the last look, `crossed` of any in this descent by more than rounding.
    `past` (n, BACK, 2) holds the smallest loss and the smallest squared distance at the last looks, the oldest first.
    """

    rows: torch.Tensor
    moving: torch.Tensor
    clean: torch.Tensor
    constants: torch.Tensor
    angles: torch.Tensor
    mean: torch.Tensor
    square: torch.Tensor
    success: torch.Tensor
    crossed: torch.Tensor
    first: torch.Tensor
    lowest: torch.Tensor
    past: torch.Tensor


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
    max_{k != t} z_k - z_t and -confidence, and only the prediction t is a success. With the target "each" every wrong
    class is one in turn, and the nearest success counts: without a target a descent follows the class that is the
    strongest on its way, whose boundary need not be the nearest one. x' = (tanh(w) / 0.999 + 1) / 2, cut
    to [0, 1]: as in the paper, but for the factor, so that w starts exactly at x and pixels of 0 or 1 can move. Adam
    changes w `steps` times with `rate` for each of `search_steps` constants c, a sample's own: `first_constant`, ten
    times more until there is a success, and then the middle between the largest without and the smallest with one.

    With `abort_early` a sample ends such a descent where, at the end of a tenth of the steps, neither its smallest
    distance nor its smallest loss falls any more: in the last fifth by 3 %, or by as much as makes 3 % until the end if
    it goes on so, before the first success by 0.05 %, or the loss by a fifth of its whole fall. A success exceeds
    `confidence`, a difference of logits, by more than rounding; by less counts where nothing else is found, as where
    all features of a network are 0. An image that is misclassified when clean stays as it is, and so does one without a
    success or whose label is the target. Nothing is random but the target "random". Raises
    Problem for settings or inputs out of range, and for logits or gradients that are not finite.
    """
    _check_settings(confidence, steps, rate, search_steps, first_constant, target)
    highest = targets.highest(target, checks.check_inputs(model, images, labels))
    scores = network.forward(model, images, labels, highest)[1].detach()
    checks.check_clean(scores)
    settings = Settings(model, -1 if target is None else 1, confidence, steps, rate, abort_early, highest)
    right = scores.argmax(1) == labels
    # A generator: only the nearest so far and the next are in memory.
    searches = (
        _search(settings, images, scores, classes, right & seeks, search_steps, first_constant)
        for classes, seeks in _aims(target, scores, labels, generator)
    )
    found = functools.reduce(_nearer, searches)
    aim = None if target in (None, "each") else found.classes
    return Perturbed(found.images, found.iterations, found.iterations + 1, targets=aim)


def _aims(target, scores, labels, generator) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The classes (N,) that are to lose, or with a target to win, one after the other, and who seeks them (N,)."""
    if target is None:
        return [(labels, torch.ones_like(labels, dtype=torch.bool))]
    each = target == "each"
    classes = targets.every(scores, labels).unbind(1) if each else [targets.choose(target, scores, labels, generator)]
    return [(aim, aim != labels) for aim in classes]


def _search(settings, images, scores, classes, sought, search_steps, first_constant) -> Results:
    """The nearest successes in the descents for each sample's constants."""
    none = torch.full_like(margins.rounding(scores), torch.inf, dtype=images.dtype)
    results = Results(classes, images.clone(), none, torch.zeros_like(sought), torch.zeros_like(classes))
    constants, low, high = torch.full_like(none, first_constant), torch.zeros_like(none), none.clone()
    finite = scores.sum().isfinite()
    for _ in range(search_steps):
        reached, sound = _descend(settings, results, images, sought, constants)
        finite &= sound
        low, high = torch.where(reached, low, constants), torch.where(reached, constants, high)
        constants = torch.where(high.isinf(), 10 * constants, (low + high) / 2)
    checks.check_finite(finite)
    return results


def _nearer(one: Results, other: Results) -> Results:
    """Of each sample the firm success, if one alone is, else the nearer; the steps of both."""
    second = torch.where(one.firm == other.firm, other.distances < one.distances, other.firm)
    return Results(
        classes=torch.where(second, other.classes, one.classes),
        images=torch.where(second.view(-1, 1, 1, 1), other.images, one.images),
        distances=torch.where(second, other.distances, one.distances),
        firm=one.firm | other.firm,
        iterations=one.iterations + other.iterations,
    )


def _descend(settings, results, images, sought, constants):
    """Minimise for one constant (N,) of each sample; who of all had a success (N,), and whether all was finite."""
    reached, finite = torch.zeros_like(sought), torch.ones((), dtype=torch.bool, device=images.device)
    state, best = _start(results, images, sought, constants)
    part = max(1, settings.steps // PARTS)
    for taken in range(1, settings.steps + 1):
        if not len(state.rows):
            break
        tanh = state.angles.tanh()
        pixels = tanh.div(2 * INSIDE).add_(0.5).clamp_(0, 1)
        inputs, logits = network.forward(settings.model, pixels, state.rows, settings.highest)
        excess, barely, direction = _judge(settings, logits.detach(), best.classes)
        direction *= (state.constants * (excess > 0)).view(-1, 1)
        gradient = network.backward(logits, inputs, direction)
        difference = pixels - state.clean
        distances = difference.square().sum((1, 2, 3))
        best = _record(best, state, pixels, distances, excess <= 0, barely)
        loss = distances + state.constants * excess.clamp(min=0)
        if taken == 1:
            state.first.copy_(loss)
        torch.minimum(state.lowest, loss, out=state.lowest)
        finite &= (excess.sum() + gradient.sum()).isfinite()
        gradient.add_(difference, alpha=2).div_(2 * INSIDE)
        _step(state, gradient.addcmul_(gradient, tanh.square_(), value=-1), taken, settings.rate)
        if (settings.steps - taken) % part == 0:
            # Only what it ends in says whether a constant suffices: Adam's first steps are as long for the least one.
            reached[state.rows] = torch.where(state.moving, state.success, reached[state.rows])
            state.success.zero_()
            if settings.abort_early:
                state, best = _leave(results, state, best, (settings.steps - taken) / part)
    _store(results, state, best)
    return reached, finite


def _start(results, images, sought, constants) -> tuple[Descent, Results]:
    """The first state, and the results of the samples in it."""
    rows = batches.still_needed(sought, len(images))
    clean, none = images[rows], torch.full_like(constants[rows], torch.inf)
    state = Descent(
        rows=rows,
        moving=sought[rows],
        clean=clean,
        constants=constants[rows],
        angles=clean.mul(2).sub_(1).mul_(INSIDE).atanh_(),
        mean=torch.zeros_like(clean),
        square=torch.zeros_like(clean),
        success=torch.zeros_like(rows, dtype=torch.bool),
        crossed=torch.zeros_like(rows, dtype=torch.bool),
        first=none.clone(),
        lowest=none,
        past=none.view(-1, 1, 1).repeat(1, BACK, 2),
    )
    return state, Results(*(values[rows] for values in results))


def _judge(settings, logits, classes):
    """How much each margin lacks to a success (n,), who is one, perhaps by rounding alone, and its gradient (n, K).

    What lacks is at most 0 for a success by more than rounding; the gradient is that by the logits.
    """
    direction = settings.sign * gradients.margin(logits, classes)
    rounding = margins.rounding(logits)
    excess = (logits * direction).sum(1) + settings.confidence + rounding
    hit = (logits.argmax(1) == classes) == (settings.sign > 0)
    return excess, hit & (excess <= rounding), direction


def _record(best, state, pixels, distances, firm, barely) -> Results:
    """Keep what is nearer than the nearest so far, or the first that is firm."""
    success = firm | (barely & ~best.firm)
    state.success.logical_or_(success)
    state.crossed.logical_or_(firm)
    nearer = success & state.moving & ((distances < best.distances) | (firm & ~best.firm))
    return Results(
        best.classes,
        torch.where(nearer.view(-1, 1, 1, 1), pixels, best.images),
        torch.where(nearer, distances, best.distances),
        best.firm | (firm & state.moving),
        best.iterations + state.moving,
    )


def _step(state, gradient, taken, rate) -> None:
    """Adam, in place (Kingma and Ba 2015, Algorithm 1)."""
    state.mean.lerp_(gradient, 1 - BETAS[0])
    state.square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
    size = state.square.div(1 - BETAS[1] ** taken).sqrt_().add_(EPS)
    state.angles.addcdiv_(state.mean, size, value=-rate / (1 - BETAS[0] ** taken))


def _leave(results, state, best, left) -> tuple[Descent, Results]:
    """The samples whose loss or distance still falls, and a few others (see `batches`); `left` parts are to come."""
    now = torch.stack([state.lowest, best.distances], 1)
    least = torch.where(state.crossed, FALL * BACK / max(left, BACK), SLOW)[:, None] * now
    least[:, 0] = torch.minimum(least[:, 0], RECENT * (state.first - state.lowest))
    falls = (state.past[:, 0] - now > least).any(1)
    past = torch.cat([state.past[:, 1:], now[:, None]], 1)
    state = state._replace(moving=state.moving & falls, past=past)
    kept = batches.still_needed(state.moving, len(results.images))
    if len(kept) == len(state.rows):
        return state, best
    _store(results, state, best)
    return Descent(*(values[kept] for values in state)), Results(*(values[kept] for values in best))


def _store(results, state, best) -> None:
    for values, part in zip(results, best, strict=True):
        values[state.rows] = part


def _check_settings(confidence, steps, rate, search_steps, first_constant, target) -> None:
    checks.check_steps(steps)
    if search_steps < 1:
        raise Problem(f"attack: search_steps is a whole number from 1, not {search_steps}")
    if not 0 <= confidence < float("inf"):
        raise Problem(f"attack: confidence is a difference of logits, finite and from 0, not {confidence}")
    for name, value in (("rate", rate), ("first_constant", first_constant)):
        if not 0 < value < float("inf"):
            raise Problem(f"attack: {name} must be finite and above 0, not {value}")
    targets.check(target, "each")
