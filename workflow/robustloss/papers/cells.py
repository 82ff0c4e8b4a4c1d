"""Tables of classification results: where the paper prints a cell, and which measurement of ours belongs there."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import pandas as pd

from robustloss.errors import Problem
from robustloss.papers import estimates
from robustloss.papers.collection import Collection
from robustloss.papers.estimates import NOTHING, Measured
from robustloss.papers.measured import Run, names

SEPARATOR = " | "


@dataclass(frozen=True)
class Measure:
    """The share of images classified rightly (with `error`: wrongly), clean or under the attack with this label."""

    attack: str = ""
    error: bool = False

    def of(self, runs: Sequence[Run]) -> Measured | None:
        """Share in [0, 1] at the last epoch, with its interval; None where no run has the attack."""
        measured = [run for run in runs if self.record(run)]
        found = estimates.share(measured, lambda run: self.record(run)[0], "last")
        if found is None or not self.error:
            return found
        low, high = (None if bound is None else 1 - bound for bound in (found.high, found.low))
        return Measured(1 - found.mean, low, high)

    def record(self, run: Run) -> tuple[dict, int] | None:
        """The summary of the share of right answers, and the number of images that it is of."""
        if not self.attack:
            return _clean(run)
        if self.attack not in run.attacks:
            return None
        summary = run.attacks[self.attack]["summary"]
        return summary["robust_accuracy"], summary["count"]


ACCURACY = Measure()
ERROR = Measure(error=True)


class Trained(NamedTuple):
    """A row of an experiment, and the name that a printed table has for it."""

    experiment: str
    row: str
    name: str


@dataclass(frozen=True)
class Cell:
    """A cell of one trained network: its headings at the left and above, `row` and `column` as in the reference file.

    Where the paper has no such network or attack they are what it would have called them; a column that it has not
    needs a `metric`, too.
    """

    line: tuple[str, ...]
    head: tuple[str, ...]
    row: str
    column: str
    measure: Measure
    metric: str = ""


@dataclass(frozen=True)
class Table:
    """A printed table of percentages: `trained` are its networks, `cells` gives the cells of one of them.

    `what` says what is printed ("Robust accuracy"), `titles` name the headings at the left. Lines and heads stand in
    the order in which they come up.
    """

    what: str
    titles: tuple[str, ...]
    trained: tuple[Trained, ...]
    cells: Callable[[Trained], Iterable[Cell]]


class Entry(NamedTuple):
    """A cell of a table with the network that it belongs to."""

    trained: Trained
    cell: Cell


def entries(collection: Collection, item: str, tables: Mapping[str, Table]) -> list[Entry]:
    """The cells of the printed table `item`; then, where they were run, cells that it does not print.

    These are further cells of its networks, and those of networks that none of the paper's `tables` prints.
    """
    table = tables[item]
    networks = [*table.trained, *_added(collection, table, tables)]
    found = [Entry(trained, cell) for trained in networks for cell in table.cells(trained)]
    printed = [entry for entry in found if _printed(collection, item, entry.cell)]
    further = [entry for entry in found if entry not in printed]
    return printed + [
        entry for entry in further if entry.cell.measure.of(collection.of(entry.trained.experiment, entry.trained.row))
    ]


def measured(collection: Collection, item: str, found: Sequence[Entry]) -> pd.DataFrame:
    """One row per entry, NaN where there is nothing. `row`, `column` and `metric` are those of the reference file.

    `percent_published` is the printed value, `percent` the mean of ours at the last epoch, `percent_low` and
    `percent_high` its 95 % interval over what the column `interval` says (samples of one seed, or seeds), `samples` the
    number of images, `experiment` and `run_as` what our run is called, `line` and `head` the headings at the left and
    above, `attack` the attack's label, `runs` the names of the runs that the cell rests on.
    """
    frame = pd.DataFrame([_numbers(collection, item, entry) for entry in found])
    return frame.astype({"seeds": "Int64", "samples": "Int64"})


def published(collection: Collection, tables: Mapping[str, Table]) -> dict[tuple[str, str, Measure], float]:
    """Every printed percentage by experiment, row and measure; an error rate also as the accuracy that it leaves."""
    values = {}
    for item, table in tables.items():
        for trained in table.trained:
            for cell in table.cells(trained):
                if printed := _printed(collection, item, cell):
                    values[trained.experiment, trained.row, cell.measure] = printed.value
                    if cell.measure.error:
                        values[trained.experiment, trained.row, replace(cell.measure, error=False)] = (
                            100 - printed.value
                        )
    return values


def rows(collection: Collection, experiment: str, tables: Mapping[str, Table]) -> list[str]:
    """The rows of an experiment: those of the paper in printed order, then the others."""
    printed = [
        trained.row for table in tables.values() for trained in table.trained if trained.experiment == experiment
    ]
    return list(dict.fromkeys([*printed, *collection.manifest["rows"].get(experiment, {})]))


def _added(collection: Collection, table: Table, tables: Mapping[str, Table]) -> list[Trained]:
    shown = {trained[:2] for other in tables.values() for trained in other.trained}
    experiments = dict.fromkeys(trained.experiment for trained in table.trained)
    return [
        Trained(experiment, row, row)
        for experiment in experiments
        for row in collection.manifest["rows"].get(experiment, {})
        if (experiment, row) not in shown
    ]


def _printed(collection: Collection, item: str, cell: Cell):
    return collection.printed(item, cell.row, _metric(collection, item, cell))


def _metric(collection: Collection, item: str, cell: Cell) -> str:
    if cell.metric:
        return cell.metric
    columns = collection.reference.columns(item)
    if cell.column not in columns:
        raise Problem(f"{item} has no column '{cell.column}': it has {', '.join(columns)}")
    return columns[cell.column]


def _numbers(collection: Collection, item: str, entry: Entry) -> dict:
    (experiment, row, _), cell = entry
    printed = _printed(collection, item, cell)
    runs = [run for run in collection.of(experiment, row) if cell.measure.record(run)]
    ours = cell.measure.of(runs)
    return {
        "row": cell.row,
        "column": cell.column,
        "metric": _metric(collection, item, cell),
        "in_paper": printed is not None,
        "percent_published": printed.value if printed else NOTHING,
        **estimates.columns("percent", ours and ours.percent()),
        "interval": estimates.interval_over(runs),
        "seeds": len(runs),
        "samples": cell.measure.record(runs[0])[1] if runs else NOTHING,
        "experiment": experiment,
        "run_as": collection.label(experiment, row),
        "line": SEPARATOR.join(cell.line),
        "head": SEPARATOR.join(part for part in cell.head if part),
        "attack": cell.measure.attack,
        "runs": names(runs),
    }


def _clean(run: Run) -> tuple[dict, int]:
    """On the test split; behind a defence, on the images of the largest attack, which alone passed through it."""
    defended = [attack["summary"] for attack in run.attacks.values() if "defence" in attack["spec"]]
    if defended:
        largest = max(defended, key=lambda summary: summary["count"])
        return largest["clean_accuracy"], largest["count"]
    test = run.features["summary"]["test"]
    return test["accuracy"], test["count"]
