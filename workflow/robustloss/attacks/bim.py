"""The basic iterative method, or i-FGSM: sign steps from the image itself (Kurakin, Goodfellow and Bengio 2017)."""

import torch

from robustloss.attacks import pgd
from robustloss.attacks.parts.perturbed import Perturbed


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    loss: str | list = "cross_entropy",
    target: str | int | None = None,
    stop_at_success: bool = False,
) -> Perturbed:
    """Adversarial images: `pgd` in the Linf ball from the image itself, once.

    `epsilon` and `step_size` are fractions of the pixel range; `loss`, `target` and `stop_at_success` as in `pgd`;
    nothing is random but the target "random". Raises Problem as `pgd` does.
    """
    settings = {"epsilon": epsilon, "step_size": step_size, "steps": steps}
    settings |= {"loss": loss, "target": target, "stop_at_success": stop_at_success}
    return pgd.perturb(model, images, labels, generator, **settings)
