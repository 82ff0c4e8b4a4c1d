"""Max-Mahalanobis centre loss (pang2020)."""

import torch

HEADS = ("max_mahalanobis",)


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """1/2 ||z - mu_y||², read off the head's logits -||z - mu_k||² (pang2020).

    The authors' code has no 1/2: a term of weight 2 is theirs.
    """
    return -0.5 * logits.gather(1, labels[:, None])[:, 0]
