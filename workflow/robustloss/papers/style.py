"""How every figure looks: one mark per objective throughout a paper, told apart by colour, line and marker alike."""

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from robustloss.files import replacing

# Colours of Okabe and Ito (2008) that stand out on white, and one of Tol's; each with its own line and marker.
_MARKS = (
    ("#7f7f7f", (0, (5, 2)), "s"),
    ("#000000", "-", "o"),
    ("#56b4e9", (0, (6, 1.5, 1.5, 1.5)), "^"),
    ("#009e73", (0, (1.2, 1.2)), "v"),
    ("#cc79a7", (0, (3, 1, 1, 1, 1, 1)), "D"),
    ("#0072b2", (0, (5, 2)), "P"),
    ("#e69f00", (0, (6, 1.5, 1.5, 1.5)), "X"),
    ("#882255", (0, (1.2, 1.2)), "*"),
    ("#d55e00", "-", "<"),
)
_LARGER = {"*": 1.5, "D": 0.85}
MARKER_SIZE = 4.5
PNG_DPI = 150

GREY = "#6b6b6b"
RC = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 3.2,
    "pdf.fonttype": 42,
}


@dataclass(frozen=True)
class Mark:
    """Colour, line style and marker of one objective; a repeated run has its first run's, hollow."""

    color: str
    line: str | tuple
    marker: str
    hollow: bool = False

    def drawn(self, line: bool = True) -> dict:
        """Keyword arguments for `Axes.plot` and `Axes.errorbar`."""
        return {
            "color": self.color,
            "linestyle": self.line if line else "none",
            "marker": self.marker,
            "markersize": MARKER_SIZE * _LARGER.get(self.marker, 1),
            "markerfacecolor": "white" if self.hollow else self.color,
        }


def marks(rows: Iterable[str]) -> dict[str, Mark]:
    """One mark per row label; `5(2)` is a repetition of `5`. More rows than marks begin again with the first."""
    base = {row: re.sub(r"\(\d+\)$", "", row) for row in rows}
    order = {label: number for number, label in enumerate(dict.fromkeys(base.values()))}
    return {row: Mark(*_MARKS[order[label] % len(_MARKS)], hollow=row != label) for row, label in base.items()}


def footer(figure: Figure, text: str) -> None:
    """Small grey lines below everything else, as wide as the figure."""
    characters = int(figure.get_figwidth() * 21)
    lines = [line.removesuffix("  ·") for line in textwrap.wrap(text, characters)]
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=6.5, color=GREY)


def save(figure: Figure, png: Path, pdf: Path) -> None:
    """Write both files, without dates and versions, so that the same results make the same bytes.

    The canvases are called themselves because `savefig` draws everything twice; the layout, found for the first file,
    serves the second.
    """
    figure.dpi = PNG_DPI
    with replacing(png, "wb") as stream:
        FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    figure.set_layout_engine("none")
    with replacing(pdf, "wb") as stream:
        FigureCanvasPdf(figure).print_pdf(stream, metadata=dict.fromkeys(("Creator", "Producer", "CreationDate")))
