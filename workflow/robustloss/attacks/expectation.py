"""Expectation over a randomised network's answers (EOT; Athalye et al. 2018, Section 5.4.1)."""

import torch
from torch import nn

from robustloss import attacks
from robustloss.attacks.parts import answers, checks
from robustloss.attacks.parts.perturbed import Perturbed


def perturb(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    draws: int,
    attack: dict,
) -> Perturbed:
    """What `attack`, another attack with its settings, makes of the images on the mean of `draws` answers of `model`.

    Its gradient is that of the mean of the logits over fresh draws, so that what one draw hides the others show. A
    network that answers the same twice is not random, and is asked once instead of `draws` times. Queries count every
    answer. Raises Problem for settings out of range, and as the attack does.
    """
    checks.check_whole(draws=draws)
    highest = checks.check_inputs(model, images, labels)
    if not answers.are_random(model, images, highest):
        return attacks.run(attack, model, images, labels, generator)
    found = attacks.run(attack, answers.Mean(model, draws), images, labels, generator)
    return found._replace(queries=found.queries * draws)
