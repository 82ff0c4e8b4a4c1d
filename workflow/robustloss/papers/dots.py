"""Methods one below the other: several measurements of each as dots with their intervals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robustloss.papers import facts, style
from robustloss.papers.collection import Collection
from robustloss.papers.estimates import Measured

# The first measurement has the row's own marker, the others these, which stand out from their interval's line.
MARKERS = (None, "o", "x", "^", "s")
SIZE = 6.5
# The share of a line's height over which its measurements are spread.
SPREAD = 0.7


@dataclass(frozen=True)
class Panel:
    """One axis: a title, what its numbers are, and what is measured of a row of `experiment`, by its name."""

    title: str
    unit: str
    experiment: str
    series: Mapping[str, Callable[[str], Measured | None]]
    limits: tuple[float | None, float | None] = (None, None)


def figure(
    collection: Collection,
    rows: Sequence[str],
    panels: Sequence[Panel],
    note: str,
    published: Mapping[tuple[str, str, str], float] | None = None,
) -> Figure:
    """One panel beside the other with a line for each of `rows`; `published` by experiment, row and measurement."""
    most = max(len(panel.series) for panel in panels)
    drawn = Figure(figsize=(2.5 * len(panels) + 2.4, 1.7 + (0.2 + 0.05 * most) * len(rows)), layout="constrained")
    axes = drawn.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    marks = style.marks(rows)
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    for axis, panel in zip(axes, panels, strict=True):
        measured = {(row, name): read(row) for row in rows for name, read in panel.series.items()}
        for place, row in enumerate(rows):
            for name in panel.series:
                number = names.index(name)
                # Beside each other within the line, so that intervals do not hide one another.
                height = place + SPREAD * ((number + 0.5) / len(names) - 0.5)
                _dot(axis, height, measured[row, name], _mark(marks[row], number))
                printed = (published or {}).get((panel.experiment, row, name))
                if printed is not None:
                    axis.plot(printed, height, color=style.GREY, **style.PUBLISHED)
        axis.set(title=panel.title, xlabel=panel.unit, xlim=panel.limits)
        if not any(measured.values()):
            style.not_run_here(axis)
        if not axis.lines:
            axis.set_xticks([])
        axis.grid(visible=False, axis="y")
        for border in range(1, len(rows)):
            axis.axhline(border - 0.5, color="#e3e3e3", lw=0.6)
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].set_ylim(len(rows) - 0.4, -0.6)
    handles = [_entry(name, number) for number, name in enumerate(names)]
    if published:
        handles.append(Line2D([], [], color=style.GREY, label="published", **style.PUBLISHED))
    drawn.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    style.footer(drawn, _footer(collection, [panel.experiment for panel in panels], rows, note))
    return drawn


def _mark(mark: style.Mark, number: int) -> style.Mark:
    marker = MARKERS[number]
    return mark if marker is None else replace(mark, marker=marker, hollow=marker != "x")


def _dot(axis: Axes, place: float, found: Measured | None, mark: style.Mark) -> None:
    if found is None:
        return
    if found.low is not None:
        axis.hlines(place, found.low, found.high, color=mark.color, lw=1.2)
    own = mark.drawn(line=False)
    axis.plot(found.mean, place, **own | {"markersize": max(SIZE, own["markersize"]), "markeredgewidth": 1.4})


def _entry(name: str, number: int) -> Line2D:
    look = _mark(style.Mark("black", "-", "s"), number).drawn(line=False)
    return Line2D([], [], **look | {"markersize": SIZE, "label": name})


def _footer(collection: Collection, experiments: Sequence[str], rows: Sequence[str], note: str) -> str:
    """What all experiments have in common, with the rows that none of them runs."""
    found = {row: [run for name in experiments for run in collection.of(name, row)] for row in rows}
    counts = [count for name in experiments for count in collection.seeds(name)]
    return facts.told(collection, found, "  ·  ".join(filter(None, (note, facts.interval_note(counts)))))
