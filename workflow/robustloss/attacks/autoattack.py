"""AutoAttack in its standard version, an ensemble of four attacks in an Linf ball (Croce and Hein 2020b)."""

from functools import partial

import torch

from robustloss.attacks import apgd, fab, square
from robustloss.attacks.parts import checks, network
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.errors import Problem

# The names of the attacks that `broken_by` numbers.
ATTACKS = ("apgd", "apgd-t", "fab-t", "square")
# Targeted DLR divides by a difference that involves four logits.
FEWEST_CLASSES_FOR_DLR = 4
# What `targets` is when nothing is said.
STANDARD_TARGETS = 9


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    epsilon: float,
    targets: int = 9,
    steps: int = 100,
    queries: int = 5000,
) -> Perturbed:
    """Adversarial images of the first of four attacks that a sample does not withstand; clean if it withstands all.

    In this order, each on what is left: APGD up the exact cross-entropy, APGD up the targeted DLR loss, targeted FAB,
    each with one start and `steps` steps, and Square with `queries` queries. The targeted ones go towards the `targets`
    most likely wrong classes; the standard 9 are all K - 1 where there are fewer. With less than 4 classes, where
    targeted DLR is not defined, the margin z_t - z_y takes its place. (The published version climbs plain
    cross-entropy, which underflows where logits are large.) `epsilon` is a fraction of the pixel range.

    `iterations` and `queries` are sums over the attacks, `broken_by` counts in ATTACKS. A network that answers
    at random is believed at once: `worst_case` asks it more often. Raises Problem for settings or inputs out of range,
    for more targets than wrong classes but the standard 9, for probabilities in place of logits, and for logits or
    gradients that are not finite.
    """
    _check_settings(targets, steps, queries)
    highest = checks.check_inputs(model, images, labels)
    clean = network.clean(model, images, highest)
    right = clean.argmax(1) == labels
    adversarial, broken_by = images, torch.full_like(labels, -1)
    iterations, asked = torch.zeros_like(labels), torch.ones_like(labels)
    for number, attack in enumerate(_attacks(epsilon, targets, steps, queries, clean.shape[1])):
        withstands = right & (broken_by < 0)
        if not withstands.any():
            break
        # A sample that is broken goes along as it is, so that the attack lets it be after one query.
        found = attack(model, adversarial, labels, generator)
        broken = withstands & (network.predict(model, found.images, highest).argmax(1) != labels)
        adversarial = torch.where(broken.view(-1, 1, 1, 1), found.images, adversarial)
        broken_by = broken_by.masked_fill(broken, number)
        iterations, asked = iterations + found.iterations, asked + found.queries + 1
    return Perturbed(adversarial, iterations, asked, broken_by)


def _attacks(epsilon, targets, steps, queries, classes) -> list:
    if targets == STANDARD_TARGETS:
        targets = min(targets, classes - 1)
    if targets > classes - 1:
        raise Problem(f"attack: targets is from 1 to {classes - 1}, as many as there are wrong classes, not {targets}")
    loss = "dlr" if classes >= FEWEST_CLASSES_FOR_DLR else "margin"
    return [
        partial(apgd.perturb, epsilon=epsilon, steps=steps),
        partial(apgd.perturb, epsilon=epsilon, steps=steps, loss=loss, targets=targets),
        partial(fab.perturb, epsilon=epsilon, steps=steps, targets=targets, stop=True),
        partial(square.perturb, epsilon=epsilon, queries=queries),
    ]


def _check_settings(targets, steps, queries) -> None:
    checks.check_whole(targets=targets, steps=steps, queries=queries)
