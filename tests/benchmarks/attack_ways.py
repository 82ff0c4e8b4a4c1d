"""The ways to attack that are no library's: ours, and the loops that everybody writes."""

import functools

import torch
from torch import nn
from torch.nn import functional as F

from robustloss import attacks, models


def ours(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, name: str, **settings) -> torch.Tensor:
    generator = torch.Generator(images.device).manual_seed(0)
    return attacks.load(name)(frozen(model), images, labels, generator, **settings).images


@functools.lru_cache
def frozen(model: nn.Module) -> nn.Module:
    return models.evaluation_copy(model, next(model.parameters()).device)


def floor(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    epsilon: float,
    step_size: float,
    steps: int,
    decay: float | None = None,
) -> torch.Tensor:
    """Sign steps on cross-entropy; with `decay` along the sum of the normalised gradients, as MIM."""
    found, momentum = images.clone(), torch.zeros_like(images)
    for _ in range(steps):
        found.requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(found), labels), found)
        if decay is not None:
            gradient = decay * momentum + gradient / gradient.abs().mean((1, 2, 3), keepdim=True)
            momentum = gradient
        found = found.detach() + step_size * gradient.sign()
        found = torch.clamp(torch.clamp(found, images - epsilon, images + epsilon), 0, 1)
    return found


@torch.no_grad()
def plain_simba(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, step: float, queries: int
) -> torch.Tensor:
    """Algorithm 1 of Guo et al. (2019) on a batch, pixel by pixel in an order that all images share.

    As in the authors' code each coordinate takes three passes of the images that are still right: one to see whether
    they are, one with the negative and one with the positive step; a query is counted as there, but an image that has
    spent `queries` leaves.
    """
    found, asked = images.clone(), torch.ones_like(labels)
    best = model(images).softmax(1).gather(1, labels[:, None])[:, 0]
    for pixel in torch.randperm(images[0].numel(), generator=torch.Generator().manual_seed(0)).tolist():
        left = ((model(found).argmax(1) == labels) & (asked < queries)).nonzero()[:, 0]
        if not len(left):
            break
        probability, start = best[left], found[left]
        for way in (-step, step):
            tried = start.clone()
            tried.flatten(1)[:, pixel] += way
            tried.clamp_(0, 1)
            value = model(tried).softmax(1).gather(1, labels[left, None])[:, 0]
            better = value < best[left]
            found[left[better]], best[left] = tried[better], torch.where(better, value, best[left])
            asked[left] += 1 if way < 0 else (best[left] == probability) | better
    return found
