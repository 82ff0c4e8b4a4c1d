"""A training objective as the loss of an attack."""

import functools
import importlib
from collections.abc import Callable, Sequence

import torch

from robustloss import losses
from robustloss.code import SUPPLIED, parameters, plugin, settings_of
from robustloss.errors import Problem

Function = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def from_terms(terms: Sequence[dict]) -> tuple[Function, Function]:
    """The value per sample (N,) and the direction (N, K) of `losses.objective(terms)`.

    Both are functions of logits (N, K) and labels (N,), in float32 or finer; the direction is autograd's gradient with
    respect to the logits. Raises Problem for terms that are no objective, and for a loss that is computed from more
    than logits, since an attack has no more.
    """
    losses.objective(terms)  # refuses what is none
    parts = [(term["weight"], _on_logits(term)) for term in terms]

    def value(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return sum(weight * loss(losses.fine(logits), labels) for weight, loss in parts)

    def direction(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            inputs = losses.fine(logits.detach()).requires_grad_()
            (gradient,) = torch.autograd.grad(value(inputs, labels).sum(), inputs)
        return gradient

    return value, direction


def _on_logits(term: dict) -> Function:
    name, module = term["loss"], plugin("losses", term["loss"])
    required, optional = parameters(module, "loss")
    for key in SUPPLIED["loss"]:
        if key in required + optional:
            raise Problem(
                f"attack: the loss {name} is computed from the network's {key} as well, but an attack only has "
                "logits: name another loss"
            )
    return functools.partial(importlib.import_module(module).loss, **settings_of("losses", term))
