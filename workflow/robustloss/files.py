"""Files that are either whole or absent: everything is written beside its name and then renamed."""

import contextlib
import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from robustloss.errors import Problem

# Where a record keeps the checksum of what it says.
CHECKSUM = "record_sha256"


@contextlib.contextmanager
def replacing(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Open a temporary neighbour of `path` for writing; on success it takes the name `path`, on failure it is removed.

    A reader therefore sees the old file or the whole new one, also after a kill or on a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # One fixed name: what a killed job left is overwritten by the next, not collected.
    partial = path.with_name(f".{path.name}.partial")
    options = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with open(partial, mode, **options) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between the lines `begin` and `end` of a page, which must have each of them once."""
    try:
        parts = re.split(f"({re.escape(begin)}|{re.escape(end)})", page.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Problem(f"{page} is missing: restore it from git, or name the page that has {begin}") from None
    if parts[1::2] != [begin, end]:
        raise Problem(f"{page} needs the lines {begin} and {end} once each: write them where the text belongs")
    with replacing(page) as stream:
        stream.write(f"{parts[0]}{begin}\n\n{text}\n\n{end}{parts[4]}")


def canonical(value) -> str:
    """The one JSON text of a value: sorted keys, no spaces, numbers as Python prints them."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(*texts: str) -> str:
    """SHA-256 (hex) over texts, each closed by a zero byte so that their borders count."""
    state = hashlib.sha256()
    for text in texts:
        state.update(text.encode() + b"\0")
    return state.hexdigest()


def sha256(path: str | Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: str | Path, value) -> None:
    """Write a record for people and programs: indented, keys in their order."""
    with replacing(path) as stream:
        json.dump(value, stream, indent=1, allow_nan=False)
        stream.write("\n")


def write_record(path: str | Path, record: dict) -> None:
    """Write a record with a checksum of its own content, which `read_json` holds it to."""
    write_json(path, record | {CHECKSUM: checksum(record)})


def checksum(record: dict) -> str:
    """SHA-256 (hex) of what a record says, its own checksum left out."""
    content = json.loads(json.dumps(record))
    return digest(canonical({key: value for key, value in content.items() if key != CHECKSUM}))


def cure(path: str | Path) -> str:
    """How a record that is not whole is had again: what was published from git, the rest from its stage."""
    published = "published" in Path(path).parts or Path(path).with_name("bytes.dvc").is_file()
    return f"`git checkout -- {path}` restores it" if published else "delete it and run the stage that makes it again"


def read_json(path: str | Path, *keys: str):
    """Read a record; one that is missing, damaged or not what its checksum says is named.

    So is one that has nothing at one of `keys`, such as `spec.model.name`.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Problem(f"{path} is missing: run the stage that makes it again") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Problem(f"{path} is damaged ({error}): {cure(path)}") from None
    if isinstance(value, dict) and CHECKSUM in value and value[CHECKSUM] != checksum(value):
        raise Problem(f"{path} is not what was written (its content does not have its checksum): {cure(path)}")
    for key in keys:
        within = value
        for part in key.split("."):
            if not isinstance(within, dict) or part not in within:
                raise Problem(f"{path} is not whole (it has no '{key}'): {cure(path)}")
            within = within[part]
    return value


def check_vouched(path: str | Path, record: dict) -> None:
    """Refuse a file that is not what the record beside it vouches for; a record without digests vouches for nothing."""
    path = Path(path)
    expected = record.get("files", {}).get(path.name)
    if expected is not None and path.is_file() and sha256(path) != expected:
        raise Problem(
            f"{path} is not what was written (its checksum is not that of its record): "
            "delete the record beside it and run the stage that makes it again"
        )


def write_csv(path: str | Path, rows: Iterable[dict]) -> None:
    """Write a non-empty sequence of equal-keyed rows; floats keep all their digits."""
    rows = list(rows)
    with replacing(path) as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
