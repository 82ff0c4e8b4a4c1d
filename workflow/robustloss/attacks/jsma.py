"""The Jacobian-based saliency map attack (Papernot et al. 2016, Algorithms 2 and 3): few features, changed a lot."""

import math

import torch

from robustloss.attacks.parts import batches, checks, gradients, network, pairs, targets
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.code import nearest
from robustloss.errors import Problem

OUTPUTS = ("logits", "probabilities", "target_logit")
UNTIL = ("target", "misclassified")


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    gamma: float,
    theta: float = 1.0,
    target: str | int = "random",
    outputs: str = "logits",
    until: str = "target",
) -> Perturbed:
    """Adversarial images: in each step the best pair of features moves by `theta`, cut to [0, 1].

    A feature is a pixel's value in one channel. With a_i the derivative of the target's output and b_i that of the sum
    of the others', the best pair has the largest -(a_i + a_j)(b_i + b_j) among those of a_i + a_j > 0 > b_i + b_j (for
    a negative `theta`: < 0 <), and it is found exactly. `outputs` are "logits", as in the paper and in chen2019's code
    (JSMA-Z in Carlini and Wagner 2017), or "probabilities" (JSMA-F): then b = -a, and a step follows the target against
    the classes that rival it, not against the sum of all, which takes fewer features and half the time. They may
    saturate, since only the direction of their gradient is needed. With "target_logit" b = -a too, a of the target's
    logit alone, the rule of the Adversarial Robustness Toolbox.

    `theta` is a signed fraction of the pixel range; features that cannot move further are out. At most the share
    `gamma` of the features changes, so for theta = 1 there are at most floor(gamma n / 2) steps, as published; with
    smaller steps a changed feature may go on to its end. A sample stops at its target, when the features are spent, or
    when no pair has the signs; with `until` "misclassified" in any other wrong class too.

    `target` is "random" (uniform over the wrong classes), "second" or "least_likely" (by the clean logits), a class
    from 0, or "all": every wrong class side by side, of which a sample keeps the first to get there, else the one that
    comes closest to misclassification. Images that are misclassified when clean, or of the target class, stay as they
    are. Raises Problem for settings or inputs out of range, and for logits or gradients that are not finite.
    """
    budget = _budget(theta, gamma, images[0].numel() if len(images) else 0)
    _check_choices(target, outputs, until)
    highest = targets.highest(target, checks.check_inputs(model, images, labels))
    clean = network.clean(model, images, highest)
    if target == "all":
        aims = targets.every(clean, labels)
    else:
        aims = targets.choose(target, clean, labels, generator)[:, None]
    adversarial, iterations, queries = images.clone(), torch.zeros_like(labels), torch.ones_like(labels)
    attacked = ((clean.argmax(1) == labels) & (aims[:, 0] != labels)).nonzero()[:, 0]
    # As many rows at once as the caller has images, also where a sample has several targets.
    for part in attacked.split(max(1, len(images) // aims.shape[1])) if len(attacked) else ():
        found = _climb(model, images[part], labels[part], aims[part], highest, theta, budget, outputs, until)
        adversarial[part], iterations[part] = found.images, found.iterations
        queries[part] += found.queries
    reached = aims[:, 0] if until == "target" and target != "all" else None
    return Perturbed(adversarial, iterations, queries, targets=reached)


def _climb(model, images, labels, aims, highest, theta, budget, outputs, until) -> Perturbed:
    """Each row is a sample with one of its targets `aims` (N, targets); a sample's rows stop together."""
    choices = aims.shape[1]
    start = images.flatten(1).repeat_interleave(choices, 0)
    adversarial, aims, truth = start.clone(), aims.flatten(), labels.repeat_interleave(choices)
    rows = torch.arange(len(start), device=images.device)
    moving, reached = torch.ones_like(rows, dtype=torch.bool), torch.zeros_like(rows, dtype=torch.bool)
    iterations, queries, margins = torch.zeros_like(rows), torch.zeros_like(rows), start.new_zeros(len(start))
    finite = torch.ones((), dtype=torch.bool, device=images.device)
    while len(rows):
        inputs = adversarial[rows].view(-1, *images.shape[1:])
        inputs, logits = network.forward(model, inputs, truth[rows], highest)
        found, wanted = logits.detach(), aims[rows]
        queries[rows] += moving
        margins[rows] = gradients.margin_value(found, truth[rows]).to(margins.dtype)
        predicted = found.argmax(1)
        reached[rows] |= predicted == wanted if until == "target" else predicted != truth[rows]
        moving &= ~reached.view(-1, choices).any(1)[rows // choices]
        up, down = _saliency(logits, inputs, wanted, theta, outputs)
        finite &= (found.sum() + up.sum() + down.sum()).isfinite()
        values = inputs.detach().flatten(1)
        closed = ~_open(values, start[rows], theta, budget)
        pair, exists = pairs.best(up.masked_fill_(closed, -torch.inf), down.masked_fill_(closed, -torch.inf))
        moving &= exists
        before = values.gather(1, pair)
        adversarial[rows[:, None], pair] = torch.where(moving[:, None], (before + theta).clamp_(0, 1), before)
        iterations[rows] += moving
        kept = batches.still_needed(moving, len(start))
        rows, moving = rows[kept], moving[kept]
    checks.check_finite(finite)
    best = margins.masked_fill(reached, torch.inf).view(-1, choices).argmax(1)
    best += torch.arange(0, len(start), choices, device=images.device)
    return Perturbed(adversarial[best].view_as(images), iterations[best], queries.view(-1, choices).sum(1))


def _saliency(logits, inputs, aims, theta, outputs):
    """What each feature (N, n) adds to the target's output and takes from the others' when it moves as `theta` does.

    Divided by the largest of a row: no pair's rank changes, and no product underflows.
    """
    way = math.copysign(1, theta)
    if outputs == "probabilities":
        # The gradient of the target's probability but for the factor p (1 - p), which no rank depends on.
        up = _scaled(network.backward(logits, inputs, way * gradients.to_class(logits.detach(), aims)))
        return up, up.clone()
    wanted = torch.zeros_like(logits).scatter_(1, aims[:, None], way)
    if outputs == "target_logit":
        up = _scaled(network.backward(logits, inputs, wanted))
        return up, up.clone()
    (up,) = torch.autograd.grad(logits, inputs, wanted, retain_graph=True)
    return _scaled(up), _scaled(network.backward(logits, inputs, wanted - way))


def _scaled(gradient: torch.Tensor) -> torch.Tensor:
    gradient = gradient.flatten(1)
    return gradient / gradient.abs().amax(1, keepdim=True).clamp_(min=torch.finfo(gradient.dtype).tiny)


def _open(values, start, theta, budget):
    """The features (N, n) that may move: not at their end, and changed already where no two others may change."""
    free = values < 1 if theta > 0 else values > 0
    changed = values != start
    spent = changed.sum(1, keepdim=True) + 2 > budget
    return free & (changed | ~spent)


def _budget(theta, gamma, features) -> int:
    """How many features may change."""
    checks.check_numbers(theta=theta, gamma=gamma)
    if not 1 / 256 <= abs(theta) <= 1:
        raise Problem(f"attack: theta is a fraction of the pixel range from 1/256 to 1, or its negative, not {theta}")
    if not 0 < gamma <= 1:
        raise Problem(f"attack: gamma is a share of the features, above 0 and at most 1, not {gamma}")
    budget = int(gamma * features + 1e-6)
    if budget < 2 and features:
        raise Problem(f"attack: gamma {gamma:g} of {features} features is less than the two of a step: raise it")
    return budget


def _check_choices(target, outputs, until) -> None:
    targets.check(target, "all")
    if target is None:
        raise Problem("attack: this attack needs a target: random, second, least_likely, all or a class from 0")
    for name, value, choices in (("outputs", outputs, OUTPUTS), ("until", until, UNTIL)):
        if value not in choices:
            raise Problem(f"attack: there is no {name} '{value}'{nearest(value, choices)}")
