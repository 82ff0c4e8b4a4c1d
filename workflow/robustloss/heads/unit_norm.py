"""Logits on the unit sphere (song2022, Section 3.2, for I-SCE)."""

import torch
from torch import nn
from torch.nn import functional as F

from robustloss.errors import Problem

# Below this norm logits have no direction; the bound keeps the gradient there finite.
SMALLEST_NORM = 1e-6


def head(classes: int, dimension: int, *, linear: bool = True) -> nn.Module:
    """Logits f / ||f||_2 of f = W z + b, or of f = z without `linear`, when the body's last layer is the network's.

    The bonus s f + m that song2022 adds to the largest logit at prediction time changes no decision and is left out.
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
