"""The classes at which a bounded attack aims, sample by sample."""

import torch

from robustloss.attacks import scores, targets
from robustloss.attacks.perturbed import Perturbed


def choose(
    target: str | int | None,
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    highest: int,
) -> torch.Tensor | None:
    """The targets (N,) of the setting `target` for clean images, at the cost of one query; None for None."""
    if target is None:
        return None
    return targets.choose(target, scores.predict(model, images, highest), labels, generator)


def finish(found: Perturbed, images: torch.Tensor, labels: torch.Tensor, aims: torch.Tensor | None) -> Perturbed:
    """`found` with the query for the aims, and the clean image again where the aim is the label itself."""
    if aims is None:
        return found
    away = aims != labels
    return Perturbed(
        torch.where(away.view(-1, 1, 1, 1), found.images, images), found.iterations * away, found.queries + 1
    )
