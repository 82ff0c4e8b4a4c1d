"""A small results folder in the true formats with invented numbers, some of which are chosen to be known by hand."""

import json
import math
import shutil
from pathlib import Path

import pandas as pd

REFERENCE = Path(__file__).parents[2] / "data" / "reference" / "ding2025.csv"
TOOLS = ("Grasper", "Bipolar", "Hook", "Scissors", "Clipper", "Irrigator", "Bag")
COUNTS = {
    "train": (180, 40, 310, 22, 28, 30, 24),
    "test": (100, 20, 160, 12, 16, 18, 14),
    "evaluation": (50, 8, 72, 4, 6, 6, 4),
}
LABELS = {
    "0": "L_CE, constant rate",
    "1": "L_CE",
    "2": "2 L_CE",
    "3": "L_CE - L_CE^f",
    "4": "2 L_CE - L_CE^f",
    "5": "L_CE + 1/6 L_CE^1",
    "5(2)": "L_CE + 1/6 L_CE^1, run 2",
    "6": "5/6 L_CE + 1/6 L_CE^1",
    "6(2)": "5/6 L_CE + 1/6 L_CE^1, run 2",
    "7": "L_CE - L_CE^s",
    "8": "L_CE + L_CE^s",
}
# Robust accuracy, accuracy, D_cc at the last epoch and cross-entropy at the last epoch of seed 0.
TRUTH = {
    "0": (0.02, 0.70, 4.0, 0.52),
    "1": (0.125, 0.75, 8.0, 0.31),
    "2": (0.14, 0.78, 9.1, 0.22),
    "3": (0.11, 0.74, 7.7, 0.41),
    "4": (0.16, 0.77, 8.6, 0.27),
    "5": (0.26, 0.73, 2.2, 0.71),
    "5(2)": (0.30, 0.74, 2.1, 0.69),
    "6": (0.24, 0.72, 2.0, 0.78),
    "6(2)": (0.33, 0.73, 1.9, 0.75),
    "7": (0.28, 0.72, 2.4, 0.70),
    "8": (0.18, 0.76, 12.0, 0.19),
}
TERMS = {
    "3": [{"loss": "cross_entropy", "weight": 1}, {"loss": "false_label", "weight": -1}],
    "5": [{"loss": "all_one", "weight": 1 / 6}, {"loss": "cross_entropy", "weight": 1}],
}
ENVIRONMENT = {
    "date": "2025-01-01T00:00:00Z",
    "seconds": 10.0,
    "peak_memory_bytes": 10**9,
    "device": "cpu",
    "hardware": "Example CPU @ 2.00GHz",
    "threads": 1,
    "python": "3.11.0",
    "versions": {"torch": "2.15.0"},
    "git_commit": "0123456789abcdef",
    "git_dirty": False,
}
# What one further seed adds to each accuracy.
SEED_STEP = 0.02


def write(root: Path, seeds=(0,), left_out=(("table4", "7"),), epochs=10) -> Path:
    """Write results of Tables 3 and 4 below `root`, without the rows in `left_out`; return the manifest's path."""
    (root / "data" / "reference").mkdir(parents=True, exist_ok=True)
    shutil.copy(REFERENCE, root / "data" / "reference")
    rows = {"table3": tuple(LABELS), "table4": ("1", "6", "7")}
    manifest = {
        "paper": "ding2025",
        "title": "Effects of Composite Cross-Entropy Loss on Adversarial Robustness",
        "citation": "Ding and Möller, Electronics 2025, 14(17), 3529",
        "doi": "10.3390/electronics14173529",
        "scale": "demo",
        "reference": "data/reference/ding2025.csv",
        "seeds": list(seeds),
        "data": {"name": "cholec80-sim", "directory": "data/prepared/example", "classes": list(TOOLS)},
        "rows": {
            table: {
                row: [] if (table, row) in left_out else [_write_run(root, table, row, seed, epochs) for seed in seeds]
                for row in labels
            }
            for table, labels in rows.items()
        },
        "labels": {table: {row: LABELS[row] for row in labels} for table, labels in rows.items()},
        "figures": {
            **{name: {"table": "table3", "rows": list("012348")} for name in ("figure2", "figure3", "figure4")},
            "figure5": {"table": "table3", "rows": list("1567")},
        },
    }
    folder = root / "results" / "papers" / "ding2025"
    _write_table1(folder / "tables" / "table1.csv")
    _write_json(folder / "manifest.json", manifest)
    return folder / "manifest.json"


def _write_run(root: Path, table: str, row: str, seed: int, last: int) -> dict:
    name = f"cholec80-sim-{table}-{row}-s{seed}".replace("(", "_").replace(")", "")
    directory = f"results/runs/{name}"
    entry = {
        "seed": seed,
        "run": name,
        "directory": directory,
        "features": f"{directory}/features-0000",
        "attacks": {"pgd": f"{directory}/attacks/pgd-0000"},
    }
    spec = {
        "data": {"name": "cholec80-sim"},
        "model": {"name": "small" if table == "table3" else "small_separable"},
        "objective": TERMS.get(row, [{"loss": "cross_entropy", "weight": 1}]),
        "epochs": last,
        "seed": seed,
    }
    robust, accuracy, _, _ = TRUTH[row]
    _write_json(root / directory / "run.json", {"name": name, "spec": spec, "environment": ENVIRONMENT})
    _write_features(root / entry["features"], row, seed, accuracy + SEED_STEP * seed, last)
    _write_json(
        root / entry["attacks"]["pgd"] / "attack.json",
        {
            "spec": {"name": "pgd"},
            "summary": {
                "robust_accuracy": share(robust + SEED_STEP * seed),
                "balanced_robust_accuracy": {"mean": robust / 2, "last": robust / 4},
                "clean_accuracy": {"mean": accuracy, "last": accuracy},
                "majority": 0.5,
                "count": 140,
            },
            "environment": ENVIRONMENT,
        },
    )
    return entry


def share(mean: float) -> dict:
    """A summary whose interval is ± 0.05 and whose last epoch is 0.1 higher."""
    last = mean + 0.1
    return {
        "mean": mean,
        "low": max(0.0, mean - 0.05),
        "high": mean + 0.05,
        "last": last,
        "last_low": last - 0.05,
        "last_high": last + 0.05,
    }


def _write_features(folder: Path, row: str, seed: int, accuracy: float, last: int) -> None:
    _, _, distance, error = TRUTH[row]
    distance *= 1 + 0.03 * seed
    error *= 1 + 0.05 * seed
    epochs, classes = [], []
    for split, counts in COUNTS.items():
        for epoch in range(1, last + 1):
            grown = (1 - math.exp(-epoch / 4)) / (1 - math.exp(-last / 4))
            cross_entropy = error + (1.6 - error) * (1 - grown)
            epochs.append(
                {
                    "epoch": epoch,
                    "split": split,
                    "count": sum(counts),
                    "correct": round(accuracy * sum(counts)),
                    "accuracy": accuracy,
                    "accuracy_low": accuracy - 0.05,
                    "accuracy_high": accuracy + 0.05,
                    "balanced_accuracy": accuracy / 2,
                    "majority": max(counts) / sum(counts),
                    "cross_entropy": cross_entropy,
                    "d_ic": distance * (0.55 - 0.15 * grown if distance < 3 else 0.4 * grown),
                    "d_cc": distance * (1 if distance < 3 else grown),
                }
            )
            for label, (name, count) in enumerate(zip(TOOLS, counts, strict=True)):
                classes.append(
                    {
                        "epoch": epoch,
                        "split": split,
                        "class": label,
                        "name": name,
                        "count": count,
                        "correct": round(accuracy * count),
                        "cross_entropy": cross_entropy * (0.5 + 40 / count),
                    }
                )
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(epochs).to_csv(folder / "epochs.csv", index=False)
    pd.DataFrame(classes).to_csv(folder / "classes.csv", index=False)
    summary = {
        split: {
            "accuracy": share(accuracy),
            "balanced_accuracy": {"mean": accuracy / 2, "last": accuracy / 4},
            "majority": max(counts) / sum(counts),
            "count": sum(counts),
        }
        for split, counts in COUNTS.items()
    }
    _write_json(folder / "features.json", {"summary": summary, "environment": ENVIRONMENT})


def _write_table1(path: Path) -> None:
    rows = [
        {
            "class": number,
            "tool": tool,
            "published": 1000 * number,
            "ours": sum(counts[:2]),
            **dict(zip(COUNTS, counts, strict=True)),
        }
        for number, (tool, *counts) in enumerate(zip(TOOLS, *COUNTS.values(), strict=True), 1)
    ]
    total = {"class": "", "tool": "total"} | {key: sum(row[key] for row in rows) for key in list(rows[0])[2:]}
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([*rows, total]).to_csv(path, index=False)


def _write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
