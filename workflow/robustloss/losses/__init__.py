"""Training objectives: weighted sums of losses, each loss a module of this folder that is found by its name.

A module `losses/<name>.py` defines `loss(logits, labels, *, settings...)`: logits (N, K) and labels (N,) int64 to one
value per sample (N,).
"""

import functools
import importlib
import math
from collections.abc import Callable, Sequence

import torch

from robustloss.code import check_settings, plugin
from robustloss.errors import Problem

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def objective(terms: Sequence[dict]) -> Loss:
    """The function (logits, labels) -> scalar: the sum over terms of weight × mean loss (ding2025, Eq. 2).

    A term is {"loss": name, "weight": number} with the loss's own settings beside them; there may be any number of
    terms. Logits of a lower precision are taken to float32 first. Raises Problem for an unknown loss, an unknown or
    missing setting, or a weight that is not a finite number.
    """
    if not terms:
        raise Problem("an objective needs at least one term such as {loss: cross_entropy, weight: 1}")
    weighted = [(_weight(term), _loss(term)) for term in terms]

    def total(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return sum(weight * loss(logits, labels).mean() for weight, loss in weighted)

    return total


def _loss(term: dict) -> Loss:
    if "loss" not in term:
        raise Problem(f"the term {term} of an objective names no loss: write {{loss: cross_entropy, weight: 1}}")
    name = term["loss"]
    module = plugin("losses", name)
    settings = {key: value for key, value in term.items() if key not in ("loss", "weight")}
    check_settings(f"loss {name}", module, "loss", settings)
    return functools.partial(importlib.import_module(module).loss, **settings)


def _weight(term: dict) -> float:
    weight = term.get("weight")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise Problem(f"loss {term.get('loss')}: the weight must be a finite number, not {weight!r}")
    return float(weight)
