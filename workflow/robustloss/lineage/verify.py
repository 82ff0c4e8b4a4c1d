"""Whether a results folder is what was written: every record, every file that one vouches for, every name.

A checksum tells of bit rot, of a hand that slipped and of results that do not belong together. It does not stop a
forger, who can compute one too: that is what the records in git are for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from robustloss import files, naming
from robustloss.code import digest_of_modules
from robustloss.errors import Problem
from robustloss.files import CHECKSUM
from robustloss.lineage import collected, stored
from robustloss.lineage.stored import Stored
from robustloss.progress import track
from robustloss.provenance import weights_digest
from robustloss.publishing import named, store

# What may lie beside the files that a run's record vouches for: where a killed training goes on.
STATE = "state.safetensors"
# What says where absent bytes can be had: they were not pulled.
POINTER = ".dvc"


@dataclass
class Found:
    """What was looked at, and a sentence for each thing that is not as it was written."""

    records: int = 0
    files: int = 0
    bytes: int = 0
    absent: int = 0
    unpublished: int = 0
    unfinished: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def verify(results: Path, data: Path) -> Found:
    """Look at every byte of `results` and of the prepared `data`.

    Folders that were never pulled are only counted, and so are the bytes of runs of which nothing but the numbers was
    published, where none of their weights are here.
    """
    stored.existing(results)
    found = Found()
    known: dict[str, dict] = {}
    try:
        numbers = named.numbers_alone(results)
    except Problem:  # It is named where the papers are looked at.
        numbers = set()
    for item in track([*stored.data_sets(data), *stored.everything(results)], "verifying"):
        if not item.finished:
            found.unfinished.append(f"{item.folder} is unfinished: it has no {item.path.name}")
            continue
        if item.stage == "data" and (left := stored.left_over(item)):
            found.unfinished.append(f"{left} was left by a job that was killed: `unused` lists it")
        record = _record(found, item)
        if record is None:
            continue
        if item.stage in ("data", "run"):
            known[item.name] = record
        found.problems += _names(item, record)
        _files(found, item, record, (item.run or item.name) in numbers)
    for item in stored.everything(results):
        found.problems += _origin(item, known)
    for kind in ("papers", "published"):
        _papers(found, results, kind)
    return found


def _record(found: Found, item: Stored) -> dict | None:
    found.records += 1
    try:
        record = item.record()
    except Problem as problem:
        found.problems.append(str(problem))
        return None
    missing = [key for key in (CHECKSUM, "code", "files", "environment") if key not in record]
    if missing:
        found.problems.append(f"{item.path} has no '{missing[0]}', so nothing vouches for it: make it again")
        return None
    return record


def _names(item: Stored, record: dict) -> Iterator[str]:
    """Where a name and what it stands for disagree."""
    code = record["code"]
    if code["digest"] != digest_of_modules(code["modules"]):
        yield f"{item.path}: its code digest is not that of its modules"
    if record.get("name", item.name) != item.name:
        yield f"{item.path} belongs to {record['name']}: the folder was renamed or the record copied"
    if not item.name.endswith(f"-{naming.ending(stored.named_by(item.stage, record), code['digest'])}"):
        yield f"{item.path}: the name of its folder is not that of its specification and code"


def _files(found: Found, item: Stored, record: dict, numbers_alone: bool) -> None:
    """Every file that a record vouches for, and those that none vouches for."""
    vouched, unpulled = _vouched(item, record), _unpulled(item)
    for name, expected in vouched.items():
        path = item.folder / name
        if path.parent in unpulled:
            found.absent += 1
        elif numbers_alone and not path.exists():
            found.unpublished += 1
        else:
            _file(found, path, expected, "pull it or make it again")
    found.problems += [f"{path} is a file that no record vouches for" for path in _strangers(item, vouched)]


def _unpulled(item: Stored) -> set[Path]:
    """The folders of bytes that DVC can fetch and that are not here."""
    run = next(folder for folder in (item.folder, *item.folder.parents) if folder.name == (item.run or item.name))
    return {run / path for path in store.read(run / named.BYTES) if not (run / path).exists()}


def _file(found: Found, path: Path, expected: str, cure: str) -> None:
    """One file that a record vouches for."""
    if not path.is_file():
        found.problems.append(f"{path} is missing: {cure}")
        return
    found.files += 1
    found.bytes += path.stat().st_size
    try:
        if files.sha256(path) != expected:
            found.problems.append(f"{path} is not the file that was written: {cure}")
    except OSError as error:
        found.problems.append(f"{path} cannot be read ({error.strerror}): {cure}")


def _vouched(item: Stored, record: dict) -> dict[str, str]:
    """The SHA-256 of each file by its path below the record."""
    if item.stage != "data":
        return record["files"]
    splits = record["splits"].items()
    images = {f"{split}.npy": about["images_sha256"] for split, about in splits}
    return images | {f"{split}.csv": about["index_sha256"] for split, about in splits}


def _strangers(item: Stored, vouched: dict[str, str]) -> Iterator[Path]:
    others = [part.folder for part in stored.parts(item.folder)] if item.stage == "run" else [stored.left_over(item)]
    for path in sorted(item.folder.rglob("*")):
        within = path.relative_to(item.folder).as_posix()
        own = path.is_file() and not any(other in path.parents for other in others)
        expected = within in vouched or path == item.path or path.name == STATE
        if own and not expected and POINTER not in path.suffixes and path.suffix != ".partial" and path.name[0] != ".":
            yield path


def _origin(item: Stored, known: dict[str, dict]) -> Iterator[str]:
    """Where a result was measured on other data or other weights than those that are here now."""
    try:
        record = item.record()
        if item.stage == "run":
            data = known.get(Path(record["data"]).name)
            if data and data["digest"] != record["data_digest"]:
                yield f"{item.path}: it was trained on other data than {record['data']} now holds"
            return
        if record["run"] != item.run:
            yield f"{item.path} belongs to the run {record['run']}, not to {item.run}"
        expected = {item.run: record["weights_digest"]} | record["source_digests"]
    except (Problem, KeyError):
        return  # It was named before.
    for name, digest in expected.items():
        if name not in known:
            yield f"{item.path} rests on the run {name}, which is not here"
        elif weights_digest(known[name]) != digest:
            yield f"{item.path} was measured on other weights than {name} now has: make it again"


def _papers(found: Found, results: Path, kind: str) -> None:
    """Every paper: what its manifest names, what it was made from, each file of it."""
    try:
        manifests = stored.manifests(results, kind)
    except Problem as problem:
        found.problems.append(str(problem))
        return
    for paper, manifest in manifests.items():
        folder = results / kind / paper
        found.problems += collected.problems(results, folder, manifest)
        found.records += (folder / collected.RECORD).is_file()
        for path, expected in collected.vouched(folder).items():
            # Of a published paper git has the numbers; its pages and figures are made of them again.
            if kind == "papers" or path.exists() or collected.is_number(path, folder):
                _file(found, path, expected, "make it again" if kind == "papers" else "restore it from git")
