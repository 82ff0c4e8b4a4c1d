"""Shannon entropy of the prediction."""

import torch
from torch.nn import functional as F


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """L_CE^s = -sum_i f_i log f_i, with the gradient through both factors (ding2025, Eq. 4, first line).

    The gradient that Table 2 prints needs both: a detached first factor would leave none at all. The label has no part.
    """
    log_f = F.log_softmax(logits, 1)
    # Not torch.special.entr(f), whose gradient is infinite where f underflows to 0.
    return -(log_f.exp() * log_f).sum(1)
