"""The per-sample worst case over an ensemble of attacks: what a robust accuracy must survive to be called one."""

import importlib

import torch

from robustloss.attacks.parts import checks, network
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.code import check_settings, members_of, nearest, plugin, plugins, settings_of
from robustloss.errors import Problem


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    attacks: list,
    epsilon: float | None = None,
) -> Perturbed:
    """Adversarial images of the first of `attacks` that each sample does not survive; of the last one where all fail.

    `attacks` is a list of attacks with their settings, {"name": "pgd", "epsilon": 0.1, ...}, in the order in which they
    are tried: cheap ones first, since each is given only what the ones before left. Where one takes an epsilon and
    names none, `epsilon` is its. A sample that is misclassified when clean stays as it is, and an attack towards a
    class is not given that class's samples. Iterations and queries are summed over the attacks that a sample saw, and
    `broken_by` (N,) is the number of the one that broke it, from 0, or -1. Raises Problem for an attack that there is
    not, and as they do.
    """
    attacks = members_of({"attacks": attacks} | ({} if epsilon is None else {"epsilon": epsilon}))
    _check(attacks)
    highest = checks.check_inputs(model, images, labels)
    left = (network.clean(model, images, highest).argmax(1) == labels).nonzero()[:, 0]
    adversarial = images.clone()
    iterations, queries = (torch.zeros_like(labels) for _ in range(2))
    broken_by = torch.full_like(labels, -1)
    queries += 1
    for number, spec in enumerate(attacks):
        rows = left[labels[left] != _target(spec)]
        if not len(rows):
            continue
        attack = importlib.import_module(plugin("attacks", spec["name"])).perturb
        found = attack(model, images[rows], labels[rows], generator, **settings_of("attacks", spec))
        adversarial[rows] = found.images
        iterations[rows] += found.iterations
        queries[rows] += found.queries
        logits = network.predict(model, found.images, highest)
        checks.check_finite(logits.isfinite().all())
        broken_by[rows[logits.argmax(1) != labels[rows]]] = number
        left = left[broken_by[left] < 0]
    return Perturbed(adversarial, iterations, queries, broken_by)


def _target(attack: dict) -> int:
    """The class that an attack, or the one that it rests on, is to reach; -1 if that differs between samples."""
    if "attack" in attack:
        return _target(attack["attack"])
    return attack["target"] if isinstance(attack.get("target"), int) else -1


def _check(attacks: list) -> None:
    if not attacks:
        raise Problem("attack worst_case: `attacks` is empty: list the attacks to take the worst of")
    for spec in attacks:
        name = spec.get("name") if isinstance(spec, dict) else spec
        if name not in plugins("attacks") or name == "worst_case":
            raise Problem(f"attack worst_case: there is no '{name}'{nearest(name, plugins('attacks'))}")
        check_settings(f"attack worst_case: {name}", plugin("attacks", name), "perturb", settings_of("attacks", spec))
