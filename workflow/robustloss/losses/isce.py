"""Inference-softmax cross-entropy (song2022); on the head `unit_norm`, as in its experiments."""

import torch
from torch.nn import functional as F


def loss(logits: torch.Tensor, labels: torch.Tensor, *, s: float = 1.0, m: float = 0.1) -> torch.Tensor:
    """Cross-entropy with s f_y + m in place of the true logit f_y (song2022, Eqs. 2 and 4).

    The minus sign in front of the logarithm, lost where Eq. 4 is printed, is restored.
    """
    truth = labels[:, None]
    return F.cross_entropy(logits.scatter(1, truth, s * logits.gather(1, truth) + m), labels, reduction="none")
