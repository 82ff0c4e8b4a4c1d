"""How many passes through the network a job makes, counted from its specification.

A forward pass of one image counts 1; the backward pass to the image as much again, and the one to the weights too. The
counts are those of the attack on a network that withstands it; samples that leave early make it less (`rates.share`).
"""

from collections.abc import Callable, Iterable
from functools import cache

from robustloss.code import defaults, plugin, plugins
from robustloss.costs.rates import DataSet, share

# There and back again to the image.
BOTH = 2
# Forward, to the image and to the weights.
UPDATE = 3


def updates(spec: dict, data: DataSet) -> tuple[float, float]:
    """(passes of one image, passes of one batch) of training the network of a run's specification."""
    images, epochs = data.counts["train"], spec["epochs"]
    objectives = 1 + ("then" in spec)
    passes = UPDATE * objectives * (2 if "clean" in spec else 1)
    launches = UPDATE * objectives
    if "perturbation" in spec:
        found = passes_of(spec["perturbation"], data)
        passes, launches = passes + found, launches + found
    return passes * images * epochs, launches * -(-images // spec["batch_size"]) * epochs


def passes_of(attack: dict, data: DataSet) -> float:
    """Passes of one image, clean and final prediction included, by the attack of a specification.

    Its defence, if it has one, makes as many of each, and is random.
    """
    defence = attack.get("defence", {})
    return defence.get("passes", 1) * _whole(attack, data, bool(defence))


def _whole(attack: dict, data: DataSet, random: bool) -> float:
    return 2 + share(attack["name"]) * _passes(attack, data, random)


def _passes(attack: dict, data: DataSet, random: bool) -> float:
    attack = _complete(attack)
    if "attacks" in attack:
        return sum(_whole(member, data, random) for member in attack["attacks"])
    if "attack" in attack:
        # What is not random is asked once.
        return (attack.get("draws", 1) if random else 1) * _whole(attack["attack"], data, random)
    return COUNTS.get(attack["name"], _steps)(attack, data)


def _complete(attack: dict) -> dict:
    """The attack with the defaults of its module; numbers only count, so names it lacks do no harm."""
    name = attack["name"]
    return _defaults(name) | attack if name in plugins("attacks") else attack


@cache
def _defaults(name: str) -> dict:
    return defaults(plugin("attacks", name), "perturb")


def _steps(attack: dict, data: DataSet) -> float:
    return BOTH * attack.get("steps", 1) * attack.get("restarts", 1) * _targets(attack, data)


def _targets(attack: dict, data: DataSet) -> int:
    """How many wrong classes an attack goes towards, one after the other."""
    wrong = data.classes - 1
    if "targets" not in attack:
        return 1
    if attack["targets"] is None:
        return wrong if attack["name"] == "multi_targeted" else 1
    return min(attack["targets"], wrong)


def _carlini_wagner(attack: dict, data: DataSet) -> float:
    return BOTH * attack["steps"] * attack["search_steps"]


def _deepfool(attack: dict, data: DataSet) -> float:
    # One forward pass and one backward pass for each class.
    return attack["steps"] * (1 + min(attack["candidates"] or data.classes, data.classes))


def _fab(attack: dict, data: DataSet) -> float:
    # Towards all classes at once it is DeepFool's Jacobian; after each step it asks for the new point's class.
    each = 2 * BOTH if attack["targets"] else 1 + data.classes
    return each * attack["steps"] * attack["restarts"] * _targets(attack, data)


def _jsma(attack: dict, data: DataSet) -> float:
    # Two features a step.
    return (1 + data.classes) * attack["gamma"] * data.side**2 * data.channels / 2


def _queries(attack: dict, data: DataSet) -> float:
    return attack["queries"]


def _draws(attack: dict, data: DataSet) -> float:
    return attack["draws"]


def _spsa(attack: dict, data: DataSet) -> float:
    return attack["steps"] * attack["samples"]


def _autoattack(attack: dict, data: DataSet) -> float:
    parts: Iterable[dict] = (
        {"name": "apgd", "steps": attack["steps"]},
        {"name": "apgd", "steps": attack["steps"], "targets": attack["targets"]},
        {"name": "fab", "steps": attack["steps"], "targets": attack["targets"]},
        {"name": "square", "queries": attack["queries"]},
    )
    return sum(_passes(part, data, False) for part in parts)


COUNTS: dict[str, Callable[[dict, DataSet], float]] = {
    "autoattack": _autoattack,
    "carlini_wagner": _carlini_wagner,
    "deepfool": _deepfool,
    "fab": _fab,
    "jsma": _jsma,
    "noise": _draws,
    "rotation": _draws,
    "simba": _queries,
    "spsa": _spsa,
    "square": _queries,
}


def audit_passes(spec: dict, data: DataSet) -> float:
    """Passes of one image by an audit: the ordinary attack, its variants and its restarts."""
    settings = {"steps": 40, "restarts": 10, "queries": 300, "draws": 50} | spec
    # As it is, exact, in float64 (twice as dear), six radii, four scales, three strong ones, twice the steps, steps of
    # two other sizes, transfer.
    variants = 1 + 1 + 2 + 6 + 4 + 2 + (data.classes - 1) + 2 + 2 + ("source" in spec)
    restarts = 2 * settings["restarts"] - 1
    climbs = BOTH * settings["steps"] * (variants + restarts)
    # Two attacks by queries; corners of the ball, and two points around the image for each.
    return share("audit") * (climbs + 2 * settings["queries"] + 3 * settings["draws"])


def measured_passes(spec: dict, data: DataSet) -> float:
    """Passes of one image for what a figure shows."""
    if spec["name"] == "landscape":
        return spec["points"] ** 2
    if "attack" in spec:
        return len(spec.get("targets", [0])) * passes_of(spec["attack"], data)
    return 1
