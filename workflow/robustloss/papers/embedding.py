"""What trained networks with a few numbers before their head make of test images, drawn as points."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from robustloss import checkpoints
from robustloss.data import prepared
from robustloss.images import Images
from robustloss.papers import facts, style
from robustloss.papers.collection import Collection
from robustloss.papers.measured import Run

BATCH = 500


def figure(collection: Collection, experiments: Sequence[str], rows: Sequence[str], count: int) -> Figure:
    """One panel for each of `rows` of each experiment that was run: the features of `count` test images, by class.

    The runs' weights and the prepared images are read: Problem where they are missing.
    """
    shown = {
        (experiment, row): collection.of(experiment, row)[0]
        for experiment in experiments
        for row in rows
        if collection.of(experiment, row)
    }
    drawn = Figure(figsize=(max(5, 2.6 * len(shown) + 0.8), 3.3), layout="constrained")
    handles = {}
    for place, ((experiment, row), run) in enumerate(shown.items(), 1):
        points, labels, classes = _features(collection, run, count)
        solid = points.shape[1] == 3
        axis = drawn.add_subplot(1, len(shown), place, projection="3d" if solid else None)
        for index, name in enumerate(classes):
            cloud = points[labels == index].T
            color = f"C{index % 10}"
            axis.plot(*cloud, linestyle="none", marker=".", markersize=2, color=color, rasterized=True)
            handles[name] = Line2D([], [], linestyle="none", marker="o", markersize=4, color=color)
        axis.set(title=f"{row}\n{experiment}")
        axis.set_aspect("equal")
        axis.tick_params(labelsize=6)
    if handles:
        drawn.legend(handles.values(), handles, loc="outside right upper", title="class")
    else:
        drawn.text(0.5, 0.55, "not run at this scale", ha="center", fontsize=14, color=style.GREY)
    runs = list(shown.values())
    parts = [f"scale {collection.scale}", facts.data_sets(runs), facts.networks(runs), facts.hardware(runs)]
    note = f"at most {count:,} images of split test, in their order; of several seeds the first"
    style.footer(drawn, "  ·  ".join([*parts, note] if runs else [f"No row is run at scale {collection.scale}."]))
    return drawn


@torch.no_grad()
def _features(collection: Collection, run: Run, count: int):
    """The features (n, dimension) of the first test images, their classes (n,), and the classes' names."""
    data = prepared.load(collection.root / run.record["data"])
    folder = collection.root / "results" / "runs" / run.name
    model = checkpoints.network(folder, run.record, data, run.last_epoch).eval()
    images = Images(data, "test", torch.device("cpu"), torch.arange(min(count, len(data.labels("test")))))
    found, labels = zip(*((model.features(inputs), labels) for inputs, labels in images.batches(BATCH)), strict=True)
    return torch.cat(found).numpy(), torch.cat(labels).numpy(), data.classes
