"""The per-sample worst case over an ensemble of attacks: what a robust accuracy must survive to be called one."""

import importlib

import torch

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
    names none, `epsilon` is its. A sample that is misclassified when clean stays as it is. Iterations and queries are
    summed over the attacks that a sample saw, and `broken_by` (N,) is the number of the one that broke it, from 0, or
    -1. Raises Problem for an attack that there is not, and as they do.
    """
    attacks = members_of({"attacks": attacks} | ({} if epsilon is None else {"epsilon": epsilon}))
    _check(attacks)
    with torch.no_grad():
        left = (model(images).argmax(1) == labels).nonzero()[:, 0]
    adversarial = images.clone()
    iterations, queries = (torch.zeros_like(labels) for _ in range(2))
    broken_by = torch.full_like(labels, -1)
    queries += 1
    for number, spec in enumerate(attacks):
        if not len(left):
            break
        attack = importlib.import_module(plugin("attacks", spec["name"])).perturb
        found = attack(model, images[left], labels[left], generator, **settings_of("attacks", spec))
        adversarial[left] = found.images
        iterations[left] += found.iterations
        queries[left] += found.queries
        with torch.no_grad():
            broken = model(found.images).argmax(1) != labels[left]
        broken_by[left[broken]] = number
        left = left[~broken]
    return Perturbed(adversarial, iterations, queries, broken_by)


def _check(attacks: list) -> None:
    if not attacks:
        raise Problem("attack worst_case: `attacks` is empty: list the attacks to take the worst of")
    for spec in attacks:
        name = spec.get("name") if isinstance(spec, dict) else spec
        if name not in plugins("attacks") or name == "worst_case":
            raise Problem(f"attack worst_case: there is no '{name}'{nearest(name, plugins('attacks'))}")
        check_settings(f"attack worst_case: {name}", plugin("attacks", name), "perturb", settings_of("attacks", spec))
