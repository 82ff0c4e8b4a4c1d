"""One run as its files tell it: training, features per epoch and class, attacks."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from robustloss import outcomes
from robustloss.errors import Problem
from robustloss.files import check_vouched, read_json

SPLITS = ("train", "test", "evaluation")
# As `robustloss.measurements` writes them; that module brings torch, which a figure does not need.
ARRAYS, RECORD = "arrays.npz", "measurement.json"
EPOCH_COLUMNS = ("epoch", "split", "count", "cross_entropy", "d_ic", "d_cc")
CLASS_COLUMNS = ("epoch", "split", "class", "name", "count", "cross_entropy")
RUN_KEYS = ("spec.epochs", "spec.objective", "spec.model", "environment.seconds", "environment.hardware")
SHARE_KEYS = ("mean", "low", "high", "last", "last_low", "last_high")
FEATURE_KEYS = tuple(
    f"summary.{split}.{key}"
    for split in SPLITS
    for key in (
        *(f"accuracy.{name}" for name in SHARE_KEYS),
        "balanced_accuracy.mean",
        "balanced_accuracy.last",
        "majority",
        "count",
    )
)
ATTACK_KEYS = (
    "name",
    "spec.name",
    *(f"summary.{share}.{name}" for share in ("robust_accuracy", "clean_accuracy") for name in SHARE_KEYS),
    "summary.balanced_robust_accuracy.mean",
    "summary.balanced_robust_accuracy.last",
    "summary.majority",
    "summary.count",
)
AUDIT_KEYS = (
    "spec.epsilon",
    "summary.verdict",
    "summary.flagged",
    "summary.count",
    *(f"summary.robust_accuracy.{name}.accuracy" for name in ("clean", "pgd", "worst_case")),
    "signs",
)


@dataclass(frozen=True)
class Run:
    """One trained network. Accuracies are in [0, 1], cross-entropies in nats, distances those of raw logits.

    `record` is run.json, `features` features.json, `attacks` attack.json by the attack's label; `epochs` has one row
    per epoch and split, `classes` one per epoch, split and class; `audit` is audit.json where there is one, `measured`
    has the folders of what figures need besides, by figure.
    """

    name: str
    seed: int
    record: dict
    features: dict
    epochs: pd.DataFrame
    classes: pd.DataFrame
    attacks: dict[str, dict]
    audit: dict | None
    measured: dict[str, Path]

    @property
    def trained_epochs(self) -> int:
        """For how many epochs the network was trained."""
        return self.record["spec"]["epochs"]

    @property
    def last_epoch(self) -> int:
        """Number of the last epoch whose network was kept; the first is 1."""
        return max(_kept(self.record))

    def curve(self, column: str, split: str) -> pd.Series:
        """A column of `epochs` for one split, by epoch."""
        return self.epochs[self.epochs["split"] == split].set_index("epoch")[column].sort_index()

    def last(self, column: str, split: str) -> float:
        """The value of `column` at the last epoch."""
        return float(self.curve(column, split).loc[self.last_epoch])

    def last_classes(self, split: str) -> pd.DataFrame:
        """The rows of `classes` for one split at the last epoch, by class id."""
        wanted = (self.classes["split"] == split) & (self.classes["epoch"] == self.last_epoch)
        return self.classes[wanted].set_index("class").sort_index()

    def attack(self, label: str) -> dict:
        """The record of one attack."""
        if label not in self.attacks:
            raise Problem(f"run {self.name} has no attack '{label}': add it to the paper's attacks")
        return self.attacks[label]

    def measurement(self, figure: str) -> tuple[dict, dict[str, np.ndarray]] | None:
        """The record and the arrays of what was measured for a figure; None where nothing was."""
        if figure not in self.measured:
            return None
        try:
            folder = self.measured[figure]
            return read_json(folder / RECORD, "spec", "classes", "summary"), outcomes.load(folder / ARRAYS)
        except Problem as problem:
            raise Problem(f"run {self.name}: {problem}") from None


def names(runs: Iterable[Run]) -> str:
    """What a row's file says that it rests on: the names of the runs, none of which holds a space."""
    return " ".join(run.name for run in runs)


def read(root: Path, entry: dict) -> Run:
    """Read what a manifest's `entry` names; paths are relative to `root`. A Problem names the run and the file."""
    try:
        record = read_json(root / entry["directory"] / "run.json", *RUN_KEYS)
        features = root / entry["features"]
        measures = read_json(features / "features.json", *FEATURE_KEYS)
        epochs = read_table(features / "epochs.csv", EPOCH_COLUMNS)
        classes = read_table(features / "classes.csv", CLASS_COLUMNS)
        for name, frame in (("epochs.csv", epochs), ("classes.csv", classes)):
            check_vouched(features / name, measures)
            _check_epochs(features / name, frame, record)
        return Run(
            name=entry["run"],
            seed=entry["seed"],
            record=record,
            features=measures,
            epochs=epochs,
            classes=classes,
            attacks={
                label: read_json(root / path / "attack.json", *ATTACK_KEYS) for label, path in entry["attacks"].items()
            },
            audit=read_json(root / entry["audit"] / "audit.json", *AUDIT_KEYS) if "audit" in entry else None,
            measured={figure: root / path for figure, path in entry.get("measured", {}).items()},
        )
    except Problem as problem:
        raise Problem(f"run {entry['run']}: {problem}") from None


def read_table(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """A table that an earlier stage wrote, with `columns` among its own; a Problem names one that is not whole."""
    try:
        frame = pd.read_csv(path, na_values="—")
    except FileNotFoundError:
        raise Problem(f"{path} is missing: run the stage that makes it again") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise _incomplete(path, str(error).strip()) from None
    missing = [column for column in columns if column not in frame]
    if missing:
        raise _incomplete(path, f"it has no column '{missing[0]}'")
    return frame


def _kept(record: dict) -> set[int]:
    """The epochs whose networks a run kept, as `robustloss.checkpoints` says, which brings torch."""
    last, keep = record["spec"]["epochs"], record["spec"].get("keep", "all")
    return set(range(1, last + 1)) if keep == "all" else {record["kept"]["epoch"] if keep == "best" else last}


def _check_epochs(path: Path, frame: pd.DataFrame, record: dict) -> None:
    for split in SPLITS:
        found = set(frame.loc[frame["split"] == split, "epoch"])
        missing = sorted(_kept(record) - found)
        if missing:
            raise _incomplete(path, f"{split} has no epoch {missing[0]} of {record['spec']['epochs']}")


def _incomplete(path: Path, why: str) -> Problem:
    return Problem(f"{path} is not whole ({why}): delete it and run the stage that makes it again")
