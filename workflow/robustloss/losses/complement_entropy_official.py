"""Complement entropy as the released code of complement objective training computes it (henry8527/COT)."""

import torch

from robustloss.errors import Problem


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """sum_{j != y} q_j log(q_j + 1e-10) / K, q_j = f_j / (1 - f_y + 1e-7).

    Against `complement_entropy`: K, which the code has as 10, in place of log(K - 1), so that the step of ten classes
    is log(9) / 10 or 0.22 of that one, and stabilisers, under which the loss of a confident sample tends to 0.
    """
    if logits.shape[1] < 3:
        raise Problem("complement entropy needs three classes at least: with one wrong class it is always 0")
    f = logits.softmax(1)
    q = f / (1 - f.gather(1, labels[:, None]) + 1e-7)
    return (q * (q + 1e-10).log()).scatter(1, labels[:, None], 0).sum(1) / logits.shape[1]
