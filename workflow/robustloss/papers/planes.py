"""The loss of trained networks on a plane through an image."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from robustloss.papers import facts, style
from robustloss.papers.collection import Collection


def figure(collection: Collection, name: str, images: int = 2) -> Figure:
    """A column for each row of the figure `name`, a line for each of the first images: cross-entropy, from the image.

    The black line is the class boundary; where the picture is flat around the middle, a gradient shows nothing.
    """
    experiment, rows = collection.figure(name)
    runs = collection.measured_for(name)
    drawn = Figure(figsize=(2.5 * max(2, len(runs)) + 1, 2.4 * images + 0.7), layout="constrained")
    if not runs:
        style.not_run(drawn)
        style.footer(drawn, facts.footer(collection, experiment, rows))
        return drawn
    found = {row: run.measurement(name)[1] for row, run in runs.items()}
    axes = drawn.subplots(images, len(runs), sharex=True, sharey=True, squeeze=False)
    largest = max(float(arrays["cross_entropy"][:images].max()) for arrays in found.values())
    for column, (row, arrays) in zip(axes.T, found.items(), strict=True):
        for number, axis in enumerate(column):
            shown = _plane(axis, arrays, number, largest)
        column[0].set_title(row)
        column[-1].set_xlabel("along the gradient's sign")
    for line in axes[:, 0]:
        line.set_ylabel("across it")
    drawn.colorbar(shown, ax=axes, label="cross-entropy (nats)", shrink=0.8)
    note = "an Linf distance of the pixel range on both axes, clipped to valid images; black: class boundary"
    style.footer(drawn, facts.footer(collection, experiment, rows, note, first=True))
    return drawn


def _plane(axis, arrays: Mapping[str, np.ndarray], number: int, largest: float):
    at = arrays["coordinates"]
    # The arrays' first axis is that of the gradient's sign, which lies across the page here.
    loss, margin = arrays["cross_entropy"][number].T, arrays["margin"][number].T
    shown = axis.pcolormesh(at, at, loss, cmap="viridis", vmin=0, vmax=largest, shading="nearest", rasterized=True)
    axis.contour(at, at, margin, levels=(0,), colors="black", linewidths=1.4)
    axis.plot(0, 0, marker="+", color="white", markersize=8, markeredgewidth=1.5)
    axis.grid(visible=False)
    return shown
