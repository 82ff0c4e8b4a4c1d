"""Complement entropy: levels the wrong classes, leaves the true one alone (Chen et al. 2019, COT; chen2019, Eq. 1)."""

import torch

from robustloss.losses.wrong import negative_entropy


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """sum_{j != y} q_j log q_j / log(K - 1), q_j = f_j / (1 - f_y); from -1 (level) to 0.

    The sign is the code's: as chen2019 prints the equation, minimising it would sharpen the wrong classes. In a run's
    `then` it makes complement objective training; `complement_entropy_official` is that of its authors' code.
    """
    return negative_entropy(logits, labels)
