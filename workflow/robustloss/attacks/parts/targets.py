"""The classes that attacks are to reach, chosen from the clean logits."""

import torch

from robustloss.attacks.parts import network
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.code import nearest
from robustloss.errors import Problem

NAMES = ("random", "second", "least_likely")


def check(target: str | int | None, *more: str) -> None:
    """Refuse what is neither None, a class from 0, one of NAMES nor one of `more`."""
    is_class = isinstance(target, int) and not isinstance(target, bool) and target >= 0
    if not (target is None or is_class or target in NAMES + more):
        raise Problem(f"attack: there is no target '{target}'{nearest(target, [*NAMES, *more, 'a class from 0'])}")


def highest(target: str | int | None, label: int) -> int:
    """The highest class that is asked for, `label` being the highest label."""
    return max(label, target) if isinstance(target, int) else label


def choose(target: str | int, logits: torch.Tensor, labels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Target classes (N,), never a sample's label except where `target` is that class.

    "random" is uniform over the wrong classes, "second" and "least_likely" the wrong class of largest and of smallest
    logit. A `target` that is the label of all samples raises Problem.
    """
    if isinstance(target, int):
        if (labels == target).all():
            raise Problem(
                f"attack: the target {target} is the label of every image, so there is nothing to reach: name another "
                "class, or attack images of other classes"
            )
        return torch.full_like(labels, target)
    truth = labels[:, None]
    if target == "second":
        return logits.scatter(1, truth, -torch.inf).argmax(1)
    if target == "least_likely":
        return logits.scatter(1, truth, torch.inf).argmin(1)
    drawn = torch.randint(logits.shape[1] - 1, labels.shape, generator=generator, device=generator.device)
    drawn = drawn.to(labels.device)
    return drawn + (drawn >= labels)


def every(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """All wrong classes of each sample (N, K - 1)."""
    classes = torch.arange(logits.shape[1] - 1, device=labels.device)
    return classes + (classes >= labels[:, None])


def query(
    target: str | int | None,
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    highest: int,
) -> torch.Tensor | None:
    """The targets (N,) of the setting `target` for clean images, at the cost of one query; None for None.

    Raises Problem as `choose` and `network.clean` do.
    """
    if target is None:
        return None
    return choose(target, network.clean(model, images, highest), labels, generator)


def finish(found: Perturbed, images: torch.Tensor, labels: torch.Tensor, aims: torch.Tensor | None) -> Perturbed:
    """`found` with the query for the targets `aims`, and the clean image again where the target is the label itself."""
    if aims is None:
        return found
    away = aims != labels
    kept = torch.where(away.view(-1, 1, 1, 1), found.images, images)
    return Perturbed(kept, found.iterations * away, found.queries + 1, targets=aims)
