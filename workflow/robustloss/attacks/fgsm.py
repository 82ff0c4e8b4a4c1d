"""The fast gradient sign method: one step to the surface of the Linf ball (Goodfellow, Shlens and Szegedy 2015)."""

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
    loss: str | list = "cross_entropy",
    target: str | int | None = None,
) -> Perturbed:
    """Adversarial images: x + epsilon × sign(grad_x L(x, y)), cut to [0, 1].

    `epsilon` is a fraction of the pixel range, `loss` and `target` as in `pgd`; nothing is random but the target
    "random". Raises Problem as `pgd` does.
    """
    settings = {"epsilon": epsilon, "step_size": epsilon, "steps": 1, "loss": loss, "target": target}
    return pgd.perturb(model, images, labels, generator, **settings)
