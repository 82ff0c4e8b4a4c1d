"""The committed tables of workflow/rates: what networks, data sets, devices and attacks are like, and who says so."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "rates"
# Stands for a network or an attack of the user's own that no table knows yet.
OTHER = "other"


@dataclass(frozen=True)
class Network:
    """One image's forward pass: multiply-adds, numbers that layers put out, layers with weights, parameters."""

    multiply_adds: float
    activations: float
    layers: float
    parameters: float


@dataclass(frozen=True)
class DataSet:
    """Classes, the side and channels of the images, and how many of them each split has."""

    classes: int
    side: int
    channels: int
    counts: dict[str, int]

    def bytes(self, *splits: str) -> int:
        """The size of the uint8 images of some splits."""
        return sum(self.counts[split] for split in splits) * self.side**2 * self.channels


@dataclass(frozen=True)
class Device:
    """Seconds before the first pass, rates when training and when evaluating, and memory before the first pass.

    A pass of a batch takes `layer_seconds` for each layer besides, whatever the batch: a GPU's time to launch it.
    """

    start_seconds: float
    training_rate: float  # multiply-adds a second
    evaluation_rate: float
    activation_rate: float  # numbers a second that layers put out
    layer_seconds: float
    memory: float  # bytes


def network(spec: dict, data: DataSet) -> Network:
    """A network of `spec` on images of `data`: its table's row, scaled to another size, width and depth.

    Multiply-adds grow with the image's area, the square of the width and the depth; activations with the width alone.
    """
    row = _row("networks", spec["name"])
    area = (data.side / row["side"]) ** 2
    width = spec.get("width", row["width"]) / row["width"]
    depth = spec.get("depth", row["depth"]) / row["depth"]
    return Network(
        1e6 * row["million_multiply_adds"] * area * width**2 * depth,
        1e6 * row["million_activations"] * area * width * depth,
        row["layers"] * depth,
        1e6 * row["million_parameters"] * width**2 * depth,
    )


def data_set(spec: dict) -> DataSet:
    """The images of a data set's specification; those of videos by how many a video has on average."""
    row = _row("data", spec["name"])
    if "splits" in spec:
        each = row["images_per_video"] or row["images_per_second"] * spec["seconds"]
        counts = {split: round(each * len(videos)) for split, videos in spec["splits"].items()}
    else:
        counts = {
            "train": spec.get("train_count", row["train"]),
            "test": row["test"] or row["all"] - spec.get("train_count", row["train"]),
            "evaluation": spec.get("evaluation_count", row["test"]),
        }
    return DataSet(int(row["classes"]), int(spec.get("image_size", row["side"])), int(row["channels"]), counts)


def device(name: str) -> Device:
    """The rates of `cpu` (one thread) or `cuda`."""
    row = _row("devices", name)
    return Device(**{field: row[field] for field in Device.__dataclass_fields__})


def share(attack: str) -> float:
    """The share of its passes that an attack needs in practice, since samples leave when their question is answered."""
    return _row("attacks", attack)["share"]


def sources() -> dict[str, str]:
    """Where each device's rates come from."""
    return {name: row["source"] for name, row in table("devices").items()}


def _row(which: str, name: str) -> dict:
    rows = table(which)
    return rows.get(name) or rows[OTHER]


@cache
def table(name: str) -> dict[str, dict]:
    """A table's rows by their first column; numbers are floats, and an empty cell is 0."""
    with open(FOLDER / f"{name}.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    key = next(iter(rows[0]))
    texts = (key, "source")
    return {
        row[key]: {column: value if column in texts else float(value or 0) for column, value in row.items()}
        for row in rows
    }
