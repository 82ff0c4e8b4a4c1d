"""Asking the network under attack: for logits, and for their gradient with respect to the images."""

import torch

from robustloss.errors import Problem


def forward(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, highest: int):
    """The images as a leaf that takes a gradient, and their logits; a network that cannot be attacked raises Problem.

    `highest` is the highest class that the attack asks for.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(images)
    _check(logits, len(labels), highest)
    if not logits.requires_grad:
        raise Problem("attack: the logits do not depend on the images differentiably, so there is no gradient")
    return images, logits


def backward(logits: torch.Tensor, images: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """The gradient with respect to the images of the logits' component along `direction`."""
    # Not `grad(logits, images, direction)`: that is the same, and imports a computer algebra system, 0.5 s of each job.
    with torch.enable_grad():
        along = (logits * direction.to(logits.dtype)).sum()
    (gradient,) = torch.autograd.grad(along, images)
    return gradient


@torch.no_grad()
def predict(model: torch.nn.Module, images: torch.Tensor, highest: int) -> torch.Tensor:
    """Logits (N, K) without a gradient; what are not logits, or lack the class `highest`, raises Problem."""
    logits = model(images)
    _check(logits, len(images), highest)
    return logits


def _check(logits: torch.Tensor, count: int, highest: int) -> None:
    """Refuse what is not logits (count, classes) with a class `highest`."""
    if logits.ndim != 2 or len(logits) != count:
        raise Problem(f"attack: the model must return logits ({count}, classes), not {tuple(logits.shape)}")
    if highest >= logits.shape[1]:
        raise Problem(f"attack: class {highest} is not one of the network's {logits.shape[1]} classes, from 0")
