"""The momentum iterative method in the Linf ball (Dong et al. 2018, Algorithm 1)."""

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
    decay: float = 1.0,
    loss: str = "cross_entropy",
) -> torch.Tensor:
    """Adversarial images: `steps` times g <- decay × g + grad / |grad|_1, x <- P(x + step_size × sign(g)).

    grad is the gradient of a sample's loss at its last iterate, |.|_1 its L1 norm, and P projects onto the ball of
    `epsilon` and onto [0, 1]; the paper's step is epsilon / steps. `epsilon` and `step_size` are fractions of the pixel
    range, `loss` as in `pgd`; nothing is random. Raises Problem for settings or inputs out of range, and for logits or
    gradients that are not finite.
    """
    checks.check_sizes(epsilon, step_size)
    checks.check_steps(steps)
    if not 0 <= decay < float("inf"):
        raise Problem(f"attack: decay is a finite number from 0, not {decay}")
    highest = checks.check_inputs(model, images, labels)
    direction = gradients.choose(loss)
    bounds = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    momentum = torch.zeros_like(images)
    finite = torch.ones((), dtype=torch.bool, device=images.device)
    for _ in range(steps):
        images, logits = gradients.forward(model, images, labels, highest)
        scores = logits.detach()
        gradient = gradients.backward(logits, images, direction(scores, labels))
        finite &= (scores.sum() + gradient.sum()).isfinite()
        momentum.mul_(decay).add_(_normalised(gradient))
        images = images.detach().add(momentum.sign(), alpha=step_size).clamp_(*bounds)
    checks.check_finite(finite)
    return images


def _normalised(gradient: torch.Tensor) -> torch.Tensor:
    """Each sample's gradient divided by its L1 norm; no gradient stays none."""
    norm = gradient.abs().sum((1, 2, 3), keepdim=True)
    return gradient / norm.clamp(min=torch.finfo(gradient.dtype).tiny)
