"""Learning rates as functions of the step."""

import math

from robustloss.code import nearest
from robustloss.errors import Problem

# The keys of each schedule beside its name.
SCHEDULES = {
    "constant": {"rate"},
    "inverse-time": {"rate", "decay"},
    "multistep": {"rate", "epochs", "factor"},
}


def rate(spec: dict, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a training's step, counted from 0 over all epochs.

    - constant: `rate`.
    - inverse-time: rate / (1 + decay × step). ding2025, Table 3, says "iteratively decaying" and no more; that it is
      this time-based decay, per iteration, is an inference.
    - multistep: `rate`, multiplied by `factor` once each of `epochs` is over.

    Raises Problem for an unknown schedule, an unknown or missing key, or a value out of range.
    """
    _check(spec)
    match spec["name"]:
        case "constant":
            return spec["rate"]
        case "inverse-time":
            return spec["rate"] / (1 + spec["decay"] * step)
        case "multistep":
            passed = sum(step >= epoch * steps_per_epoch for epoch in spec["epochs"])
            return spec["rate"] * spec["factor"] ** passed


def _check(spec: dict) -> None:
    name = spec.get("name")
    if name not in SCHEDULES:
        raise Problem(f"schedule: there is no '{name}'{nearest(name, SCHEDULES)}")
    keys = spec.keys() - {"name"}
    for key in sorted(keys - SCHEDULES[name]):
        raise Problem(f"schedule {name}: unknown key '{key}'{nearest(key, SCHEDULES[name])}")
    for key in sorted(SCHEDULES[name] - keys):
        raise Problem(f"schedule {name}: the key '{key}' is missing")
    for key in sorted(keys - {"epochs"}):
        lowest_is_valid = key == "decay"
        if not (math.isfinite(spec[key]) and (spec[key] > 0 or (lowest_is_valid and spec[key] == 0))):
            least = "from 0" if lowest_is_valid else "above 0"
            raise Problem(f"schedule {name}: {key} must be a finite number {least}, not {spec[key]!r}")
    for epoch in spec.get("epochs", ()):
        if epoch < 1:
            raise Problem(f"schedule {name}: epochs are counted from 1, so {epoch!r} is none of them")
