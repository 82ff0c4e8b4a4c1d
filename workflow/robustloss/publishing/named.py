"""What the manifests of papers name: runs, what was measured of them, and the data that they rest on."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from robustloss.errors import Problem
from robustloss.files import read_json
from robustloss.lineage import stored

# Of runs: the weights and per-sample outcomes.
BYTES = "bytes.dvc"


@dataclass(frozen=True)
class Named:
    """`manifests` by paper; `runs` has the folders of what was measured of each run, by the run's folder."""

    manifests: dict[str, dict]
    runs: dict[Path, list[Path]]

    def data(self) -> dict[str, dict]:
        """Specification of each prepared data set that a finished run was trained on, by the data set's name."""
        records = [read_json(run / "run.json") for run in self.runs if (run / "run.json").is_file()]
        return {Path(record["data"]).name: record["spec"]["data"] for record in records}


def read(folder: Path, papers: Iterable[str] | None = None) -> Named:
    """Read <folder>/<paper>/manifest.json of `papers`, or of all; a paper without one is a Problem."""
    found = sorted(path.parent.name for path in folder.glob("*/manifest.json"))
    wanted = found if papers is None else list(papers)
    for paper in wanted:
        if paper not in found:
            raise Problem(f"{folder}/{paper} has no manifest.json: there are {', '.join(found) or 'none'}")
    manifests = {paper: stored.manifest(folder / paper / "manifest.json") for paper in wanted}
    runs: dict[Path, list[Path]] = {}
    for manifest in manifests.values():
        for _, _, entry in stored.entries(manifest):
            runs.setdefault(Path(entry["directory"]), []).extend(Path(path) for _, path in stored.places(entry))
    for run, source in [(run, source) for run, parts in runs.items() for part in parts for source in sources(part)]:
        runs.setdefault(run.with_name(source), [])
    return Named(manifests, {run: list(dict.fromkeys(parts)) for run, parts in sorted(runs.items())})


def sources(part: Path) -> list[str]:
    """The runs whose networks an attack or audit takes adversarial examples from."""
    record = stored.record_of(part)
    return list(read_json(record).get("source_digests", {})) if record.is_file() else []


def numbers_alone(results: Path) -> set[str]:
    """The published runs of which neither the weights are here nor what says where to fetch them."""
    found = stored.manifests(results, "published").values()
    runs = {stored.below(results, entry["directory"]) for each in found for _, _, entry in stored.entries(each)}
    return {run.name for run in runs if not (run / "weights").exists() and not (run / BYTES).exists()}


def refuse_absent(run: Path) -> None:
    """A Problem for a run that is published and whose weights were not fetched."""
    if (run / BYTES).is_file() and not (run / "weights").is_dir():
        raise Problem(f"the weights of {run} are published but not here: `make pull` fetches them")
