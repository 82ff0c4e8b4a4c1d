"""Fixed centres of classes, as far from each other as possible; the nearest one is the prediction (pang2020)."""

import torch
from torch import nn

from robustloss.code import nearest
from robustloss.errors import Problem
from robustloss.heads.centres import hierarchical, optimal, random
from robustloss.heads.distance import squared_distances

KINDS = ("optimal", "random", "hierarchical")


def head(
    classes: int,
    dimension: int,
    *,
    scale: float = 10.0,
    centres: str = "optimal",
    superclasses: list[int] | None = None,
    subclass_scale: float = 1.0,
    elastic: bool = False,
) -> nn.Module:
    """Logits -||z - mu_k||² for centres of norm `scale` (pang2020's C_MM, 10 in its code).

    `centres` is "optimal" (largest cosine as small as possible), "random" (uniform on the sphere, the ablation; another
    draw for another seed) or "hierarchical" (`superclasses` holds each class's superclass; norms `scale` and
    `subclass_scale` are added up). With `elastic` the centres are parameters that start there, for use with the loss
    `elastic_centres`. The losses that belong here are `mmc`, and `cross_entropy`, which on these logits is MMLDA.
    """
    if centres not in KINDS:
        raise Problem(f"head max_mahalanobis: there are no centres '{centres}'{nearest(centres, KINDS)}")
    if not (scale > 0 and subclass_scale > 0):
        raise Problem(f"head max_mahalanobis: scales must be above 0, not {scale} and {subclass_scale}")
    if (centres == "hierarchical") != (superclasses is not None):
        raise Problem("head max_mahalanobis: superclasses and `centres: hierarchical` need each other")
    if centres == "hierarchical":
        _check_superclasses(superclasses, classes)
        start = hierarchical(superclasses, dimension, scale, subclass_scale)
    else:
        start = scale * (optimal if centres == "optimal" else random)(classes, dimension)
    return MaxMahalanobis(start.to(torch.get_default_dtype()), elastic)


class MaxMahalanobis(nn.Module):
    """`centres` (K, d) are a buffer; elastic ones a parameter, with the buffer `presets` where they started."""

    def __init__(self, centres: torch.Tensor, elastic: bool) -> None:
        super().__init__()
        if elastic:
            self.centres = nn.Parameter(centres.clone())
        self.register_buffer("presets" if elastic else "centres", centres)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return -squared_distances(features, self.centres)


def _check_superclasses(superclasses, classes: int) -> None:
    if not isinstance(superclasses, list | tuple) or not all(isinstance(name, int) for name in superclasses):
        raise Problem("head max_mahalanobis: superclasses is a list of whole numbers, one for each class")
    if len(superclasses) != classes:
        raise Problem(
            f"head max_mahalanobis: superclasses has {len(superclasses)} entries, but there are {classes} classes"
        )
    if len(set(superclasses)) < 2:
        raise Problem("head max_mahalanobis: all classes have one superclass: write `centres: optimal` instead")
