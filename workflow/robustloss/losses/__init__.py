"""Training objectives: weighted sums of losses, each loss a module of this folder that is found by its name.

A module `losses/<name>.py` defines `loss(logits, labels, *, settings...)`: logits (N, K) and labels (N,) int64 to one
value per sample (N,). Of its keyword-only parameters `features` is what the network's head was given (N, dimension)
and `head` the head itself; the others are the settings of a yaml. A loss that makes sense on some heads only names
them in `HEADS`.

Max-Mahalanobis linear discriminant analysis (MMLDA) needs no module: it is `cross_entropy` on the logits
-||z - mu_k||² of the head `max_mahalanobis`.
"""

import functools
import importlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from robustloss.code import SUPPLIED, check_settings, parameters, plugin, settings_of
from robustloss.errors import Problem

Loss = Callable[..., torch.Tensor]


def objective(terms: Sequence[dict]) -> Loss:
    """The function (logits, labels, features=None, head=None) -> scalar: the sum of weight × mean loss over the terms.

    That is ding2025, Eq. 2. A term is {"loss": name, "weight": number} with the loss's own settings beside them; there
    may be any number of terms. Logits and features of a lower precision are taken to float32 first. Raises Problem for
    an unknown loss, an unknown or missing setting, a weight that is not a finite number, and, when it is called,
    for a loss whose features or head were not given.
    """
    if not terms:
        raise Problem("an objective needs at least one term such as {loss: cross_entropy, weight: 1}")
    weighted = [(_weight(term), _loss(term)) for term in terms]

    def total(
        logits: torch.Tensor,
        labels: torch.Tensor,
        features: torch.Tensor | None = None,
        head: nn.Module | None = None,
    ) -> torch.Tensor:
        given = {"features": features if features is None else fine(features), "head": head}
        return sum(weight * loss(fine(logits), labels, given).mean() for weight, loss in weighted)

    return total


def fine(values: torch.Tensor) -> torch.Tensor:
    """The values in float32 at least."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _loss(term: dict) -> Loss:
    if "loss" not in term:
        raise Problem(f"the term {term} of an objective names no loss: write {{loss: cross_entropy, weight: 1}}")
    name = term["loss"]
    module = plugin("losses", name)
    settings = settings_of("losses", term)
    check_settings(f"loss {name}", module, "loss", settings)
    function = functools.partial(importlib.import_module(module).loss, **settings)
    required, optional = parameters(module, "loss")
    wanted = [key for key in SUPPLIED["loss"] if key in required + optional]

    def value(logits: torch.Tensor, labels: torch.Tensor, given: dict) -> torch.Tensor:
        for key in wanted:
            if given[key] is None:
                raise Problem(f"loss {name}: it is computed from the network's {key} as well, which was not given")
        return function(logits, labels, **{key: given[key] for key in wanted})

    return value


def _weight(term: dict) -> float:
    weight = term.get("weight")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise Problem(f"loss {term.get('loss')}: the weight must be a finite number, not {weight!r}")
    return float(weight)
