"""How every figure looks: one mark per loss throughout all papers, told apart by colour, line and marker alike."""

import itertools
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from robustloss.files import replacing

_DASH, _LONG, _DOTS, _MIXED = (0, (5, 2)), (0, (6, 1.5, 1.5, 1.5)), (0, (1.2, 1.2)), (0, (3, 1, 1, 1, 1, 1))
# Every loss by the names of its rows, in all papers: one colour, line and marker wherever it is drawn, told apart by
# the marker alone in grey. Most colours are those of Okabe and Ito (2008) that stand out on white. A repetition has
# its first run's mark, hollow.
_LOSSES = (
    (("1", "SCE", "XE"), ("#000000", "-", "o")),
    (("0",), ("#7f7f7f", _DASH, "s")),
    (("Random",), ("#7f7f7f", _DOTS, "s")),
    # Composite cross-entropy, by the index of its function; 5 is label smoothing up to a factor.
    (("2",), ("#56b4e9", _LONG, "^")),
    (("3",), ("#009e73", _DOTS, "v")),
    (("4",), ("#cc79a7", _MIXED, "D")),
    (("5", "LS"), ("#0072b2", _DASH, "P")),
    (("5(2)",), ("#0072b2", _DASH, "P", True)),
    (("6",), ("#e69f00", _LONG, "X")),
    (("6(2)",), ("#e69f00", _LONG, "X", True)),
    (("7",), ("#882255", _DOTS, "*")),
    (("8",), ("#d55e00", "-", "<")),
    # Guided complement entropy, the darker the larger alpha, and complement objective training.
    (("GCE 1",), ("#002b20", "-", "o")),
    (("GCE 1/2",), ("#005a41", _DASH, "<")),
    (("GCE", "GCE 1/3"), ("#009e73", "-", "^")),
    (("GCE exact",), ("#999933", _DASH, "d")),
    (("GCE 1/4",), ("#4fb593", _DOTS, "v")),
    (("GCE 1/5",), ("#8ccdb6", _MIXED, ">")),
    (("GCE 1/10",), ("#6aa84f", _LONG, "s")),
    (("COT",), ("#0072b2", _LONG, "X")),
    (("COT exact",), ("#56b4e9", _DOTS, "P")),
    # Max-Mahalanobis centres, and what else draws features to centres.
    (("MMC", "MMC-10"), ("#e69f00", "-", "p")),
    (("MMC-10 paper",), ("#cc79a7", _MIXED, "D")),
    (("MMC-10 rand",), ("#b15928", _DASH, "d")),
    (("MMC-100",), ("#6b4400", _DOTS, "P")),
    (("EMC",), ("#999933", _LONG, "H")),
    (("HMM",), ("#117733", _MIXED, "<")),
    (("MMLDA",), ("#aa4499", _MIXED, "s")),
    (("Center",), ("#56b4e9", _DOTS, "v")),
    (("L-GM",), ("#332288", _LONG, "^")),
    (("ArcFace",), ("#cc79a7", _MIXED, "d")),
    (("I-SCE",), ("#d55e00", "-", "*")),
    (("I-SCE code",), ("#993d00", _DASH, "8")),
    # Adversarial training.
    (("AT", "AT-un SCE"), ("#882255", _DASH, "h")),
    (("AT-tar SCE",), ("#cc6677", _DOTS, "8")),
    (("AT-un MMC-10",), ("#005a41", "-", "D")),
    (("AT-tar MMC-10",), ("#44aa99", _DOTS, "X")),
    (("AT-un MMC-10 adaptive",), ("#0072b2", "-", "P")),
    (("AT-tar MMC-10 adaptive",), ("#56b4e9", _DOTS, "v")),
)
# For whatever else is compared, in this order.
_OTHERS = (
    ("#000000", "-", "o"),
    ("#0072b2", _DASH, "s"),
    ("#d55e00", _LONG, "^"),
    ("#009e73", _DOTS, "v"),
    ("#cc79a7", _MIXED, "D"),
    ("#e69f00", _DASH, "P"),
    ("#56b4e9", _LONG, "X"),
    ("#882255", _DOTS, "*"),
    ("#7f7f7f", "-", "<"),
)
# Ten classes: Tol's muted colours, with black for the one that fades on white; neighbours have other markers as well.
CLASSES = tuple(
    zip(
        ("#332288", "#cc6677", "#117733", "#ddcc77", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499", "#000000"),
        "o^sDvPX*<p",
        strict=True,
    )
)
_LARGER = {"*": 1.6, "D": 0.85, "p": 1.2, "h": 1.2, "H": 1.2}
MARKER_SIZE = 4.5
PNG_DPI = 150

GREY = "#6b6b6b"
NOT_RUN = {"s": "not run at this scale", "ha": "center", "va": "center", "color": GREY}
PUBLISHED = {"marker": "D", "markersize": 6.5, "markerfacecolor": "none", "linestyle": "none"}
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
    """Colour, line style and marker of one loss or other thing that is compared."""

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
    """The mark of each row label: of a loss the same in every figure of every paper, of all else one of its own.

    More labels of other things than there are marks begin again with the first.
    """
    known = {name: Mark(*mark) for names, mark in _LOSSES for name in names}
    rows = list(dict.fromkeys(rows))
    taken = {look for row in rows if row in known for look in (known[row].color, known[row].marker)}
    free = sorted((Mark(*other) for other in _OTHERS), key=lambda mark: len({mark.color, mark.marker} & taken))
    others = zip((row for row in rows if row not in known), itertools.cycle(free))
    found = known | dict(others)
    return {row: found[row] for row in rows}


def not_run(figure: Figure) -> None:
    """Large grey words in place of what a figure would show."""
    figure.text(0.5, 0.55, **NOT_RUN, fontsize=14)


def not_run_here(axis: Axes) -> None:
    """The same in one of several panels."""
    axis.text(0.5, 0.5, **NOT_RUN, transform=axis.transAxes)


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
