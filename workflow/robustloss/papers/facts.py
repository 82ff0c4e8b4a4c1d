"""What a reader must know beside the numbers: scale, data, seeds, sample counts, hardware, versions, time."""

from collections.abc import Iterable, Sequence

import pandas as pd

from robustloss.papers.collection import Collection
from robustloss.papers.measured import SPLITS, Run


def footer(collection: Collection, table: str, rows: Sequence[str], note: str = "", split: str = "") -> str:
    """One line for the foot of a figure that shows `rows`, all of it measured on `split` if one is given."""
    runs = [run for row in rows for run in collection.of(table, row)]
    if not runs:
        return f"No row of this figure is run at scale {collection.scale}."
    left_out = [row for row in rows if not collection.of(table, row)]
    parts = [
        f"scale {collection.scale}",
        collection.manifest["data"]["name"],
        networks(runs),
        seeds(runs),
        f"{runs[0].features['summary'][split]['count']:,} images of split {split}" if split else "",
        note,
        hardware(runs),
        f"not run: {', '.join(left_out)}" if left_out else "",
    ]
    return "  ·  ".join(part for part in parts if part)


def interval_note(collection: Collection, table: str, samples: bool = True) -> str:
    """Over what the 95 % intervals of a table are; without `samples`, of what has none for a single seed."""
    counts = {len(collection.of(table, row)) for row in collection.rows(table)} - {0}
    kinds = ["over the samples of one seed"] if samples and 1 in counts else []
    kinds += [f"over {count} seeds (Student's t)" for count in sorted(counts - {1})]
    return f"95 % intervals {' or '.join(kinds)}" if kinds else ""


def overview(collection: Collection) -> pd.DataFrame:
    """What was run, as pairs of (what, value)."""
    runs = list(collection.all_runs())
    manifest = collection.manifest
    pairs = {
        "paper": ". ".join(manifest[key] for key in ("title", "citation", "doi") if key in manifest),
        "scale": collection.scale,
        "data": manifest["data"]["name"],
        "images": _images(runs),
        "attacked images": _joined(
            f"{label}: {attack['summary']['count']:,}" for run in runs for label, attack in run.attacks.items()
        ),
        "networks": networks(runs),
        "trained": _trained(runs),
        "rows not run": _not_run(collection),
        "hardware": hardware(runs),
        "versions": _joined(_versions(run) for run in runs),
        "code": _joined(_commit(run) for run in runs),
        "time": _time(runs),
    }
    return pd.DataFrame({"what": list(pairs), "value": [text or "—" for text in pairs.values()]})


def seeds(runs: Iterable[Run]) -> str:
    """`seed 0` or `seeds 0, 1, 2`."""
    found = sorted({run.seed for run in runs})
    return f"seed{'s' if len(found) > 1 else ''} {', '.join(map(str, found))}"


def networks(runs: Iterable[Run]) -> str:
    """The networks' names."""
    return _joined(run.record["spec"]["model"]["name"] for run in runs)


def hardware(runs: Iterable[Run]) -> str:
    """The machines that trained the runs."""
    return _joined(_machine(run.record["environment"]) for run in runs)


def _machine(environment: dict) -> str:
    if environment.get("device") != "cpu":
        return environment["hardware"]
    count = environment["threads"]
    return f"{environment['hardware']}, {count} thread{'s' if count > 1 else ''}"


def _trained(runs: Sequence[Run]) -> str:
    epochs = _joined(run.last_epoch for run in runs)
    return f"{len(runs)} networks, {epochs} epochs, {seeds(runs)}" if runs else ""


def _images(runs: Sequence[Run]) -> str:
    return _joined(
        ", ".join(f"{split} {run.features['summary'][split]['count']:,}" for split in SPLITS) for run in runs
    )


def _not_run(collection: Collection) -> str:
    left_out = {
        table: [row for row in collection.rows(table) if not collection.of(table, row)]
        for table in collection.manifest["rows"]
    }
    return "; ".join(f"{table}: {', '.join(rows)}" for table, rows in left_out.items() if rows)


def _versions(run: Run) -> str:
    environment = run.record["environment"]
    versions = {"python": environment.get("python"), **environment.get("versions", {"torch": environment.get("torch")})}
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _commit(run: Run) -> str:
    commit = run.record["environment"].get("git_commit")
    changed = " with uncommitted changes" if run.record["environment"].get("git_dirty") else ""
    return f"commit {commit[:10]}{changed}" if commit else ""


def _time(runs: Sequence[Run]) -> str:
    seconds = {
        "training": sum(run.record["environment"]["seconds"] for run in runs),
        "features": sum(run.features["environment"]["seconds"] for run in runs),
        "attacks": sum(attack["environment"]["seconds"] for run in runs for attack in run.attacks.values()),
    }
    parts = ", ".join(f"{what} {value:,.0f} s" for what, value in seconds.items())
    return f"{sum(seconds.values()):,.0f} s ({parts})" if runs else ""


def _joined(texts: Iterable) -> str:
    return "; ".join(dict.fromkeys(str(text) for text in texts if text))
