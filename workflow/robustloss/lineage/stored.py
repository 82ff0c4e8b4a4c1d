"""What a results folder holds: each run, and each result of a run, as a folder with a record."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from robustloss import naming
from robustloss.errors import Problem
from robustloss.files import read_json

# Where the results of a run lie below its folder, by stage, and the record of each.
PLACES = {
    "features": ("features-*", "features.json"),
    "attack": ("attacks/*", "attack.json"),
    "audit": ("audits/*", "audit.json"),
    "measurement": ("measured/*", "measurement.json"),
}
RECORDS = {"data": "record.json", "run": "run.json"} | {stage: record for stage, (_, record) in PLACES.items()}


@dataclass(frozen=True)
class Stored:
    """A folder and what stage made it; whether it is finished, its record says by being there."""

    stage: str
    folder: Path
    run: str = ""  # of what was computed of a run: its name

    @property
    def name(self) -> str:
        """What it is called."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """Where its record is."""
        return self.folder / RECORDS[self.stage]

    @property
    def finished(self) -> bool:
        """Whether it has a record."""
        return self.path.is_file()

    def record(self) -> dict:
        """Its record; Problem where there is none, or one that is damaged."""
        return read_json(self.path, "data" if self.stage == "data" else "spec")


def existing(results: Path) -> Path:
    """`results`, which must be a folder."""
    if not results.is_dir():
        raise Problem(f"{results} is no folder: name the folder of the results")
    return results


def runs(results: Path) -> list[Stored]:
    """The runs, finished or not, in the order of their names."""
    return _folders("run", results / "runs", "*")


def parts(run: Path) -> list[Stored]:
    """What was computed of a run: features, attacks, audits, measurements."""
    return [part for stage, (pattern, _) in PLACES.items() for part in _folders(stage, run, pattern, run.name)]


def record_of(part: Path) -> Path:
    """The record of what was computed of a run, whose presence says that it is finished."""
    by_folder = {Path(pattern).parent.name: record for pattern, record in PLACES.values()}
    # What lies in no folder of its stage lies in the run's.
    return part / by_folder.get(part.parent.name, by_folder[""])


def data_sets(prepared: Path) -> list[Stored]:
    """The prepared data sets."""
    return _folders("data", prepared, "*")


def left_over(data: Stored) -> Path | None:
    """The extracted videos of a whole data set, which a Snakemake that was killed did not remove."""
    folder = data.folder / "videos"
    return folder if data.finished and folder.is_dir() else None


def everything(results: Path) -> Iterator[Stored]:
    """Every run, each followed by what was computed of it."""
    for run in runs(results):
        yield run
        yield from parts(run.folder)


def named_by(stage: str, record: dict) -> dict:
    """The specification that the name of a finished result was made from."""
    if stage == "run":
        return naming.trained(record["spec"], Path(record["data"]).name)
    return record["data" if stage == "data" else "spec"]


def manifests(results: Path, collected: str = "papers") -> dict[str, dict]:
    """What each paper rests on, by the paper's name: as collected here, or as `published`."""
    return {path.parent.name: manifest(path) for path in sorted(results.glob(f"{collected}/*/manifest.json"))}


def manifest(path: Path) -> dict:
    """A paper's manifest; Problem where it is missing or damaged."""
    return read_json(path, "paper", "scale", "rows")


def entries(manifest: dict) -> Iterator[tuple[str, str, dict]]:
    """(experiment, row, what the manifest lists of a run) of each seed of each row."""
    for experiment, rows in manifest["rows"].items():
        for row, found in rows.items():
            yield from ((experiment, row, entry) for entry in found)


def places(entry: dict) -> Iterator[tuple[str, str]]:
    """(stage, path) of all that was measured of a run, as the manifest's `entry` lists it."""
    yield "features", entry["features"]
    yield from (("attack", path) for path in entry["attacks"].values())
    if "audit" in entry:
        yield "audit", entry["audit"]
    yield from (("measurement", path) for path in entry.get("measured", {}).values())


def below(results: Path, path: str) -> Path:
    """A manifest's path, which begins with the name of the results folder, wherever that folder is now."""
    return results.joinpath(*Path(path).parts[1:])


def _folders(stage: str, folder: Path, pattern: str, run: str = "") -> list[Stored]:
    return [Stored(stage, path, run) for path in sorted(folder.glob(pattern)) if path.is_dir()]
