"""Papers and runs, read from the files that the stages leave; what is missing or damaged is said and left out."""

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from robustloss.errors import Problem
from robustloss.files import check_vouched, read_json
from robustloss.lineage.stored import below
from robustloss.report import ledger, notebook
from robustloss.report.shelf import Attack, Paper, Run, Shelf, Use

# The files of a paper's claims.
LEDGER = ("claims", "comparisons")
MANIFEST_KEYS = ("paper", "title", "citation", "doi", "scale", "seeds", "rows", "labels")
RUN_KEYS = ("spec.data.name", "spec.model.name", "spec.objective", "spec.epochs", "spec.seed")
ATTACK_KEYS = ("spec", "summary.count", *(f"summary.robust_accuracy.{key}" for key in ("mean", "last")))
AUDIT_KEYS = ("summary.verdict", "summary.flagged", "signs")


def read(results: Path) -> Shelf:
    """Read every paper below `results`, and every run that one of them names."""
    manifests = sorted(results.glob("papers/*/manifest.json"))
    if not manifests:
        raise Problem(f"{results}/papers has no paper with a manifest.json: run the workflow first")
    shelf = Shelf()
    for path in manifests:
        try:
            paper = _paper(path)
        except Problem as problem:
            shelf.problems.append(str(problem))
            continue
        shelf.papers[paper.name] = paper
    for name, named in _named(shelf.papers.values()).items():
        shelf.runs[name] = _run(results, name, named)
    return shelf


def _paper(path: Path) -> Paper:
    manifest = read_json(path, *MANIFEST_KEYS)
    folder, problems = path.parent, []
    shown = _tolerant(problems, notebook.read, folder / f"{folder.name}.ipynb") or {}
    tables = {file.stem: _tolerant(problems, _stored, file) or [] for file in folder.glob("tables/*.csv")}
    claims, comparisons = (_tolerant(problems, _stored, folder / f"{name}.csv") or [] for name in LEDGER)
    return Paper(
        name=folder.name,
        directory=folder,
        manifest=manifest,
        claims=ledger.claims(claims, comparisons, manifest),
        tables={name: tables[name] for name in notebook.ordered(tables, shown)},
        figures=notebook.ordered((file.stem for file in folder.glob("figures/*.png")), shown),
        shown=shown,
        problems=problems,
    )


@dataclass
class _Named:
    """What manifests say of one run: where it is, who uses it, what its attacks are called, and what else it has."""

    entry: dict
    uses: list[Use] = field(default_factory=list)
    labels: dict[str, list[str]] = field(default_factory=dict)
    audits: set[str] = field(default_factory=set)
    measured: set[str] = field(default_factory=set)

    def add(self, use: Use, entry: dict) -> None:
        """A row that uses the run, and the manifest's entry there."""
        self.uses.append(use)
        for label, folder in entry["attacks"].items():
            labels = self.labels.setdefault(folder, [])
            labels += [label] if label not in labels else []
        self.audits |= {entry["audit"]} if "audit" in entry else set()
        self.measured |= set(entry.get("measured", {}).values())


def _named(papers: Iterable[Paper]) -> dict[str, _Named]:
    found: dict[str, _Named] = {}
    for paper in papers:
        for experiment, row, entries in paper.rows():
            for entry in entries:
                use = Use(paper.name, experiment, row, paper.label(experiment, row))
                found.setdefault(entry["run"], _Named(entry)).add(use, entry)
    return found


def _run(results: Path, name: str, named: _Named) -> Run:
    problems: list[str] = []

    def records(folders: Iterable[str], file: str, *keys: str) -> dict[str, dict]:
        found = {folder: _tolerant(problems, read_json, below(results, folder) / file, *keys) for folder in folders}
        return {Path(folder).name: record for folder, record in sorted(found.items()) if record}

    directory, features = (below(results, named.entry[key]) for key in ("directory", "features"))
    labels = {Path(folder).name: tuple(labels) for folder, labels in named.labels.items()}
    attacks = records(named.labels, "attack.json", *ATTACK_KEYS)
    record = _tolerant(problems, read_json, directory / "run.json", *RUN_KEYS) or {}
    measures = _tolerant(problems, read_json, features / "features.json", "summary") or {}
    return Run(
        name=name,
        directory=directory,
        record=record,
        history=_tolerant(problems, _stored, directory / "history.csv", record) or [],
        features=measures,
        epochs=_tolerant(problems, _stored, features / "epochs.csv", measures) or [],
        attacks={attack: Attack(attack, labels[attack], record) for attack, record in attacks.items()},
        audits=records(named.audits, "audit.json", *AUDIT_KEYS),
        measured=records(named.measured, "measurement.json"),
        uses=named.uses,
        problems=problems,
    )


def _stored(path: Path, record: dict | None = None) -> list[dict]:
    """The rows of a table, held to what `record` vouches for, as texts by column; none where there is no file."""
    check_vouched(path, record or {})
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream, restval="", restkey=""))
    except FileNotFoundError:
        return []
    except (UnicodeDecodeError, csv.Error) as error:
        raise Problem(f"{path} is damaged ({error}): delete it and run the stage that makes it again") from None


def _tolerant(problems: list[str], read: Callable, path: Path, *more):
    """What `read` finds; None and a sentence in `problems` for what the user can mend."""
    try:
        return read(path, *more)
    except Problem as problem:
        problems.append(str(problem))
        return None
