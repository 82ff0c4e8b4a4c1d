"""Angles between features and a weight vector per class (Deng et al. 2019, ArcFace)."""

import torch
from torch import nn
from torch.nn import functional as F

from robustloss.errors import Problem

# Below this norm a vector has no direction; the bound keeps the gradient there finite.
SMALLEST_NORM = 1e-6


def head(classes: int, dimension: int, *, scale: float = 64.0) -> nn.Module:
    """Logits scale × cos(z, w_k); the margin that training adds is the loss `arcface`.

    64 is the released code's; for ten classes smaller scales are usual.
    """
    if not scale > 0:
        raise Problem(f"head cosine: scale must be above 0, not {scale}")
    return Cosine(classes, dimension, scale)


class Cosine(nn.Module):
    """`weight` (K, d) is drawn as a linear layer's; only its rows' directions count."""

    def __init__(self, classes: int, dimension: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Linear(dimension, classes, bias=False).weight

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        directions = (F.normalize(vectors, dim=1, eps=SMALLEST_NORM) for vectors in (features, self.weight))
        return self.scale * F.linear(*directions)
