"""A paper's figures from the runs of a collection; a row that the scale leaves out is named in the footer."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from robustloss.papers import estimates, facts, style
from robustloss.papers.collection import Collection
from robustloss.papers.formulas import to_mathtext
from robustloss.papers.tables import Distance, Share

MAJORITY = {"color": style.GREY, "linewidth": 1, "linestyle": (0, (4, 3)), "zorder": 1}


@dataclass(frozen=True)
class Panel:
    """A column of the runs' epochs as a curve from `first_epoch` on; the axis is linear or log."""

    column: str
    title: str
    unit: str
    first_epoch: int = 1
    scale: str = "linear"


def over_epochs(collection: Collection, table: str, rows: Sequence[str], split: str, panels: Sequence[Panel]) -> Figure:
    """One panel beside the other, one curve per row that was run, with a band over several seeds."""
    figure, axes = _figure(len(panels), width=3.1 * len(panels) + 2.1, height=3.3)
    marks = style.marks(collection.all_rows())
    run = [row for row in rows if collection.of(table, row)]
    for axis, panel in zip(axes, panels, strict=True):
        curves = {row: estimates.curve(collection.of(table, row), panel.column, split) for row in run}
        curves = {row: curve.loc[panel.first_epoch :] for row, curve in curves.items()}
        for row, curve in curves.items():
            axis.plot(curve.index, curve["mean"], **marks[row].drawn())
        axis.set(title=panel.title, xlabel="epoch", ylabel=panel.unit)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_yscale(panel.scale)
        _bands(axis, curves, marks)
        if panel.scale == "log":
            plain_log(axis.yaxis)
    _legend(figure, [_entry(collection, table, row, marks[row]) for row in run])
    style.footer(
        figure,
        facts.footer(collection, table, rows, facts.interval_note(collection.seeds(table), samples=False), split),
    )
    return figure


def by_class(collection: Collection, table: str, rows: Sequence[str], split: str) -> Figure:
    """Cross-entropy of each class at the last epoch (left), and how many images of it there are (right)."""
    figure, (errors, counts) = _figure(2, width=10, height=4.6, sharey=True, width_ratios=(1.8, 1))
    marks = style.marks(collection.all_rows())
    run = [row for row in rows if collection.of(table, row)]
    for number, row in enumerate(run):
        found = estimates.per_class(collection.of(table, row), "cross_entropy", split)
        places = found.index + 0.7 * ((number + 0.5) / len(run) - 0.5)
        errors.hlines(places, found["low"], found["high"], color=marks[row].color)
        errors.plot(found["mean"], places, **marks[row].drawn(line=False))
    if run:
        classes = collection.of(table, run[0])[0].last_classes(split)
        bars = counts.barh(classes.index, classes["count"], color="#b8b8b8", height=0.7)
        counts.bar_label(bars, [f"{count:,}" for count in classes["count"]], fontsize=8, padding=3)
        counts.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        errors.set_yticks(classes.index, classes["name"])
        errors.set_ylim(classes.index[-1] + 0.5, classes.index[0] - 0.5)
        for border in classes.index[1:]:
            errors.axhline(border - 0.5, color="#d0d0d0", lw=0.6)
    for axis in (errors, counts):
        axis.grid(visible=False, axis="y")
        axis.tick_params(axis="y", length=0)
    errors.set_xlim(left=0)
    errors.set(title="error per class at the last epoch", xlabel="cross-entropy (nats per image)")
    counts.margins(x=0.15)
    counts.set(title=f"images per class (split {split})", xlabel="images")
    _legend(figure, [_entry(collection, table, row, marks[row], line=False) for row in run])
    style.footer(
        figure,
        facts.footer(collection, table, rows, facts.interval_note(collection.seeds(table), samples=False), split),
    )
    return figure


def summary(collection: Collection, table: str, shares: Sequence[Share], distance: Distance) -> Figure:
    """Every row's shares with their intervals and its distance, beside the published values."""
    rows = collection.rows(table)
    figure, axes = _figure(len(shares) + 1, width=11, height=1.6 + 0.3 * len(rows), sharey=True)
    marks = style.marks(collection.all_rows())
    for axis, share in zip(axes, shares, strict=False):
        for place, row in enumerate(rows):
            _point(axis, place, estimates.share(collection.of(table, row), share.summary, "mean"), marks[row], 100)
            _published(axis, place, collection.printed(table, row, share.metric))
        measured = [run for row in rows for run in collection.of(table, row)]
        if measured:
            found = share.of(measured[0])
            axis.axvline(100 * found["majority"], **MAJORITY)
        axis.set(title=share.heading, xlabel=f"% of {found['count']:,} images" if measured else "%", xlim=(-2, 102))
    _ratios(axes[-1], collection, table, rows, distance, marks)
    # The labels are flush right, so the number stands last.
    names = [f"{to_mathtext(collection.label(table, row))}   {row}" for row in rows]
    axes[0].set_yticks(range(len(rows)), names)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    ours = Line2D([], [], color="black", marker="o", markersize=style.MARKER_SIZE, label="ours, 95 % interval")
    published = Line2D([], [], color=style.GREY, label="published", **style.PUBLISHED)
    majority = Line2D([], [], **MAJORITY, label="always the most frequent class")
    figure.legend(handles=[ours, published, majority], loc="outside upper center", ncols=3)
    style.footer(figure, facts.footer(collection, table, rows, facts.interval_note(collection.seeds(table))))
    return figure


def _figure(panels: int, width: float, height: float, sharey: bool = False, **grid) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.09)
    axes = figure.subplots(1, panels, squeeze=False, sharey=sharey, gridspec_kw=grid)
    return figure, list(axes[0])


def _bands(axis: Axes, curves: dict[str, pd.DataFrame], marks: dict[str, style.Mark]) -> None:
    """Intervals over seeds. The curves alone set the limits: the interval of two seeds may be wide beyond reading."""
    banded = {row: curve for row, curve in curves.items() if curve["low"].notna().any()}
    if banded:
        axis.margins(y=0.2)
        axis.autoscale_view()
        axis.autoscale(False)
        if axis.get_yscale() == "linear":
            # No distance and no cross-entropy is below 0.
            axis.set_ylim(bottom=max(axis.get_ylim()[0], 0))
    for row, curve in banded.items():
        axis.fill_between(curve.index, curve["low"], curve["high"], color=marks[row].color, alpha=0.15, lw=0)


def _ratios(axis: Axes, collection: Collection, table: str, rows: list[str], distance: Distance, marks: dict) -> None:
    base = collection.of(table, distance.relative_to)
    printed_base = collection.printed(table, distance.relative_to, distance.metric)
    for place, row in enumerate(rows):
        ours = estimates.value(collection.of(table, row), distance.of)
        if ours and base:
            axis.plot(ours.mean / estimates.value(base, distance.of).mean, place, **marks[row].drawn(line=False))
        printed = collection.printed(table, row, distance.metric)
        if printed and printed_base:
            axis.plot(printed.value / printed_base.value, place, color=style.GREY, **style.PUBLISHED)
    axis.margins(x=0.08)
    axis.set(title=f"{to_mathtext(distance.heading)} relative to function {distance.relative_to}", xlabel="ratio")
    axis.set_xscale("log")
    plain_log(axis.xaxis)


def _point(axis: Axes, place: int, found: estimates.Measured | None, mark: style.Mark, factor: float) -> None:
    if found is None:
        return
    if found.low is not None:
        axis.hlines(place, factor * found.low, factor * found.high, color=mark.color, lw=1.6)
    axis.plot(factor * found.mean, place, **mark.drawn(line=False))


def _published(axis: Axes, place: int, cell) -> None:
    if cell:
        axis.plot(cell.value, place, color=style.GREY, **style.PUBLISHED)


def plain_log(line: Axis) -> None:
    """Label a logarithmic axis with plain numbers, also between the powers of ten."""
    low, high = line.get_view_interval()
    line.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 5, 7)))
    line.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    line.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, handles: list[Line2D]) -> None:
    if handles:
        figure.legend(handles=handles, loc="outside right upper")
    else:
        style.not_run(figure)


def _entry(collection: Collection, table: str, row: str, mark: style.Mark, line: bool = True) -> Line2D:
    return Line2D([], [], label=_name(collection, table, row), **mark.drawn(line))


def _name(collection: Collection, table: str, row: str) -> str:
    return f"{row}:  {to_mathtext(collection.label(table, row))}"
