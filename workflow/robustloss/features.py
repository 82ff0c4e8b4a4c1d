"""What a trained network makes of clean images: accuracy, cross-entropy and feature distances, by epoch and split.

"Features" are the logits of the last layer, as in ding2025, Section 2.2.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from robustloss import checkpoints, devices, models, naming, outcomes
from robustloss.data.prepared import SPLITS, Prepared
from robustloss.distances import class_distances
from robustloss.files import write_csv
from robustloss.images import Images
from robustloss.progress import track
from robustloss.provenance import Stopwatch

BATCH = 512


def measure(run: Path, data: Prepared, directory: Path, device: str = "auto") -> None:
    """Measure a run's networks on all splits and write the results into `directory`.

    Leaves samples/epoch-NNN.npz (per split and sample: label, prediction, cross-entropy; per split the distances of
    Eq. 6), epochs.csv, classes.csv, and, last, features.json. Epochs that are there already are not measured again.
    """
    record = checkpoints.open_run(run, data)
    watch = Stopwatch(naming.features_modules(record["spec"]["model"]))
    where = devices.choose(device)
    epochs = checkpoints.epochs(record)
    splits = {split: Images(data, split, where) for split in SPLITS}
    for epoch in track(epochs, f"{directory.name} of {run.name}"):
        path = outcomes.outcomes_path(directory, epoch)
        if not path.exists():
            model = models.evaluation_copy(checkpoints.network(run, record, data, epoch), where)
            arrays = {}
            for split, images in splits.items():
                arrays |= _outcomes(model, images, split, len(data.classes))
            outcomes.save(path, arrays)
    summary = _summarise(directory, epochs, data)
    about = {"name": directory.name, **checkpoints.origin(run, record), "spec": {}, "summary": summary}
    samples = [outcomes.outcomes_path(directory, epoch) for epoch in epochs]
    vouched = [directory / "epochs.csv", directory / "classes.csv", *samples]
    watch.write(directory / "features.json", about, vouched, where)


@torch.no_grad()
def _outcomes(model: torch.nn.Module, images: Images, split: str, classes: int) -> dict[str, np.ndarray]:
    found = [(model(inputs).float(), labels) for inputs, labels in images.batches(BATCH)]
    logits, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    d_ic, d_cc = class_distances(logits, labels, classes)
    return {
        f"{split}_labels": labels.to(torch.int16).cpu().numpy(),
        f"{split}_predictions": logits.argmax(1).to(torch.int16).cpu().numpy(),
        f"{split}_cross_entropy": F.cross_entropy(logits, labels, reduction="none").cpu().numpy(),
        f"{split}_distances": np.array([float(d_ic), float(d_cc)]),
    }


def _summarise(directory: Path, epochs, data: Prepared) -> dict:
    rows, class_rows = [], []
    correct: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for epoch in epochs:
        found = outcomes.load(outcomes.outcomes_path(directory, epoch))
        for split in SPLITS:
            right = found[f"{split}_predictions"] == found[f"{split}_labels"]
            correct[split].append(right)
            rows.append({"epoch": epoch, "split": split, **_row(found, split, right)})
            class_rows += [{"epoch": epoch, "split": split, **row} for row in _classes(found, split, right, data)]
    write_csv(directory / "epochs.csv", rows)
    write_csv(directory / "classes.csv", class_rows)
    return {split: _summary(split, rows, correct[split]) for split in SPLITS}


def _row(found: dict, split: str, right: np.ndarray) -> dict:
    labels = found[f"{split}_labels"]
    d_ic, d_cc = found[f"{split}_distances"].tolist()
    return {
        "count": len(labels),
        "correct": int(right.sum()),
        **outcomes.share(right, "accuracy"),
        "balanced_accuracy": outcomes.balanced(right, labels),
        "majority": outcomes.majority(labels),
        "cross_entropy": float(found[f"{split}_cross_entropy"].mean(dtype=np.float64)),
        "d_ic": d_ic,
        "d_cc": d_cc,
    }


def _classes(found: dict, split: str, right: np.ndarray, data: Prepared):
    labels = found[f"{split}_labels"]
    for index, name in enumerate(data.classes):
        members = labels == index
        if members.any():
            yield {
                "class": index,
                "name": name,
                "count": int(members.sum()),
                "correct": int(right[members].sum()),
                "cross_entropy": float(found[f"{split}_cross_entropy"][members].mean(dtype=np.float64)),
            }


def _summary(split: str, rows: list[dict], correct: list[np.ndarray]) -> dict:
    own = [row for row in rows if row["split"] == split]
    balanced = [row["balanced_accuracy"] for row in own]
    return {
        "accuracy": outcomes.over_epochs(np.stack(correct)),
        "balanced_accuracy": {"mean": float(np.mean(balanced)), "last": balanced[-1]},
        "majority": own[-1]["majority"],
        "count": own[-1]["count"],
    }
