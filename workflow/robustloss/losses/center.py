"""Center loss (Wen et al. 2016), to be added to cross-entropy."""

import torch
from torch import nn

from robustloss.errors import Problem

HEADS = ("linear",)


def loss(logits: torch.Tensor, labels: torch.Tensor, *, features: torch.Tensor, head: nn.Module) -> torch.Tensor:
    """1/2 ||z - c_y||² for the features z and the learned class centres c of the head `linear` with `centres: true`.

    How the centres follow the features is the head's `centre_rate`.
    """
    if not hasattr(head, "centres"):
        raise Problem("loss center: the head has no class centres: write `centres: true` in the network's head")
    return 0.5 * (features - head.centres[labels]).square().sum(1)
