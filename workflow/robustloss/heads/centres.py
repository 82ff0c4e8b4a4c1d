"""Where to put the centres of classes so that they lie far from each other (pang2020: max-Mahalanobis centres)."""

import functools
from collections import Counter

import torch
from torch.nn import functional as F

from robustloss.errors import Problem

# The search where no closed form is known: the soft maximum sharpens tenfold in every third of the steps.
STEPS = 1000
RATES = 5e-2, 5e-5
SHARPNESS = 10, 10_000


@functools.cache
def optimal(classes: int, dimension: int) -> torch.Tensor:
    """Unit vectors (classes, dimension), float64, whose largest cosine is as small as possible; always the same ones.

    Up to dimension + 1 classes they are a simplex: every cosine is -1 / (classes - 1). For more a numerical search
    approaches the least largest cosine. A class without others gets the zero vector.
    """
    return _simplex(classes, dimension) if classes <= dimension + 1 else _spread(classes, dimension)


def random(classes: int, dimension: int) -> torch.Tensor:
    """Unit vectors (classes, dimension), float64, uniform on the sphere, from torch's global generator."""
    return F.normalize(torch.randn(classes, dimension, dtype=torch.float64, device="cpu"), dim=1)


def hierarchical(superclasses: list[int], dimension: int, scale: float, subclass_scale: float) -> torch.Tensor:
    """Centres (classes, dimension), float64: the superclass's optimal centre plus one among its own classes.

    `superclasses` names each class's superclass; the k-th class of a superclass takes the k-th of the optimal centres
    of as many classes as it has. pang2020 names hierarchical centres and gives no formula: the sum, with 10 and 1 for
    the two scales, is an independent reproduction's.
    """
    names = sorted(set(superclasses))
    sizes = Counter(superclasses)
    seen: Counter[int] = Counter()
    rows = []
    for name in superclasses:
        above = optimal(len(names), dimension)[names.index(name)]
        within = optimal(sizes[name], dimension)[seen[name]]
        rows.append(scale * above + subclass_scale * within)
        seen[name] += 1
    return torch.stack(rows)


def _simplex(classes: int, dimension: int) -> torch.Tensor:
    # The published recursion is the Cholesky factorisation of the matrix of cosines; the vectors sum to zero.
    others = classes - 1
    cosines = torch.full((others, others), -1 / max(others, 1), dtype=torch.float64, device="cpu").fill_diagonal_(1)
    first = torch.linalg.cholesky(cosines)
    return F.pad(torch.cat([first, -first.sum(0, keepdim=True)]), (0, dimension - others))


def _spread(classes: int, dimension: int) -> torch.Tensor:
    """Adam on a sharpening soft maximum of the cosines, from a fixed start.

    The code of pang2020 takes Adam's steps of 1e-4 on the maximum itself, which after its 10,000 steps is still far
    away: for 12 vectors in 3 dimensions at a largest cosine of 0.65, where the icosahedron has 0.447.
    """
    if dimension < 2:
        raise Problem(f"head: {classes} centres cannot lie apart in 1 dimension: set dimension to 2 at least")
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(classes, dimension, generator=generator, dtype=torch.float64, device="cpu")
    vectors = F.normalize(start, dim=1).requires_grad_()
    optimizer = torch.optim.Adam([vectors])
    pairs = torch.triu_indices(classes, classes, 1, device="cpu").unbind()
    with torch.enable_grad():
        for step in range(STEPS):
            (optimizer.param_groups[0]["lr"], sharpness) = (_between(ends, step / STEPS) for ends in (RATES, SHARPNESS))
            unit = F.normalize(vectors, dim=1)
            optimizer.zero_grad()
            (sharpness * (unit @ unit.T)[pairs]).logsumexp(0).div(sharpness).backward()
            optimizer.step()
    return F.normalize(vectors.detach(), dim=1)


def _between(ends: tuple[float, float], part: float) -> float:
    return ends[0] * (ends[1] / ends[0]) ** part
