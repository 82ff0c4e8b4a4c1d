"""DeepFool for L2: steps to the nearest of the linearised class boundaries (Moosavi-Dezfooli et al. 2016)."""

from typing import NamedTuple

import torch

from robustloss.attacks.parts import batches, checks, gradients, margins, network
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.code import nearest
from robustloss.errors import Problem

STEPS = ("exact", "unnormalised")
# Steps aim past the boundary by this share of the clean margin: where the box cuts each of them short, their sum only
# approaches the boundary itself.
PAST = 1e-3
# A class is passed over whose gradient must have grown by this factor, beside the growth of the nearest one's, for its
# boundary to be nearer.
GROWTH = 10


class Planes(NamedTuple):
    """What is known of the linearised boundaries of n samples to their R rivals at an iterate; changed in place.

    `gaps` (n, R) are |f|, and `norms` (n, R) are |w| where a class was `asked` (n, R), else what they were before, inf
    where that is unknown. Of the nearest so far, `shortest` (n,) is the distance, `way` the step to it, and `growth`
    (n,) how much |w| has grown, at least 1. `normed` says whether a step is |f| w / |w|².
    """

    labels: torch.Tensor
    rivals: torch.Tensor
    gaps: torch.Tensor
    norms: torch.Tensor
    asked: torch.Tensor
    shortest: torch.Tensor
    growth: torch.Tensor
    way: torch.Tensor
    normed: bool


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int | None = None,
    step: str = "exact",
    straighten: int = 0,
) -> Perturbed:
    """Images just past the nearest class boundary (Algorithm 2): at most `steps` times r <- r + |f| w / |w|².

    f = z_k - z_y and w, its gradient at the last iterate, are those of the wrong class k whose linearised boundary is
    nearest: the smallest |f| / |w|, of all classes or of the `candidates` most likely for the clean image (the paper
    took 10). After the first step a class is passed over that would be the nearest only if its |w| had grown tenfold
    since it was last looked at, beside the growth of the nearest one's; few are left, and each costs a backward pass.

    An iterate is x + (1 + `overshoot`) r cut to [0, 1], and x + r is cut too, of which the paper says nothing; so |f|
    is taken up to a point past the boundary by a thousandth of the clean margin. A sample leaves at its first iterate
    that is misclassified by more than rounding, or from which no class has a gradient: there, where all features of a
    network may be 0, and at the last iterate any misclassification counts. An image that is misclassified when clean
    stays as it is, and so does one that no iterate misclassifies; nothing is random.

    The way to an image may have bends, and then is longer than it needs to be. The paper leaves it so; so many times as
    `straighten` says, the boundary as it is linearised at the image found is sought straight from the clean one, and
    kept where that is misclassified and nearer. It takes two passes forward and one backward.

    `step` "unnormalised" is for replication only: r <- r + |f| w / |w|, the fault of a public implementation
    (gongzhitaao/tensorflow-adversarial, with `steps` 3 and `overshoot` 0.01) that song2022 may have used. Where
    |w| < 1 it stops short of the boundary, so its failures say nothing about robustness. `queries` counts a pass that
    is repeated to let samples leave once. Raises Problem for settings or inputs out of range, and for logits or
    gradients that are not finite.
    """
    _check_settings(steps, overshoot, candidates, step, straighten)
    highest = checks.check_inputs(model, images, labels)
    adversarial, moved, rivals, norms = images.clone(), torch.zeros_like(images), None, None
    rows, moving = torch.arange(len(images), device=images.device), torch.ones_like(labels, dtype=torch.bool)
    reached = torch.zeros_like(moving)
    iterations, queries = torch.zeros_like(labels), torch.zeros_like(labels)
    finite = torch.ones((), dtype=torch.bool, device=images.device)
    for taken in range(steps + 1):
        inputs, logits = network.forward(model, adversarial[rows], labels[rows], highest)
        if rivals is None:
            checks.check_clean(logits.detach())
            rivals = margins.likeliest(logits.detach(), labels, candidates, "candidates")
            past = -PAST * gradients.margin_value(logits.detach(), labels)
            norms = torch.full_like(past, torch.inf)[:, None].repeat(1, rivals.shape[1])
        queries[rows] += moving
        wrong = _misclassified(logits.detach(), labels[rows], by_rounding=taken in (0, steps))
        reached[rows] |= moving & wrong
        moving &= ~wrong
        finite &= logits.detach().sum().isfinite()
        if taken == steps:
            break
        kept = batches.still_needed(moving, len(images))
        if not len(kept):
            break
        if len(kept) < len(rows):
            # Another forward pass of those that go on is cheaper than a backward pass per class of all.
            rows, moving = rows[kept], moving[kept]
            inputs, logits = network.forward(model, adversarial[rows], labels[rows], highest)
        planes = _planes(logits.detach(), inputs, labels[rows], rivals[rows], norms[rows], past[rows], step)
        sound = _nearest(planes, model, inputs, logits, moving, highest)
        norms[rows], stuck = planes.norms, planes.shortest.isinf()
        finite &= sound
        reached[rows] |= moving & stuck & _misclassified(logits.detach(), labels[rows], by_rounding=True)
        moving &= ~stuck
        iterations[rows] += moving
        clean = images[rows]
        moved[rows] = planes.way.add_(moved[rows]).add_(clean).clamp_(0, 1).sub_(clean)
        adversarial[rows] = torch.add(clean, moved[rows], alpha=1 + overshoot).clamp_(0, 1)
    found = torch.where(reached.view(-1, 1, 1, 1), adversarial, images)
    rows = reached.nonzero()[:, 0]
    for _ in range(straighten if len(rows) else 0):
        nearer, sound = _straight(model, images[rows], labels[rows], found[rows], past[rows], overshoot, highest)
        found[rows], queries[rows] = nearer, queries[rows] + 2
        finite &= sound
    checks.check_finite(finite)
    return Perturbed(found, iterations, queries)


def _straight(model, images, labels, found, past, overshoot, highest):
    """The images at the linearised boundary of `found` nearest to the clean ones, or `found`; was all finite?"""
    inputs, logits = network.forward(model, found, labels, highest)
    scores = logits.detach()
    gradient = network.backward(logits, inputs, gradients.margin(scores, labels))
    margin = gradients.margin_value(scores, labels) - (gradient * (found - images)).sum((1, 2, 3))
    factor = (past + 2 * margins.rounding(scores) - margin) / gradient.square().sum((1, 2, 3))
    way = gradient * factor.to(gradient.dtype).view(-1, 1, 1, 1)
    straight = torch.add(images, way, alpha=1 + overshoot).clamp_(0, 1)
    wrong = _misclassified(network.predict(model, straight, highest), labels, by_rounding=False)
    before, after = ((ends - images).square().sum((1, 2, 3)) for ends in (found, straight))
    return torch.where((wrong & (after < before)).view(-1, 1, 1, 1), straight, found), gradient.sum().isfinite()


def _misclassified(logits, labels, by_rounding: bool) -> torch.Tensor:
    if by_rounding:
        return logits.argmax(1) != labels
    return gradients.margin_value(logits, labels) > margins.rounding(logits)


def _planes(scores, inputs, labels, rivals, norms, past, step) -> Planes:
    normed = step == "exact"
    aim = past + 2 * margins.rounding(scores) if normed else torch.zeros_like(past)
    gaps = torch.stack([aim - gradients.margin_value(scores, labels, rival) for rival in rivals.unbind(1)], 1)
    far, asked = torch.full_like(past, torch.inf), torch.zeros_like(gaps, dtype=torch.bool)
    return Planes(labels, rivals, gaps, norms, asked, far, torch.ones_like(past), torch.zeros_like(inputs), normed)


def _nearest(planes, model, inputs, logits, moving, highest) -> torch.Tensor:
    """Find the nearest boundaries of the samples that are `moving` (n,), and tell whether all was finite.

    One class of each sample at a time, the first that which looks nearest: all at once takes as long and K - 1 times
    the memory, and most samples need few of them.
    """
    rows, left = torch.arange(len(moving), device=moving.device), moving
    finite = torch.ones((), dtype=torch.bool, device=moving.device)
    while True:
        finite &= _ask(planes, inputs, logits, rows, left)
        left = left & _undecided(planes, rows)
        count = int(left.sum())
        if not count:
            break
        if 2 * count <= len(rows):
            # Another forward pass of those that go on is cheaper than a backward pass per class of all.
            kept = left.nonzero()[:, 0]
            rows, left = rows[kept], left[kept]
            inputs, logits = network.forward(model, inputs[kept], planes.labels[rows], highest)
    planes.norms.mul_(torch.where(planes.asked, 1, planes.growth[:, None]))
    return finite


def _ask(planes, inputs, logits, rows, left) -> torch.Tensor:
    """Look at one more class of each of `rows` (m,) that is `left` (m,), and tell whether its gradient is finite."""
    expected = planes.gaps[rows] / planes.norms[rows]
    which = expected.masked_fill_(planes.asked[rows], torch.inf).argmin(1)
    direction = gradients.margin(logits.detach(), planes.labels[rows], planes.rivals[rows, which]).to(logits.dtype)
    (gradient,) = torch.autograd.grad(logits, inputs, direction, retain_graph=True)
    before, gap, shortest = planes.norms[rows, which], planes.gaps[rows, which], planes.shortest[rows]
    norm = torch.linalg.vector_norm(gradient, dim=(1, 2, 3), dtype=before.dtype)
    distance = gap / norm
    factor = (distance if planes.normed else gap) / norm
    nearer = left & (distance < shortest) & factor.isfinite()
    there = gradient.mul_(factor.to(gradient.dtype).view(-1, 1, 1, 1))
    planes.way[rows] = torch.where(nearer.view(-1, 1, 1, 1), there, planes.way[rows])
    planes.shortest[rows] = torch.where(nearer, distance, shortest)
    planes.growth[rows] = torch.where(nearer, (norm / before).clamp(min=1), planes.growth[rows])
    # Where there is no gradient now, there may be any at the next iterate.
    planes.norms[rows, which] = torch.where(left, norm.masked_fill(norm == 0, torch.inf), before)
    planes.asked[rows, which] |= left
    return norm.sum().isfinite()


def _undecided(planes, rows) -> torch.Tensor:
    """Of which of `rows` (m,) another class may be nearer."""
    bounds = planes.gaps[rows] / (planes.norms[rows] * (GROWTH * planes.growth[rows])[:, None])
    nearer = bounds.clamp_(max=torch.finfo(bounds.dtype).max) < planes.shortest[rows][:, None]
    return (nearer & ~planes.asked[rows]).any(1)


def _check_settings(steps, overshoot, candidates, step, straighten) -> None:
    checks.check_steps(steps)
    if not 0 <= overshoot < float("inf"):
        raise Problem(f"attack: overshoot is a finite number from 0, as a fraction of the step, not {overshoot}")
    if candidates is not None and candidates < 1:
        raise Problem(f"attack: candidates is a whole number from 1, or null for all wrong classes, not {candidates}")
    if straighten < 0:
        raise Problem(f"attack: straighten is a whole number from 0, not {straighten}")
    if step not in STEPS:
        raise Problem(f"attack: there is no step '{step}'{nearest(step, STEPS)}")
