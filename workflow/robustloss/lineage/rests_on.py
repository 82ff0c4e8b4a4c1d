"""Which runs a number of a paper rests on, and how each was made: from a table's cell back to the data."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from robustloss.code import nearest
from robustloss.errors import Problem
from robustloss.files import canonical
from robustloss.lineage import collected, stored
from robustloss.lineage.stored import Stored
from robustloss.papers import wording
from robustloss.report import notebook

# The columns that a line of a table may be asked for by.
KEYS = ("row", "index", "id", "run_as", "line", "head")
NOTHING = ("", wording.DASH)


@dataclass(frozen=True)
class Cell:
    """What was asked for: the runs' names, and the labels of attacks, all of the runs' where none is named."""

    runs: tuple[str, ...]
    attacks: tuple[str, ...] = ()


def rests_on(results: Path, paper: str, table: str, row: str | None = None, column: str | None = None) -> list[dict]:
    """The records, each with its `folder` and `stage`, that a table, a line of it, a cell or a figure rests on.

    `table` is the name of a table, of a figure, or `claims`, whose rows are C1, C2, ...; `row` is what a line has in
    one of its columns KEYS, `column` its `column`. A run comes before what was computed of it, and after the runs that
    it takes adversarial examples from and the data that it was trained on. Raises Problem for what is not there, with
    the nearest that is.
    """
    folder, manifest = _collected(results, paper)
    entries = list(stored.entries(manifest))
    cells = list(_cells(folder, table, row, column, entries))
    found: dict[Path, dict] = {}
    for cell in cells:
        for _, _, entry in entries:
            if entry["run"] in cell.runs:
                _add_entry(found, results, entry, cell.attacks)
    if not found:
        raise Problem(f"{paper}: {table}{f', row {row}' if row else ''} rests on no run: it was not run at this scale")
    return list(found.values())


def sentences(record: dict) -> list[str]:
    """How one result was made, in a few lines."""
    environment = record.get("environment", {})
    memory = environment.get("peak_memory_bytes", 0) / 2**20
    lines = [
        f"{record['stage']} {record['folder']}",
        f"  made {environment.get('date', 'at an unknown date')} in {environment.get('seconds', '?')} s on "
        f"{wording.machine(environment) or 'an unknown machine'}, {memory:.0f} MiB at most",
        f"  by commit {wording.commit(environment) or 'unknown'}, "
        f"code {record.get('code', {}).get('digest', 'unknown')[:12]}; {wording.versions(environment)}",
    ]
    data = f"data {Path(record.get('data', '')).name}".strip() if record["stage"] == "run" else "data"
    digests = {data: record.get("data_digest"), "weights": record.get("weights_digest"), "": record.get("digest")}
    read = [f"{name} {digest[:12]}".strip() for name, digest in digests.items() if digest]
    read += [f"weights of {name} {digest[:12]}" for name, digest in record.get("source_digests", {}).items()]
    lines += [f"  {'holds' if record['stage'] == 'data' else 'from'} {', '.join(read)}"] if read else []
    return [*lines, f"  {canonical(record['data'] if record['stage'] == 'data' else record.get('spec', {}))}"]


def _collected(results: Path, paper: str) -> tuple[Path, dict]:
    """The folder and manifest of a paper: as collected here or, in a clone where it was not yet, as published."""
    known = {}
    for kind in ("published", "papers"):
        known |= {name: (results / kind / name, found) for name, found in stored.manifests(results, kind).items()}
    if not known:
        raise Problem(f"{results} has no paper yet: run the workflow first")
    if paper not in known:
        raise Problem(f"{results} has no paper '{paper}'{nearest(paper, known)}")
    return known[paper]


def _cells(folder: Path, table: str, row: str | None, column: str | None, entries: list) -> Iterator[Cell]:
    path = folder / "tables" / f"{table}.csv"
    if table == "claims":
        path = folder / "comparisons.csv"
    if not path.is_file():
        executed = folder / f"{folder.name}.ipynb"
        # Of a published paper git has no notebook.
        figures = notebook.read(executed) if executed.is_file() or folder.parent.name == "papers" else {}
        names = {name for name, shown in figures.items() if shown.runs} | {each.stem for each in path.parent.glob("*")}
        if table not in figures:
            drawn = "" if figures else " (its figures are drawn by `make tables`)"
            raise Problem(f"{folder} has no table or figure '{table}'{nearest(table, names | {'claims'})}{drawn}")
        yield Cell(figures[table].runs)
        return
    for line in _lines(collected.check(path, folder), row, column):
        if runs := line.get("runs", line.get("run", "")) if table != "claims" else "":
            attack = line.get("attack", "")
            yield Cell(tuple(runs.split()), () if attack in NOTHING else (attack,))
        else:
            yield from _compared(line, entries)


def _lines(path: Path, row: str | None, column: str | None) -> list[dict]:
    """The lines of a table that were asked for."""
    with open(path, encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    for value, keys in ((row, KEYS), (column, ("column",))):
        if value is not None:
            chosen = [line for line in lines if value in [line.get(key) for key in keys]]
            if not chosen:
                known = {line[key] for line in lines for key in keys if line.get(key) not in (None, *NOTHING)}
                raise Problem(f"{path} has no line '{value}'{nearest(value, known)}")
            lines = chosen
    return lines


def _compared(line: dict, entries: list) -> Iterator[Cell]:
    """The runs of the rows that a line without runs compares, each with its attacks."""
    for experiment, label, attacks in (
        ("experiment", "row", ("attack", "honest_attack")),
        ("against_experiment", "against", ("against_attack", "honest_attack")),
    ):
        wanted = (line.get(experiment), line.get(label))
        runs = tuple(entry["run"] for *where, entry in entries if tuple(where) == wanted)
        if runs:
            yield Cell(runs, tuple(line[key] for key in attacks if line.get(key, "") not in NOTHING))


def _add_entry(found: dict, results: Path, entry: dict, attacks: Iterable[str]) -> None:
    """A run, what it rests on, and what was computed of it; of its `attacks` alone where some are named."""
    _add_run(found, results, entry["run"])
    named = {path for label, path in entry["attacks"].items() if label in attacks}
    for stage, path in stored.places(entry):
        if attacks and stage != "features" and path not in named:
            continue
        item = Stored(stage, stored.below(results, path), entry["run"])
        for source in item.record().get("source_digests", {}):
            _add_run(found, results, source)
        _add(found, item)


def _add_run(found: dict, results: Path, name: str) -> None:
    run = Stored("run", results / "runs" / name)
    data = Stored("data", results.parent / run.record()["data"])
    if data.finished:
        _add(found, data)
    _add(found, run)


def _add(found: dict, item: Stored) -> None:
    if item.folder not in found:
        found[item.folder] = {"stage": item.stage, "folder": str(item.folder), **item.record()}
