"""Cross-entropy to the most likely wrong label (ding2025, Section 2.4: the target y_2nd)."""

import torch
from torch.nn import functional as F


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log f_j for the wrong class j of the largest logit; a constant to the gradient, the first of equals."""
    others = logits.detach().scatter(1, labels[:, None], -torch.inf)
    return F.cross_entropy(logits, others.argmax(1), reduction="none")
