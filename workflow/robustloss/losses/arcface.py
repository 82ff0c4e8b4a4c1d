"""Additive angular margin loss (Deng et al. 2019, ArcFace)."""

import math

import torch
from torch import nn
from torch.nn import functional as F

HEADS = ("cosine",)


def loss(logits: torch.Tensor, labels: torch.Tensor, *, head: nn.Module, margin: float = 0.5) -> torch.Tensor:
    """Cross-entropy with s cos(theta_y + margin) in place of the true logit s cos(theta_y); the head holds s.

    Where theta_y + margin passes pi, as cos(theta_y) <= cos(pi - margin) says, the cosine would rise again; there it is
    cos(theta_y) - margin sin(margin), as in the released code.
    """
    truth = labels[:, None]
    cosine = logits.gather(1, truth) / head.scale
    # Where rounding leaves no sine its gradient is infinite; it is taken as zero there.
    sine = (1 - cosine.square()).clamp_min(torch.finfo(cosine.dtype).eps).sqrt()
    moved = cosine * math.cos(margin) - sine * math.sin(margin)
    fallback = cosine - margin * math.sin(margin)
    raised = head.scale * torch.where(cosine > -math.cos(margin), moved, fallback)
    return F.cross_entropy(logits.scatter(1, truth, raised), labels, reduction="none")
