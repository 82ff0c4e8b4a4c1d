"""The worst of several attempts at each sample."""

from collections.abc import Callable, Iterable

import torch

from robustloss.attacks.parts import batches, checks, gradients, network
from robustloss.attacks.parts.perturbed import Perturbed, fixed

# What an attempt makes of the samples in `rows` (n,).
Attempt = Callable[[torch.Tensor], Perturbed]
# (logits, rows) -> which samples (n,) the attempt succeeded on, and the loss (n,) that chooses among failures.
Judge = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def worst(
    model: torch.nn.Module,
    images: torch.Tensor,
    attempts: Iterable[Attempt],
    judge: Judge,
    highest: int,
    leave: bool,
) -> Perturbed:
    """Sample by sample: the first attempt that succeeds, else the one of the largest loss.

    Each attempt costs one query more, to judge it. With `leave`, samples that one attempt succeeded on are left out of
    the others, so that they cost no more. Raises Problem for logits that are not finite.
    """
    count, device = len(images), images.device
    done = torch.zeros(count, dtype=torch.bool, device=device)
    largest = torch.full((count,), -torch.inf, dtype=torch.float64, device=device)
    iterations, queries = (torch.zeros(count, dtype=torch.int64, device=device) for _ in range(2))
    rows = torch.arange(count, device=device)
    finite = torch.ones((), dtype=torch.bool, device=device)
    for attempt in attempts:
        if leave:
            rows = rows[batches.still_needed(~done[rows], count)]
        if not len(rows):
            break
        tried = attempt(rows)
        logits = network.predict(model, tried.images, highest)
        finite &= logits.sum().isfinite()
        succeeded, loss = judge(logits, rows)
        active = ~done[rows]
        better = active & (succeeded | (loss > largest[rows]))
        images = images.index_copy(0, rows, torch.where(better.view(-1, 1, 1, 1), tried.images, images[rows]))
        largest[rows] = torch.where(better, loss.to(largest.dtype), largest[rows])
        counted = active if leave else torch.ones_like(active)
        iterations[rows] += tried.iterations * counted
        queries[rows] += (tried.queries + 1) * counted
        done[rows] |= succeeded & active
    checks.check_finite(finite)
    return Perturbed(images, iterations, queries)


def drawn(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    candidates: Iterable[torch.Tensor],
    draws: int,
    highest: int,
) -> Perturbed:
    """Of `draws` candidates for each sample the first that is misclassified, else the one of the largest cross-entropy.

    A single candidate is kept without a query.
    """
    if draws == 1:
        return fixed(next(iter(candidates)), 1, 0)

    def judge(logits, rows):
        return logits.argmax(1) != labels[rows], gradients.wrong_log_odds(logits, labels[rows])

    tries = ((lambda rows, candidate=candidate: fixed(candidate[rows], 1, 0)) for candidate in candidates)
    return worst(model, images, tries, judge, highest, leave=True)


def check_draws(draws: int) -> None:
    checks.check_whole(draws=draws)
