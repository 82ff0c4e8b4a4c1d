"""Decoupled direction and norm: the nearest adversarial image in L2, by directions alone (Rony et al. 2019)."""

import math

import torch

from robustloss.attacks.parts import checks, gradients, network, targets
from robustloss.attacks.parts.ascent import reached
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.errors import Problem

# The length of a step falls along half a cosine from 1 to this.
LAST_STEP = 0.01


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    steps: int = 100,
    gamma: float = 0.05,
    start: float = 1.0,
    loss: str | list = "cross_entropy",
    target: str | int | None = None,
) -> Perturbed:
    """Of `steps` iterates x + r the nearest that is misclassified (Algorithm 1).

    A step is r <- ε u / |u|, u = r + α g / |g|, where g is the gradient of the loss at the last iterate and |.| the L2
    norm; x + r is then cut to [0, 1]. The norm ε, which starts at `start`, shrinks by the factor 1 - `gamma` where the
    last iterate succeeded and grows by 1 + `gamma` where it did not, up to where the farthest image is; α falls from 1
    to 0.01. Only directions count: gradients may be as small as they like, and no boundary is found far for that. Where
    there is none at all r keeps its direction. It goes down one way, where another class may be nearer. Iterates are
    not rounded to 256 levels, as in the paper.

    `loss` and `target` as in `pgd`. An image that is misclassified when clean stays as it is, and so does one of which
    no iterate succeeds; nothing is random but the target "random". Raises Problem for settings or inputs out of range,
    for probabilities in place of logits, and for logits or gradients that are not finite.
    """
    _check_settings(steps, gamma, start)
    targets.check(target)
    highest = targets.highest(target, checks.check_inputs(model, images, labels))
    climbed = gradients.choose(loss, target)
    _, logits = network.forward(model, images, labels, highest)
    logits = logits.detach()
    checks.check_clean(logits)
    towards = None if target is None else targets.choose(target, logits, labels, generator)
    rows = (~reached(logits, labels, towards)).nonzero()[:, 0]
    found, taken = images.clone(), torch.zeros_like(labels)
    if len(rows):
        aims = labels[rows], None if towards is None else towards[rows]
        found[rows] = _nearest(model, images[rows], aims, climbed, steps, gamma, start, highest)
        taken[rows] = steps
    # The pass of the clean images is the one that targets are chosen by.
    return targets.finish(Perturbed(found, taken, taken + (towards is None)), images, labels, towards)


def _nearest(model, images, aims, climbed, steps, gamma, start, highest) -> torch.Tensor:
    """The nearest iterate that succeeds of each image, or the image itself; `aims` are the labels and the targets."""
    longest = torch.maximum(images, 1 - images).flatten(1).norm(dim=1)
    moved, norm = torch.zeros_like(images), torch.full_like(longest, start)
    found, distance = images, torch.full_like(longest, torch.inf)
    finite = torch.ones((), dtype=torch.bool, device=images.device)
    for step in range(steps):
        inputs, logits = network.forward(model, images + moved, aims[0], highest)
        scores = logits.detach()
        success, length = reached(scores, *aims), moved.flatten(1).norm(dim=1)
        nearer = success & (length < distance)
        found = torch.where(nearer.view(-1, 1, 1, 1), inputs.detach(), found)
        distance = torch.where(nearer, length, distance)
        gradient = network.backward(logits, inputs, climbed.direction(scores, *aims))
        # A sum is finite when its terms are, and costs a quarter of asking each of them.
        finite &= (scores.sum() + gradient.sum()).isfinite()
        moved = moved + _step(step, steps) * _of_norm(gradient, torch.ones_like(norm))
        norm = (norm * torch.where(success, 1 - gamma, 1 + gamma)).minimum(longest)
        moved = (images + _of_norm(moved, norm)).clamp_(0, 1).sub_(images)
    checks.check_finite(finite)
    return found


def _step(number: int, steps: int) -> float:
    return LAST_STEP + (1 - LAST_STEP) * (1 + math.cos(math.pi * number / steps)) / 2


def _of_norm(vectors: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
    """Vectors (N, ...) of the length `norm` (N,) in their directions; zero stays zero."""
    # Divided by their largest number first, since squares of small ones are 0.
    scaled = vectors / vectors.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny)
    return scaled * (norm / scaled.flatten(1).norm(dim=1).clamp(min=1)).view(-1, 1, 1, 1)


def _check_settings(steps: int, gamma: float, start: float) -> None:
    checks.check_steps(steps)
    checks.check_numbers(gamma=gamma, start=start)
    if not 0 < gamma < 1:
        raise Problem(f"attack: gamma is between 0 and 1, not {gamma:g}")
    if not 0 < start < math.inf:
        raise Problem(f"attack: start is an L2 norm on pixels in [0, 1], above 0, not {start:g}")
