"""The logits of the wrong classes, which several losses are made of."""

import math

import torch

from robustloss.errors import Problem


def wrong_logits(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The logits (N, K - 1) without each sample's true class, in their order."""
    # Indices instead of a boolean mask, whose number of true entries a CUDA device would be asked for.
    columns = torch.arange(logits.shape[1] - 1, device=logits.device)
    return logits.gather(1, columns + (columns >= labels[:, None]))


def negative_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """sum_{j != y} q_j log q_j / log(K - 1) per sample, q the softmax over the wrong logits: in [-1, 0].

    q_j is f_j / (1 - f_y) without its cancellation. Raises Problem for two classes, where there is nothing to level.
    """
    if logits.shape[1] < 3:
        raise Problem("complement entropy needs three classes at least: with one wrong class it is always 0")
    log_q = wrong_logits(logits, labels).log_softmax(1)
    return (log_q.exp() * log_q).sum(1) / math.log(log_q.shape[1])
