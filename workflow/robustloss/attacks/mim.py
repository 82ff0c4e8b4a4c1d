"""The momentum iterative method in the Linf ball (Dong et al. 2018, Algorithm 1)."""

import torch

from robustloss.attacks.parts import checks, gradients, targets
from robustloss.attacks.parts.ascent import Ascent, reached
from robustloss.attacks.parts.balls import Linf
from robustloss.attacks.parts.perturbed import Perturbed
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
    loss: str | list = "cross_entropy",
    target: str | int | None = None,
    stop_at_success: bool = False,
) -> Perturbed:
    """Adversarial images: `steps` times g <- decay × g + grad / |grad|_1, x <- P(x + step_size × sign(g)).

    grad is the gradient of a sample's loss at its last iterate, |.|_1 its L1 norm, and P projects onto the ball of
    `epsilon` and onto [0, 1]; the paper's step is epsilon / steps. `epsilon` and `step_size` are fractions of the pixel
    range; `loss`, `target` and `stop_at_success` as in `pgd`; nothing is random but the target "random". Raises Problem
    for settings or inputs out of range, for probabilities in place of logits, and for logits or gradients that are not
    finite.
    """
    checks.check_sizes(epsilon, step_size)
    checks.check_steps(steps)
    targets.check(target)
    checks.check_numbers(decay=decay)
    if not 0 <= decay < float("inf"):
        raise Problem(f"attack: decay is a finite number from 0, not {decay}")
    highest = targets.highest(target, checks.check_inputs(model, images, labels))
    climbed, check_logits = checks.watched(gradients.choose(loss, target))
    success = reached if stop_at_success else None
    towards = targets.query(target, model, images, labels, generator, highest)
    ascent = Ascent(model, climbed, steps, step_size, highest, success, decay)
    found = ascent.climb(Linf.around(images, epsilon), images, labels, towards)
    check_logits()
    return targets.finish(found, images, labels, towards)
