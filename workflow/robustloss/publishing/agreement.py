"""What was made again beside what was published: tables byte by byte, outcomes of attacks image by image."""

from pathlib import Path

import numpy as np

from robustloss import outcomes
from robustloss.files import read_json, write_csv
from robustloss.lineage import stored
from robustloss.publishing.again import slug

# More lines than this belong into a file.
SHOWN = 20


def write(results: Path) -> None:
    """Say whether tables and claims equal the published ones and, if there are attacks made again, their outcomes.

    Of the latter <results>/again/agreement.csv has a line each.
    """
    _tables(results)
    rows = [row for record in sorted(results.glob("again/*/*/attack.json")) for row in _compared(results, record)]
    if rows:
        write_csv(results / "again" / "agreement.csv", rows)
        _say(rows)
        if any(row["images"] != row["published_images"] for row in rows):
            print("on fewer images random starts and targets are others: attacks that draw them differ by chance")
        print(f"every attack: {results / 'again' / 'agreement.csv'}")


def _tables(results: Path) -> None:
    for paper, manifest in stored.manifests(results, "published").items():
        published, shown = (results / kind / paper for kind in ("published", "papers"))
        if not (shown / "manifest.json").is_file():
            continue
        scale, known = stored.manifest(shown / "manifest.json")["scale"], manifest["scale"]
        if scale != known:
            print(f"{paper}: {shown} is of scale {scale}, what is published of scale {known}: not compared")
            continue
        files = sorted(published.rglob("*.csv"))
        made = [shown / path.relative_to(published) for path in files]
        other = [path for file, path in zip(files, made, strict=True) if not _equal(file, path)]
        equal = f"{len(files) - len(other)} of {len(files)} tables and ledgers"
        print(f"{paper}: {equal} equal the published, byte for byte")
        for path in other:
            print(f"  {path} does not")


def _equal(first: Path, second: Path) -> bool:
    return second.is_file() and first.read_bytes() == second.read_bytes()


def _compared(results: Path, record: Path) -> list[dict]:
    """One row for the published attack with the same specification, but for the number of images."""
    run, spec = record.parents[1].name, read_json(record)["spec"]
    found = []
    for published in (results / "runs" / run / "attacks").glob(f"{slug(record.parent.name)}-*/attack.json"):
        other = read_json(published)["spec"]
        if other | {"count": None} == spec | {"count": None}:
            counts = {"images": spec["count"] or "all", "published_images": other["count"] or "all"}
            outcomes_of_both = _outcomes(published.parent, record.parent)
            found.append({"run": run, "attack": published.parent.name, **counts, **outcomes_of_both})
    return found


def _outcomes(published: Path, again: Path) -> dict:
    """Robust accuracies in percent over the images and epochs that both have, and how many outcomes differ."""
    pairs = []
    for path in sorted(again.glob("samples/epoch-*.npz")):
        if (published / "samples" / path.name).is_file():
            pairs.append(_robust(outcomes.load(published / "samples" / path.name), outcomes.load(path)))
    if not pairs:
        return dict.fromkeys(("outcomes", "published_percent", "again_percent", "differing"), "")
    first, second = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return {
        "outcomes": len(first),
        "published_percent": 100 * float(first.mean()),
        "again_percent": 100 * float(second.mean()),
        "differing": int((first != second).sum()),
    }


def _robust(*found: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Whether each image that both have is right when clean and when attacked."""
    _, *places = np.intersect1d(found[0]["index"], found[1]["index"], return_indices=True)
    right = [
        (arrays["clean_predictions"] == arrays["labels"]) & (arrays["adversarial_predictions"] == arrays["labels"])
        for arrays in found
    ]
    return [robust[place] for robust, place in zip(right, places, strict=True)]


def _say(rows: list[dict]) -> None:
    compared = [row for row in rows if row["outcomes"] != ""]
    other = sorted((row for row in compared if row["differing"]), key=lambda row: -row["differing"] / row["outcomes"])
    total = sum(row["outcomes"] for row in compared)
    print(f"{len(compared)} attacks made again, {total:,} outcomes: {len(compared) - len(other)} attacks agree in all")
    for row in other[:SHOWN]:
        print(
            f"  {row['differing']} of {row['outcomes']:,} outcomes differ, robust {row['again_percent']:.1f} % "
            f"against {row['published_percent']:.1f} % published: {row['run']} {row['attack']}"
        )
    if missing := len(rows) - len(compared):
        print(f"  {missing} attacks have no published outcomes here to compare with: make pull")
