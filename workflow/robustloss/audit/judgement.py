"""From what was measured to the signs: each a number, whether it is flagged, and one sentence."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robustloss.audit.measurements import RADII, SCALES
from robustloss.audit.rules import RULES, Rule

# What is less likely than this, if no more images than the threshold's share were concerned, is no chance.
LIKELY = 0.05
# How much of its rise the best loss may still make in the last quarter of the steps.
SETTLED = 0.05

Measured = dict[str, np.ndarray]


@dataclass(frozen=True)
class Sign:
    """What a sign says of a network: flagged if `value` exceeds `threshold` by more than chance.

    `value` and `threshold` are shares of the audited images (for two signs something else, see `rules`); `value` is
    None where there was nothing to measure. `source` is the paper that the sign is from.
    """

    name: str
    value: float | None
    threshold: float
    flagged: bool
    source: str
    evidence: dict
    sentence: str


def judge(measured: Measured, labels: np.ndarray) -> list[Sign]:
    """All signs, from the measurements of the images that are classified correctly (see `measurements.measure`).

    `labels` (N,) are those of all audited images. Without any measurement every sign has the value None.
    """
    return [_sign(name, rule, measured, labels) for name, rule in RULES.items()]


def _sign(name: str, rule: Rule, measured: Measured, labels: np.ndarray) -> Sign:
    evidence = _EVIDENCE[name](measured, labels) if measured else None
    if evidence is None:
        missing = "no other network was given" if measured else "no image is classified correctly"
        return Sign(name, None, rule.threshold, False, rule.source, {}, f"Not measured, since {missing}.")
    evidence = {**evidence, "images": len(labels)}
    if "value" in evidence:
        value = evidence.pop("value")
        flagged = value > rule.threshold
    else:
        value = evidence["count"] / len(labels)
        flagged = value > rule.threshold and no_chance(evidence["count"], len(labels), rule.threshold)
    sentence = rule.sentence.format(**evidence)
    return Sign(name, value, rule.threshold, flagged, rule.source, evidence, f"{sentence[0].upper()}{sentence[1:]}.")


def no_chance(count: int, images: int, share: float) -> bool:
    """Whether `count` or more of `images` come about with less than 5 % where each counts with probability `share`."""
    if share == 0:
        return count > 0
    # As logarithms, since (1 - share) ** images is 0 to a computer where there are many.
    term, fewer = images * math.log1p(-share), 0.0
    for number in range(count):
        fewer += math.exp(term)
        term += math.log(share / (1 - share) * (images - number) / (number + 1))
    return 1 - fewer < LIKELY


def _counted(which: Callable[[Measured], np.ndarray]) -> Callable[[Measured, np.ndarray], dict]:
    """The evidence of a sign that is a number of images."""
    return lambda measured, labels: {"count": int(which(measured).sum())}


def _regressions(measured: Measured) -> np.ndarray:
    """Broken within a radius, but not within a larger one."""
    names = {1.0: "pgd"} | {radius: f"pgd_radius_{radius:g}" for radius in RADII}
    broken = np.stack([measured[names[radius]] for radius in sorted(names)])
    return (np.logical_or.accumulate(broken) & ~broken).any(0)


def _half(measured: Measured, labels: np.ndarray) -> dict:
    """How many withstand beyond those that are right when all images are grey, and so have one answer."""
    withstand, constant = int((~measured["pgd_half"]).sum()), int(np.bincount(labels).max())
    return {"count": withstand - constant, "withstand": withstand, "constant": constant}


def _saturation(measured: Measured, labels: np.ndarray) -> dict:
    ordinary = int(measured["pgd"].sum())
    exact = int(measured["pgd_exact"].sum()) - ordinary
    float64 = int(measured["pgd_float64"].sum()) - ordinary if "pgd_float64" in measured else None
    return {
        "count": max(exact, float64 or 0),
        "saturated": int(measured["saturated"].sum()),
        "more_by_exact_gradients": exact,
        "more_in_float64": float64,
    }


def _scale(measured: Measured, labels: np.ndarray) -> dict:
    """How many more some scale of the logits breaks; a loss without a scale is one of them."""
    names = {"1": "pgd", "none": "scaled"} | {f"{scale:g}": f"pgd_scale_{scale:g}" for scale in SCALES}
    broken = {scale: int(measured[name].sum()) for scale, name in names.items()}
    withstand = {f"withstand_scale_{scale}": len(measured["pgd"]) - count for scale, count in broken.items()}
    return {"count": max(broken.values()) - broken["1"], **withstand}


def _randomness(measured: Measured, labels: np.ndarray) -> dict:
    apart = measured["variation"]
    return {"count": int((apart > RULES["randomness"].threshold).sum()), "value": float(apart.max())}


def _unstable(measured: Measured, labels: np.ndarray) -> dict:
    change = measured["instability"]
    return {"count": int((change > RULES["unstable"].threshold).sum()), "value": float(change.mean())}


def _transfer(measured: Measured, labels: np.ndarray) -> dict | None:
    return {"count": int(measured["transfer"].sum())} if "transfer" in measured else None


_EVIDENCE = {
    "one_step": _counted(lambda measured: measured["one_step"]),
    "noise": _counted(lambda measured: measured["noise"]),
    "queries": _counted(lambda measured: measured["square"]),
    "queries_alone": _counted(lambda measured: measured["square"] & ~measured["strong"]),
    "decisions": _counted(lambda measured: measured["decisions"]),
    "radius": _counted(_regressions),
    "half": _half,
    "unbounded": _counted(lambda measured: ~measured["pgd_unbounded"]),
    "steps": _counted(lambda measured: measured["pgd_twice_steps"]),
    "step_size": _counted(lambda measured: measured["pgd_step_sizes"]),
    "restarts": _counted(lambda measured: measured["pgd_twice_restarts"] & ~measured["pgd_restarts"]),
    "unavailable": _counted(lambda measured: measured["unavailable"]),
    "inner_gradients": _counted(lambda measured: measured["inner_gradients"]),
    "zero_gradient": _counted(lambda measured: measured["zero_gradient"]),
    "saturation": _saturation,
    "scale": _scale,
    "silent_success": _counted(lambda measured: measured["pgd"] & ~measured["pgd_last"]),
    "no_rise": _counted(lambda measured: measured["no_rise"] & ~measured["pgd"]),
    "unfinished": _counted(lambda measured: (measured["movement"] > SETTLED) & ~measured["pgd"]),
    "randomness": _randomness,
    "unstable": _unstable,
    "probabilities": _counted(lambda measured: measured["probabilities"]),
    "transfer": _transfer,
}
