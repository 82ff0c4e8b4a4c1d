"""Asking the network under attack: for logits, and for their gradient with respect to the images."""

import torch

from robustloss.attacks.parts import checks
from robustloss.errors import Problem

# How many images show whether a network that an attack does not ask gives logits at all.
FEW = 8


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


def clean(model: torch.nn.Module, images: torch.Tensor, highest: int) -> torch.Tensor:
    """The logits (N, K) of clean images, as `predict`; not finite, or probabilities, they raise Problem as well."""
    logits = predict(model, images, highest)
    checks.check_clean(logits)
    return logits


def probe(model: torch.nn.Module, images: torch.Tensor, highest: int) -> None:
    """Refuse a network as `clean` does, by a few of the images, for attacks that do not ask it otherwise."""
    clean(model, images[:FEW], highest)


def _check(logits: torch.Tensor, count: int, highest: int) -> None:
    """Refuse what is not logits (count, classes) with a class `highest`, and a network that has no wrong class."""
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != count:
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise Problem(f"attack: the model must return logits ({count}, classes), not {found}")
    if logits.shape[1] < 2:
        raise Problem("attack: the network has a single class, so there is none to be mistaken for: it needs two")
    if highest >= logits.shape[1]:
        raise Problem(f"attack: class {highest} is not one of the network's {logits.shape[1]} classes, from 0")
