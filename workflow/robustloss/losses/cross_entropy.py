"""Cross-entropy to the true label."""

import torch
from torch.nn import functional as F


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """L_CE = -log f_y (ding2025, Eq. 1)."""
    return F.cross_entropy(logits, labels, reduction="none")
