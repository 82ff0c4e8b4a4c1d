"""The ordinary attack, whose success an audit doubts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import nn

from robustloss.attacks.parts import gradients, network
from robustloss.attacks.parts.ascent import Ascent, Success, misclassified
from robustloss.attacks.parts.balls import Linf
from robustloss.attacks.parts.perturbed import Perturbed

# The steps together reach this many times across the radius (Madry et al. 2018).
REACH = 2.5


@dataclass(frozen=True)
class WhiteBox:
    """`steps` sign steps of `reach` epsilon / steps in the Linf balls of `epsilon` around images (N, C, height, width).

    `numbers` (N, values), uniform in [0, 1), place the starts in balls of any radius; `highest` is the highest label.
    """

    images: torch.Tensor
    labels: torch.Tensor
    numbers: torch.Tensor
    highest: int
    epsilon: float
    steps: int
    reach: float = REACH

    @property
    def step_size(self) -> float:
        return min(1.0, self.reach * self.epsilon / self.steps)

    def ball(self) -> Linf:
        return Linf.around(self.images, self.epsilon)

    def in_float64(self) -> Self:
        return replace(self, images=self.images.double(), numbers=self.numbers.double())

    def last(self, model: nn.Module, loss: gradients.Loss) -> torch.Tensor:
        """The last iterates, as published attacks return them."""
        return self._climb(model, loss, self.steps).images

    def breaks(self, model: nn.Module, loss: str = "cross_entropy", steps: int | None = None) -> torch.Tensor:
        """Which images (N,) have an iterate that is misclassified, the start among them.

        Additional `steps` are no shorter: they go on where the others end.
        """
        steps = steps or self.steps
        found = self._climb(model, gradients.choose(loss), steps, misclassified)
        # Who stopped early was misclassified then; a random network may say otherwise when it is asked again.
        return (found.iterations < steps) | self.wrong(model, found.images)

    def wrong(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Which of `images` (N, C, height, width), made from these, are misclassified."""
        return misclassified(network.predict(model, images, self.highest), self.labels, None)

    def among(self, which: torch.Tensor, test: Callable[[Self], torch.Tensor]) -> torch.Tensor:
        """The outcome (N,) of a test of the images marked in `which` (N,), the others being left out of it: False."""
        rows = which.nonzero()[:, 0]
        if not len(rows):
            return torch.zeros_like(which)
        few = replace(self, images=self.images[rows], labels=self.labels[rows], numbers=self.numbers[rows])
        return torch.zeros_like(which).index_copy(0, rows, test(few))

    def _climb(self, model, loss, steps, success: Success | None = None) -> Perturbed:
        ball = self.ball()
        ascent = Ascent(model, loss, steps, self.step_size, self.highest, success)
        return ascent.climb(ball, ball.start(self.numbers), self.labels, None)
