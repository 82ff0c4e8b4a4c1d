"""What an attack returns."""

from typing import NamedTuple

import torch


class Perturbed(NamedTuple):
    """Adversarial images and what each cost.

    `images` (N, channels, height, width) lie in [0, 1]; `iterations` (N,) int64 counts the steps that each sample took,
    `queries` (N,) int64 the forward passes of the network that it was part of. Of an ensemble, `broken_by` (N,) int64
    is the number of the attack that broke a sample, from 0, or -1. `targets` (N,) int64 are the classes that the attack
    was to reach, None if it was to leave the label's; one that is the label itself is no goal.
    """

    images: torch.Tensor
    iterations: torch.Tensor
    queries: torch.Tensor
    broken_by: torch.Tensor | None = None
    targets: torch.Tensor | None = None


def fixed(images: torch.Tensor, iterations: int, queries: int) -> Perturbed:
    """Every sample took as many."""
    counts = (torch.full((len(images),), count, device=images.device) for count in (iterations, queries))
    return Perturbed(images, *counts)
