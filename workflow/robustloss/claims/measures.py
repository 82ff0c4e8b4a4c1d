"""What a claim measures on the runs of a row: one number for each image, or one for each training.

The numbers of images that claims rest on are kept beside them, in images.npz: they are a small part of the per-sample
outcomes, and enough to judge every claim again where those are not at hand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import NamedTuple

import numpy as np

from robustloss import outcomes
from robustloss.errors import Problem
from robustloss.papers.measured import Run, read_table

# Accuracy, training error and distances are measured where the papers do so.
SPLITS = {"accuracy": "test", "error": "test", "cross-entropy": "train", "d_cc": "evaluation", "d_ic": "evaluation"}


@dataclass(frozen=True)
class Trained:
    """A run with the folders that its manifest names."""

    run: Run
    features: Path
    attacks: dict[str, Path]


class Sample(NamedTuple):
    """Numbers of images by their places in the split; NaN where an image has none."""

    images: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Reader:
    """Reads what is measured on a run once, whichever claims ask for it.

    `kept` has what was read of outcomes that are not here any more, by what it is.
    """

    root: Path
    kept: dict[tuple[str, ...], Sample] = field(default_factory=dict)
    known: dict[tuple[str, ...], Sample] = field(default_factory=dict)

    def sample(
        self, trained: Trained, measure: str, attacks: Sequence[str], epochs: str, only: int | None = None
    ) -> Sample:
        """One run's `measure` of each image, a mean over its epochs or (`epochs` last) at the last one.

        With several `attacks` an image counts as it does under the worst of them; with a class `only` its images do.
        """
        if not attacks:
            return self._once(trained.features, measure, epochs, only, _clean)
        samples = [self._once(trained.attacks[label], measure, epochs, only, _attacked) for label in attacks]
        images, values = aligned(samples)
        worst = values.max(axis=0) if measure in ("error", "accuracy lost") else values.min(axis=0)
        return Sample(images, worst)

    def every_epoch(self, trained: Trained, attacks: Sequence[str]) -> bool:
        """Whether all epochs of a run were kept and measured, or only some."""
        folders = [trained.attacks[label] for label in attacks] or [trained.features]
        return all(len(_epochs(folder)) == trained.run.record["spec"]["epochs"] for folder in folders)

    def _once(self, folder: Path, measure: str, epochs: str, only: int | None, read: Callable) -> Sample:
        what = measure if only is None else f"{measure} of class {only}"
        key = (folder.relative_to(self.root).as_posix(), what, epochs)
        if key not in self.known:
            numbers = _epochs(folder)
            chosen = numbers if epochs == "mean" else numbers[-1:]
            if key in self.kept and not any(outcomes.outcomes_path(folder, number).exists() for number in chosen):
                self.known[key] = self.kept[key]
            else:
                images, values = aligned([read(_outcomes(folder, number), measure, only) for number in chosen])
                self.known[key] = Sample(images, values.mean(axis=0))
        return self.known[key]


def kept(path: Path) -> dict[tuple[str, ...], Sample]:
    """What `keep` wrote; nothing where there is no such file."""
    if not path.is_file():
        return {}
    arrays = outcomes.load(path)
    return {
        tuple(key): Sample(arrays[f"images-{which}"], arrays[f"values-{number}"].astype(float))
        for number, (key, which) in enumerate(zip(arrays["keys"].tolist(), arrays["which"].tolist(), strict=True))
    }


def keep(path: Path, samples: dict[tuple[str, ...], Sample]) -> None:
    """Write samples by key in the fewest bytes that give back the same numbers."""
    if not samples:
        return
    places: dict[bytes, int] = {}
    arrays = {"keys": np.array(list(samples)), "which": np.zeros(len(samples), np.int64)}
    for number, sample in enumerate(samples.values()):
        which = arrays["which"][number] = places.setdefault(sample.images.tobytes(), len(places))
        arrays[f"images-{which}"] = sample.images.astype(np.min_scalar_type(sample.images.max(initial=0)))
        arrays[f"values-{number}"] = _smallest(sample.values)
    outcomes.save(path, arrays)


def _smallest(values: np.ndarray) -> np.ndarray:
    for kind in (bool, np.float32):
        found = values.astype(kind)
        if np.array_equal(found.astype(float), values, equal_nan=True):
            return found
    return values


def _epochs(folder: Path) -> list[int]:
    """The epochs that were measured."""
    return sorted(set(read_table(folder / "epochs.csv")["epoch"]))


def _outcomes(folder: Path, epoch: int) -> dict[str, np.ndarray]:
    path = outcomes.outcomes_path(folder, epoch)
    if not path.exists():
        raise Problem(f"{path} is missing: claims compare image by image; run the stage that makes it again")
    return outcomes.load(path)


def number(trained: Trained, measure: str) -> float:
    """A run's one number: a distance at the last epoch, or the seconds of its training."""
    if measure == "seconds":
        return float(trained.run.record["environment"]["seconds"])
    return trained.run.last(measure, SPLITS[measure])


def aligned(samples: Sequence[Sample]) -> tuple[np.ndarray, np.ndarray]:
    """The images that all samples have, and their values (samples, images)."""
    images, *others = (sample.images for sample in samples)
    if all(np.array_equal(images, other) for other in others):
        # Nearly always, and to look for what they share would take half of the ledger's time.
        return images, np.stack([sample.values for sample in samples])
    images = reduce(np.intersect1d, others, images)
    return images, np.stack([sample.values[np.searchsorted(sample.images, images)] for sample in samples])


def _clean(found: dict[str, np.ndarray], measure: str, only: int | None) -> Sample:
    split = SPLITS[measure]
    labels = found[f"{split}_labels"]
    if measure == "cross-entropy":
        values = found[f"{split}_cross_entropy"].astype(float)
    else:
        right = found[f"{split}_predictions"] == labels
        values = (right if measure == "accuracy" else ~right).astype(float)
    return _of_class(Sample(np.arange(len(labels)), values), labels, only)


def _attacked(found: dict[str, np.ndarray], measure: str, only: int | None) -> Sample:
    """A perturbation's L2 norm counts where the image was right, and is not any more."""
    clean = found["clean_predictions"] == found["labels"]
    robust = clean & (found["adversarial_predictions"] == found["labels"])
    values = {
        "accuracy": clean,
        "error": ~clean,
        "robust accuracy": robust,
        "accuracy lost": clean & ~robust,
        "perturbation": np.where(clean & ~robust, found["l2"], np.nan),
    }[measure]
    return _of_class(Sample(found["index"], values.astype(float)), found["labels"], only)


def _of_class(sample: Sample, labels: np.ndarray, only: int | None) -> Sample:
    return sample if only is None else Sample(*(numbers[labels == only] for numbers in sample))
