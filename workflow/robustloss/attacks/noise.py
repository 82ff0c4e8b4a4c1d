"""Gaussian noise, the attack that knows nothing of the network (pang2020)."""

import math

import torch

from robustloss.attacks import attempts, checks
from robustloss.attacks.perturbed import Perturbed
from robustloss.errors import Problem


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    sigma: float,
    draws: int = 1,
) -> Perturbed:
    """Images with noise from N(0, sigma²) added to each value, cut to [0, 1].

    `sigma` is a fraction of the pixel range (pang2020: 0.05). Of `draws` tries a sample keeps the first that is
    misclassified, else the one of the largest cross-entropy; with one try the network is not asked. Raises Problem for
    settings or inputs out of range.
    """
    attempts.check_draws(draws)
    if not 0 < sigma < math.inf:
        raise Problem(f"attack: sigma is a fraction of the pixel range, above 0, not {sigma}")
    highest = checks.check_inputs(model, images, labels)
    noisy = (_noisy(images, sigma, generator) for _ in range(draws))
    return attempts.drawn(model, images, labels, noisy, draws, highest)


def _noisy(images, sigma, generator) -> torch.Tensor:
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype, device=generator.device)
    return images.add(noise.to(images.device), alpha=sigma).clamp_(0, 1)
