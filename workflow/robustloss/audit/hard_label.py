"""An attack that sees nothing but predictions, so that neither gradients nor logits can mislead it."""

import itertools
from collections.abc import Iterator

import torch
from torch import nn

from robustloss.attacks.parts import network

# Queries that halve the radius of a direction, so that it is known to a hundredth.
HALVINGS = 7


@torch.no_grad()
def breaks(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epsilon: float, queries: int, highest: int
) -> torch.Tensor:
    """Which images (N,) RayS breaks in the Linf ball of `epsilon` with about `queries` queries (Chen and Gu 2020).

    A direction has a sign for each value of an image (N, C, height, width), and its radius is the smallest step that is
    known to be misclassified, cut to [0, 1]; 1 while none is known. Of all values, then of halves, quarters and so on,
    the signs are turned; where that is still misclassified at the radius they stay so, and the radius is halved
    `HALVINGS` times towards the boundary. `highest` is the highest label.
    """
    directions, radii = torch.ones_like(images).flatten(1), images.new_full((len(images),), torch.inf)
    used, rows = torch.zeros_like(labels), torch.arange(len(images), device=images.device)

    def wrong(rows, directions, radii):
        steps = (directions * radii[:, None]).view_as(images[rows])
        logits = network.predict(model, (images[rows] + steps).clamp_(0, 1), highest)
        return logits.argmax(1) != labels[rows]

    for block in _blocks(directions.shape[1]):
        rows = rows[(radii[rows] > epsilon) & (used[rows] < queries)]
        if not len(rows):
            return radii <= epsilon
        turned = directions[rows]
        turned[:, block] *= -1
        better = wrong(rows, turned, radii[rows].clamp(max=1))
        used[rows] += 1 + HALVINGS * better
        rows_better, turned = rows[better], turned[better]
        directions[rows_better] = turned
        low, high = torch.zeros_like(radii[rows_better]), radii[rows_better].clamp(max=1)
        for _ in range(HALVINGS if len(rows_better) else 0):
            middle = (low + high) / 2
            inside = wrong(rows_better, turned, middle)
            low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
        radii[rows_better] = high


def _blocks(size: int) -> Iterator[slice]:
    """Of `size` values all, the halves, the quarters, down to ones or pairs, and again."""
    for level in itertools.cycle(range(size.bit_length())):
        length = -(-size // 2**level)
        yield from (slice(first, first + length) for first in range(0, size, length))
