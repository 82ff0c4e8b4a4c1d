"""DeepFool for L2: steps to the nearest of the linearised class boundaries (Moosavi-Dezfooli et al. 2016)."""

import torch

from robustloss.attacks.parts import batches, checks, gradients, margins, network
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.code import nearest
from robustloss.errors import Problem

STEPS = ("exact", "unnormalised")
# Steps aim past the boundary by this share of the clean margin: where the box cuts each of them short, their sum only
# approaches the boundary itself.
PAST = 1e-3


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
) -> Perturbed:
    """Images just past the nearest class boundary (Algorithm 2): at most `steps` times r <- r + |f| w / |w|².

    f = z_k - z_y and w, its gradient at the last iterate, are those of the wrong class k whose linearised boundary is
    nearest: the smallest |f| / |w|, of all classes or of the `candidates` most likely for the clean image (the paper
    took 10). An iterate is x + (1 + `overshoot`) r cut to [0, 1], and x + r is cut too, of which the paper says
    nothing; so |f| is taken up to a point past the boundary by a thousandth of the clean margin. A sample leaves at its
    first iterate that is misclassified by more than rounding, or from which no class has a gradient: there, where all
    features of a network may be 0, and at the last iterate any misclassification counts. An image that is misclassified
    when clean stays as it is, and so does one that no iterate misclassifies; nothing is random.

    `step` "unnormalised" is for replication only: r <- r + |f| w / |w|, the fault of a public implementation
    (gongzhitaao/tensorflow-adversarial, with `steps` 3 and `overshoot` 0.01) that song2022 may have used. Where
    |w| < 1 it stops short of the boundary, so its failures say nothing about robustness. `queries` counts a pass that
    is repeated to let samples leave once. Raises Problem for settings or inputs out of range, and for logits or
    gradients that are not finite.
    """
    _check_settings(steps, overshoot, candidates, step)
    highest = checks.check_inputs(model, images, labels)
    adversarial, moved, rivals = images.clone(), torch.zeros_like(images), None
    rows, moving = torch.arange(len(images), device=images.device), torch.ones_like(labels, dtype=torch.bool)
    reached = torch.zeros_like(moving)
    iterations, queries = torch.zeros_like(labels), torch.zeros_like(labels)
    finite = torch.ones((), dtype=torch.bool, device=images.device)
    for taken in range(steps + 1):
        inputs, logits = network.forward(model, adversarial[rows], labels[rows], highest)
        if rivals is None:
            rivals = margins.likeliest(logits.detach(), labels, candidates, "candidates")
            past = -PAST * gradients.margin_value(logits.detach(), labels)
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
        way, stuck, sound = _nearest(inputs, logits, labels[rows], rivals[rows], past[rows], step)
        finite &= sound
        reached[rows] |= moving & stuck & _misclassified(logits.detach(), labels[rows], by_rounding=True)
        moving &= ~stuck
        iterations[rows] += moving
        clean = images[rows]
        way.mul_(moving.view(-1, 1, 1, 1)).add_(moved[rows])
        moved[rows] = way.add_(clean).clamp_(0, 1).sub_(clean)
        adversarial[rows] = torch.add(clean, moved[rows], alpha=1 + overshoot).clamp_(0, 1)
    checks.check_finite(finite)
    return Perturbed(torch.where(reached.view(-1, 1, 1, 1), adversarial, images), iterations, queries)


def _misclassified(logits, labels, by_rounding: bool) -> torch.Tensor:
    if by_rounding:
        return logits.argmax(1) != labels
    return gradients.margin_value(logits, labels) > margins.rounding(logits)


def _nearest(inputs, logits, labels, rivals, past, step):
    """The step to the nearest linearised boundary, where no class has a gradient, and whether all was finite.

    One class at a time: all at once takes as long and K - 1 times the memory.
    """
    scores = logits.detach()
    aim = past + 2 * margins.rounding(scores) if step == "exact" else torch.zeros_like(past)
    shortest = torch.full_like(past, torch.inf)
    way, sound = torch.zeros_like(inputs), torch.ones((), dtype=torch.bool, device=inputs.device)
    for rival in rivals.unbind(1):
        direction = gradients.margin(scores, labels, rival).to(logits.dtype)
        (gradient,) = torch.autograd.grad(logits, inputs, direction, retain_graph=True)
        norm = torch.linalg.vector_norm(gradient, dim=(1, 2, 3))
        sound &= norm.sum().isfinite()
        distance = (aim - gradients.margin_value(scores, labels, rival)) / norm
        factor = (distance if step == "exact" else distance * norm) / norm
        nearer = (distance < shortest) & factor.isfinite()
        shortest = torch.where(nearer, distance, shortest)
        there = gradient.mul_(factor.to(gradient.dtype).view(-1, 1, 1, 1))
        way = torch.where(nearer.view(-1, 1, 1, 1), there, way)
    return way.detach(), shortest.isinf(), sound


def _check_settings(steps, overshoot, candidates, step) -> None:
    checks.check_steps(steps)
    if not 0 <= overshoot < float("inf"):
        raise Problem(f"attack: overshoot is a finite number from 0, as a fraction of the step, not {overshoot}")
    if candidates is not None and candidates < 1:
        raise Problem(f"attack: candidates is a whole number from 1, or null for all wrong classes, not {candidates}")
    if step not in STEPS:
        raise Problem(f"attack: there is no step '{step}'{nearest(step, STEPS)}")
