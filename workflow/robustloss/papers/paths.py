"""Iterates of an attack towards several targets: losses along the way and at the class boundary (ding2025, App. A)."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from robustloss.papers import facts, style
from robustloss.papers.collection import Collection
from robustloss.papers.measured import Run

NAMES = {"all_one": "all-one", "entropy": "−entropy", "second": "most likely wrong"}
LOSS = "cross-entropy (nats)"
IMAGE = {"color": "#56b4e9", "linewidth": 0.6, "alpha": 0.6}
LOST = IMAGE | {"color": style.GREY, "linestyle": (0, (4, 3))}
MEDIAN = {"color": "black", "linewidth": 1.8}


def losses(collection: Collection, name: str) -> Figure:
    """One panel per target: the label's cross-entropy at each iterate, a line per image, and the median."""
    return _by_target(collection, name, _losses, "iteration", LOSS)


def probabilities(collection: Collection, name: str) -> Figure:
    """One panel per target: all classes' probabilities where an image first changes class, and the median."""
    return _by_target(collection, name, _probabilities, "class", "probability")


def boundary(collection: Collection, name: str) -> Figure:
    """The label's cross-entropy where an image first changes class: a point per image, the median and its quartiles."""
    run = _run(collection, name)
    figure = Figure(figsize=(9.5, 3.8), layout="constrained")
    if run is None:
        return _nothing(collection, name, figure)
    record, arrays = run.measurement(name)
    axis = figure.subplots()
    for place, found in enumerate(_at_boundary(arrays)):
        values = _loss_of(found, arrays["labels"])
        values = values[~np.isnan(values)]
        # Spread by rank, not at random, so that the picture is the same each time.
        axis.plot(place + np.linspace(-0.25, 0.25, len(values)), np.sort(values), ".", color="#56b4e9", markersize=4)
        if len(values):
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
            axis.vlines(place, low, high, **MEDIAN)
            axis.plot(place, middle, "o", color="black", markersize=5, markerfacecolor="white")
    counts = [f"\n{count} of {len(arrays['labels'])}" for count in _changed(arrays)]
    titles = [title.replace(", ", "\n") + count for title, count in zip(_titles(record), counts, strict=True)]
    axis.set_xticks(range(len(titles)), titles, fontsize=7.5)
    axis.set(ylabel=LOSS, xlabel="target of the adversary; how many images change class")
    axis.set(xlim=(-0.6, len(titles) - 0.4), ylim=(0, 1.05 * axis.get_ylim()[1]))
    axis.grid(visible=False, axis="x")
    _footer(collection, name, figure, run, "circle and bar: median and quartiles")
    return figure


def _by_target(collection: Collection, name: str, draw, unit: str, value: str) -> Figure:
    run = _run(collection, name)
    if run is None:
        return _nothing(collection, name, Figure(figsize=(9.5, 3.8), layout="constrained"))
    record, arrays = run.measurement(name)
    titles = _titles(record)
    lines = -(-len(titles) // 3)
    figure = Figure(figsize=(9.5, 2.1 * lines + 0.6), layout="constrained")
    axes = figure.subplots(lines, 3, sharex=True, sharey=True, squeeze=False)
    for place, (axis, title) in enumerate(zip(axes.flat, titles, strict=False)):
        draw(axis, arrays, place)
        axis.set_title(f"{title} ({_changed(arrays)[place]} of {len(arrays['labels'])})")
    for axis in axes[-1]:
        axis.set_xlabel(unit)
    for axis in axes[:, 0]:
        axis.set_ylabel(value)
    note = "in brackets: how many change class; a line per image, dashed: wrong when clean; black: median"
    _footer(collection, name, figure, run, note)
    return figure


def _losses(axis: Axes, arrays: dict[str, np.ndarray], place: int) -> None:
    values = _of_label(arrays)[place]
    wrong = _predictions(arrays)[place, 0] != arrays["labels"]
    for kind, look in ((wrong, LOST), (~wrong, IMAGE)):
        _lines(axis, np.arange(len(values)), values[:, kind].T, look)
    axis.plot(np.median(values, 1), **MEDIAN)


def _probabilities(axis: Axes, arrays: dict[str, np.ndarray], place: int) -> None:
    found = np.exp(_at_boundary(arrays)[place])
    found = found[~np.isnan(found[:, 0])]
    classes = np.arange(1, found.shape[1] + 1)
    _lines(axis, classes, found, IMAGE)
    if len(found):
        axis.plot(classes, np.median(found, 0), marker="o", markersize=3, **MEDIAN)
    axis.set_xticks(classes)
    axis.set_ylim(0, 1)


def _lines(axis: Axes, at: np.ndarray, values: np.ndarray, look: dict) -> None:
    """One line for each row of `values`, as one object, which is drawn far faster than many."""
    axis.add_collection(LineCollection([np.stack([at, row], 1) for row in values], **look))
    axis.autoscale_view()


def _of_label(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The label's cross-entropy (targets, iterates, images)."""
    return _loss_of(arrays["log_probabilities"], arrays["labels"])


def _loss_of(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The label's cross-entropy (..., images)."""
    return -np.take_along_axis(log_probabilities, _places(log_probabilities, labels), -1)[..., 0]


def _places(log_probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shape = (1,) * (log_probabilities.ndim - 2) + (len(labels), 1)
    return labels.astype(np.int64).reshape(shape)


def _predictions(arrays: dict[str, np.ndarray]) -> np.ndarray:
    return arrays["log_probabilities"].argmax(-1)


def _at_boundary(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Log-probabilities (targets, images, classes) of each image's first iterate of another class.

    NaN for an image that never changes class, and for one that is misclassified when clean.
    """
    changed = _predictions(arrays) != arrays["labels"]
    first = changed.argmax(1)
    found = np.take_along_axis(arrays["log_probabilities"], first[:, None, :, None], 1)[:, 0]
    return np.where((changed.any(1) & ~changed[:, 0])[..., None], found, np.nan)


def _changed(arrays: dict[str, np.ndarray]) -> list[int]:
    """How many images change class, by target."""
    return (~np.isnan(_at_boundary(arrays)[..., 0])).sum(1).tolist()


def _titles(record: dict) -> list[str]:
    """What each target is called; the paper counts classes from 1."""
    classes = record["classes"]
    return [
        f"class {target + 1}, {classes[target]}" if isinstance(target, int) else NAMES.get(target, target)
        for target in record["spec"]["targets"]
    ]


def _run(collection: Collection, name: str) -> Run | None:
    """The first run of the figure's first row that was measured."""
    return next(iter(collection.measured_for(name).values()), None)


def _nothing(collection: Collection, name: str, figure: Figure) -> Figure:
    style.not_run(figure)
    style.footer(figure, facts.footer(collection, collection.figure(name)[0], []))
    return figure


def _footer(collection: Collection, name: str, figure: Figure, run: Run, note: str) -> None:
    record, arrays = run.measurement(name)
    spec, attack = record["spec"], record["spec"]["attack"]
    experiment, rows = collection.figure(name)
    about = (
        f"{len(arrays['labels'])} images of class {spec['class'] + 1}, {record['classes'][spec['class']]}, "
        f"split {spec['split']}  ·  {attack['steps']} steps of {255 * attack['step_size']:g}/255  ·  {note}"
    )
    shown = [row for row in rows if run in collection.first(experiment, row)]
    style.footer(figure, facts.footer(collection, experiment, shown, about, first=True))
