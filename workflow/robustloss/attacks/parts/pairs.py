"""The best pair of features of JSMA's saliency map, exactly and without a matrix of all pairs."""

import torch

# Pairs that are compared at once, which bounds the memory.
BLOCK = 2**21


def best(up: torch.Tensor, down: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Row by row the pair i != j of largest (up_i + up_j) × (down_i + down_j) with both sums above 0.

    Both are (N, n), and -inf where a feature takes no part. Returns the pairs (N, 2), and whether there is one (N,).

    Both sums grow with either summand. So where two features are at least as high as i in `up` and in `down`, one of
    them can stand in for i in every pair, and only features below at most one other take part in the search: they lie
    on the first two Pareto layers, and are a few dozen as a rule.
    """
    features, (up, down) = _front(up, down)
    count, width = features.shape
    largest, place = up.new_zeros(count), features.new_zeros(count)
    indices = torch.arange(width, device=up.device)
    for first in indices.split(max(1, BLOCK // (count * width))):
        rise, fall = (values[:, first, None] + values[:, None] for values in (up, down))
        # With one sum above 0, the product is above 0 where the other is too.
        allowed = (rise > 0) & (first[:, None] < indices)
        saliency, where = rise.mul_(fall).where(allowed, 0).flatten(1).max(1)
        better = saliency > largest
        largest = torch.where(better, saliency, largest)
        place = torch.where(better, where + first[0] * width, place)
    return features.gather(1, torch.stack([place // width, place % width], 1)), largest > 0


def _front(up, down):
    """The features (N, m) that are below at most one other, and their values; m is the most that a row has.

    Sorted by `up`, a feature is below all before it that are at least as high in `down`. So it stays if it exceeds the
    second largest `down` before it.
    """
    up, order = up.sort(1, descending=True)
    down = down.gather(1, order)
    behind_largest = torch.minimum(down[:, 1:], down.cummax(1).values[:, :-1])
    second_largest = behind_largest.cummax(1).values
    lowest = torch.full_like(down[:, :2], -torch.inf)
    kept = down > torch.cat([lowest, second_largest[:, :-1]], 1)
    width = max(2, int(kept.sum(1).max()))
    kept, places = kept.byte().topk(width, 1)
    values = (each.gather(1, places).masked_fill(kept == 0, -torch.inf) for each in (up, down))
    return order.gather(1, places), tuple(values)
