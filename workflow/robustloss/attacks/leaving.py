"""Batches that samples leave as soon as their question is answered."""

import torch


def still_needed(moving: torch.Tensor, count: int) -> torch.Tensor:
    """Positions (M,) of the samples of `moving` (N,) that go on, in their order; none when none does.

    They are filled up with samples that have left to a multiple of an eighth of the first batch of `count`: few
    different sizes, since a GPU chooses its algorithms anew for each. Waits for the device.
    """
    left, eighth = int(moving.sum()), max(1, count // 8)
    size = min(len(moving), -(-left // eighth) * eighth)
    return moving.argsort(descending=True, stable=True)[:size]
