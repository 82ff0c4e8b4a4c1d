"""MNIST (LeCun, Cortes, Burges): 28 × 28 grey handwritten digits, 60,000 for training and 10,000 for testing."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from robustloss.data import download, prepared
from robustloss.errors import Problem

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
CLASSES = [str(digit) for digit in range(10)]
UNSIGNED_BYTES = 8


def prepare(
    spec: dict, directory: str | Path, raw: str | Path, may_download: bool, sources: dict[str, dict] | None = None
) -> prepared.Prepared:
    """Prepare the four official files in `raw`/mnist, downloaded there if absent, as uint8 (count, 28, 28, 1).

    `spec`: `train_count` (first images of the training file), `evaluation_count` (first images of the test file);
    both default to all. `sources` maps each file to its url and checksums, data/sources.csv if not given.
    Raises Problem naming the file that is missing, damaged or not the official one.
    """
    names = [name for pair in FILES.values() for name in pair]
    sources = sources or {name: download.source("mnist", name) for name in names}
    paths = {name: download.obtain(sources[name], Path(raw) / "mnist", may_download) for name in names}
    (train_images, train_labels), (images, labels) = (_pair(*(paths[name] for name in FILES[split])) for split in FILES)
    train_count = prepared.chosen_count(spec, "train_count", len(train_images))
    evaluation_count = prepared.chosen_count(spec, "evaluation_count", len(images))
    splits = {
        "train": _split(train_images, train_labels, train_count),
        "test": _split(images, labels, len(images)),
        "evaluation": _split(images, labels, evaluation_count),
    }
    return prepared.write(directory, spec, CLASSES, splits, sources)


def read_idx(path: str | Path) -> np.ndarray:
    """The array in a gzipped IDX file of unsigned bytes, uint8 in the file's own shape; Problem if it is damaged.

    Format: two zero bytes, the type, the number of dimensions, each length as a big-endian 32-bit integer, the data.
    """
    try:
        with gzip.open(path, "rb") as stream:
            content = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, str(error)) from None
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != UNSIGNED_BYTES:
        raise _damaged(path, f"it begins with '{content[:4].hex(' ')}', not as an IDX file of unsigned bytes does")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise _damaged(path, "it ends within its header")
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if len(content) - start != math.prod(shape):
        raise _damaged(path, f"it holds {len(content) - start} bytes where its header announces {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _pair(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise _damaged(images_path, f"its shape is {images.shape} instead of (count, 28, 28)")
    if labels.shape != images.shape[:1]:
        raise _damaged(labels_path, f"its shape is {labels.shape}, but there are {len(images)} images")
    if labels.size and labels.max() >= len(CLASSES):
        raise _damaged(labels_path, f"it has the label {labels.max()}, which is no digit")
    return images, labels


def _split(images: np.ndarray, labels: np.ndarray, count: int) -> tuple[list, tuple, list[dict]]:
    images = images[:count, :, :, None]
    rows = [{"image": image, "class": label} for image, label in enumerate(labels[:count].tolist())]
    return [images], images.shape, rows


def _damaged(path: str | Path, why: str) -> Problem:
    return Problem(
        f"{path} is damaged ({why}): delete it and start again, it will be downloaded, or put the official file there"
    )
