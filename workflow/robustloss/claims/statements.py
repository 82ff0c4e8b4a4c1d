"""Claims as a paper's yaml states them: comparisons of two rows by one measure, in a direction."""

from typing import NamedTuple

from robustloss.errors import Problem

# Shares of images, in points; ratios of numbers that a training has one of; the others as they are.
SHARES = ("accuracy", "error", "robust accuracy", "accuracy lost")
RATIOS = ("d_cc", "d_ic", "seconds")
# What cannot be measured without an attack.
ATTACKED = ("robust accuracy", "accuracy lost", "perturbation")
# What says nothing without another key.
NEEDED = {"honest": "attack", "against_attack": "attack", "honest_experiment": "honest", "sized": "published"}
# These say by how much two values may differ.
BOUNDED = ("near", "not lower", "not higher")


def comparisons_of(claim: dict) -> list[dict]:
    """The comparisons that a claim rests on, each with what the claim says of them all."""
    common = {key: value for key, value in claim.items() if key not in ("claim", "source", "comparisons")}
    return [common | own for own in claim.get("comparisons", [{}])]


def several(value: str | list[str]) -> list[str]:
    """The labels of rows whose trainings are pooled, or of attacks of which the worst counts."""
    return [value] if isinstance(value, str) else value


class Side(NamedTuple):
    """Where one side of a comparison is measured: as published, and the experiment that has the honest attacks."""

    experiment: str
    rows: list[str]
    attacks: list[str]
    honest_experiment: str


def sides(comparison: dict) -> tuple[Side, Side]:
    """The row, and the one that it is compared with: what is not said of the latter is as for the former."""
    own, attack = comparison["experiment"], comparison.get("attack", [])
    other = comparison.get("against_experiment", own)
    found = (own, comparison["row"], attack), (other, comparison["against"], comparison.get("against_attack", attack))
    return tuple(
        Side(experiment, several(rows), several(attacks), comparison.get("honest_experiment", experiment))
        for experiment, rows, attacks in found
    )


def check(where: str, comparison: dict) -> None:
    """Refuse settings that fit the schema and not each other."""
    measure, direction = comparison["measure"], comparison["direction"]
    if measure in ATTACKED and "attack" not in comparison:
        raise Problem(f"{where}: {measure} needs an 'attack'")
    for key, needed in NEEDED.items():
        if key in comparison and needed not in comparison:
            raise Problem(f"{where}: '{key}' goes with '{needed}': name one or leave it out")
    if "class" in comparison and measure in RATIOS:
        raise Problem(f"{where}: {measure} is of a whole training: leave 'class' out")
    if "tolerance" not in comparison and (direction in BOUNDED or "published" in comparison):
        raise Problem(f"{where}: the key 'tolerance' is missing: {direction} needs it, and so does a published value")
