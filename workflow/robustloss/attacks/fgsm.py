"""The fast gradient sign method: one step to the surface of the Linf ball (Goodfellow, Shlens and Szegedy 2015)."""

import torch

from robustloss.attacks import pgd


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    epsilon: float,
    loss: str = "cross_entropy",
) -> torch.Tensor:
    """Adversarial images: x + epsilon × sign(grad_x L(x, y)), cut to [0, 1].

    `epsilon` is a fraction of the pixel range, `loss` as in `pgd`; nothing is random. Raises Problem as `pgd` does.
    """
    return pgd.perturb(model, images, labels, generator, epsilon=epsilon, step_size=epsilon, steps=1, loss=loss)
