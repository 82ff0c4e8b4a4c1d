"""What the runs of one row say together: of one run the interval over its samples, of several Student's over seeds.

A share of several runs varies with both: another draw of samples would move it as it moves each run's, since the runs
share theirs, and another seed does so besides. The two margins are added as squares, on each side of the mean (Zou and
Donner 2008, Stat. Med. 27:1693). Without the former three networks that fail on all samples would look certain.
"""

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import NamedTuple

import pandas as pd

from robustloss.intervals import over_seeds
from robustloss.papers.measured import Run

NOTHING = float("nan")


class Measured(NamedTuple):
    """A mean with its 95 % interval, if it has one."""

    mean: float
    low: float | None = None
    high: float | None = None

    def percent(self) -> "Measured":
        """A share in percent."""
        return Measured(*(None if number is None else 100 * number for number in self))


def columns(name: str, found: Measured | None) -> dict[str, float]:
    """What a table's file has of it: the columns `name`, `<name>_low` and `<name>_high`, NaN where there is nothing."""
    numbers = (NOTHING if number is None else number for number in found or (None,) * 3)
    return dict(zip((name, f"{name}_low", f"{name}_high"), numbers, strict=True))


def interval_over(runs: Sequence[Run]) -> str | float:
    """Over what a share of the runs has its interval, in a table's file; NaN without runs."""
    return {0: NOTHING, 1: "samples"}.get(len(runs), "samples and seeds")


def share(runs: Sequence[Run], summary: Callable[[Run], dict], moment: str) -> Measured | None:
    """A share in [0, 1] from the summaries {mean, low, high, last, last_low, last_high} of the runs; None without runs.

    `moment` is `mean` (over the epochs) or `last` (epoch).
    """
    prefix = "" if moment == "mean" else f"{moment}_"
    if len(runs) == 1:
        found = summary(runs[0])
        return Measured(found[moment], found[f"{prefix}low"], found[f"{prefix}high"])
    found = value(runs, lambda run: summary(run)[moment])
    if found is None:
        return None
    below, above = (
        fmean(abs(summary(run)[moment] - summary(run)[f"{prefix}{end}"]) for run in runs) for end in ("low", "high")
    )
    seeds = found.high - found.mean
    low, high = found.mean - math.hypot(below, seeds), found.mean + math.hypot(above, seeds)
    return Measured(found.mean, max(low, 0), min(high, 1))


def value(runs: Sequence[Run], read: Callable[[Run], float]) -> Measured | None:
    """A number that a single run gives without interval; None without runs."""
    if not runs:
        return None
    mean, interval = over_seeds([read(run) for run in runs])
    return Measured(mean, *(interval or ()))


def curve(runs: Sequence[Run], column: str, split: str) -> pd.DataFrame:
    """Columns mean, low and high of a column of the runs' epochs, by epoch; low and high are NaN for one seed."""
    return _by_label([run.curve(column, split) for run in runs])


def per_class(runs: Sequence[Run], column: str, split: str) -> pd.DataFrame:
    """As `curve`, by class id at the last epoch; a class without images in the split has no row."""
    return _by_label([run.last_classes(split)[column] for run in runs])


def _by_label(columns: list[pd.Series]) -> pd.DataFrame:
    found = {label: over_seeds(values.to_list()) for label, values in pd.concat(columns, axis=1).iterrows()}
    rows = {label: (mean, *(interval or (NOTHING,) * 2)) for label, (mean, interval) in found.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "low", "high"])
