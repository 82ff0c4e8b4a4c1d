"""What holds elastic centres near where they started (pang2020 names an elastic MMC and gives no formula)."""

import torch
from torch import nn

from robustloss.errors import Problem

HEADS = ("max_mahalanobis",)


def loss(logits: torch.Tensor, labels: torch.Tensor, *, head: nn.Module) -> torch.Tensor:
    """sum_k ||mu_k - mu_k*||², the same for every sample: its weight is the penalty's lambda.

    mu* are the head's preset centres; the head needs `elastic: true`. The form is this library's reading.
    """
    if not hasattr(head, "presets"):
        raise Problem("loss elastic_centres: the centres cannot move: write `elastic: true` in the network's head")
    return (head.centres - head.presets).square().sum().expand(len(logits))
