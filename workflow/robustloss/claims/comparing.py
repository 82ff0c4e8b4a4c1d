"""From a manifest's runs to the comparisons that its claims rest on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from robustloss.claims import differences, measures, stand_ins, statements
from robustloss.claims.measures import Reader, Sample, Trained, aligned, number
from robustloss.claims.verdicts import Comparison, Verdict
from robustloss.errors import Problem
from robustloss.papers.collection import Collection

KEPT = "images.npz"
# Fewer images than this have no interval worth the name.
FEWEST = 10


@dataclass(frozen=True)
class Side:
    """One side of a comparison: the trainings of its rows, and the attacks that they are measured under."""

    experiment: str
    rows: list[str]
    trained: list[Trained]
    attacks: list[str]

    @property
    def missing(self) -> str:
        """What was not run, if anything."""
        if not self.trained:
            return f"{' and '.join(self.rows)} not trained"
        absent = [label for label in self.attacks if not all(label in run.attacks for run in self.trained)]
        return f"{' and '.join(absent)} not run on {' and '.join(self.rows)}" if absent else ""

    def every_epoch(self, reader: Reader) -> bool:
        """Whether all epochs of each training were kept and measured."""
        return all(reader.every_epoch(trained, self.attacks) for trained in self.trained)

    def samples(self, reader: Reader, settings: dict, epochs: str) -> list[Sample]:
        """The numbers of images of each training that a comparison's `settings` ask for."""
        what = settings["measure"], self.attacks, epochs, settings.get("class")
        return [reader.sample(trained, *what) for trained in self.trained]


def ledger(collection: Collection) -> list[Verdict]:
    """The verdict on each claim of a manifest, from C1 on; it may have none.

    What it reads of single images is kept in images.npz, beside the manifest.
    """
    path = collection.directory / KEPT
    reader = Reader(collection.root, measures.kept(path))
    # A manifest is canonical JSON, which has C10 before C2.
    claims = sorted(collection.manifest.get("claims", {}).items(), key=lambda item: (len(item[0]), item[0]))
    verdicts = [_verdict(collection, reader, *item) for item in claims]
    measures.keep(path, reader.known)
    return verdicts


def _verdict(collection: Collection, reader: Reader, name: str, claim: dict) -> Verdict:
    if "problem" in claim:
        raise Problem(claim["problem"])
    paper = collection.manifest["paper"]
    try:
        comparisons = tuple(_compare(collection, reader, settings) for settings in claim["comparisons"])
    except Problem as problem:
        raise Problem(f"{paper}, claim {name}: {problem}") from None
    return Verdict(paper, collection.scale, name, claim["claim"], claim["source"], comparisons)


def _compare(collection: Collection, reader: Reader, settings: dict) -> Comparison:
    sides = _sides(collection, settings)
    found = Comparison(settings, _published(collection, settings), trainings=min(len(side.trained) for side in sides))
    missing = next(filter(None, (side.missing for side in sides)), "")
    if missing:
        return replace(found, missing=missing)
    specs = [side.trained[0].run.record["spec"] for side in sides]
    originals = [settings["original"], settings.get("against_original", settings["original"])]
    found = replace(found, data=specs[0]["data"]["name"], stand_ins=stand_ins.told(specs, originals))
    networks = [words for pair in zip(specs, originals, strict=True) if (words := stand_ins.network(*pair))]
    if networks and originals[0]["network"] != originals[1]["network"]:
        return replace(found, missing=f"it compares networks: {' and '.join(networks)}")
    if settings["measure"] in statements.RATIOS:
        return _by_training(found, sides)
    return _by_image(found, reader, sides, _honest_sides(collection, sides, settings))


def _by_training(found: Comparison, sides: Sequence[Side]) -> Comparison:
    measure = found.settings["measure"]
    ours = differences.over_trainings(*(np.log([number(run, measure) for run in side.trained]) for side in sides))
    return replace(found, ours=ours, missing="" if ours else f"one training of a row says nothing of its {measure}")


def _by_image(found: Comparison, reader: Reader, sides: Sequence[Side], judged: Sequence[Side]) -> Comparison:
    settings, epochs = found.settings, found.settings.get("epochs", "last")
    shares = settings["measure"] in statements.SHARES
    if epochs == "mean" and not all(side.every_epoch(reader) for side in sides):
        return replace(found, missing="a mean over the epochs, of which not all were kept")
    samples = [side.samples(reader, settings, epochs) for side in sides]
    images, values = _shared(samples)
    if len(images) < FEWEST:
        return replace(found, missing=f"only {len(images)} images to compare")
    found = replace(found, images=len(images), ours=differences.over_images(*values, shares))
    if not judged:
        return found
    # Honest attacks are on the last epoch, so what is lost is lost there.
    last, honest = ([side.samples(reader, settings, "last") for side in both] for both in (sides, judged))
    first, second, honest_first, honest_second = _shared([*last, *honest])[1]
    images, values = _shared(honest)
    return replace(
        found,
        honest_images=len(images),
        honest=differences.over_images(*values, shares),
        lost=differences.over_images(first - honest_first, second - honest_second, shares),
    )


def _shared(sides: Sequence[Sequence[Sample]]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The images that all trainings have a number of, and each side's values (trainings, images)."""
    images, values = aligned([sample for side in sides for sample in side])
    known = ~np.isnan(values).any(axis=0)
    ends = np.cumsum([len(side) for side in sides])
    return images[known], np.split(values[:, known], ends[:-1])


def _sides(collection: Collection, settings: dict) -> list[Side]:
    return [_side(collection, side.experiment, side.rows, side.attacks) for side in statements.sides(settings)]


def _honest_sides(collection: Collection, sides: Sequence[Side], settings: dict) -> list[Side]:
    """The same trainings under the honest attacks; none where these were not run."""
    if "honest" not in settings:
        return []
    attacks = statements.several(settings["honest"])
    judged = [_side(collection, side.honest_experiment, side.rows, attacks) for side in statements.sides(settings)]
    names = [[[trained.run.name for trained in side.trained] for side in both] for both in (sides, judged)]
    return [] if any(side.missing for side in judged) or names[0] != names[1] else judged


def _side(collection: Collection, experiment: str, rows: list[str], attacks: list[str]) -> Side:
    trained, planned = [], collection.manifest["rows"].get(experiment, {})
    for row in rows:
        if row not in planned:
            raise Problem(f"there is no row '{row}' in {experiment}: delete the manifest and run its stage again")
        for run, entry in zip(collection.of(experiment, row), planned[row], strict=True):
            folders = {label: collection.root / path for label, path in entry["attacks"].items()}
            trained.append(Trained(run, collection.root / entry["features"], folders))
    return Side(experiment, rows, trained, attacks)


def _published(collection: Collection, settings: dict) -> float | None:
    """The printed difference in our unit: of two cells, or one cell that is a difference."""
    if "published" not in settings:
        return None
    item, metric, row, *other = settings["published"]
    value = _number(collection, item, row, metric)
    subtracted = _number(collection, *(other[1:] or [item]), other[0], metric) if other else None
    if settings["measure"] in statements.RATIOS:
        return math.log(value / subtracted if other else value)
    difference = value - subtracted if other else value
    return difference / 100 if settings["measure"] in statements.SHARES else difference


def _number(collection: Collection, item: str, row: str, metric: str) -> float:
    value = collection.reference.value(item, row, metric)
    if isinstance(value, str):
        raise Problem(f"{item}, row {row}, {metric} is {value!r}: name a cell that holds a number")
    return value
