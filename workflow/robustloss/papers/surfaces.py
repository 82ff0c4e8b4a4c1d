"""Numbers over two settings, as surfaces in space."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustloss.papers import style

COLORS = "viridis"


def figure(panels: Mapping[str, np.ndarray], s: Sequence[float], m: Sequence[float], footer: str) -> Figure:
    """One surface for each title: percentages (m, s), NaN where there is nothing.

    Each number is a dot; the surface joins them where they fill a grid of at least two by two.
    """
    drawn = Figure(figsize=(3.1 * len(panels), 3.5))
    for place, (title, percentages) in enumerate(panels.items()):
        axis = _solid(drawn, place / len(panels), 1 / len(panels))
        _surface(axis, np.asarray(s, float), np.asarray(m, float), percentages)
        axis.set(title=title, xlabel="s", ylabel="m", zlim=(0, 100))
        axis.set_zlabel("accuracy, %", labelpad=1)
        axis.set_xticks([float(number) for number in s], s)
        axis.set_yticks([float(number) for number in m], m)
        axis.view_init(elev=24, azim=-58)
        if np.isnan(percentages).all():
            axis.text2D(0.5, 0.5, **style.NOT_RUN, transform=axis.transAxes)
    style.footer(drawn, footer)
    return drawn


def _solid(drawn: Figure, left: float, width: float) -> Axes:
    """Axes in space; the layout engines do not see their labels, so their place is given, in shares of the page."""
    axis = drawn.add_axes((left, 0.13, 0.93 * width, 0.76), projection="3d")
    axis.tick_params(labelsize=7, pad=1)
    axis.set_box_aspect(None, zoom=0.85)
    return axis


def _surface(axis: Axes, s: np.ndarray, m: np.ndarray, percentages: np.ndarray) -> None:
    run_m, run_s = (~np.isnan(percentages).all(1 - side) for side in (0, 1))
    if run_m.sum() > 1 and run_s.sum() > 1 and not np.isnan(inner := percentages[np.ix_(run_m, run_s)]).any():
        across, along = np.meshgrid(s[run_s], m[run_m])
        axis.plot_surface(
            across, along, inner, cmap=COLORS, vmin=0, vmax=100, edgecolor="white", linewidth=0.4, alpha=0.9
        )
    for (row, column), percent in np.ndenumerate(percentages):
        if not np.isnan(percent):
            axis.plot([s[column]] * 2, [m[row]] * 2, [0, percent], color=style.GREY, lw=0.5, linestyle=":")
            axis.plot(s[column], m[row], percent, color="black", marker="o", markersize=2.5)
    axis.set(xlim=(s.min(), s.max()), ylim=(m.min(), m.max()))


def slope(z: np.ndarray, s: np.ndarray, m: np.ndarray, title: str, footer: str) -> Figure:
    """z over s and m (both as the arrays of `numpy.meshgrid`): the surface, and the same from above."""
    drawn = Figure(figsize=(8.4, 3.7))
    solid = _solid(drawn, 0, 0.5)
    solid.plot_surface(s, m, z, cmap=COLORS, rcount=20, ccount=20, edgecolor="white", linewidth=0.2)
    solid.set(xlabel="s", ylabel="m", title=title)
    solid.set_zlabel("z", labelpad=2)
    solid.view_init(elev=24, azim=-120)
    flat = drawn.add_axes((0.56, 0.22, 0.32, 0.67))
    filled = flat.contourf(s, m, z, levels=12, cmap=COLORS)
    flat.grid(visible=False)
    flat.set(xlabel="s", ylabel="m", title="from above")
    drawn.colorbar(filled, cax=drawn.add_axes((0.9, 0.22, 0.02, 0.67)), label="z")
    style.footer(drawn, footer)
    return drawn
