"""Rotation about the image's centre (pang2020)."""

import torch
from torch.nn import functional as F

from robustloss.attacks.parts import attempts, checks, network
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.code import nearest
from robustloss.errors import Problem

ANGLES = ("random", "grid")


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    largest: float,
    draws: int = 1,
    angles: str = "random",
) -> Perturbed:
    """Images turned by angles of at most `largest` degrees, bilinear, with 0 where nothing was (pang2020: 30).

    Of `draws` angles a sample keeps the first that is misclassified, else the one of the largest cross-entropy; with
    one angle the network has no part in it. `angles` "random" draws them uniformly for each sample, "grid" spreads them
    evenly from -largest to largest. Raises Problem for settings or inputs out of range, and for a network that gives no
    logits or some that are not finite.
    """
    attempts.check_draws(draws)
    checks.check_numbers(largest=largest)
    if not 0 < largest <= 180:
        raise Problem(f"attack: largest is an angle in degrees, above 0 and at most 180, not {largest}")
    if angles not in ANGLES:
        raise Problem(f"attack: there are no angles '{angles}'{nearest(angles, ANGLES)}")
    if angles == "grid" and draws == 1:
        raise Problem("attack: a grid has two angles at least: set draws: 2 or more, or angles: random")
    highest = checks.check_inputs(model, images, labels)
    network.probe(model, images, highest)
    if angles == "grid":
        degrees = torch.linspace(-largest, largest, draws, dtype=images.dtype).expand(len(images), -1)
    else:
        uniform = torch.rand((len(images), draws), generator=generator, dtype=images.dtype, device=generator.device)
        degrees = largest * (2 * uniform - 1)
    turned = (rotate(images, column) for column in degrees.to(images.device).unbind(1))
    return attempts.drawn(model, images, labels, turned, draws, highest)


def rotate(images: torch.Tensor, degrees: torch.Tensor) -> torch.Tensor:
    """Images (N, channels, height, width) turned anticlockwise by degrees (N,), bilinear, 0 outside."""
    height, width = images.shape[2:]
    cosine, sine = degrees.deg2rad().cos(), degrees.deg2rad().sin()
    zero = torch.zeros_like(sine)
    # From where in the image each value comes, in halves of its width and height.
    rows = [cosine, -sine * height / width, zero], [sine * width / height, cosine, zero]
    origins = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = F.affine_grid(origins, list(images.shape), align_corners=False)
    # Weights that add up to 1 only nearly can leave [0, 1] by a rounding.
    return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False).clamp_(0, 1)
