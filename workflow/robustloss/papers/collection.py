"""All that a paper's manifest names: its runs by table and row, and what the paper printed there."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from robustloss import files, reference
from robustloss.errors import Problem
from robustloss.papers import measured
from robustloss.papers.measured import Run
from robustloss.reference import Cell, Reference

MANIFEST_KEYS = ("paper", "scale", "reference", "seeds", "data", "rows", "labels", "figures")


@dataclass(frozen=True)
class Collection:
    """`runs[table][row]` has one run per seed, none where the scale leaves the row out."""

    root: Path
    directory: Path
    manifest: dict
    reference: Reference
    runs: dict[str, dict[str, list[Run]]]

    @property
    def scale(self) -> str:
        """Name of the scale that the runs belong to."""
        return self.manifest["scale"]

    def rows(self, table: str) -> list[str]:
        """The rows of a table or experiment: those that a table so called prints, then those that we added."""
        return list(dict.fromkeys([*self._printed_rows(table), *self.manifest["rows"].get(table, {})]))

    def of(self, table: str, row: str) -> list[Run]:
        """The runs of one row."""
        return self.runs.get(table, {}).get(row, [])

    def first(self, table: str, row: str) -> list[Run]:
        """The first of the runs of one row, for what shows one network; none where there is none."""
        return self.of(table, row)[:1]

    def seeds(self, table: str) -> list[int]:
        """How many runs each row of a table has."""
        return [len(self.runs.get(table, {}).get(row, [])) for row in self.rows(table)]

    def label(self, table: str, row: str) -> str:
        """What our run of a row is called."""
        return self.manifest["labels"].get(table, {}).get(row, row)

    def all_rows(self) -> list[str]:
        """The rows of all tables, each once."""
        return list(dict.fromkeys(row for table in self.manifest["rows"] for row in self.rows(table)))

    def figure(self, name: str) -> tuple[str, list[str]]:
        """The experiment whose runs a figure shows, and the rows of it."""
        if name not in self.manifest["figures"]:
            raise Problem(f"{self.manifest['paper']} lists no rows for {name}: add it to the paper's figures")
        wanted = self.manifest["figures"][name]
        return wanted["experiment"], wanted["rows"]

    def measured_for(self, figure: str) -> dict[str, Run]:
        """The first run of each row of a figure, where something was measured of it for that figure."""
        experiment, rows = self.figure(figure)
        return {row: run for row in rows for run in self.first(experiment, row) if figure in run.measured}

    def printed(self, table: str, row: str, metric: str) -> Cell | None:
        """The paper's cell, or None where it printed none."""
        found = (cell for cell in self.reference.cells if (cell.item, cell.row, cell.metric) == (table, row, metric))
        return next(found, None)

    def all_runs(self) -> Iterator[Run]:
        """Every run once, also where several rows share it; twice if it is attacked with and without a defence."""
        yield from {id(run): run for rows in self.runs.values() for runs in rows.values() for run in runs}.values()

    def _printed_rows(self, table: str) -> list[str]:
        """None for an experiment that no printed table is called after."""
        return [cell.row for cell in self.reference.cells if cell.item == table]


@dataclass(frozen=True)
class Watched(Collection):
    """A collection that notes the names of the runs that it is asked for: those that a figure rests on."""

    asked: dict[str, None] = field(default_factory=dict)

    def of(self, table: str, row: str) -> list[Run]:
        """The runs of one row."""
        return self._noted(super().of(table, row))

    def first(self, table: str, row: str) -> list[Run]:
        """The first of the runs of one row."""
        return self._noted(super().of(table, row)[:1])

    def _noted(self, runs: list[Run]) -> list[Run]:
        self.asked.update(dict.fromkeys(run.name for run in runs))
        return runs


def read(manifest: str | Path) -> Collection:
    """Read a manifest, searched for from the working directory upwards, and every file that it names."""
    root = _root(Path(manifest))
    path = root / manifest
    content = files.read_json(path)
    missing = [key for key in MANIFEST_KEYS if key not in content]
    if missing:
        raise Problem(f"{path} has no '{missing[0]}': delete it and run the stage that makes it again")
    known: dict[tuple, Run] = {}
    runs = {
        table: {row: [_read_once(known, root, entry) for entry in entries] for row, entries in rows.items()}
        for table, rows in content["rows"].items()
    }
    return Collection(root, path.parent, content, reference.read(root / content["reference"]), runs)


def _root(manifest: Path) -> Path:
    """The folder that the manifest's paths start from: this one or, for a notebook opened in its own folder, above."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / manifest).is_file():
            return folder
    raise Problem(f"{manifest} is missing in {here} and above: run the workflow first, or name another manifest")


def _read_once(known: dict[tuple, Run], root: Path, entry: dict) -> Run:
    """One object for a run with the same attacks, audit and measurements, whichever rows ask for it."""
    key = (entry["run"], entry.get("audit"), *sorted((entry["attacks"] | entry.get("measured", {})).items()))
    if key not in known:
        known[key] = measured.read(root, entry)
    return known[key]
