"""What should be no stronger than the ordinary attack, tried on the images that withstand it."""

from collections.abc import Callable
from dataclasses import replace

import torch

from robustloss.attacks import fgsm, square
from robustloss.attacks.parts import attempts
from robustloss.attacks.parts.balls import Linf
from robustloss.audit import hard_label
from robustloss.audit.white_box import REACH, WhiteBox

# Other lengths of a step, in usual ones: together as far as the radius, and four times as long.
LENGTHS = (0.4, 4.0)


def others(ordinary: WhiteBox, model, withstands, generator, queries: int, draws: int) -> dict[str, torch.Tensor]:
    """Of the images marked in `withstands` (N,) those (N,) that each of some attacks breaks (see `measure`)."""

    def one_step(few):
        return fgsm.perturb(model, few.images, few.labels, generator, epsilon=few.epsilon).images

    def noise(few):
        corners = (_corner(few.ball(), generator) for _ in range(draws))
        return attempts.drawn(model, few.images, few.labels, corners, draws, few.highest).images

    def by_queries(few):
        return square.perturb(model, few.images, few.labels, generator, epsilon=few.epsilon, queries=queries).images

    def by_predictions(few):
        return hard_label.breaks(model, few.images, few.labels, few.epsilon, queries, few.highest)

    def other_lengths(few):
        of_length = (replace(few, reach=length * REACH).breaks(model) for length in LENGTHS)
        return torch.stack([*of_length]).any(0)

    def breaks(attack: Callable) -> torch.Tensor:
        return ordinary.among(withstands, lambda few: few.wrong(model, attack(few)))

    twice = 2 * ordinary.steps
    return {
        "one_step": breaks(one_step),
        "noise": breaks(noise),
        "square": breaks(by_queries),
        "decisions": ordinary.among(withstands, by_predictions),
        "pgd_twice_steps": ordinary.among(withstands, lambda few: few.breaks(model, steps=twice)),
        "pgd_step_sizes": ordinary.among(withstands, other_lengths),
    }


def _corner(ball: Linf, generator) -> torch.Tensor:
    coins = torch.rand(ball.centre.shape, generator=generator, device=generator.device).to(ball.centre.device)
    return torch.where(coins < 0.5, ball.low, ball.high)
