"""Cholec80: videos of gallbladder surgery with the tools present in every second (Twinanda et al., IEEE TMI 2017).

As in ding2025 (Table 1) the classes are the seven tools and the images are the frames that show exactly one of them.
The folder of raw data has the publisher's layout:

    videos/video01.mp4                        25 frames per second, or in its place
    frames/video01/000123.jpg                 frames extracted before, this one of second 123; also .jpeg and .png
    tool_annotations/video01-tool.txt         one row per second: Frame = 25 x second, then a 0 or 1 for every tool
"""

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from PIL import Image

from robustloss import files
from robustloss.data import prepared
from robustloss.data.video import FRAMES_PER_SECOND, read_frames, shrink
from robustloss.errors import Problem
from robustloss.progress import track

CLASSES = ("Grasper", "Bipolar", "Hook", "Scissors", "Clipper", "Irrigator", "Bag")
COLUMNS = ("Frame", *CLASSES[:-1], "SpecimenBag")
INDEX = ("video", "second", "frame", "class")
IMAGES_AT_ONCE = 256  # 39 MB at 224 x 224


class Annotation(NamedTuple):
    """The annotated seconds of a video, int64 (n,), increasing, and the tools that each shows, bool (n, 7)."""

    seconds: np.ndarray
    tools: np.ndarray


def video_name(number: int) -> str:
    """The name of a video's files: `video01` to `video80`."""
    return f"video{number:02d}"


def annotation_path(annotations: str | Path, video: str) -> Path:
    """Where the publisher keeps the tools of a video."""
    return Path(annotations) / f"{video}-tool.txt"


def read_annotation(path: str | Path) -> Annotation:
    """Read one of the publisher's tab-separated tool annotations.

    Raises Problem, with line and column, if the file is missing or no such table: a column too few or too many, a tool
    that is neither 0 nor 1, frames that are not increasing multiples of 25.
    """
    header, *lines = [line.split("\t") for line in _read_text(path).splitlines()]
    for name in COLUMNS:
        if header.count(name) != 1:
            raise _bad(path, f"line 1 must have one column {name} (in all {', '.join(COLUMNS)}, with tabs between)")
    if len(header) > len(COLUMNS):
        raise _bad(path, f"line 1 has the unknown column {next(name for name in header if name not in COLUMNS)!r}")
    rows = [_read_row(path, number, header, values) for number, values in enumerate(lines, 2)]
    if not rows:
        raise _bad(path, "line 2 is missing, there is not one annotated second")
    table = np.array(rows)[:, [header.index(name) for name in COLUMNS]]
    for row in np.flatnonzero(np.diff(table[:, 0]) <= 0):
        raise _bad(path, f"line {row + 3}, column Frame: {table[row + 1, 0]} must be above {table[row, 0]} before it")
    return Annotation(table[:, 0] // FRAMES_PER_SECOND, table[:, 1:].astype(bool))


def single_tool_seconds(annotation: Annotation) -> tuple[np.ndarray, np.ndarray]:
    """The seconds that show exactly one tool and which one, both int64 (m,); classes count from 0 as in CLASSES."""
    single = annotation.tools.sum(axis=1) == 1
    return annotation.seconds[single], annotation.tools[single].argmax(axis=1)


def count_classes(annotations: str | Path, splits: dict[str, Sequence[int]]) -> dict[str, list[int]]:
    """Single-tool seconds per class in each split of video numbers, from the annotations alone (ding2025, Table 1)."""
    videos = sorted({number for numbers in splits.values() for number in numbers})
    counts = {}
    for number in videos:
        _, classes = single_tool_seconds(read_annotation(annotation_path(annotations, video_name(number))))
        counts[number] = np.bincount(classes, minlength=len(CLASSES))
    return {split: sum(counts[number] for number in numbers).tolist() for split, numbers in splits.items()}


def find_source(raw: str | Path, video: str) -> Path:
    """The video file, or else the folder of its frames; raises Problem if these or the annotation are missing."""
    raw = Path(raw)
    file, folder = raw / "videos" / f"{video}.mp4", raw / "frames" / video
    annotation = annotation_path(raw / "tool_annotations", video)
    source = file if file.is_file() else folder if folder.is_dir() else None
    if source is None:
        raise Problem(
            f"{video} has neither {file} nor a folder of frames {folder}: ask the publisher of Cholec80 for its videos "
            "and put them there, or take the video out of the splits"
        )
    if not annotation.is_file():
        raise Problem(f"{source} has no annotation {annotation}: unpack the publisher's tool_annotations there")
    return source


def extract(video: str, raw: str | Path, image_size: int, images: str | Path, index: str | Path) -> None:
    """Write a video's single-tool frames, one per second, and then, last, their index.

    `images` becomes a .npy file, uint8 (m, image_size, image_size, 3) RGB, `index` a table of video, second, frame
    (25 x second) and class. Of a folder of frames those of single-tool seconds are taken; of a video all, and a video
    that lacks one raises Problem, as does all that cannot be read.
    """
    source = find_source(raw, video)
    annotation_file = annotation_path(Path(raw) / "tool_annotations", video)
    annotation = read_annotation(annotation_file)
    seconds, classes = single_tool_seconds(annotation)
    if source.is_dir():
        paths = _frame_files(source, annotation_file, annotation)
        extracted = np.isin(seconds, list(paths))
        seconds, classes = seconds[extracted], classes[extracted]
        pictures = (_read_image(paths[second], image_size) for second in seconds.tolist())
    else:
        pictures = (shrink(frame, image_size) for _, frame in read_frames(source, FRAMES_PER_SECOND * seconds))
    if not len(seconds):
        raise Problem(f"{source} has no frame that shows exactly one tool: take {video} out of the splits")
    Path(index).unlink(missing_ok=True)
    _write_images(Path(images), track(pictures, video, len(seconds)), (len(seconds), image_size, image_size, 3))
    rows = zip(seconds.tolist(), classes.tolist(), strict=True)
    files.write_csv(index, (_index_row(video, second, tool) for second, tool in rows))


def assemble(parts: dict[str, list[tuple[Path, Path]]], directory: str | Path, spec: dict) -> prepared.Prepared:
    """Join the videos' images and indexes, in the order given, into the prepared splits; one block in memory at a time.

    `parts` holds for each split what `extract` wrote for each of its videos, in the order of `spec["splits"]`.
    Raises Problem if these are other videos, another image size, or not what was written.
    """
    splits, sources = {}, {}
    size = spec["image_size"]
    for split, pairs in parts.items():
        tables = [_read_index(index) for _, index in pairs]
        videos = [table[0]["video"] for table in tables]
        wanted = [video_name(number) for number in spec["splits"][split]]
        if videos != wanted:
            raise Problem(f"{directory}: {split} must be {', '.join(wanted)}, but was given {', '.join(videos)}")
        for (images, index), table in zip(pairs, tables, strict=True):
            _check_images(images, index, (len(table), size, size, 3))
        rows = list(itertools.chain.from_iterable(tables))
        splits[split] = (_blocks([images for images, _ in pairs]), (len(rows), size, size, 3), rows)
        sources |= {video: {"images": len(table)} for video, table in zip(videos, tables, strict=True)}
    return prepared.write(directory, spec, list(CLASSES), splits, sources)


def _index_row(video: str, second: int, tool: int) -> dict:
    return {"video": video, "second": second, "frame": FRAMES_PER_SECOND * second, "class": tool}


def _bad(path: str | Path, what: str) -> Problem:
    return Problem(f"{path} is not a tool annotation of Cholec80: {what}; unpack the publisher's file again")


def _read_text(path: str | Path) -> str:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise Problem(f"{path} cannot be read ({error.strerror}): unpack the publisher's tool_annotations") from None
    except UnicodeDecodeError as error:
        raise _bad(path, f"byte {error.start} is no text") from None
    if not text:
        raise _bad(path, "it is empty")
    return text


def _read_row(path: str | Path, number: int, header: list[str], values: list[str]) -> list[int]:
    """One line's numbers, in the order of the header."""
    if len(values) != len(header):
        raise _bad(path, f"line {number} has {len(values)} values for {len(header)} columns")
    for name, value in zip(header, values, strict=True):
        if name == "Frame" and not (re.fullmatch("[0-9]{1,9}", value) and int(value) % FRAMES_PER_SECOND == 0):
            raise _bad(path, f"line {number}, column Frame: {value!r} is not a multiple of {FRAMES_PER_SECOND}")
        if name != "Frame" and value not in ("0", "1"):
            raise _bad(path, f"line {number}, column {name}: {value!r} is neither 0 nor 1")
    return [int(value) for value in values]


def _frame_files(folder: Path, annotation_file: Path, annotation: Annotation) -> dict[int, Path]:
    """The images of a folder by their second; hidden files are the operating system's."""
    annotated = set(annotation.seconds.tolist())
    paths = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if not re.fullmatch(r"[0-9]{6}\.(jpg|jpeg|png)", path.name):
            raise Problem(
                f"{path} must be named by its second in six digits, as in 000123.jpg or .png: rename or move it"
            )
        second = int(path.stem)
        if second not in annotated:
            last = FRAMES_PER_SECOND * max(annotated)
            raise Problem(
                f"{path} has no row Frame {FRAMES_PER_SECOND * second} in {annotation_file}, which ends with row "
                f"Frame {last}: remove it, or rename it by its second"
            )
        if second in paths:
            raise Problem(f"{path} and {paths[second].name} are both of second {second}: remove one of them")
        paths[second] = path
    return paths


def _read_image(path: Path, size: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Problem(f"{path} cannot be read as an image ({error}): extract this frame again or remove it") from None
    return shrink(av.VideoFrame.from_ndarray(pixels, format="rgb24"), size)


def _write_images(path: Path, images: Iterable[np.ndarray], shape: tuple[int, ...]) -> None:
    with files.replacing(path, "wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for image in images:
            stream.write(image.tobytes())


def _read_index(path: str | Path) -> list[dict]:
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = [
                {name: row[name] if name == "video" else int(row[name]) for name in INDEX}
                for row in csv.DictReader(stream)
            ]
    except FileNotFoundError:
        raise Problem(f"{path} is missing: extract its video") from None
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise Problem(f"{path} is damaged ({error}): delete it and extract its video again") from None
    if len({row["video"] for row in rows}) != 1:
        raise Problem(
            f"{path} is damaged (it must list the frames of one video): delete it and extract its video again"
        )
    return rows


def _check_images(path: str | Path, index: str | Path, shape: tuple[int, ...]) -> None:
    try:
        images = np.lib.format.open_memmap(path, mode="r")
        found = f"{images.dtype} {images.shape}"
    except (OSError, ValueError, EOFError) as error:
        found = f"an unreadable file ({error})"
    if found != f"uint8 {shape}":
        raise Problem(f"{path} is {found}, but {index} needs uint8 {shape}: delete both and extract their video again")


def _blocks(paths: list[str | Path]) -> Iterator[np.ndarray]:
    for path in track(paths, "joining videos"):
        images = np.lib.format.open_memmap(path, mode="r")
        for start in range(0, len(images), IMAGES_AT_ONCE):
            yield images[start : start + IMAGES_AT_ONCE]
