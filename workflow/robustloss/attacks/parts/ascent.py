"""Climbing a loss within balls around images, all samples together."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from robustloss.attacks.parts import batches, checks, gradients, network
from robustloss.attacks.parts.balls import L2, Linf
from robustloss.attacks.parts.perturbed import Perturbed, fixed

# (logits, labels, targets) -> which samples (N,) the attack has succeeded on.
Success = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


def misclassified(logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
    """Predicted as another class than the label."""
    return logits.argmax(1) != labels


def reached(logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None) -> torch.Tensor:
    """Predicted as the target, or misclassified where there are no targets."""
    return misclassified(logits, labels, None) if targets is None else logits.argmax(1) == targets


@dataclass(frozen=True)
class Ascent:
    """`steps` steps up `loss`, of `step_size` as the ball measures it, from starts (N, channels, height, width).

    `highest` is the highest class that is asked for. With `success`, samples leave the batch when they are done. With
    `decay`, a step follows decay × the direction before + gradient / |gradient|_1 (Dong et al. 2018, Eq. 6) in place of
    the gradient.
    """

    model: nn.Module
    loss: gradients.Loss
    steps: int
    step_size: float
    highest: int
    success: Success | None = None
    decay: float | None = None

    def climb(self, ball: Linf | L2, start: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None):
        """The last iterates, or, with `success`, the first that succeed, else the last."""
        return (self._last if self.success is None else self._first)(ball, start, labels, targets)

    def attempt(self, ball: Linf | L2, start: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None):
        """The function that climbs for some of the samples only, for `attempts.worst`."""
        return lambda rows: self.climb(
            ball[rows], start[rows], labels[rows], None if targets is None else targets[rows]
        )

    def _last(self, ball, images, labels, targets) -> Perturbed:
        """Nothing in a step waits for the device: what went wrong is looked up after the last one."""
        momentum, finite = self._before(images)
        for _ in range(self.steps):
            images, _, sound = self._step(ball, images, labels, targets, momentum)
            finite &= sound
        checks.check_finite(finite)
        return fixed(images, self.steps, self.steps)

    def _first(self, ball, images, labels, targets) -> Perturbed:
        """Each iterate but the last is looked at, the start first; what comes after a success costs no queries."""
        found, count = images, len(images)
        iterations, queries = torch.zeros_like(labels), torch.zeros_like(labels)
        rows, moving = torch.arange(count, device=labels.device), torch.ones_like(labels, dtype=torch.bool)
        momentum, finite = self._before(images)
        for _ in range(self.steps):
            queries[rows] += moving
            moved, scores, sound = self._step(ball, images, labels, targets, momentum)
            finite &= sound
            moving = moving & ~self.success(scores, labels, targets)
            iterations[rows] += moving
            images = torch.where(moving.view(-1, 1, 1, 1), moved, images)
            kept = batches.still_needed(moving, count)
            if len(kept) < len(rows):
                found = found.index_copy(0, rows, images)
                rows, moving, ball, images, labels = rows[kept], moving[kept], ball[kept], images[kept], labels[kept]
                targets, momentum = (part if part is None else part[kept] for part in (targets, momentum))
            if not len(rows):
                break
        checks.check_finite(finite)
        return Perturbed(found.index_copy(0, rows, images), iterations, queries)

    def _before(self, images):
        momentum = None if self.decay is None else torch.zeros_like(images)
        return momentum, torch.ones((), dtype=torch.bool, device=images.device)

    def _step(self, ball, images, labels, targets, momentum):
        """The next iterates, the logits of these, and whether all numbers were finite."""
        images, logits = network.forward(self.model, images, labels, self.highest)
        scores = logits.detach()
        gradient = network.backward(logits, images, self.loss.direction(scores, labels, targets))
        # A sum is finite when its terms are, and costs a quarter of asking each of them.
        finite = (scores.sum() + gradient.sum()).isfinite()
        if momentum is not None:
            gradient = momentum.mul_(self.decay).add_(_normalised(gradient))
        return ball.step(images.detach(), gradient, self.step_size), scores, finite


def _normalised(gradient: torch.Tensor) -> torch.Tensor:
    """Each sample's gradient divided by its L1 norm; no gradient stays none."""
    norm = gradient.abs().sum((1, 2, 3), keepdim=True)
    return gradient / norm.clamp(min=torch.finfo(gradient.dtype).tiny)
