"""Cross-entropy to a target that keeps a little for every class (Szegedy et al. 2016)."""

import torch

from robustloss.errors import Problem


def loss(logits: torch.Tensor, labels: torch.Tensor, *, epsilon: float) -> torch.Tensor:
    """-sum_i t_i log f_i with t = (1 - epsilon) onehot(y) + epsilon / K, which sums to 1."""
    if not 0 <= epsilon <= 1:
        raise Problem(f"loss label_smoothing: epsilon must be a number from 0 to 1, not {epsilon}")
    log_f = logits.log_softmax(1)
    return -(1 - epsilon) * log_f.gather(1, labels[:, None])[:, 0] - epsilon * log_f.mean(1)
