"""Directions in the space of logits in which an attack climbs, in closed form, so that no loss graph is needed.

Each takes logits (N, K) and labels (N,) and returns the direction (N, K) in float32 or finer.
"""

from collections.abc import Callable

import torch

from robustloss.code import nearest
from robustloss.errors import Problem

Direction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The gradient of cross-entropy as every library computes it: softmax(z) - onehot(y).

    Its factor 1 - p_y rounds to 0 in float32 where z_y exceeds the other logits by about 17, and takes the direction
    with it.
    """
    direction = _fine(logits).softmax(1)
    return direction.scatter_add_(1, labels[:, None], direction.new_full((len(labels), 1), -1))


def exact_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The same gradient without its factor 1 - p_y: softmax over the other classes, and -1 at y.

    It is the gradient of log sum_{j != y} exp(z_j) - z_y, of which cross-entropy is an increasing function; a sign step
    needs no more, and nothing underflows.
    """
    others = _fine(logits).scatter(1, labels[:, None], -torch.inf)
    return others.softmax(1).scatter_(1, labels[:, None], -1)


def wrong_log_odds(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """log((1 - p_y) / p_y) per sample (N,): grows with cross-entropy, and does not saturate."""
    logits = _fine(logits)
    truth = labels[:, None]
    return logits.scatter(1, truth, -torch.inf).logsumexp(1) - logits.gather(1, truth)[:, 0]


def choose(name: str) -> Direction:
    """The direction that an attack's setting `loss` names."""
    choices = {"cross_entropy": cross_entropy, "exact_cross_entropy": exact_cross_entropy}
    if name not in choices:
        raise Problem(f"attack: there is no loss '{name}'{nearest(name, choices)}")
    return choices[name]


def _fine(logits: torch.Tensor) -> torch.Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
