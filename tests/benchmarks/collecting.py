"""How long everything after the last evaluation takes at the papers' scale: notebooks, claims and the report.

The plans of the paper scale name every result of all four papers. Each is written in its true format and size, with
outcomes drawn at random, since what they say does not matter to the time; audits and what figures measure besides are
copies of those of a finished study (`--study`, a folder with the demo's results). Then the stages run as the workflow
runs them, two at a time, each with one thread. Goal: 90 seconds on two cores.

    python tests/benchmarks/collecting.py --study DIR
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

from robustloss import config, files, outcomes, runs  # noqa: E402
from robustloss.checkpoints import epochs as kept_epochs  # noqa: E402
from robustloss.progress import track  # noqa: E402
from robustloss.provenance import Stopwatch  # noqa: E402

GOAL = 90
# Classes, and images of train, test and evaluation.
SIZES = {
    "cholec80": (7, 31_477, 48_713, 7_260),
    "mnist": (10, 60_000, 10_000, 10_000),
    "cifar10": (10, 50_000, 10_000, 10_000),
    "cifar100": (100, 50_000, 10_000, 10_000),
    "tiny-imagenet-200": (200, 100_000, 10_000, 10_000),
}
SPLITS = ("train", "test", "evaluation")
SHARE = dict(zip(("mean", "low", "high", "last", "last_low", "last_high"), (0.5, 0.4, 0.6) * 2, strict=True))
ENVIRONMENT = {"seconds": 60.0, "peak_memory_bytes": 10**9, "device": "cpu", "hardware": "none", "threads": 1}


class Study:
    """A folder that fills with results; equal files are links to one."""

    def __init__(self, folder: Path, finished: Path) -> None:
        self.folder, self.finished, self.known = folder, finished, {}

    def link(self, path: Path, key: tuple, write) -> None:
        """Have `path` be the file that `write` makes once for `key`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if key in self.known:
            os.link(self.known[key], path)
        else:
            write(path)
            self.known[key] = path

    def run(self, entry: dict, spec: dict) -> None:
        """Everything that a manifest's entry names and is not there yet."""
        record = {"name": entry["run"], "spec": spec, "environment": ENVIRONMENT, "parameters": 1}
        # As if the last epoch were the best of those that keep the best alone.
        record |= {"kept": {"epoch": spec["epochs"]}} if spec.get("keep") == "best" else {}
        kept, data = [*kept_epochs(record)], spec["data"]["name"]
        directory = self.folder / entry["directory"]
        if not directory.exists():
            files.write_json(directory / "run.json", record)
            history = pd.DataFrame({"epoch": range(1, spec["epochs"] + 1), "objective": 0.5, "rate": 0.1})
            self.link(directory / "history.csv", ("history", spec["epochs"]), lambda path: table(path, history))
            self.features(self.folder / entry["features"], data, kept)
        for folder in (self.folder / name for name in entry["attacks"].values()):
            if not folder.exists():
                self.attack(folder, data, kept)
        found = [(entry["audit"], "audit.json")] if "audit" in entry else []
        for name, file in [*found, *((name, "measurement.json") for name in entry.get("measured", {}).values())]:
            if not (self.folder / name).exists():
                self.copy(self.folder / name, file)

    def copy(self, folder: Path, name: str) -> None:
        """A folder of the same kind out of the finished study."""
        kind = folder.name.split("-")[0]
        source = next(self.finished.glob(f"results/runs/*/*/{kind}-*/{name}")).parent
        for path in (path for path in source.iterdir() if path.is_file()):
            self.link(folder / path.name, ("copy", path), lambda to, path=path: to.write_bytes(path.read_bytes()))

    def features(self, folder: Path, data: str, kept: list[int]) -> None:
        classes, *counts = SIZES[data]
        sizes = dict(zip(SPLITS, counts, strict=True))
        rows = [{"epoch": epoch, "split": split, "count": sizes[split]} for epoch in kept for split in SPLITS]
        shares = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "balanced_accuracy": 0.5, "majority": 0.3}
        measured = {"correct": 1, "cross_entropy": 0.5, "d_ic": 1.0, "d_cc": 4.0}
        each = [row | {"class": label, "name": f"class {label}"} for row in rows for label in range(classes)]
        for name, frame in (
            ("epochs", pd.DataFrame(rows).assign(**measured, **shares)),
            ("classes", pd.DataFrame(each).assign(**measured)),
        ):
            self.link(folder / f"{name}.csv", (name, data, *kept), lambda path, frame=frame: table(path, frame))
        balanced = {"mean": 0.5, "last": 0.5}
        summary = {
            split: {"accuracy": SHARE, "balanced_accuracy": balanced, "majority": 0.3, "count": count}
            for split, count in sizes.items()
        }
        files.write_json(folder / "features.json", {"summary": summary, "environment": ENVIRONMENT})
        for epoch in kept:
            path = outcomes.outcomes_path(folder, epoch)
            self.link(path, ("clean", data), lambda path: outcomes.save(path, clean(data)))

    def attack(self, folder: Path, data: str, kept: list[int]) -> None:
        spec = json.loads(self.attacks[folder.name])
        count = spec["count"] or SIZES[data][3]
        epochs = kept if spec["epochs"] == "all" else kept[-1:]
        shares = dict.fromkeys(("robust_accuracy", "clean_accuracy"), SHARE)
        summary = shares | {"balanced_robust_accuracy": {"mean": 0.5, "last": 0.5}, "majority": 0.3, "count": count}
        about = {"name": folder.name, "spec": spec, "summary": summary, "environment": ENVIRONMENT}
        files.write_json(folder / "attack.json", about)
        row = {"split": "evaluation", "count": count, "clean_correct": count, "mean_l2": 1.0}
        frame = pd.DataFrame({"epoch": epochs}).assign(**row)
        self.link(folder / "epochs.csv", ("attacked", count, *epochs), lambda path: table(path, frame))
        for epoch in epochs:
            path = outcomes.outcomes_path(folder, epoch)
            self.link(path, ("attack", data, count), lambda path: outcomes.save(path, attacked(data, count)))


def table(path: Path, frame: pd.DataFrame) -> None:
    frame.to_csv(path, index=False)


def clean(data: str) -> dict[str, np.ndarray]:
    random, (classes, *counts) = np.random.default_rng(0), SIZES[data]
    found = {}
    for split, count in zip(SPLITS, counts, strict=True):
        found |= {f"{split}_{kind}": random.integers(0, classes, count, np.int16) for kind in ("labels", "predictions")}
        found |= {f"{split}_cross_entropy": random.random(count, np.float32), f"{split}_distances": np.ones(2)}
    return found


def attacked(data: str, count: int) -> dict[str, np.ndarray]:
    random, classes = np.random.default_rng(0), SIZES[data][0]
    kinds = ("labels", "clean_predictions", "adversarial_predictions")
    found = {kind: random.integers(0, classes, count, np.int16) for kind in kinds}
    norms = ("clean_cross_entropy", "adversarial_cross_entropy", "linf", "l2")
    found |= {kind: random.random(count, np.float32) for kind in norms}
    ones = dict.fromkeys(("l0", "iterations", "queries"), np.ones(count, np.int64))
    return found | ones | {"index": np.arange(count)}


def write(folder: Path, finished: Path) -> dict:
    """The results of all four papers at their own scale; how many of what there are."""
    settings, papers = config.load(yaml.safe_load((ROOT / "config.yaml").read_text()) | {"scale": "paper"})
    plan = runs.plan(settings, papers)
    study = Study(folder, finished)
    study.attacks = plan.attacks
    for name in ("data/reference", "notebooks"):
        shutil.copytree(ROOT / name, folder / name)
    for paper, manifest in track([*plan.manifests.items()], "papers"):
        directory = folder / "results/papers" / paper
        files.write_json(directory / "manifest.json", manifest)
        for counted in finished.glob(f"results/papers/{paper}/tables/table1.csv"):
            (directory / "tables").mkdir()
            shutil.copy(counted, directory / "tables")
        for entry in (entry for rows in manifest["rows"].values() for row in rows.values() for entry in row):
            study.run(entry, json.loads(plan.runs[entry["run"]]))
    attacks = len([*folder.glob("results/runs/*/attacks/*/attack.json")])
    return {"papers": [*plan.manifests], "runs": len(plan.runs), "attacks": attacks}


def stage(folder: Path, *words: str) -> float:
    """Seconds of one stage."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "OMP_NUM_THREADS": "1"}
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "robustloss", *words], cwd=folder, env=environment, check=True)
    return time.monotonic() - start


def paper(folder: Path, name: str) -> float:
    where = f"results/papers/{name}"
    return stage(
        folder, "paper", "--notebook", f"notebooks/{name}.ipynb", "--manifest", f"{where}/manifest.json", "--out", where
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, default=ROOT, help="a folder with the demo's results")
    options = parser.parse_args()
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = write(folder, options.study.resolve())
        start = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            seconds = dict(
                zip(written["papers"], pool.map(lambda paper_: paper(folder, paper_), written["papers"]), strict=True)
            )
        seconds["report"] = stage(folder, "report", "--results", "results", "--out", "results/report")
        seconds["all"] = time.monotonic() - start
    rounded = {name: round(value, 1) for name, value in seconds.items()}
    record = {"goal_seconds": GOAL, "study": written, "seconds": rounded, "environment": watch.environment()}
    files.write_json(ROOT / "results/benchmarks/collecting.json", record)
    print(json.dumps(rounded, indent=1), f"\ngoal: {GOAL} s for all")


if __name__ == "__main__":
    main()
