"""Transfer: adversarial examples of another network, which know nothing of the attacked one (pang2020)."""

import torch
from torch import nn

from robustloss import attacks
from robustloss.attacks.parts import checks, network
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.errors import Problem


def perturb(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    source: nn.Module | str,
    attack: dict,
) -> Perturbed:
    """What `attack`, another attack with its settings, makes of the images on the network `source`.

    `source` takes the same images and has the same classes; in a paper's yaml it is the label of a row of the same
    experiment, and its network of the same seed after the last epoch is meant. The attacked `model` has no part in
    them, so queries are 0; iterations are those on `source`. Raises Problem as the attack does, and for a `model` that
    could not be attacked.
    """
    if not isinstance(source, nn.Module):
        raise Problem(f"attack transfer: source is a network, not {source!r}")
    network.probe(model, images, checks.check_inputs(model, images, labels))
    found = attacks.run(attack, source, images, labels, generator)
    return found._replace(queries=torch.zeros_like(found.queries), broken_by=None)
