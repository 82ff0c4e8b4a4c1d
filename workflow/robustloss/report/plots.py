"""Curves over epochs as shapes for a page: drawn as SVG, so that they follow the page's colours and any width."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 220
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 10, 34
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Curve:
    """One line of a plot: its name and its points in the plot's own units, first to last."""

    name: str
    points: tuple[tuple[float, float], ...]

    @property
    def path(self) -> str:
        """The points as SVG writes them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True)
class Plot:
    """Curves in one frame, with the places and texts of the ticks of both axes."""

    title: str
    curves: tuple[Curve, ...]
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]
    description: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def over_epochs(title: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> Plot | None:
    """A plot of (epoch, value) points by name; None where no curve has two points that are numbers."""
    whole = {name: [point for point in points if all(map(math.isfinite, point))] for name, points in curves.items()}
    whole = {name: points for name, points in whole.items() if len(points) > 1}
    if not whole:
        return None
    epochs, values = zip(*(point for points in whole.values() for point in points), strict=True)
    across, up = _ticks(min(epochs), max(epochs), whole=True), _ticks(min(values), max(values))
    x = _scale(min(epochs), max(epochs), LEFT, WIDTH - RIGHT)
    y = _scale(min(up), max(up), HEIGHT - BOTTOM, TOP)
    return Plot(
        title,
        tuple(Curve(name, tuple((x(a), y(b)) for a, b in points)) for name, points in whole.items()),
        tuple((x(tick), f"{tick:g}") for tick in across if min(epochs) <= tick <= max(epochs)),
        tuple((y(tick), f"{tick:g}".replace("-", "−")) for tick in up),
        f"{title} by epoch: " + "; ".join(_told(name, points) for name, points in whole.items()),
    )


def _scale(low: float, high: float, start: float, end: float):
    span = high - low or 1.0
    return lambda value: start + (end - start) * (value - low) / span


def _ticks(low: float, high: float, whole: bool = False, count: int = 5) -> list[float]:
    """Round numbers that enclose [low, high], about `count` of them; with `whole` none between the integers."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(power * factor for factor in STEPS if power * factor * count >= span)
    step = max(1, round(step)) if whole else step
    first, last = math.floor(low / step), math.ceil(high / step)
    # Twelve digits: what is left of 3 * 0.1 after them is rounding.
    return [float(f"{step * place:.12g}") for place in range(first, max(last, first + 1) + 1)]


def _told(name: str, points: Sequence[tuple[float, float]]) -> str:
    (first, start), (last, end) = points[0], points[-1]
    return f"{name} goes from {start:.3g} at epoch {first:g} to {end:.3g} at epoch {last:g}"
