"""Step-adaptive iterative FGSM, which stops at the class boundary (ding2025, Section 2.4, Eq. 5)."""

import math
from collections.abc import Callable

import torch
from torch.nn import functional as F

from robustloss.attacks.parts import batches, checks, gradients, network
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.code import nearest
from robustloss.errors import Problem

# The factor of a step from the label's cross-entropy c (N,) and r (N,), its share of the cross-entropy at the boundary.
TRACKERS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "rescale": lambda c, r: 1 - r,
    "trigonometric": lambda c, r: torch.cos(math.pi / 2 * r),
    "probability": lambda c, r: torch.exp(-c),
    "constant": lambda c, r: torch.ones_like(c),
}
BOUNDARIES = ("log2", "tie")
TARGETS = ("all_one", "entropy", "second")


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    epsilon: float,
    step_size: float,
    smallest_step: float,
    steps: int,
    tracker: str = "trigonometric",
    boundary: str = "log2",
    target: str | int | None = None,
    stop_at_boundary: bool = True,
) -> Perturbed:
    """Borderline images: at most `steps` times x <- P(x - a × sign(grad_x L(x, t))), each sample with its own step a.

    A sample stops at its first iterate that is not predicted as its label, so an image that is misclassified already
    stays as it is; one that never changes class keeps its last iterate. Without `stop_at_boundary` every sample takes
    all steps. P projects onto the ball of `epsilon` and onto [0, 1]; `epsilon`, `step_size` and `smallest_step` are
    fractions of the pixel range; nothing is random.

    a = max(smallest_step, step_size × factor), the factor from the label's cross-entropy c at the last iterate and
    r = min(c / b, 1): "rescale" 1 - r, "trigonometric" cos(pi r / 2), "probability" exp(-c), "constant" 1 (i-FGSM).
    `boundary` says what b is: "log2", the smallest c at which a label can lose the prediction, or "tie", the c that the
    sample had if its label's logit fell to the largest of the others. They agree for two classes; for more, steps by
    log2 grow small long before the boundary. The public text says that there are three such trackers and what they
    follow, not their formulas: these are a proposal, and what hangs on them is not reproducible from that text.

    `target` None climbs the label's cross-entropy; the others descend: "all_one", "entropy" (the negative entropy,
    towards the uniform prediction), "second" (the cross-entropy of the wrong class most likely for the clean image; an
    image that is misclassified when clean has no target and stays), or a class, counted from 0. Raises Problem for
    settings or inputs out of range, and for logits or gradients that are not finite.
    """
    _check_settings(epsilon, step_size, smallest_step, steps, tracker, boundary, target)
    highest = max(checks.check_inputs(model, images, labels), target if isinstance(target, int) else 0)
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    adversarial, aims = images.clone(), None
    rows = torch.arange(len(images), device=images.device)
    moving = torch.ones_like(labels, dtype=torch.bool)
    iterations, queries = torch.zeros_like(labels), torch.zeros_like(labels)
    finite = torch.ones((), dtype=torch.bool, device=images.device)
    for _ in range(steps):
        truth = labels[rows]
        inputs, logits = network.forward(model, adversarial[rows], truth, highest)
        scores = logits.detach()
        if aims is None:
            aims, probable = _aims(target, scores, labels), checks.are_probabilities(scores)
        queries[rows] += moving
        if stop_at_boundary:
            moving &= scores.argmax(1) == truth
        iterations[rows] += moving
        gradient = network.backward(logits, inputs, _direction(target, scores, truth, aims[rows]))
        finite &= (scores.sum() + gradient.sum()).isfinite()
        sizes = (step_size * _factors(scores, truth, tracker, boundary)).clamp_(min=smallest_step) * moving
        step = gradient.sign_().mul_(sizes.to(gradient.dtype).view(-1, 1, 1, 1))
        adversarial[rows] = step.add_(inputs.detach()).clamp_(low[rows], high[rows])
        if stop_at_boundary:
            kept = batches.still_needed(moving, len(images))
            rows, moving = rows[kept], moving[kept]
            if not len(rows):
                break
    checks.check_finite(finite)
    checks.check_logits(probable)
    return Perturbed(adversarial, iterations, queries)


def _aims(target, logits, labels) -> torch.Tensor:
    """The class (N,) that each sample is to reach, from the clean logits; its label where there is none."""
    if target == "second":
        second = logits.scatter(1, labels[:, None], -torch.inf).argmax(1)
        return torch.where(logits.argmax(1) == labels, second, labels)
    return torch.full_like(labels, target) if isinstance(target, int) else labels


def _direction(target, logits, labels, aims) -> torch.Tensor:
    if target is None:
        return gradients.exact_cross_entropy(logits, labels)
    if target == "all_one":
        return gradients.all_one(logits, labels)
    if target == "entropy":
        return gradients.entropy(logits, labels)
    direction = gradients.to_class(logits, aims)
    # The target 0 of an image that is misclassified when clean: no loss, so no gradient.
    return direction.masked_fill_((aims == labels)[:, None], 0) if target == "second" else direction


def _factors(logits, labels, tracker, boundary) -> torch.Tensor:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    loss = F.cross_entropy(logits, labels, reduction="none")
    at_boundary = math.log(2)
    if boundary == "tie":
        others = logits.scatter(1, labels[:, None], -torch.inf)
        at_boundary = (others - others.amax(1, keepdim=True)).exp().sum(1).log1p()
    return TRACKERS[tracker](loss, (loss / at_boundary).clamp(max=1))


def _check_settings(epsilon, step_size, smallest_step, steps, tracker, boundary, target) -> None:
    checks.check_sizes(epsilon, step_size)
    checks.check_steps(steps)
    checks.check_numbers(smallest_step=smallest_step)
    if not 0 < smallest_step <= step_size:
        raise Problem(f"attack: smallest_step must be above 0 and at most step_size {step_size}, not {smallest_step}")
    if tracker not in TRACKERS:
        raise Problem(f"attack: there is no tracker '{tracker}'{nearest(tracker, TRACKERS)}")
    if boundary not in BOUNDARIES:
        raise Problem(f"attack: there is no boundary '{boundary}'{nearest(boundary, BOUNDARIES)}")
    is_class = isinstance(target, int) and not isinstance(target, bool) and target >= 0
    if not (target is None or is_class or target in TARGETS):
        raise Problem(f"attack: there is no target '{target}'{nearest(target, [*TARGETS, 'a class from 0'])}")
