"""A small results folder in the true formats with invented numbers, some of which are chosen to be known by hand."""

import json
import math
import shutil
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "data" / "reference" / "ding2025.csv"
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
# Tables 5 and 6: what is trained adversarially, in halves.
HALF, HALF_FALSE = (
    [{"loss": "cross_entropy", "weight": 0.5}, *more] for more in ([], [{"loss": "false_label", "weight": -0.5}])
)
ADVERSARIAL = {
    "table5": {
        "clean+adv": {"objective": HALF, "clean": HALF},
        "clean+(adv-adv_f)": {"objective": HALF_FALSE, "clean": HALF},
        "(clean-clean_f)+(adv-adv_f)": {"objective": HALF_FALSE, "clean": HALF_FALSE},
    },
    "table6": {
        row: {"objective": HALF, "clean": HALF}
        for row in ("all-one", "entropy (i-FGSM)", "entropy", "y_2nd", "y_3", "y_4")
    },
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
TRUTH |= {row: (0.36, 0.71, 3.0, 0.6) for rows in ADVERSARIAL.values() for row in rows}
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
    """Write results of Tables 3 to 6 of ding2025 below `root`, without the rows in `left_out`; the manifest's path."""
    tables = {
        "table3": tuple(LABELS),
        "table4": ("1", "6", "7"),
        **{name: tuple(ADVERSARIAL[name]) for name in ADVERSARIAL},
    }
    rows = {
        table: {
            row: [] if (table, row) in left_out else [_write_ding2025(root, table, row, seed, epochs) for seed in seeds]
            for row in labels
        }
        for table, labels in tables.items()
    }
    manifest = {
        "data": {"surgical": "data/prepared/example"},
        "rows": rows,
        "labels": {
            table: {row: LABELS.get(row, f"label of {row}") for row in labels} for table, labels in rows.items()
        },
        "figures": experiments("ding2025")["figures"],
    }
    folder = root / "results" / "papers" / "ding2025"
    _write_table1(folder / "tables" / "table1.csv")
    return write_manifest(root, "ding2025", seeds, manifest)


def write_chen2019(root: Path, rows: dict[str, dict[str, float]], seeds=(0,), left_out=()) -> Path:
    """Write runs of chen2019 with the attacks of its yaml, the labels `left_out` excepted; the manifest's path.

    `rows` has the clean accuracy by experiment and row. An attack of strength e leaves e less of it.
    """
    paper = experiments("chen2019")
    found, labels = {}, {}
    for name, experiment in sorted(paper["experiments"].items()):
        known = sorted({*experiment["rows"], *rows.get(name, {})})
        labels[name] = {row: f"label of {row}" for row in known}
        attacks = [label for label in experiment["attacks"] if label not in left_out]
        accuracies = rows.get(name, {})
        found[name] = {
            row: [
                _write_chen2019(root, name, row, seed, accuracies[row], attacks) for seed in seeds if row in accuracies
            ]
            for row in known
        }
    manifest = {
        "data": {name: f"data/prepared/{name}" for name in paper["scales"]["paper"]["data"]},
        "rows": found,
        "labels": labels,
        "figures": paper["figures"],
    }
    return write_manifest(root, "chen2019", seeds, manifest)


def experiments(paper: str) -> dict:
    """A paper's yaml."""
    return yaml.safe_load((ROOT / "workflow" / "papers" / f"{paper}.yaml").read_text(encoding="utf-8"))


def write_manifest(root: Path, paper: str, seeds, content: dict) -> Path:
    """Write a manifest and the paper's reference file."""
    (root / "data" / "reference").mkdir(parents=True, exist_ok=True)
    for name in (paper, "independent"):
        shutil.copy(ROOT / "data" / "reference" / f"{name}.csv", root / "data" / "reference")
    about = {
        "paper": paper,
        "title": f"Title of {paper}",
        "citation": "Authors, Journal",
        "doi": "10.0000/0",
        "scale": "demo",
        "reference": f"data/reference/{paper}.csv",
        "seeds": list(seeds),
    }
    path = root / "results" / "papers" / paper / "manifest.json"
    write_json(path, about | content)
    return path


def write_run(root: Path, name: str, spec: dict, truth: tuple, attacks: dict[str, tuple], last: int) -> dict:
    """Write a run's files; return its entry in a manifest.

    `truth` is (accuracy, D_cc, cross-entropy at the last epoch), `attacks` (specification, summary) by label.
    """
    name = name.replace("(", "_").replace(")", "").replace("/", "_").replace(" ", "_")
    directory = f"results/runs/{name}"
    entry = {
        "seed": spec["seed"],
        "run": name,
        "directory": directory,
        "features": f"{directory}/features-0000",
        "attacks": {label: f"{directory}/attacks/{label.replace(' ', '-')}-0000" for label in attacks},
    }
    write_json(root / directory / "run.json", {"name": name, "spec": spec, "environment": ENVIRONMENT})
    kept = [last] if spec.get("keep") == "last" else range(1, last + 1)
    _write_features(root / entry["features"], *truth, kept)
    for label, (attack, summary) in attacks.items():
        folder = entry["attacks"][label]
        record = {"name": Path(folder).name, "spec": attack, "summary": summary, "environment": ENVIRONMENT}
        write_json(root / folder / "attack.json", record)
    return entry


def attacked(robust: float, clean: float, count: int = 140) -> dict:
    """The summary of an attack."""
    return {
        "robust_accuracy": share(robust),
        "balanced_robust_accuracy": {"mean": robust / 2, "last": robust / 4},
        "clean_accuracy": share(clean),
        "majority": 0.5,
        "count": count,
    }


def _write_ding2025(root: Path, table: str, row: str, seed: int, last: int) -> dict:
    robust, accuracy, distance, error = TRUTH[row]
    spec = {
        "data": {"name": "cholec80-sim"},
        "model": {"name": "small_separable" if table == "table4" else "small"},
        "objective": TERMS.get(row, [{"loss": "cross_entropy", "weight": 1}]),
        "epochs": last,
        "seed": seed,
    }
    if table in ADVERSARIAL:
        spec |= ADVERSARIAL[table][row] | {
            "perturbation": {"name": "sai_fgsm", "target": "all_one", "epsilon": 2 / 255}
        }
    truth = (accuracy + SEED_STEP * seed, distance * (1 + 0.03 * seed), error * (1 + 0.05 * seed))
    attacks = {"pgd": ({"name": "pgd"}, attacked(robust + SEED_STEP * seed, accuracy))}
    return write_run(root, f"cholec80-sim-{table}-{row}-s{seed}", spec, truth, attacks, last)


def _write_chen2019(root: Path, experiment: str, row: str, seed: int, accuracy: float, labels: list[str]) -> dict:
    data, network = ("digits", "lenet5") if experiment.startswith("mnist") else ("digits", "resnet_cifar")
    spec = {
        "data": {"name": data},
        "model": {"name": network, **({"depth": 8} if network == "resnet_cifar" else {})},
        "objective": [{"loss": "cross_entropy", "weight": 1}],
        "epochs": 2,
        "keep": "last",
        "seed": seed,
    }
    accuracy += SEED_STEP * seed
    attacks = {}
    for label in labels:
        name, strength = label.split()[:2]
        attacks[label] = ({"name": name}, attacked(accuracy - float(strength), accuracy))
    return write_run(root, f"{experiment}-{row}-s{seed}", spec, (accuracy, 4.0, 0.5), attacks, 2)


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


def _write_features(folder: Path, accuracy: float, distance: float, error: float, kept) -> None:
    last = kept[-1]
    epochs, classes = [], []
    for split, counts in COUNTS.items():
        for epoch in kept:
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
    write_json(folder / "features.json", {"summary": summary, "environment": ENVIRONMENT})


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


def write_json(path: Path, value) -> None:
    """A record as the stages write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def edit(path: Path, change) -> None:
    """Rewrite a record, as `change` changes it in place; a checksum in it stays as it was."""
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    write_json(path, record)
