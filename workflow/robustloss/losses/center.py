"""Center loss (Wen et al. 2016), to be added to cross-entropy."""

import torch
from torch import nn

from robustloss.errors import Problem

HEADS = ("linear",)


def loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    features: torch.Tensor,
    head: nn.Module,
    centre_factor: float = 1.0,
) -> torch.Tensor:
    """1/2 ||z - c_y||² for the features z and the learned class centres c of the head `linear` with `centres: true`.

    The centres are parameters of the same optimiser; their gradient is multiplied by `centre_factor`, so that their
    learning rate is weight × centre_factor times the schedule's. (Wen et al. move them at a rate of their own.)
    """
    if not hasattr(head, "centres"):
        raise Problem("loss center: the head has no class centres: write `centres: true` in the network's head")
    own = head.centres[labels]
    own = own.detach() + centre_factor * (own - own.detach())
    return 0.5 * (features - own).square().sum(1)
