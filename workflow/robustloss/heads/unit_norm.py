"""Logits on the unit sphere (song2022, Section 3.2, for I-SCE)."""

import torch
from torch import nn
from torch.nn import functional as F

from robustloss.errors import Problem

# Below this norm logits have no direction; the bound keeps the gradient there finite.
SMALLEST_NORM = 1e-6


def head(classes: int, dimension: int, *, linear: bool = True) -> nn.Module:
    """Logits f / ||f||_2 of f = W z + b, or of f = z without `linear`, when the body's last layer is the network's.

    song2022 puts s f + m in place of the largest logit f at prediction time, which is left out: it changes no decision
    where (s - 1) f + m >= 0, so with s = 1 none at all and with s > 1 none unless every logit is negative, the largest
    below -m / (s - 1). There it could make another logit the largest.
    """
    if not linear and dimension != classes:
        raise Problem(f"head unit_norm: without `linear` the dimension must be that of {classes} classes: {classes}")
    return UnitNorm(nn.Linear(dimension, classes) if linear else nn.Identity())


class UnitNorm(nn.Module):
    """A layer whose output is scaled to unit norm."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.layer(features), dim=1, eps=SMALLEST_NORM)
