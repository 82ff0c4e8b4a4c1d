"""The per-sample worst case over an ensemble of attacks: what a robust accuracy must survive to be called one."""

import importlib

import torch

from robustloss.attacks.parts import answers, checks, gradients, network
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
    draws: int = 10,
) -> Perturbed:
    """Adversarial images of the first of `attacks` that each sample does not survive, else the worst of all of them.

    The worst image of a sample that survives is the one of the largest margin max_{j != y} z_j - z_y, the clean one
    among them. A network that answers at random is judged by the mean of the logits of `draws` passes, so that no
    sample counts as broken, and is kept from the attacks that follow, by the luck of one draw; the attacks themselves
    see single draws, unless they are wrapped in `expectation`. Its answer to another draw may then still be another, on
    images near the boundary.

    `attacks` is a list of attacks with their settings, {"name": "pgd", "epsilon": 0.1, ...}, in the order in which they
    are tried: cheap ones first, since each is given only what the ones before left. Where one takes an epsilon and
    names none, `epsilon` is its. A sample that is misclassified when clean stays as it is, and an attack towards a
    class is not given that class's samples. Iterations and queries are summed over the attacks that a sample saw, and
    `broken_by` (N,) is the number of the one that broke it, from 0, or -1. Raises Problem for an attack that there is
    not, and as they do.
    """
    attacks = members_of({"attacks": attacks} | ({} if epsilon is None else {"epsilon": epsilon}))
    _check(attacks)
    checks.check_whole(draws=draws)
    highest = checks.check_inputs(model, images, labels)
    judge, passes = model, 1
    if answers.are_random(model, images, highest):
        judge, passes = answers.Mean(model, draws), draws
    clean = network.clean(judge, images, highest)
    left = (clean.argmax(1) == labels).nonzero()[:, 0]
    adversarial, largest = images.clone(), gradients.margin_value(clean, labels)
    iterations, queries = torch.zeros_like(labels), torch.full_like(labels, passes)
    broken_by = torch.full_like(labels, -1)
    for number, spec in enumerate(attacks):
        rows = left[labels[left] != _target(spec)]
        if not len(rows):
            continue
        attack = importlib.import_module(plugin("attacks", spec["name"])).perturb
        found = attack(model, images[rows], labels[rows], generator, **settings_of("attacks", spec))
        iterations[rows] += found.iterations
        queries[rows] += found.queries + passes
        logits = network.predict(judge, found.images, highest)
        checks.check_finite(logits.isfinite().all())
        broken, margin = logits.argmax(1) != labels[rows], gradients.margin_value(logits, labels[rows])
        worse = broken | (margin > largest[rows])
        adversarial[rows[worse]], largest[rows[worse]] = found.images[worse], margin[worse]
        broken_by[rows[broken]] = number
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
