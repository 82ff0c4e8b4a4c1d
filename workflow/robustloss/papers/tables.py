"""A paper's tables as data frames: every printed row and column, ours beside the published cell."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from robustloss.papers import estimates, wording
from robustloss.papers.collection import Collection
from robustloss.papers.estimates import NOTHING, columns
from robustloss.papers.measured import Run, names

BASELINE = "majority class"


@dataclass(frozen=True)
class Share:
    """A printed percentage: where a run's record has it, with its balanced twin, the majority's share and the count."""

    metric: str
    heading: str
    of: Callable[[Run], dict]
    key: str
    balanced: str

    def summary(self, run: Run) -> dict:
        """Mean and last epoch with their intervals, as shares in [0, 1]."""
        return self.of(run)[self.key]


@dataclass(frozen=True)
class Distance:
    """A printed distance, measured at the last epoch of one split, and compared with that of a row `relative_to`."""

    metric: str
    heading: str
    split: str
    relative_to: str | None = None

    def of(self, run: Run) -> float:
        """The distance of raw logits at the last epoch."""
        return run.last(self.metric, self.split)


def comparison(
    collection: Collection, table: str, metrics: tuple[Share | Distance, ...], text: str = "loss"
) -> pd.DataFrame:
    """One row per printed row and one for always answering the most frequent class; NaN where there is nothing.

    `text` is the metric of the formula that the table prints for each row; `terms` is what our runs were trained with.
    Shares are in percent. `<metric>_published` is the printed value, `<metric>` the mean of ours, `_low` and `_high`
    its 95 % interval over what the column `interval` says, of a distance over seeds alone, `_last` the last epoch.
    """
    rows = [_comparison_row(collection, table, row, metrics, text) for row in collection.rows(table)]
    frame = pd.DataFrame([*rows, _majority_row(collection, table, metrics)]).reindex(columns=list(rows[0]))
    whole = ["seeds", *(f"{metric.metric}_samples" for metric in metrics if isinstance(metric, Share))]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def losses(collection: Collection, item: str, table: str) -> pd.DataFrame:
    """The printed functions and gradients, and the terms that the runs of the same row of `table` were trained with."""
    rows = []
    for row in collection.reference.rows(item):
        cells = {metric: collection.reference.value(item, row, metric) for metric in ("loss", "gradient")}
        runs = collection.of(table, row)
        rows.append({"index": row, **cells, "run_as": _objective(runs), "runs": names(runs)})
    return pd.DataFrame(rows)


def _comparison_row(collection: Collection, table: str, row: str, metrics: tuple, text: str) -> dict:
    runs = collection.of(table, row)
    formula = collection.printed(table, row, text)
    cells = {"index": row, text: formula.value if formula else NOTHING, "run_as": collection.label(table, row)}
    cells |= {
        "terms": _objective(runs),
        "seeds": len(runs),
        "interval": estimates.interval_over(runs),
        "runs": names(runs),
    }
    for metric in metrics:
        printed = collection.printed(table, row, metric.metric)
        published = printed.value if printed else NOTHING
        if isinstance(metric, Share):
            cells |= _share_cells(metric, published, runs)
        else:
            cells |= _distance_cells(metric, published, runs, collection, table)
    return cells


def _share_cells(metric: Share, published: float, runs: list[Run]) -> dict:
    name = f"{metric.metric}_percent"
    mean, last = (estimates.share(runs, metric.summary, moment) for moment in ("mean", "last"))
    balanced = {
        moment: estimates.value(runs, lambda run, moment=moment: metric.of(run)[metric.balanced][moment])
        for moment in ("mean", "last")
    }
    return {
        f"{name}_published": published,
        **columns(name, mean and mean.percent()),
        **columns(f"{name}_last", last and last.percent()),
        f"{metric.balanced}_percent": 100 * balanced["mean"].mean if runs else NOTHING,
        f"{metric.balanced}_percent_last": 100 * balanced["last"].mean if runs else NOTHING,
        f"{metric.metric}_samples": metric.of(runs[0])["count"] if runs else NOTHING,
    }


def _distance_cells(metric: Distance, published: float, runs: list[Run], collection: Collection, table: str) -> dict:
    ours = estimates.value(runs, metric.of)
    cells = {f"{metric.metric}_published": published, **columns(metric.metric, ours)}
    if metric.relative_to is None:
        return cells
    base = collection.printed(table, metric.relative_to, metric.metric)
    ours_base = estimates.value(collection.of(table, metric.relative_to), metric.of)
    return cells | {
        f"{metric.metric}_ratio_published": published / base.value if base else NOTHING,
        f"{metric.metric}_ratio": ours.mean / ours_base.mean if ours and ours_base else NOTHING,
    }


def _majority_row(collection: Collection, table: str, metrics: tuple) -> dict:
    """What a constant answer scores: no perturbation changes it, so it is as robust as it is accurate."""
    cells = {"index": BASELINE, "seeds": 0}
    runs = [run for row in collection.rows(table) for run in collection.of(table, row)]
    for metric in metrics:
        if isinstance(metric, Share) and runs:
            percent = 100 * metric.of(runs[0])["majority"]
            cells |= {f"{metric.metric}_percent": percent, f"{metric.metric}_percent_last": percent}
            cells[f"{metric.metric}_samples"] = metric.of(runs[0])["count"]
    return cells


def _objective(runs: list[Run]) -> str | float:
    """What the runs of a row were trained with; NaN without runs."""
    return wording.objective(runs[0].record["spec"]) if runs else NOTHING
