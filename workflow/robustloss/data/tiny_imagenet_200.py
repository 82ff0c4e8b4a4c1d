"""Tiny ImageNet (Stanford CS231n, 2015): 64 × 64 photographs of 200 classes, 500 of each for training.

The labels of its test images were never published, so `test` is the official validation set: 50 images of each class.
"""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from robustloss.data import prepared
from robustloss.errors import Problem
from robustloss.progress import say, track

NAME = "tiny-imagenet-200"
URL = "http://cs231n.stanford.edu/tiny-imagenet-200.zip"
SIDE = 64
OFFICIAL_COUNT = 500
BLOCK = 200
WNID = re.compile(r"n\d{8}")

Labelled = list[tuple[Path, int]]


def prepare(spec: dict, directory: str | Path, raw: str | Path, may_download: bool = False) -> prepared.Prepared:
    """Prepare the unpacked archive in `raw`/tiny-imagenet-200 as uint8 (count, 64, 64, 3); grey images become RGB.

    Classes are in the order of wnids.txt, with their names from words.txt. Training images come in turns, the first of
    every class, then the second ..., so that the first `train_count` of them show all classes alike; `evaluation_count`
    takes the first of val_annotations.txt; both are all by default. The index gives each image's file name. The archive
    has neither a published checksum nor a secure address, so `may_download` changes nothing.
    Raises Problem naming the file that is missing, damaged or disagrees with the others.
    """
    folder = Path(raw) / NAME
    wnids = _wnids(folder)
    classes = _class_names(folder, wnids)
    train, test = _train(folder, wnids), _validation(folder, wnids)
    train = train[: prepared.chosen_count(spec, "train_count", len(train))]
    evaluation = test[: prepared.chosen_count(spec, "evaluation_count", len(test))]
    splits = {name: _split(name, part) for name, part in (("train", train), ("test", test), ("evaluation", evaluation))}
    sources = {
        "official": URL,
        "test": "the official validation set, because the labels of the test images are not public",
        "wnids": wnids,
        "decoder": f"Pillow {PIL.__version__}",
    }
    return prepared.write(directory, spec, classes, splits, sources)


def _wnids(folder: Path) -> list[str]:
    path = folder / "wnids.txt"
    wnids = _lines(path)
    for number, wnid in enumerate(wnids, 1):
        if not WNID.fullmatch(wnid) or wnid in wnids[: number - 1]:
            raise _damaged(path, f"line {number} is {wnid!r}, which is no WordNet id or is there twice")
    if not wnids:
        raise _damaged(path, "it is empty")
    return wnids


def _class_names(folder: Path, wnids: list[str]) -> list[str]:
    path = folder / "words.txt"
    words = dict(line.split("\t", 1) for line in _lines(path) if "\t" in line)
    for wnid in wnids:
        if wnid not in words:
            raise _damaged(path, f"it does not name {wnid}, which is in wnids.txt")
    return [words[wnid] for wnid in wnids]


def _train(folder: Path, wnids: list[str]) -> Labelled:
    """The training images in turns; ordered by their number, not by where the file system has them."""
    images = [folder / "train" / wnid / "images" for wnid in wnids]
    for path in images:
        if not path.is_dir():
            raise _missing(path)
    of_class = [
        sorted(path.glob(f"{wnid}_*.JPEG"), key=lambda image: (len(image.name), image.name))
        for path, wnid in zip(images, wnids, strict=True)
    ]
    if not any(of_class):
        raise _missing(images[0] / f"{wnids[0]}_0.JPEG")
    _say_other_counts(folder, dict(zip(wnids, map(len, of_class), strict=True)))
    turns = itertools.zip_longest(*of_class)
    return [(path, label) for turn in turns for label, path in enumerate(turn) if path is not None]


def _say_other_counts(folder: Path, counts: dict[str, int]) -> None:
    others = [f"{wnid} ({count})" for wnid, count in counts.items() if count != OFFICIAL_COUNT]
    if others:
        shown = ", ".join(others[:5]) + (" ..." if len(others) > 5 else "")
        say(f"{folder}: {len(others)} classes do not have the official {OFFICIAL_COUNT} training images: {shown}")


def _validation(folder: Path, wnids: list[str]) -> Labelled:
    path, images = folder / "val" / "val_annotations.txt", folder / "val" / "images"
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    present = {image.name for image in images.glob("val_*.JPEG")}
    if not present:
        raise _missing(images / "val_0.JPEG")
    annotated = {}
    for number, line in enumerate(_lines(path), 1):
        name, wnid = [*line.split("\t"), "", ""][:2]
        if wnid not in labels:
            raise _damaged(path, f"line {number} gives {name} the class {wnid!r}, which is not in wnids.txt")
        if name in annotated:
            raise _damaged(path, f"line {number} names {name} a second time")
        if name not in present:
            raise Problem(f"{images / name} is missing, but val_annotations.txt names it: unpack {URL} again")
        annotated[name] = labels[wnid]
    if unnamed := sorted(present - annotated.keys()):
        raise _damaged(path, f"it does not name {unnamed[0]}, which is in {images}")
    return [(images / name, label) for name, label in annotated.items()]


def _split(name: str, images: Labelled) -> tuple[Iterator, tuple, list[dict]]:
    rows = [{"image": path.name, "class": label} for path, label in images]
    return _blocks(name, [path for path, _ in images]), (len(images), SIDE, SIDE, 3), rows


def _blocks(name: str, paths: list[Path]) -> Iterator[np.ndarray]:
    images = map(_decoded, track(paths, f"reading {NAME}, {name}"))
    while block := list(itertools.islice(images, BLOCK)):
        yield np.stack(block)


def _decoded(path: Path) -> np.ndarray:
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            if image.size != (SIDE, SIDE):
                raise _damaged(path, f"its size is {image.size[0]} x {image.size[1]} instead of {SIDE} x {SIDE}")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _damaged(path, f"it cannot be read as JPEG: {error}") from None


def _lines(path: Path) -> list[str]:
    try:
        # An unreadable letter in a class name is no reason to refuse the data.
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(path) from None
    return [line.strip() for line in lines if line.strip()]


def _missing(path: Path) -> Problem:
    return Problem(
        f"{path} is missing: get {URL} and unpack it, so that data_root holds {NAME}/ with wnids.txt, words.txt, "
        "train/<wnid>/images/ and val/ with images/ and val_annotations.txt"
    )


def _damaged(path: Path, why: str) -> Problem:
    return Problem(f"{path} is damaged ({why}): unpack {URL} again")
