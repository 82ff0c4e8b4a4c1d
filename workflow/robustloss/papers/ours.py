"""Our measurements where a paper prints no numbers: tables of ours alone, and curves of shares."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from pandas.io.formats.style import Styler

from robustloss.files import check_vouched
from robustloss.papers import display, estimates, facts, figures, measured, style
from robustloss.papers.cells import Measure
from robustloss.papers.collection import Collection
from robustloss.papers.estimates import Measured
from robustloss.papers.measured import Run, read_table

# About how many points of a curve have a marker.
MARKED = 10
# A published point.
HOLLOW = {"markerfacecolor": "none", "markersize": 7.5}


class Line(NamedTuple):
    """A line of a table: its headings at the left, and the row of an experiment that it shows."""

    headings: tuple[str, ...]
    experiment: str
    row: str


class Column(NamedTuple):
    """A column of a table: its headings above, its name in the file, and what it says of the runs of a row."""

    headings: tuple[str, ...]
    name: str
    read: Callable[[Collection, Sequence[Run]], Measured | None]
    digits: int = 1


def percent(headings: tuple[str, ...], *measures: Measure) -> Column:
    """A share at the last epoch, in percent: the first of `measures` that was made, named by what they share."""
    words = [f"{measure.attack or 'accuracy'}{' error' * measure.error} percent".split() for measure in measures]
    name = "_".join(word for word in words[0] if all(word in others for others in words))

    def read(collection: Collection, runs: Sequence[Run]) -> Measured | None:
        found = next(filter(None, (measure.of(runs) for measure in measures)), None)
        return found and found.percent()

    return Column(headings, name, read)


def distance(headings: tuple[str, ...], attack: str) -> Column:
    """The mean L2 norm of an attack's perturbations at the last epoch, over the images that are right when clean.

    For attacks that leave the others as they are, which then count for nothing in the mean over all.
    """

    def read(collection: Collection, runs: Sequence[Run]) -> Measured | None:
        attacked = [run for run in runs if attack in run.attacks]
        return estimates.value(attacked, lambda run: _mean_l2(collection, run, attack))

    return Column(headings, f"{attack}_l2".replace(" ", "_"), read, digits=2)


def readers(
    collection: Collection, experiment: str, columns: Mapping[str, Column]
) -> dict[str, Callable[[str], Measured | None]]:
    """What each column says of a row of `experiment`, by its name in a figure."""
    return {
        name: lambda row, column=column: column.read(collection, collection.of(experiment, row))
        for name, column in columns.items()
    }


def table(
    collection: Collection,
    name: str,
    titles: tuple[str, ...],
    lines: Sequence[Line],
    columns: Sequence[Column],
    about: str = "",
) -> tuple[pd.DataFrame, Styler]:
    """One line per row of ours, also where it was not run: a frame with means and 95 % intervals, and how it looks."""
    rows = []
    for line in lines:
        runs = collection.of(line.experiment, line.row)
        row = {"experiment": line.experiment, "row": line.row, "seeds": len(runs)}
        for column in columns:
            row |= estimates.columns(column.name, column.read(collection, runs))
        rows.append(row | {"runs": measured.names(runs)})
    frame = pd.DataFrame(rows)
    left = display.line_columns(titles, [line.headings for line in lines], above=len(columns[0].headings) - 1)
    ours = {column.headings: display.intervals(frame, column.name, column.digits) for column in columns}
    styler = display.styled(pd.DataFrame(left | ours), name, _caption(collection, lines, about), left=tuple(left))
    return frame, styler


def curves(
    collection: Collection,
    experiment: str,
    panels: Mapping[str, Mapping[str, Mapping[float, Measured | None]]],
    unit: str,
    note: str = "",
    published: Mapping[tuple[str, str, float], float] | None = None,
    share: str = "accuracy",
    scale: str = "linear",
    width: float = 2.6,
) -> Figure:
    """One panel for each title: shares in percent over a number, one curve per label, with their 95 % intervals.

    `published` has percentages by title, label and number; they are hollow points. `share` says what the shares are;
    the axis goes from 0 to 100, but for the `scale` log, for shares that differ little. A panel is `width` inches wide.
    """
    published = published or {}
    figure = Figure(figsize=(width * len(panels) + 2.2, 3.6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True, sharey=True)[0]
    marks = style.marks(label for panel in panels.values() for label in panel)
    shown = {label for _, label, _ in published}
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        for label, points in panel.items():
            points = {place: found for place, found in points.items() if found}
            if points:
                _curve(axis, points, marks[label])
                shown.add(label)
            if printed := {place: number for (*at, place), number in published.items() if at == [title, label]}:
                axis.plot(list(printed), list(printed.values()), **marks[label].drawn(line=False) | HOLLOW)
        axis.set(title=title, xlabel=unit, yscale=scale, **({"ylim": (-2, 102)} if scale == "linear" else {}))
    if scale == "log":
        figures.plain_log(axes[0].yaxis)
    axes[0].set_ylabel(f"{share}, %")
    if not any(found for panel in panels.values() for points in panel.values() for found in points.values()):
        style.not_run(figure)
    handles = [Line2D([], [], label=label, **mark.drawn()) for label, mark in marks.items() if label in shown]
    if published:
        handles.append(Line2D([], [], label="published", color=style.GREY, marker="o", linestyle="none", **HOLLOW))
    if handles:
        figure.legend(handles=handles, loc="outside right upper")
    rows = collection.rows(experiment)
    notes = filter(None, (note, facts.interval_note(collection.seeds(experiment))))
    style.footer(figure, facts.footer(collection, experiment, rows, "  ·  ".join(notes)))
    return figure


def measured_curves(
    collection: Collection,
    experiment: str,
    rows: Sequence[str],
    panels: Mapping[str, Mapping[float, Measure]],
    unit: str,
    note: str,
    published: Mapping[tuple[str, str, Measure], float],
    width: float = 2.6,
) -> Figure:
    """`curves` of the rows of an experiment: for each title a measure at each number.

    `published` has percentages by experiment, row and measure, as `cells.published` finds them.
    """
    found = {
        title: {
            row: {number: measure.of(collection.of(experiment, row)) for number, measure in measures.items()}
            for row in rows
        }
        for title, measures in panels.items()
    }
    printed = {
        (title, row, number): published[experiment, row, measure]
        for title, measures in panels.items()
        for row in rows
        for number, measure in measures.items()
        if (experiment, row, measure) in published
    }
    return curves(collection, experiment, found, unit, note, printed, width=width)


def _curve(axis: Axes, points: Mapping[float, Measured], mark: style.Mark) -> None:
    for place, found in points.items():
        if found.low is not None:
            axis.vlines(place, 100 * found.low, 100 * found.high, color=mark.color, lw=1)
    # On a long curve a marker at every point would hide the line.
    every = max(1, len(points) // MARKED)
    axis.plot(list(points), [100 * found.mean for found in points.values()], markevery=every, **mark.drawn())


def _mean_l2(collection: Collection, run: Run, attack: str) -> float:
    folder = collection.root / "results" / "runs" / run.name / "attacks" / run.attacks[attack]["name"]
    check_vouched(folder / "epochs.csv", run.attacks[attack])
    last = read_table(folder / "epochs.csv").iloc[-1]
    return float(last["mean_l2"] * last["count"] / max(last["clean_correct"], 1))


def _caption(collection: Collection, lines: Sequence[Line], about: str) -> str:
    runs = [run for line in lines for run in collection.of(line.experiment, line.row)]
    counts = [len(collection.of(line.experiment, line.row)) for line in lines]
    sentences = [
        f"Ours: {facts.data_sets(runs)}, {facts.networks(runs)}; last epoch" if runs else "",
        about,
        f"In brackets: {facts.interval_note(counts)}" if runs else "",
        f"{display.DASH}: not run at scale {collection.scale}",
    ]
    return " ".join(f"{sentence}." for sentence in sentences if sentence)
