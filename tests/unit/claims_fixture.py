"""A small results folder whose image-by-image outcomes, and so the differences between its rows, are chosen by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import papers_fixture

from robustloss import outcomes

SPLITS = ("train", "test", "evaluation")


def write(root: Path, rows: dict[str, list[dict]], claims: dict, data: str = "mnist") -> Path:
    """Write trainings of chen2019's experiment `mnist` and a manifest with `claims`; the manifest's path.

    `rows` has a list of trainings per row, each with `clean` (images, bool: right) and `attacks` by label (images,
    bool: robust); optionally `labels`, `cross_entropy` and `l2` (images), `d_cc`, and `images`, the attacked ones'
    places.
    """
    entries = {
        row: [_write_training(root, row, seed, training, data) for seed, training in enumerate(trainings)]
        for row, trainings in rows.items()
    }
    content = {
        "data": {"mnist": "data/prepared/mnist"},
        "rows": {"mnist": entries},
        "labels": {"mnist": {row: row for row in entries}},
        "figures": {},
        "claims": claims,
    }
    return papers_fixture.write_manifest(root, "chen2019", range(2), content)


def right(count: int, of: int) -> np.ndarray:
    """The first `count` of so many images."""
    return np.arange(of) < count


def _write_training(root: Path, row: str, seed: int, training: dict, data: str) -> dict:
    spec = {
        "data": {"name": data},
        "model": {"name": "lenet5"},
        "objective": [{"loss": "cross_entropy", "weight": 1}],
        "epochs": 2,
        "keep": "last",
        "seed": seed,
    }
    attacks = {label: ({"name": label.split()[0]}, papers_fixture.attacked(0.5, 0.9)) for label in training["attacks"]}
    truth = (0.9, training.get("d_cc", 1.0), 0.5)
    entry = papers_fixture.write_run(root, f"mnist-{row}-s{seed}", spec, truth, attacks, 2)
    _write_features(root / entry["features"], training)
    for label, folder in entry["attacks"].items():
        _write_attack(root / folder, training, training["attacks"][label])
    return entry


def _write_features(folder: Path, training: dict) -> None:
    clean, labels = training["clean"], _labels(training)
    values = {
        "labels": labels,
        "predictions": labels + ~clean,
        "cross_entropy": training.get("cross_entropy", np.ones(len(clean))).astype(np.float32),
    }
    arrays = {f"{split}_{name}": array for split in SPLITS for name, array in values.items()}
    outcomes.save(outcomes.outcomes_path(folder, 2), arrays)


def _write_attack(folder: Path, training: dict, robust: np.ndarray) -> None:
    images = training.get("images", np.arange(len(robust)))
    clean, labels = training["clean"][images], _labels(training)[images]
    arrays = {
        "index": images,
        "labels": labels,
        "clean_predictions": labels + ~clean,
        "adversarial_predictions": labels + ~robust,
        "l2": training.get("l2", np.ones(len(images))).astype(np.float32),
    }
    outcomes.save(outcomes.outcomes_path(folder, 2), arrays)
    pd.DataFrame([{"epoch": 2}]).to_csv(folder / "epochs.csv", index=False)


def _labels(training: dict) -> np.ndarray:
    return training.get("labels", np.zeros(len(training["clean"]))).astype(np.int16)
