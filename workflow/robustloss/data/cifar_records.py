"""The binary version of CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): records of label bytes and one 32 × 32 colour image.

Each record is one byte per kind of label and then 3,072 bytes: the red, green and blue planes, row by row.
"""

import gzip
import hashlib
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robustloss.data import download, prepared
from robustloss.errors import Problem
from robustloss.progress import say

PLANES = (3, 32, 32)
PIXELS = 3 * 32 * 32
BLOCK = 1000
# test_batch_first1000.bin: the first 1,000 records of test_batch.bin.
FIRST = re.compile(r"(?P<whole>.+)_first(?P<count>[1-9][0-9]*)(?P<ending>\.bin)")


@dataclass(frozen=True)
class Layout:
    """How the publisher packs one data set; `labels` names the classes of each label byte, in the bytes' order."""

    name: str
    archive: str
    folder: str  # within the archive
    train: dict[str, int]  # file -> official number of images
    test: dict[str, int]
    labels: dict[str, list[str]]


def prepare(
    spec: dict, directory: str | Path, raw: str | Path, may_download: bool, layout: Layout, source: dict | None = None
) -> prepared.Prepared:
    """Prepare the records as uint8 (count, 32, 32, 3); the index has `image` and the labels by the names of `layout`.

    `image` counts through the training files in their order, or through the test file. `spec`: `train_count` and
    `evaluation_count` (first images of training and test; all by default) and `test_file` (another file of records in
    place of the official test file, which the record's sources then say; where test_batch_first1000.bin is missing, it
    is the first 1,000 records of test_batch.bin). `source` describes the archive and is data/sources.csv's row if not
    given. Raises Problem naming the file that is missing, damaged or not official.
    """
    source = source or download.source(layout.name, layout.archive)
    test_file = _test_file(spec, layout)
    paths = _located(Path(raw) / layout.name, test_file, layout, source, may_download)
    records = {name: read(path, layout.labels) for name, path in paths.items()}
    if test_file not in records:
        whole, count = _part(test_file)
        records[test_file] = _first(paths[whole], records.pop(whole), count, test_file)
    _say_other_counts(paths, records, layout)
    train, test = [records[name] for name in layout.train], [records[test_file]]
    train_count = prepared.chosen_count(spec, "train_count", sum(map(len, train)))
    evaluation_count = prepared.chosen_count(spec, "evaluation_count", len(test[0]))
    splits = {
        "train": _split(train, train_count, layout.labels),
        "test": _split(test, len(test[0]), layout.labels),
        "evaluation": _split(test, evaluation_count, layout.labels),
    }
    sources = {
        "official": source,
        "files": {
            name: {"images": len(found), "sha256": hashlib.sha256(found.ravel()).hexdigest()}
            for name, found in records.items()
        },
        **{label: names for label, names in layout.labels.items() if label != "class"},
    }
    if test_file not in layout.test:
        sources["test"] = f"{test_file} ({len(test[0])} images) stands in for the official {', '.join(layout.test)}"
        say(f"{layout.name}: {sources['test']}")
    return prepared.write(directory, spec, layout.labels["class"], splits, sources)


def read(path: str | Path, labels: dict[str, list[str]]) -> np.ndarray:
    """The records of a file, uint8 (count, len(labels) + 3072), mapped into memory; Problem if it is damaged."""
    length, size = len(labels) + PIXELS, Path(path).stat().st_size
    if size == 0 or size % length:
        raise _damaged(path, f"its {size} bytes are not whole records of {length} bytes")
    records = np.memmap(path, np.uint8, "r").reshape(-1, length)
    for column, (label, names) in enumerate(labels.items()):
        wrong = np.flatnonzero(records[:, column] >= len(names))
        if wrong.size:
            found = f"record {wrong[0]} has the {label} {records[wrong[0], column]}"
            raise _damaged(path, f"{found}, which must be from 0 to {len(names) - 1}")
    return records


def _test_file(spec: dict, layout: Layout) -> str:
    name = spec.get("test_file", *layout.test)
    if not isinstance(name, str) or Path(name).name != name:
        raise Problem(f"{layout.name}: test_file is {name!r}; it must be the name of a file beside the training files")
    if name in layout.train:
        raise Problem(f"{layout.name}: test_file is {name}, which holds training images: name a file of test images")
    return name


def _part(test_file: str) -> tuple[str, int]:
    """The file of which a file of so many records is the beginning, by its name; itself and 0 where it says no such."""
    found = FIRST.fullmatch(test_file)
    return (found["whole"] + found["ending"], int(found["count"])) if found else (test_file, 0)


def _first(path: Path, records: np.ndarray, count: int, name: str) -> np.ndarray:
    if len(records) < count:
        raise Problem(f"{path} has {len(records)} records, too few for test_file {name}: change the number in its name")
    return records[:count]


def _located(folder: Path, test_file: str, layout: Layout, source: dict, may_download: bool) -> dict[str, Path]:
    """Where each file of records lies, once what is missing was unpacked from the archive.

    In place of a missing test file there is the one that it is a part of.
    """
    test = test_file if _found(folder, [test_file], layout) else _part(test_file)[0]
    names = [*layout.train, test]
    paths = _found(folder, names, layout)
    missing = [name for name in names if name not in paths]
    if not missing:
        return paths
    if test in missing and test not in layout.test:
        raise Problem(f"{folder / test_file} is missing: put it there or take test_file out of the settings")
    if not may_download and not (folder / layout.archive).exists():
        raise Problem(
            f"{folder / missing[0]} is missing and config.yaml says download: false: put it there, "
            f"or the archive from {source['url']}, or set download: true"
        )
    _unpack(download.obtain(source, folder, may_download), folder / layout.folder, layout)
    return _found(folder, names, layout)


def _found(folder: Path, names: list[str], layout: Layout) -> dict[str, Path]:
    places = {name: [folder / name, folder / layout.folder / name] for name in names}
    present = {name: [path for path in pair if path.is_file()] for name, pair in places.items()}
    return {name: paths[0] for name, paths in present.items() if paths}


def _unpack(archive: Path, folder: Path, layout: Layout) -> None:
    """Put the archive's files of records into `folder`, each whole or not at all, and nothing anywhere else."""
    say(f"unpacking {archive}")
    folder.mkdir(exist_ok=True)
    # A name of its own for each process: two data sets may be prepared from the same archive at once.
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=archive.parent) as scratch:
        try:
            with tarfile.open(archive, "r:gz") as members:
                members.extractall(scratch, filter="data")
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(archive, str(error)) from None
        for name in (*layout.train, *layout.test):
            unpacked = Path(scratch) / layout.folder / name
            if not unpacked.is_file():
                raise _damaged(archive, f"it holds no {layout.folder}/{name}")
            os.replace(unpacked, folder / name)


def _say_other_counts(paths: dict[str, Path], records: dict[str, np.ndarray], layout: Layout) -> None:
    for name, count in (layout.train | layout.test).items():
        if name in records and len(records[name]) != count:
            say(f"{paths[name]} holds {len(records[name])} images, the official file {count}")


def _split(parts: list[np.ndarray], count: int, labels: dict) -> tuple[Iterator, tuple, list[dict]]:
    table = np.concatenate([part[:, : len(labels)] for part in parts])[:count].tolist()
    rows = [{"image": image, **dict(zip(labels, row, strict=True))} for image, row in enumerate(table)]
    return _images(parts, count), (count, *PLANES[1:], PLANES[0]), rows


def _images(parts: list[np.ndarray], count: int) -> Iterator[np.ndarray]:
    for part in parts:
        for start in range(0, min(len(part), count), BLOCK):
            planes = part[start : min(start + BLOCK, count), -PIXELS:].reshape(-1, *PLANES)
            yield planes.transpose(0, 2, 3, 1)
        count -= min(len(part), count)


def _damaged(path: str | Path, why: str) -> Problem:
    return Problem(f"{path} is damaged ({why}): delete it and put the official file in its place")
