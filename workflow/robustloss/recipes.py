"""What a run's specification says of a batch: which images an update sees, and what it computes of them.

Adversarial training is a recipe for any objective: with a `perturbation`, an attack's name and settings, the objective
is computed on each batch's perturbed images, and the terms of `clean`, if there are any, on the clean ones in the same
forward pass and are added. The attack sees a frozen copy of the network, with running statistics; k steps of it cost k
forward and k backward passes to the images, which spare the gradients of the weights. During the first `warm_up` epochs
the attack's epsilon and step size grow linearly to their own: a small network that meets the whole radius at once may
learn no more than one answer for all images.
"""

import contextlib
import itertools
from collections.abc import Callable

import torch

from robustloss import attacks, losses, models
from robustloss.code import check_head, check_settings, plugin, settings_of

# Each takes a batch and returns the images to train on: (images, labels, generator, share) -> images, where `share` is
# how much of the perturbation's sizes the warm-up has reached.
Perturb = Callable[[torch.Tensor, torch.Tensor, torch.Generator, float], torch.Tensor]
# The settings of an attack that a warm-up starts from nothing.
SIZES = ("epsilon", "step_size", "smallest_step")


def objectives(spec: dict) -> dict[str, losses.Loss]:
    """The objectives of a batch's updates by their key in the specification, in the order of the updates."""
    head = spec["model"].get("head", {}).get("name")
    terms = {key: spec[key] for key in ("objective", "clean", "then") if key in spec}
    for term in itertools.chain(*terms.values()):
        check_head(f"network {spec['model'].get('name')}", term["loss"], head)
    found = {key: losses.objective(value) for key, value in terms.items()}
    if "clean" in found:
        found["objective"] = _both(found.pop("clean"), found["objective"])
    return found


def _both(clean: losses.Loss, perturbed: losses.Loss) -> losses.Loss:
    """The sum of `clean` on the first half of a batch and `perturbed` on the second."""

    def total(logits, labels, features, head):
        halves = zip(logits.chunk(2), labels.chunk(2), features.chunk(2), strict=True)
        return sum(loss(*half, head) for loss, half in zip((clean, perturbed), halves, strict=True))

    return total


def perturbation(spec: dict, model: torch.nn.Module, where: torch.device) -> Perturb | None:
    """What replaces each batch's images before its updates: the perturbed ones, after the clean ones if those count."""
    if "perturbation" not in spec:
        return None
    attack, settings = spec["perturbation"]["name"], settings_of("attacks", spec["perturbation"])
    check_settings(f"perturbation {attack}", plugin("attacks", attack), "perturb", settings)
    perturb, frozen = attacks.load(attack), models.Frozen(model, where)

    def perturbed(images, labels, generator, share):
        sizes = {name: share * settings[name] for name in SIZES if name in settings}
        with precision(spec, where):
            found = perturb(frozen.refresh(), images, labels, generator, **settings | sizes).images
        return torch.cat([images, found]) if "clean" in spec else found

    return perturbed


def share(spec: dict, before: int, steps: int) -> float:
    """How much of its sizes the perturbation has after `before` steps, of which an epoch has `steps`."""
    return min(1.0, (before + 1) / (spec["warm_up"] * steps)) if "warm_up" in spec else 1.0


def precision(spec: dict, device: torch.device) -> contextlib.AbstractContextManager:
    """The context of a network's passes."""
    # bfloat16 pays on CUDA's matrix units; on most CPUs it is emulated and slower.
    if spec["precision"] == "auto" and device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()
