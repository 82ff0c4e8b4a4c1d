"""A Gaussian per class with a learned mean and unit covariance (Wan et al. 2018, L-GM)."""

import torch
from torch import nn

from robustloss.heads.distance import squared_distances


def head(classes: int, dimension: int) -> nn.Module:
    """Logits -1/2 ||z - mu_k||², the log-likelihoods up to a constant; to be trained with the loss `lgm`.

    The centres mu start at draws from N(0, 1). The authors' MNIST setting also learns variances; this one, like their
    CIFAR-100 setting, does not.
    """
    return Gaussian(classes, dimension)


class Gaussian(nn.Module):
    """`centres` (K, d) are a parameter."""

    def __init__(self, classes: int, dimension: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(classes, dimension))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return -0.5 * squared_distances(features, self.centres)
