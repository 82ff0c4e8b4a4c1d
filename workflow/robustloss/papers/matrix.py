"""Numbers of rows and columns as a coloured matrix."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from robustloss.papers.wording import DASH

COLORS = "viridis"


def draw(
    axis: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], low: float, high: float, digits: int
):
    """Draw `values` (rows, columns) between `low` and `high` with their numbers; the image.

    NaN is a dash, and no text where there is nothing else.
    """
    shown = axis.imshow(values, vmin=low, vmax=high, cmap=COLORS, aspect="auto")
    shade = Normalize(low, high)
    for (row, column), value in np.ndenumerate(values if np.isfinite(values).any() else values[:0]):
        empty = np.isnan(value)
        # Adding 0 makes a rounded -0 a 0.
        text = DASH if empty else f"{round(value, digits) + 0:.{digits}f}".replace("-", "−")
        color = "black" if empty or shade(value) > 0.6 else "white"
        axis.text(column, row, text, ha="center", va="center", fontsize=7, color=color)
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.tick_params(length=0)
    axis.grid(visible=False)
    return shown
