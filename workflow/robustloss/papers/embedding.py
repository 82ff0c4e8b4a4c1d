"""Images as points: what networks make of them in a few numbers, or a picture of many numbers by t-SNE."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robustloss.papers import facts, style
from robustloss.papers.collection import Collection
from robustloss.papers.measured import Run

COLUMNS = 5
# More classes than there are marks are drawn alike: their colours would tell nothing.
NAMED = len(style.CLASSES)


def figure(collection: Collection, names: Mapping[str, str], note: str = "") -> Figure:
    """One panel for each row of the figures `names`: the points measured of its first run, by class.

    `names` are keys of the yaml's figures, with what is said of their rows in the titles.
    """
    found = {
        f"{row}, {about}": (name, run)
        for name, about in names.items()
        for row, run in collection.measured_for(name).items()
    }
    lines = max(1, -(-len(found) // COLUMNS))
    columns = max(2, min(COLUMNS, len(found)))
    drawn = Figure(figsize=(2.5 * columns + 1.1, 2.7 * lines + 0.5), layout="constrained")
    # Classes of the same number look alike in all panels, whatever the data set calls them.
    classes, counts = {}, set()
    for place, (title, (name, run)) in enumerate(found.items(), 1):
        record, arrays = run.measurement(name)
        solid = arrays["points"].shape[1] == 3
        axis = drawn.add_subplot(lines, columns, place, projection="3d" if solid else None)
        _clouds(axis, arrays["points"], arrays["labels"])
        axis.set_title(title)
        # Of flat panels the limits give way, so that all are as large; in space the box does.
        axis.set_aspect("equal", adjustable="box" if solid else "datalim")
        axis.tick_params(labelsize=6)
        if solid:
            # More numbers would run into each other.
            axis.locator_params(nbins=4)
        if "perplexity" in record["spec"]:
            # Neither place nor scale of a t-SNE means anything.
            axis.set(xticks=[], yticks=[])
        for index, label in enumerate(record["classes"][:NAMED]):
            classes.setdefault(index, {})[label] = None
        counts.add(f"{len(arrays['labels']):,} images of split {record['spec']['split']}")
    if classes:
        labels = [" / ".join(classes[index]) for index in sorted(classes)]
        drawn.legend([_entry(index) for index in sorted(classes)], labels, loc="outside right upper", title="class")
    else:
        style.not_run(drawn)
    style.footer(drawn, _footer(collection, [run for _, run in found.values()], [*sorted(counts), note]))
    return drawn


def _clouds(axis: Axes, points: np.ndarray, labels: np.ndarray) -> None:
    for index in np.unique(labels):
        color, marker = style.CLASSES[index % NAMED]
        cloud = points[labels == index].T
        axis.plot(
            *cloud, linestyle="none", marker=marker, markersize=2, markeredgewidth=0, color=color, rasterized=True
        )


def _entry(index: int) -> Line2D:
    color, marker = style.CLASSES[index]
    return Line2D([], [], linestyle="none", marker=marker, markersize=4.5, color=color)


def _footer(collection: Collection, runs: Sequence[Run], notes: Sequence[str]) -> str:
    if not runs:
        return f"No row of this figure is run at scale {collection.scale}."
    about = (facts.data_sets(runs), facts.networks(runs), facts.seeds(runs), *notes, facts.hardware(runs))
    return "  ·  ".join(filter(None, [f"scale {collection.scale}", *about]))
