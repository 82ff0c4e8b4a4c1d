"""A paper's results by the names of its tables and figures, written to files and displayed in a notebook."""

from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from robustloss.errors import Problem
from robustloss.files import replacing
from robustloss.papers import audits, collection, display, facts, style
from robustloss.papers.collection import Collection, Watched

# Width on a page in CSS pixels per inch of the figure.
PAGE_DPI = 96


@dataclass(frozen=True)
class Drawing:
    """A figure on disk, as a notebook displays it."""

    png: Path
    pdf: Path
    description: str
    width: float
    runs: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<{self.png.name}: {self.description}>"

    def _repr_png_(self) -> tuple[bytes, dict]:
        about = {"width": round(self.width * PAGE_DPI), "alt": self.description, "runs": list(self.runs)}
        return self.png.read_bytes(), about


@dataclass(frozen=True)
class Paper:
    """The tables and figures of one paper, as its module `robustloss.papers.<paper>` defines them.

    TABLES and FIGURES are functions of the collection by name; STORED names tables that another stage writes. A paper
    may have none of them.
    """

    collection: Collection
    module: ModuleType

    def overview(self) -> Styler:
        """What was run: scale, data, seeds, sample counts, hardware, versions, seconds."""
        return display.pairs(facts.overview(self.collection), "overview")

    def audits(self) -> Styler:
        """Write tables/audits.csv, the signs of gradient masking of every audited run, and return what to display."""
        frame, styled = audits.table(self.collection)
        self._write(frame, "audits")
        return styled

    def table(self, name: str) -> pd.DataFrame:
        """A table's numbers, unrounded: one row per printed row, columns named in `robustloss.papers.tables`."""
        return self._known(name, self._tables)(self.collection)[0]

    def figure(self, name: str) -> Figure:
        """A figure, not yet written."""
        with matplotlib.rc_context(style.RC):
            return self._known(name, self._figures)(self.collection)

    def show(self, name: str) -> Styler | Drawing:
        """Write tables/<name>.csv, or figures/<name>.png and .pdf, beside the manifest, and return what to display."""
        self._known(name, self._tables | self._figures)
        return self._show_figure(name) if name in self._figures else self._show_table(name)

    @property
    def _tables(self) -> dict:
        return getattr(self.module, "TABLES", {})

    @property
    def _figures(self) -> dict:
        return getattr(self.module, "FIGURES", {})

    def _show_table(self, name: str) -> Styler:
        frame, styled = self._tables[name](self.collection)
        if name not in getattr(self.module, "STORED", ()):
            self._write(frame, name)
        return styled

    def _write(self, frame: pd.DataFrame, name: str) -> None:
        with replacing(self.collection.directory / "tables" / f"{name}.csv") as stream:
            frame.to_csv(stream, index=False, na_rep=display.DASH, lineterminator="\n")

    def _show_figure(self, name: str) -> Drawing:
        watched = Watched(**vars(self.collection))
        figure = replace(self, collection=watched).figure(name)
        paths = {kind: self.collection.directory / "figures" / f"{name}.{kind}" for kind in ("png", "pdf")}
        with matplotlib.rc_context(style.RC):
            style.save(figure, paths["png"], paths["pdf"])
        description = " ".join(self._figures[name].__doc__.split())
        return Drawing(paths["png"], paths["pdf"], description, figure.get_figwidth(), tuple(watched.asked))

    def _known(self, name: str, items: dict):
        if name not in items:
            there_are = f"there are {', '.join(items)}" if items else "there are none"
            raise Problem(f"{self.collection.manifest['paper']} has no '{name}': {there_are}")
        return items[name]


def load(manifest: str | Path) -> Paper:
    """Read everything that a manifest names and find the paper's module."""
    found = collection.read(manifest)
    name = found.manifest["paper"]
    if find_spec(f"robustloss.papers.{name}") is None:
        raise Problem(f"paper '{name}' has no module: write workflow/robustloss/papers/{name}.py")
    return Paper(found, import_module(f"robustloss.papers.{name}"))
