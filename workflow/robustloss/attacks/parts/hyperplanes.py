"""The nearest point of a hyperplane within the box [0, 1]^d (Croce and Hein 2020a), exactly, in a batch."""

import torch


def displacement(points: torch.Tensor, normals: torch.Tensor, rises: torch.Tensor, norm: str) -> torch.Tensor:
    """The smallest displacement (..., n, d) by which <normal, point> rises as asked, and the point stays in the box.

    `points` (..., n, d), `normals` (n, d) and `rises` (..., n); a negative rise is a fall. `norm` "linf" or "l2" says
    what is smallest. Where the box does not reach the hyperplane it is the corner that comes nearest to it; where a
    normal is 0, none.

    Both norms have one solution: coordinate i moves along its normal by min(λ g_i, r_i), r_i its room in the box, with
    g_i = 1 for Linf and |w_i| for L2. The rise, a sum of |w_i| min(λ g_i, r_i), is increasing, concave and piecewise
    linear in λ, so Newton's method from the left meets the root exactly, after a few steps and without sorting.
    """
    limits = torch.finfo(points.dtype)
    # A common factor has no part; without it, squares of small normals would be 0.
    largest = normals.abs().amax(-1, keepdim=True).clamp_(min=limits.tiny)
    normals, rises = normals / largest, rises[..., None] / largest
    weights = normals.abs()
    rates = weights if norm == "l2" else torch.ones_like(weights)
    room = torch.where((normals > 0) ^ (rises < 0), 1 - points, points)
    multiplier = _root(weights * rates, weights * room, room / rates.clamp(min=limits.tiny), rises.abs())
    moved = torch.minimum(multiplier.clamp_(max=limits.max) * rates, room)
    return moved.mul_(normals.sign()).mul_(rises.sign())


def _root(slopes, totals, ends, rises) -> torch.Tensor:
    """λ (..., n, 1) at which the sum over coordinates of min(λ slope, total) is the rise; infinite where it never is.

    `ends` are the λ at which a coordinate reaches its total.
    """
    multiplier = torch.zeros_like(rises)
    while True:
        free = ends > multiplier
        remaining = rises - torch.where(free, 0, totals).sum(-1, keepdim=True)
        slope = torch.where(free, slopes, 0).sum(-1, keepdim=True)
        following = torch.where(slope > 0, remaining / slope, torch.inf)
        further = following > multiplier
        # A step that goes further passes an end, so there are not many.
        if not further.any():
            return multiplier
        multiplier = torch.where(further, following, multiplier)
