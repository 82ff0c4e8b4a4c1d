"""Per-sample outcomes of one epoch's network, kept one file an epoch so that a killed evaluation goes on.

Of an attack the arrays (samples,) are `index`, the position in the split; `labels`; of the clean and of the adversarial
image `*_predictions`, `*_cross_entropy` and `*_margin`, max_{j != y} z_j - z_y, by which attacks up whatever loss can
be compared; `success`, whether the attack reached its goal; `linf`, `l2` and `l0` (values that differ) of the
perturbation; `iterations` and `queries`; `batch`, the number of the batch, whose random numbers it shares. A targeted
attack has `targets`, an ensemble `broken_by`, as in `Perturbed`. Files from before lack `success`, `targets`, the
margins and `batch`.
"""

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from robustloss.errors import Problem
from robustloss.files import replacing
from robustloss.intervals import mean_of_epochs, wilson

# What numpy and its archives raise on bytes that are not what was written, or on a pickle.
DAMAGE = (OSError, ValueError, EOFError, KeyError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def outcomes_path(directory: Path, epoch: int) -> Path:
    """Where the outcomes of an epoch (counted from 1) lie."""
    return directory / "samples" / f"epoch-{epoch:03d}.npz"


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    with replacing(path, "wb") as stream:
        stream.write(buffer.getbuffer())


def load(path: Path) -> dict[str, np.ndarray]:
    """Read an epoch's arrays; a damaged file is named."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except DAMAGE as error:
        raise Problem(f"{path} is damaged ({error}): delete it and run the same command again") from None


def balanced(correct: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes present of the share that is correct: each class counts the same."""
    return float(np.mean([correct[labels == label].mean() for label in np.unique(labels)]))


def majority(labels: np.ndarray) -> float:
    """What always answering the most frequent class would score."""
    return float(np.bincount(labels).max() / len(labels))


def share(correct: np.ndarray, name: str, short: str | None = None) -> dict[str, float]:
    """{name, short_low, short_high}: the share of correct samples with Wilson's 95 % interval."""
    estimate = wilson(int(correct.sum()), len(correct))
    low, high = estimate.interval
    return {name: estimate.mean, f"{short or name}_low": low, f"{short or name}_high": high}


def over_epochs(correct: np.ndarray) -> dict[str, float | None]:
    """Summary of outcomes (epochs, samples): the mean over epochs and the last epoch, each with a 95 % interval."""
    mean, interval = mean_of_epochs(correct)
    last = share(correct[-1], "last")
    low, high = interval or (None, None)
    return {"mean": mean, "low": low, "high": high, **last}
