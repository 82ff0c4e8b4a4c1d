"""A prepared data set: uint8 images that can be memory-mapped, their index, and a record that vouches for both."""

import csv
import hashlib
import math
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from robustloss import files, naming
from robustloss.errors import Problem
from robustloss.progress import say, track
from robustloss.provenance import Stopwatch

SPLITS = ("train", "test", "evaluation")


@dataclass(frozen=True)
class Prepared:
    """A prepared data set on disk, as `load` found it; `record` is the content of its record.json."""

    directory: Path
    record: dict
    indexes: dict[str, dict[str, np.ndarray]]

    @property
    def classes(self) -> list[str]:
        """The names of the classes, in the order of their ids."""
        return self.record["classes"]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) that stands for all images and labels."""
        return self.record["digest"]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels, the same for every image."""
        return tuple(self.record["image_shape"])

    def images(self, split: str) -> np.memmap:
        """The images of a split, uint8 (count, height, width, channels); pages are read when touched.

        Changes stay in memory: torch takes only writable arrays, and the file must not be written.
        """
        return np.load(self.directory / f"{split}.npy", mmap_mode="c", allow_pickle=False)

    def labels(self, split: str) -> np.ndarray:
        """The class ids of a split, int64 (count,), in the order of its images."""
        return self.indexes[split]["class"]

    def index(self, split: str) -> dict[str, np.ndarray]:
        """The columns of a split's index, each (count,): int64 where that loses nothing, else text."""
        return self.indexes[split]


def write(directory: str | Path, spec: dict, classes: list[str], splits: dict[str, tuple], sources: dict) -> Prepared:
    """Write the three splits and, last, the record whose presence says that the data set is whole.

    `splits` maps each of train, test and evaluation to (blocks, shape, rows): an iterable of uint8 arrays
    (n, height, width, channels) that together have `shape`, streamed so that memory holds one block at a time, and
    the index as one dict per image with equal keys, `class` (0-based) among them. `sources` is kept as it is.
    Raises Problem on blocks, shapes or rows that disagree, and on a class that training would never see; a class that
    only test or evaluation lacks is said.
    """
    watch = Stopwatch(naming.data_modules(spec))
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    if set(splits) != set(SPLITS):
        raise Problem(f"{directory} needs the splits {', '.join(SPLITS)}, but was given {', '.join(splits)}")
    # Plain integers: numpy's own would be spelled out in the header of the .npy file, which then nothing can read.
    splits = {split: (blocks, tuple(map(int, shape)), rows) for split, (blocks, shape, rows) in splits.items()}
    counts = {split: _class_counts(directory, split, classes, *splits[split][1:]) for split in SPLITS}
    image_shape = _common_image_shape(directory, splits)
    _refuse_full_disk(directory, sum(math.prod(shape) for _, shape, _ in splits.values()))
    (directory / "record.json").unlink(missing_ok=True)
    written = {}
    for split in SPLITS:
        blocks, shape, rows = splits[split]
        images_sha256 = _write_images(directory / f"{split}.npy", blocks, shape)
        files.write_csv(directory / f"{split}.csv", rows)
        written[split] = {
            "count": shape[0],
            "class_counts": counts[split],
            "images_sha256": images_sha256,
            "index_sha256": files.sha256(directory / f"{split}.csv"),
        }
    record = {
        "data": spec,
        "classes": list(classes),
        "image_shape": image_shape,
        "splits": written,
        "digest": _digest(written),
        "sources": sources,
    }
    watch.write(directory / "record.json", record)
    return load(directory)


def load(directory: str | Path) -> Prepared:
    """Open a prepared data set, checking shapes, counts and labels against its record (`verify` checks every byte).

    Raises Problem when the record is missing or when a file is missing, damaged or disagrees with the record.
    """
    directory = Path(directory)
    if not (directory / "record.json").exists():
        raise Problem(f"{directory} holds no whole data set (record.json is missing): prepare it again")
    record = files.read_json(directory / "record.json")
    try:
        indexes = {split: _checked_index(directory, split, record["splits"][split]) for split in SPLITS}
        for split in SPLITS:
            _check_images(directory / f"{split}.npy", (record["splits"][split]["count"], *record["image_shape"]))
        if record["digest"] != _digest(record["splits"]) or not isinstance(record["classes"], list):
            raise ValueError("digest and splits disagree")
    except (KeyError, TypeError, ValueError) as error:
        raise Problem(
            f"{directory}/record.json is damaged ({error}): delete {directory} and prepare it again"
        ) from None
    return Prepared(directory, record, indexes)


def verify(directory: str | Path, splits: Iterable[str] = SPLITS) -> Prepared:
    """Open a prepared data set and read every byte of `splits`.

    Raises Problem naming the first file that is not what was written.
    """
    prepared = load(directory)
    parts = [(split, *part) for split in splits for part in ((".npy", "images_sha256"), (".csv", "index_sha256"))]
    for split, ending, key in track(parts, f"verifying {prepared.directory}"):
        path = prepared.directory / (split + ending)
        if files.sha256(path) != prepared.record["splits"][split][key]:
            raise _changed(path, "its checksum is not the recorded one")
    return prepared


def chosen_count(spec: dict, key: str, available: int) -> int:
    """How many of `available` images a data set's settings ask for under `key` (all if they do not say)."""
    count = spec.get(key, available)
    if type(count) is not int or not 0 < count <= available:
        raise Problem(f"{spec.get('name')}: {key} is {count!r}; it must be a whole number from 1 to {available}")
    return count


def _digest(splits: dict) -> str:
    return files.digest(*(splits[split][key] for split in SPLITS for key in ("images_sha256", "index_sha256")))


def _changed(path: Path, why: str) -> Problem:
    return Problem(f"{path} is not the file that was prepared ({why}): delete {path.parent} and prepare it again")


def _class_counts(directory: Path, split: str, classes: list[str], shape: tuple, rows: list[dict]) -> list[int]:
    if len(rows) != shape[0] or not rows:
        raise Problem(
            f"{directory}: {split} has {shape[0]} images and {len(rows)} index rows; both must agree, above 0"
        )
    for number, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            raise Problem(f"{directory}: index row {number} of {split} has other columns than row 0")
        label = row.get("class")
        if not isinstance(label, int | np.integer) or not 0 <= label < len(classes):
            raise Problem(
                f"{directory}: index row {number} of {split} has class {label!r}; "
                f"it must be a whole number from 0 to {len(classes) - 1}"
            )
    counts = np.bincount([row["class"] for row in rows], minlength=len(classes)).tolist()
    missing = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if missing and split == "train":
        raise Problem(
            f"{directory}: no image of train shows {', '.join(map(repr, missing))}, which could then not be learnt: "
            "add videos or images that show it to the training split"
        )
    if missing:
        say(f"{directory}: no image of {split} shows {', '.join(map(repr, missing))}")
    return counts


def _common_image_shape(directory: Path, splits: dict) -> list[int]:
    shapes = {split: list(splits[split][1][1:]) for split in SPLITS}
    if any(shape != shapes["train"] or len(shape) != 3 for shape in shapes.values()):
        raise Problem(
            f"{directory}: images need one common shape (height, width, channels), but the splits have {shapes}"
        )
    return shapes["train"]


def _refuse_full_disk(directory: Path, needed: int) -> None:
    free = shutil.disk_usage(directory).free
    if needed > free:
        raise Problem(
            f"{directory} needs {needed / 1e9:.1f} GB, but its disk has {free / 1e9:.1f} GB free: "
            "free some space or choose a smaller image size or frame rate"
        )


def _write_images(path: Path, blocks: Iterable[np.ndarray], shape: tuple[int, ...]) -> str:
    """Stream the blocks into one .npy file and return the SHA-256 of the file's bytes."""
    with files.replacing(path, "wb") as stream:
        state = hashlib.sha256()
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(_Hashing(stream, state), header)
        count = 0
        for block in blocks:
            count += len(block)
            if block.dtype != np.uint8 or block.shape[1:] != shape[1:] or count > shape[0]:
                raise Problem(
                    f"{path}: a block of {block.dtype} {block.shape} ending at image {count} does not fit "
                    f"into uint8 {shape}: its source and its index disagree"
                )
            _Hashing(stream, state).write(np.ascontiguousarray(block).data)
        if count != shape[0]:
            raise Problem(f"{path}: only {count} of {shape[0]} images came: its source and its index disagree")
    return state.hexdigest()


@dataclass(frozen=True)
class _Hashing:
    """A stream that digests what it writes."""

    stream: IO
    state: "hashlib._Hash"

    def write(self, part) -> None:
        self.stream.write(part)
        self.state.update(part)


def _check_images(path: Path, shape: tuple[int, ...]) -> None:
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise _changed(path, "it is missing") from None
    except (ValueError, EOFError, OSError) as error:
        raise _changed(path, str(error)) from None
    if not isinstance(images, np.memmap) or images.dtype != np.uint8 or images.shape != shape:
        found = f"{images.dtype} {images.shape}" if isinstance(images, np.ndarray) else "an archive"
        raise _changed(path, f"it holds {found} instead of uint8 {shape}")
    if path.stat().st_size != images.offset + images.nbytes:
        raise _changed(path, "it has bytes behind its images")


def _checked_index(directory: Path, split: str, expected: dict) -> dict[str, np.ndarray]:
    path = directory / f"{split}.csv"
    columns = _read_columns(path)
    labels = columns.get("class", np.array([]))
    if len(labels) != expected["count"]:
        raise _changed(path, f"it has {len(labels)} labels instead of {expected['count']}")
    counts = expected["class_counts"]
    if labels.dtype != np.int64 or labels.min() < 0 or np.bincount(labels, minlength=len(counts)).tolist() != counts:
        raise _changed(path, "its labels are not the recorded ones")
    return columns


def _read_columns(path: Path) -> dict[str, np.ndarray]:
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            names, *rows = csv.reader(stream)
        return {name: _column(texts) for name, texts in zip(names, zip(*rows, strict=True), strict=True)}
    except FileNotFoundError:
        raise _changed(path, "it is missing") from None
    except (csv.Error, ValueError) as error:
        raise _changed(path, str(error)) from None


def _column(texts: tuple[str, ...]) -> np.ndarray:
    """Whole numbers where their texts can be had back from them, else the texts."""
    column = np.array(texts)
    try:
        numbers = column.astype(np.int64)
    except (ValueError, OverflowError):
        return column
    return numbers if np.array_equal(numbers.astype(column.dtype), column) else column
