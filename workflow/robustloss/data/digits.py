"""The 1,797 handwritten digits (8 × 8) that come with scikit-learn: real images that need no download."""

from pathlib import Path

import numpy as np
import sklearn
from PIL import Image
from sklearn.datasets import load_digits

from robustloss.data import prepared
from robustloss.errors import Problem

SPLIT_SEED = 0
TRAIN_COUNT = 1200
NATIVE_SIZE = 8
LARGEST_SIZE = 512


def prepare(
    spec: dict, directory: str | Path, raw: Path | None = None, may_download: bool = False
) -> prepared.Prepared:
    """Prepare the digits as uint8 (count, image_size, image_size, 1), the test set of the UCI optical digits data.

    `spec`: `train_count` (default 1200) images, drawn once and for all, train; the rest test; `evaluation_count`
    (default all) of these evaluate. With `image_size` above 8 the images are enlarged bilinearly. `raw` and
    `may_download` are what other data sets need. Raises Problem on settings out of range.
    """
    bunch = load_digits()
    images, labels = _enlarged(_to_bytes(bunch.images), spec), bunch.target
    train_count = prepared.chosen_count({"train_count": TRAIN_COUNT} | spec, "train_count", len(images) - 1)
    train, test = np.split(_shuffled(len(images)), [train_count])
    evaluation = test[: prepared.chosen_count(spec, "evaluation_count", len(test))]
    splits = {
        split: _split(images, labels, chosen)
        for split, chosen in (("train", train), ("test", test), ("evaluation", evaluation))
    }
    sources = {"digits": f"scikit-learn {sklearn.__version__}, load_digits"}
    return prepared.write(directory, spec, bunch.target_names.astype(str).tolist(), splits, sources)


def _to_bytes(images: np.ndarray) -> np.ndarray:
    """Grey levels 0 to 16 stretched to 0 to 255."""
    return np.rint(images * 255 / 16).astype(np.uint8)


def _enlarged(images: np.ndarray, spec: dict) -> np.ndarray:
    size = spec.get("image_size", NATIVE_SIZE)
    if type(size) is not int or not NATIVE_SIZE <= size <= LARGEST_SIZE:
        raise Problem(f"digits: image_size is {size!r}; it must be a whole number from {NATIVE_SIZE} to {LARGEST_SIZE}")
    if size == NATIVE_SIZE:
        return images
    return np.stack([Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in images])


def _shuffled(count: int) -> np.ndarray:
    # numpy promises that a bit generator's raw stream never changes, but not so for Generator.permutation (NEP 19).
    return np.argsort(np.random.PCG64(SPLIT_SEED).random_raw(count), kind="stable")


def _split(images: np.ndarray, labels: np.ndarray, chosen: np.ndarray) -> tuple[list, tuple, list[dict]]:
    images = images[chosen, :, :, None]
    rows = [{"image": int(image), "class": int(labels[image])} for image in chosen]
    return [images], images.shape, rows
