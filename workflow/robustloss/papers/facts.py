"""What a reader must know beside the numbers: scale, data, seeds, sample counts, hardware, versions, time."""

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from robustloss.papers import wording
from robustloss.papers.collection import Collection
from robustloss.papers.measured import SPLITS, Run


def footer(
    collection: Collection, table: str, rows: Sequence[str], note: str = "", split: str = "", first: bool = False
) -> str:
    """One line for the foot of a figure that shows `rows`, all of it measured on `split` if one is given.

    With `first` it shows the first run of each alone.
    """
    chosen = collection.first if first else collection.of
    return told(collection, {row: chosen(table, row) for row in rows}, note, split)


def told(collection: Collection, found: Mapping[str, Sequence[Run]], note: str = "", split: str = "") -> str:
    """The same of the runs of each row, wherever they come from."""
    runs = [run for own in found.values() for run in own]
    if not runs:
        return f"No row of this figure is run at scale {collection.scale}."
    left_out = [row for row, own in found.items() if not own]
    parts = [
        f"scale {collection.scale}",
        data_sets(runs),
        networks(runs),
        seeds(runs),
        f"{runs[0].features['summary'][split]['count']:,} images of split {split}" if split else "",
        note,
        hardware(runs),
        f"not run: {', '.join(left_out)}" if left_out else "",
    ]
    return "  ·  ".join(part for part in parts if part)


def interval_note(seeds: Iterable[int], samples: bool = True) -> str:
    """Over what 95 % intervals are, of rows with so many `seeds`; without `samples`, over seeds alone."""
    counts = sorted(set(seeds) - {0})
    kinds = ["over the samples of one seed"] if samples and 1 in counts else []
    of_shares = " and, of shares, over the samples" if samples else ""
    kinds += [f"over {count} seeds (Student's t){of_shares}" for count in counts if count > 1]
    return f"95 % intervals {' or '.join(kinds)}" if kinds else ""


def overview(collection: Collection) -> pd.DataFrame:
    """What was run, as pairs of (what, value)."""
    runs = list({run.name: run for run in collection.all_runs()}.values())
    manifest = collection.manifest
    pairs = {
        "paper": ". ".join(manifest[key] for key in ("title", "citation", "doi") if key in manifest),
        "scale": collection.scale,
        "experiments": _experiments(collection),
        "images": _images(runs),
        "attacks": _attacks(collection),
        "trained": _trained(runs),
        "rows not run": _not_run(collection),
        "hardware": hardware(runs),
        "versions": _joined(wording.versions(run.record["environment"]) for run in runs),
        "commit": _joined(wording.commit(run.record["environment"]) for run in runs),
        "time": _time(runs, collection.all_runs()),
    }
    return pd.DataFrame({"what": list(pairs), "value": [text or wording.DASH for text in pairs.values()]})


def seeds(runs: Iterable[Run]) -> str:
    """`seed 0` or `seeds 0, 1, 2`."""
    found = sorted({run.seed for run in runs})
    return f"seed{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"


def data_sets(runs: Iterable[Run]) -> str:
    """The data sets' names."""
    return _joined(run.record["spec"]["data"]["name"] for run in runs)


def networks(runs: Iterable[Run]) -> str:
    """The networks' names, with their sizes where they have some."""
    return _joined(_network(run.record["spec"]["model"]) for run in runs)


def hardware(runs: Iterable[Run]) -> str:
    """The machines that trained the runs."""
    return _joined(wording.machine(run.record["environment"]) for run in runs)


def _network(model: dict) -> str:
    sizes = ", ".join(f"{key} {model[key]}" for key in ("depth", "width") if key in model)
    return f"{model['name']} ({sizes})" if sizes else model["name"]


def _experiments(collection: Collection) -> str:
    """Data set, networks and number of rows of each experiment that was run."""
    parts = []
    for name, rows in collection.runs.items():
        if found := [run for runs in rows.values() for run in runs]:
            count = sum(map(bool, rows.values()))
            parts.append(f"{name}: {data_sets(found)}, {networks(found)}, {count} of {len(rows)} rows")
    return "; ".join(parts)


def _attacks(collection: Collection) -> str:
    """How many attacks, which, and on how many images, by data set."""
    labels: dict[tuple, dict[str, str]] = {}
    for run in collection.all_runs():
        for label, attack in run.attacks.items():
            where = (data_sets([run]), attack["summary"]["count"])
            labels.setdefault(where, {})[label] = attack["spec"]["name"]
    return "; ".join(
        f"{data}: {len(names)} ({', '.join(sorted(set(names.values())))}) on {count:,} images"
        for (data, count), names in labels.items()
    )


def _trained(runs: Sequence[Run]) -> str:
    epochs = " or ".join(str(count) for count in sorted({run.trained_epochs for run in runs}))
    return f"{len(runs)} networks, {epochs} epochs, {seeds(runs)}" if runs else ""


def _images(runs: Sequence[Run]) -> str:
    return _joined(
        f"{data_sets([run])}: " + ", ".join(f"{split} {run.features['summary'][split]['count']:,}" for split in SPLITS)
        for run in runs
    )


def _not_run(collection: Collection) -> str:
    left_out = {
        table: [row for row in collection.rows(table) if not collection.of(table, row)]
        for table in collection.manifest["rows"]
    }
    return "; ".join(
        f"{table}: {'all' if len(rows) == len(collection.rows(table)) else ', '.join(rows)}"
        for table, rows in left_out.items()
        if rows
    )


def _time(runs: Sequence[Run], attacked: Iterable[Run]) -> str:
    attacks = {(run.name, attack["name"]): attack for run in attacked for attack in run.attacks.values()}
    seconds = {
        "training": sum(run.record["environment"]["seconds"] for run in runs),
        "features": sum(run.features["environment"]["seconds"] for run in runs),
        "attacks": sum(attack["environment"]["seconds"] for attack in attacks.values()),
    }
    parts = ", ".join(f"{what} {value:,.0f} s" for what, value in seconds.items())
    return f"{sum(seconds.values()):,.0f} s ({parts})" if runs else ""


def _joined(texts: Iterable) -> str:
    return "; ".join(dict.fromkeys(str(text) for text in texts if text))
