"""What an audit comes to: how many images withstand which attacks, and one sentence."""

import numpy as np

from robustloss import outcomes
from robustloss.audit.judgement import Measured, Sign
from robustloss.audit.measurements import RADII, SCALES
from robustloss.audit.rules import RULES

# By more than this an accuracy is overstated.
OVERSTATED = 0.01
# These signs say why an attack fails, so they come before those that say that it does.
CAUSES = (
    "unavailable",
    "inner_gradients",
    "randomness",
    "unstable",
    "probabilities",
    "saturation",
    "zero_gradient",
    "scale",
)
# What breaks an image within epsilon.
WITHIN = (
    *("pgd_last", "pgd", "pgd_restarts", "pgd_twice_restarts", "pgd_twice_steps", "pgd_exact", "scaled", "strong"),
    *(f"pgd_scale_{scale:g}" for scale in SCALES),
    *(f"pgd_radius_{radius:g}" for radius in RADII if radius < 1),
    *("pgd_step_sizes", "one_step", "noise", "square", "decisions", "transfer"),
)
ATTACKS = {
    "clean": (),
    "pgd": ("pgd_last",),
    "pgd_restarts": ("pgd_restarts",),
    "strong": ("strong",),
    "worst_case": WITHIN,
}


def accuracies(measured: Measured, count: int, correct: int) -> dict[str, dict[str, float]]:
    """Clean and robust accuracies of `count` images, of which `correct` are right when clean, with 95 % intervals.

    `pgd` is the ordinary attack as it is published, one start and the last iterate; `pgd_restarts` any iterate from
    several starts; `strong` the other losses; `worst_case` everything that was tried within epsilon.
    """
    found = {name: np.arange(count) < withstanding(measured, name, correct) for name in ATTACKS}
    return {name: outcomes.share(withstand, "accuracy", "accuracy") for name, withstand in found.items()}


def withstanding(measured: Measured, accuracy: str, correct: int) -> int:
    """How many of the `correct` images, which are right when clean, count for an accuracy of ATTACKS."""
    withstand = np.ones(correct, bool)
    for attack in set(ATTACKS[accuracy]) & set(measured):
        withstand &= ~measured[attack]
    return int(withstand.sum())


def verdict(signs: list[Sign], robust: dict[str, dict[str, float]]) -> str:
    """By how much cross-entropy PGD overstates the robust accuracy, and why; `robust` are the `accuracies`."""
    if all(sign.value is None for sign in signs):
        return "The network classifies no image correctly, so there is no robustness to judge."
    flagged = sorted((sign for sign in signs if sign.flagged), key=_rank)
    pgd, worst = (robust[name]["accuracy"] for name in ("pgd", "worst_case"))
    standing = f"{100 * pgd:.1f} % of the images withstand it, {100 * worst:.1f} % all attacks"
    if not flagged:
        return f"Cross-entropy PGD shows no sign of gradient masking: {standing}."
    reason = f"{RULES[flagged[0].name].cause} ({_clause(flagged[0].sentence)})"
    if pgd - worst > OVERSTATED:
        return (
            f"Cross-entropy PGD overstates this network's robustness by {100 * (pgd - worst):.0f} points ({standing}): "
            f"{reason}."
        )
    return f"Cross-entropy PGD shows signs of gradient masking, but no attack finds more ({standing}): {reason}."


def _rank(sign: Sign) -> int:
    return CAUSES.index(sign.name) if sign.name in CAUSES else len(CAUSES)


def _clause(sentence: str) -> str:
    return f"{sentence[0].lower()}{sentence[1:].rstrip('.')}"
