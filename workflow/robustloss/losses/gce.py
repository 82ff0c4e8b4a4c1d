"""Guided complement entropy (chen2019)."""

import torch

from robustloss.errors import Problem
from robustloss.losses.wrong import negative_entropy


def loss(logits: torch.Tensor, labels: torch.Tensor, *, alpha: float) -> torch.Tensor:
    """f_y^alpha × sum_{j != y} q_j log q_j / log(K - 1), q_j = f_j / (1 - f_y); from -1 to 0 (chen2019, Eq. 3).

    The minus sign of the printed equation is left out: with it, the minimum would lie at f_y = 0, against the paper's
    text and code. Exact: f_y comes from log-softmax and q from a softmax over the wrong logits, so that the loss goes
    on falling where the released code (`gce_official`) rises again. alpha = 0 is complement entropy.
    """
    if not alpha >= 0:
        raise Problem(f"loss gce: alpha must be a number from 0, not {alpha}")
    log_f_y = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
    return (alpha * log_f_y).exp() * negative_entropy(logits, labels)
