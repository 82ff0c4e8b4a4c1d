"""The basic iterative method, or i-FGSM: sign steps from the image itself (Kurakin, Goodfellow and Bengio 2017)."""

import torch

from robustloss.attacks import pgd


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    loss: str = "cross_entropy",
) -> torch.Tensor:
    """Adversarial images: `pgd` from the image itself, once.

    `epsilon` and `step_size` are fractions of the pixel range, `loss` as in `pgd`; nothing is random. Raises Problem as
    `pgd` does.
    """
    settings = {"epsilon": epsilon, "step_size": step_size, "steps": steps, "loss": loss}
    return pgd.perturb(model, images, labels, generator, **settings)
