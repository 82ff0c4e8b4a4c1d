"""Gaussian noise, the attack that knows nothing of the network (pang2020)."""

import torch

from robustloss.attacks.parts import attempts, checks, network
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.errors import Problem


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    sigma: float | None = None,
    epsilon: float | None = None,
    draws: int = 1,
) -> Perturbed:
    """Images with noise added to each value, cut to [0, 1]: from N(0, sigma²), or -epsilon and epsilon by a coin.

    `sigma` (pang2020: 0.05) and `epsilon`, of which one is given, are fractions of the pixel range; the latter draws
    corners of an Linf ball, the farthest that noise can go in it. Of `draws` tries a sample keeps the first that is
    misclassified, else the one of the largest cross-entropy; with one try the network has no part in the noise. Raises
    Problem for settings or inputs out of range, and for a network that gives no logits or some that are not finite.
    """
    attempts.check_draws(draws)
    if (sigma is None) == (epsilon is None):
        raise Problem("attack noise takes either sigma, for Gaussian noise, or epsilon, for corners of an Linf ball")
    if sigma is not None:
        checks.check_numbers(sigma=sigma)
        if not 0 < sigma <= 1:
            raise Problem(f"attack: sigma is a fraction of the pixel range, above 0 and at most 1, not {sigma}")
    if epsilon is not None:
        checks.check_sizes(epsilon, epsilon)
    highest = checks.check_inputs(model, images, labels)
    network.probe(model, images, highest)
    draw = _gaussian if epsilon is None else _corners
    noisy = (_noisy(images, draw(images, generator), sigma or epsilon) for _ in range(draws))
    return attempts.drawn(model, images, labels, noisy, draws, highest)


def _gaussian(images, generator) -> torch.Tensor:
    return torch.randn(images.shape, generator=generator, dtype=images.dtype, device=generator.device)


def _corners(images, generator) -> torch.Tensor:
    return torch.rand(images.shape, generator=generator, dtype=images.dtype, device=generator.device).sub_(0.5).sign_()


def _noisy(images, noise, size) -> torch.Tensor:
    return images.add(noise.to(images.device), alpha=size).clamp_(0, 1)
