"""Batches that samples leave as soon as their question is answered, and rounds of attacks on those that are left."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import torch

# How many different sizes a shrinking batch has, about: few on a GPU, which chooses its algorithms anew for each.
SIZES = {"cpu": 32, "cuda": 8}


def still_needed(moving: torch.Tensor, count: int) -> torch.Tensor:
    """Positions (M,) of the samples of `moving` (N,) that go on, in their order; none when none does.

    They are filled up with samples that have left to a multiple of a fixed share of the first batch of `count`. Waits
    for the device.
    """
    left, share = int(moving.sum()), max(1, count // SIZES.get(moving.device.type, SIZES["cuda"]))
    size = min(len(moving), -(-left // share) * share)
    return moving.argsort(descending=True, stable=True)[:size]


@dataclass
class Results:
    """Per attack the best image, its merit (the larger the better), the steps taken and the forward passes."""

    images: torch.Tensor
    merit: torch.Tensor
    iterations: torch.Tensor
    queries: torch.Tensor

    def take(self, samples: torch.Tensor, others: "Results") -> None:
        """Add what other attacks on `samples` (n,), several perhaps on one, took, and keep their images if better."""
        self.iterations.index_add_(0, samples, others.iterations)
        self.queries.index_add_(0, samples, others.queries)
        before, count = self.merit[samples], len(samples)
        self.merit = self.merit.scatter_reduce(0, samples, others.merit, "amax")
        wins = (others.merit > before) & (others.merit == self.merit[samples])
        # The first of equals, since which of two writes to one place is the last is left open on a GPU.
        rows = torch.arange(count, device=samples.device)
        first = torch.full_like(self.queries, count).scatter_reduce(0, samples[wins], rows[wins], "amin")
        better = first < count
        self.images[better] = others.images[first[better]]


class Rows(SimpleNamespace):
    """The attacks of a batch that shrinks: tensors, or what is indexed as they are, with a row for each that is left.

    `sample` (n,) says what is attacked; `moving` marks the attacks that go on. `found` (n, channels, height, width) is
    the best image so far and `merit` (n,) says how good it is. What is None has no rows.
    """

    def __init__(self, sample: torch.Tensor, found: torch.Tensor, merit: torch.Tensor, **others):
        counts = torch.zeros_like(sample), torch.zeros_like(sample)
        super().__init__(sample=sample, found=found, merit=merit, iterations=counts[0], queries=counts[1], **others)
        self.row = torch.arange(len(sample), device=sample.device)
        self.moving = torch.ones_like(sample, dtype=torch.bool)

    def results(self) -> Results:
        """Room for the results of all attacks, with what they are now."""
        return Results(*(part.clone() for part in (self.found, self.merit, self.iterations, self.queries)))

    def offer(self, images: torch.Tensor, merit: torch.Tensor) -> None:
        """Count a forward pass for `images`, and keep those of larger merit than any before."""
        self.queries = self.queries + self.moving
        better = self.moving & (merit > self.merit)
        self.found = torch.where(better.view(-1, 1, 1, 1), images, self.found)
        self.merit = torch.where(better, merit, self.merit)

    def leave(self, done: torch.Tensor, samples: int) -> None:
        """Stop the attacks that are `done`, and with them all others on the same of `samples` samples."""
        counts = torch.zeros(samples, dtype=torch.int64, device=done.device).index_add_(0, self.sample, done.long())
        self.moving = self.moving & (counts[self.sample] == 0)

    def shrink(self, results: Results) -> None:
        """Keep the rows that go on and a few others (see `still_needed`)."""
        kept = still_needed(self.moving, len(results.merit))
        if len(kept) < len(self.row):
            self.store(results)
            for name, values in vars(self).items():
                setattr(self, name, None if values is None else values[kept])

    def store(self, results: Results) -> None:
        results.images[self.row], results.merit[self.row] = self.found, self.merit
        results.iterations[self.row], results.queries[self.row] = self.iterations, self.queries


def rounds(withstands: torch.Tensor, count: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Which samples (n,) to attack next, and each in which of `count` rounds (n,), until all that withstand had all.

    `withstands` (N,), which the caller keeps up to date, is asked anew each time. The batches are of N attacks where
    there are so many, so that once few samples are left several rounds of them go on side by side.
    """
    left = torch.ones(count, len(withstands), dtype=torch.bool, device=withstands.device)
    while True:
        numbers, samples = (part[: len(withstands)] for part in (left & withstands).nonzero(as_tuple=True))
        if not len(samples):
            return
        left[numbers, samples] = False
        yield samples, numbers
