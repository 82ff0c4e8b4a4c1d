"""What a paper's tables and figures were made from, and the digest of each file: `paper.json` beside its manifest."""

from collections.abc import Iterator
from pathlib import Path

from robustloss import files
from robustloss.code import plugin
from robustloss.errors import Problem
from robustloss.lineage import stored
from robustloss.lineage.stored import Stored

RECORD = "paper.json"
# The numbers of a paper; its figures, page and notebook are made again from these and the runs' records.
NUMBERS = ("manifest.json", "claims.csv", "comparisons.csv", "images.npz", "examples.npz", "tables/*.csv")


def modules(paper: str) -> tuple[str, ...]:
    """The modules that a paper's tables, figures and claims are made by."""
    return "robustloss.papers", "robustloss.claims.page", plugin("papers", paper)


def write(watch, manifest: Path, notebook: Path) -> None:
    """Write the record of all that was made beside `manifest`; `watch` is the `provenance.Stopwatch` of the job."""
    content, folder = files.read_json(manifest), manifest.parent
    read = {path.as_posix(): files.sha256(path) for path in (notebook, Path(content["reference"]))}
    about = {
        "paper": content["paper"],
        "scale": content["scale"],
        "manifest_sha256": files.sha256(manifest),
        "results_digest": results_digest(folder.parents[1], content),
        "read": read,
    }
    made = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name[0] != "."]
    watch.write(folder / RECORD, about, [path for path in made if path not in (manifest, folder / RECORD)])


def results_digest(results: Path, manifest: dict) -> str:
    """SHA-256 (hex) that stands for the records of all runs that a manifest names, and of what was measured of them."""
    found = {item.path.relative_to(results).as_posix(): item for item in named(results, manifest)}
    return files.digest(files.canonical({name: item.record().get(files.CHECKSUM) for name, item in found.items()}))


def vouched(folder: Path) -> dict[Path, str]:
    """The SHA-256 of each file that a paper's record vouches for; nothing where there is no whole record."""
    try:
        return {folder / name: digest for name, digest in files.read_json(folder / RECORD).get("files", {}).items()}
    except Problem:
        return {}


def check(path: Path, folder: Path) -> Path:
    """`path`, of a paper's `folder`; Problem where it is not there, or not what the paper's record vouches for."""
    if not path.is_file():
        raise Problem(f"{path} is missing: {files.cure(path)}")
    expected = vouched(folder).get(path)
    if expected is not None and files.sha256(path) != expected:
        raise Problem(f"{path} is not as it was made: {files.cure(path)}")
    return path


def is_number(path: Path, folder: Path) -> bool:
    """Whether a file of a paper's folder is one of its numbers."""
    return any(path.relative_to(folder).match(pattern) for pattern in NUMBERS)


def named(results: Path, manifest: dict) -> Iterator[Stored]:
    """What a manifest names, whether it is there or not; a run that several rows share comes several times."""
    for _, _, entry in stored.entries(manifest):
        yield Stored("run", stored.below(results, entry["directory"]))
        for stage, path in stored.places(entry):
            yield Stored(stage, stored.below(results, path), entry["run"])


def problems(results: Path, folder: Path, manifest: dict) -> Iterator[str]:
    """Where what is in a paper's `folder` is not what was made from its manifest and from the records that are here."""
    absent = [item for item in named(results, manifest) if not item.finished]
    yield from dict.fromkeys(f"{folder / 'manifest.json'} names {item.path}, which is not there" for item in absent)
    if not (folder / RECORD).is_file():
        # A plan that is written down, with nothing made of it yet.
        if any(folder.glob("*.html")) or any(folder.glob("*.csv")):
            yield f"{folder} has no {RECORD}, so nothing vouches for its tables: make it again"
        return
    try:
        record = files.read_json(folder / RECORD)
        if record["manifest_sha256"] != files.sha256(folder / "manifest.json"):
            yield f"{folder / RECORD}: it was made from another manifest than is there now: make it again"
        elif not absent and record["results_digest"] != results_digest(results, manifest):
            yield f"{folder / RECORD}: it was made from other records than are there now: make it again"
    except KeyError as error:
        yield f"{folder / RECORD} has no {error}, so nothing vouches for its tables: make it again"
    except Problem as problem:
        yield str(problem)
