"""Projected gradient descent within an Linf ball (Madry et al. 2018; ding2025, Eq. 7)."""

import torch

from robustloss.attacks import checks, gradients
from robustloss.errors import Problem


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    random_start: bool = False,
    restarts: int = 1,
    loss: str = "cross_entropy",
) -> torch.Tensor:
    """Adversarial images: `steps` times x <- P(x + step_size × sign(grad_x L(x, y))), P the projection.

    The gradient is taken at the last iterate and P projects onto the ball of `epsilon` and onto [0, 1]; as printed, the
    equation has neither. `epsilon` and `step_size` are fractions of the pixel range; `loss` is "cross_entropy", as
    published, or "exact_cross_entropy" (see `gradients`). With `random_start` the first iterate is uniform in the
    ball; of `restarts` such starts a sample keeps the first that is misclassified, else the one of the largest
    cross-entropy. Raises Problem for settings or inputs out of range, and for logits or gradients that are not finite.
    """
    _check_settings(epsilon, step_size, steps, random_start, restarts)
    highest = checks.check_inputs(model, images, labels)
    direction = gradients.choose(loss)
    bounds = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    starts = _starts(images, bounds, epsilon, generator, restarts) if random_start else [images]
    found = (_climb(model, start, labels, highest, bounds, step_size, steps, direction) for start in starts)
    return next(found) if restarts == 1 else _worst(model, images, labels, found)


def _climb(model, images, labels, highest, bounds, step_size, steps, direction) -> torch.Tensor:
    """The last iterate. Nothing in a step waits for the device: what went wrong is looked up after the last one."""
    finite = torch.ones((), dtype=torch.bool, device=images.device)
    for _ in range(steps):
        images, logits = gradients.forward(model, images, labels, highest)
        scores = logits.detach()
        gradient = gradients.backward(logits, images, direction(scores, labels))
        # A sum is finite when its terms are, and costs a quarter of asking each of them.
        finite &= (scores.sum() + gradient.sum()).isfinite()
        images = images.detach().add(gradient.sign_(), alpha=step_size).clamp_(*bounds)
    checks.check_finite(finite)
    return images


def _starts(images, bounds, epsilon, generator, restarts):
    # All of a sample's numbers are drawn together, so that on a CPU they do not depend on the size of the batch.
    shape = (len(images), restarts, *images.shape[1:])
    noise = torch.rand(shape, generator=generator, dtype=images.dtype, device=generator.device)
    for start in noise.unbind(1):
        yield images.add(start.to(images.device).mul_(2).sub_(1), alpha=epsilon).clamp_(*bounds)


@torch.no_grad()
def _worst(model, images, labels, candidates) -> torch.Tensor:
    """Sample by sample: the first candidate that is misclassified, else the one of the largest loss."""
    misclassified = torch.zeros_like(labels, dtype=torch.bool)
    largest = torch.full(labels.shape, -torch.inf, device=labels.device)
    for candidate in candidates:
        logits = model(candidate)
        wrong, loss = logits.argmax(1) != labels, gradients.wrong_log_odds(logits, labels)
        better = ~misclassified & (wrong | (loss > largest))
        images = torch.where(better.view(-1, 1, 1, 1), candidate, images)
        largest = torch.where(better, loss, largest)
        misclassified |= wrong
    return images


def _check_settings(epsilon, step_size, steps, random_start, restarts) -> None:
    checks.check_sizes(epsilon, step_size)
    if steps < 1 or restarts < 1:
        raise Problem(f"attack: steps and restarts are whole numbers from 1, not {steps} and {restarts}")
    if restarts > 1 and not random_start:
        raise Problem(f"attack: {restarts} restarts from the same point are all equal: set random_start: true")
