"""Label smoothing with the target that song2022 prints, which does not sum to 1."""

import torch

from robustloss.errors import Problem


def loss(logits: torch.Tensor, labels: torch.Tensor, *, epsilon: float) -> torch.Tensor:
    """-sum_i t_i log f_i with t_y = 1 - epsilon and t_i = epsilon / K for i != y (song2022, Section 3.1).

    The target sums to 1 - epsilon / K; the usual form is `label_smoothing`.
    """
    if not 0 <= epsilon <= 1:
        raise Problem(f"loss label_smoothing_song2022: epsilon must be a number from 0 to 1, not {epsilon}")
    log_f = logits.log_softmax(1)
    share = epsilon / logits.shape[1]
    return -(1 - epsilon - share) * log_f.gather(1, labels[:, None])[:, 0] - share * log_f.sum(1)
