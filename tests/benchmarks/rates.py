"""The tables of workflow/rates, made of the networks themselves and of the records of finished runs.

`networks.csv` counts what one image's forward pass costs in each network. `devices.csv` gets a row for the processor
(non-negative least squares) and `attacks.csv` the mean share of its passes that each attack needed, both from the
records of `--results`, in which every job notes its seconds. The rows of other devices stay as they are.

    python tests/benchmarks/rates.py --results results
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import nnls
from torch import nn

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

from robustloss.costs import rates, work  # noqa: E402
from robustloss.costs.jobs import ATTACKED, AUDITED, MEASURED, kept  # noqa: E402
from robustloss.files import replacing  # noqa: E402

# The networks of the four papers and of their demos: name, side, channels, classes, settings.
NETWORKS = (
    ("small", 48, 3, 7, {"width": 16}),
    ("small_separable", 48, 3, 7, {"width": 16}),
    ("lenet5", 28, 1, 10, {}),
    ("cnn8", 32, 3, 10, {}),
    ("resnet_cifar", 32, 3, 10, {"depth": 32, "width": 16}),
    ("resnet_bottleneck", 32, 3, 10, {"depth": 47}),
    ("resnet50_small", 64, 3, 200, {}),
    ("resnet50", 224, 3, 7, {}),
    ("efficientnet_b0", 224, 3, 7, {}),
)

RECORDS = ("features-*/features.json", "attacks/*/attack.json", "audits/*/audit.json")
# Jobs whose images all stay to the end.
WHOLE = ("train", "features", "fgsm", "bim", "mim", "pgd", "sign_unprojected")


def count(body: nn.Module, side: int, channels: int) -> dict[str, float]:
    """What one image's forward pass through `body` costs, in millions, and how many layers have weights."""
    found = dict.fromkeys(("million_multiply_adds", "million_activations", "layers", "million_parameters"), 0.0)

    def listen(module, inputs, output):
        found["million_activations"] += output.numel() / 1e6
        if isinstance(module, nn.Conv2d | nn.Linear):
            found["layers"] += 1
            places = output.numel() / output.shape[1]
            found["million_multiply_adds"] += places * module.weight.numel() / 1e6

    for module in body.modules():
        if not list(module.children()):
            module.register_forward_hook(listen)
    with torch.no_grad():
        body.eval()(torch.zeros(1, channels, side, side))
    found["million_parameters"] = sum(parameter.numel() for parameter in body.parameters()) / 1e6
    return found


def networks() -> list[dict]:
    """The rows of networks.csv; a network that is not among them counts as the largest one for small images."""
    rows = []
    for name, side, channels, classes, settings in NETWORKS:
        body = import_module(f"robustloss.models.{name}").network(classes, (side, side, channels), **settings)
        size = {"width": settings.get("width", 16), "depth": settings.get("depth", 1)}
        counted = {key: f"{value:.4g}" for key, value in count(body, side, channels).items()}
        rows.append({"network": name, "side": side, **size, **counted})
    return [*rows, next(row for row in rows if row["network"] == "resnet_bottleneck") | {"network": rates.OTHER}]


@dataclass(frozen=True)
class Measured:
    """A finished job: what it was, the passes of one image and of one batch it makes in full, and its seconds."""

    what: str
    network: rates.Network
    images: float
    launches: float
    seconds: float
    memory: float
    about: str  # processor and date

    def parts(self) -> list[float]:
        """What the seconds are fitted by: a start, multiply-adds, activations, layers of each batch."""
        network = self.network
        return [
            1.0,
            self.images * network.multiply_adds,
            self.images * network.activations,
            self.launches * network.layers,
        ]


def importing(repeats: int = 3) -> float:
    """Processor seconds from a command to the end of its imports, which no record knows of; the fastest counts."""
    command = [sys.executable, "-c", "import robustloss.training"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "OMP_NUM_THREADS": "1"}
    seconds = []
    for _ in range(repeats):
        before = os.times()
        subprocess.run(command, env=environment, check=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(seconds)


def read(folder: Path, before: float):
    """The finished jobs of one thread on a processor, in a folder of results; `before` is what no record knows of."""
    for path in sorted(folder.glob("runs/*/run.json")):
        run = json.loads(path.read_text())
        for record in (path, *(other for pattern in RECORDS for other in sorted(path.parent.glob(pattern)))):
            found = json.loads(record.read_text())
            environment = found["environment"]
            if environment["device"] == "cpu" and environment["threads"] == 1:
                yield _measured(record.stem, found.get("spec", {}), run["spec"], environment, before)


def _measured(stage: str, spec: dict, run: dict, environment: dict, before: float) -> Measured:
    data = rates.data_set(run["data"])
    network = rates.network(run["model"], data)
    epochs = kept(run)
    what = {"run": "train", "attack": spec.get("name"), "audit": "audit", "features": "features"}[stage]
    if what == "train":
        images, launches = work.updates(run, data)
    elif what == "features":
        count = sum(data.counts.values())
        images, launches = count * epochs, -(-count // MEASURED) * epochs
    else:
        count = min(spec.get("count") or data.counts[spec["split"]], data.counts[spec["split"]])
        passes = work.audit_passes(spec, data) if what == "audit" else work.passes_of(spec, data)
        epochs = epochs if spec.get("epochs") == "all" else 1
        batch = AUDITED if what == "audit" else ATTACKED
        images, launches = count * passes * epochs, -(-count // batch) * passes * epochs
    about = f"{environment['hardware']}, {environment['date'][:10]}"
    seconds = before + environment["seconds"]
    return Measured(what, network, images, launches, seconds, environment["peak_memory_bytes"], about)


def fit(jobs: list[Measured]) -> dict:
    """The row of the processor: what best explains the seconds, in relative terms, of jobs that no sample leaves."""
    known = [job for job in jobs if job.what in WHOLE]
    seconds = np.array([job.seconds for job in known])
    found, _ = nnls(np.array([job.parts() for job in known]) / seconds[:, None], np.ones(len(known)))
    start, multiply_add, activation, layer = found
    source = f"{len(known)} jobs of one thread on {', '.join(sorted({job.about for job in known}))}"
    return {
        "device": "cpu",
        "start_seconds": f"{start:.3g}",
        "training_rate": f"{1 / multiply_add:.3g}",
        "evaluation_rate": f"{1 / multiply_add:.3g}",
        "activation_rate": f"{1 / activation:.3g}",
        "layer_seconds": f"{layer:.3g}",
        "memory": f"{statistics.median(job.memory for job in jobs):.3g}",
        "source": source,
    }


def expected(job: Measured, row: dict) -> tuple[float, float]:
    """The seconds of a job in full: those of its start, and the others."""
    keys = ("training_rate", "activation_rate")
    prices = [*(1 / float(row[key]) for key in keys), float(row["layer_seconds"])]
    return float(row["start_seconds"]), float(np.dot(job.parts()[1:], prices))


def shares(jobs: list[Measured], row: dict) -> list[dict]:
    """The rows of attacks.csv: mean share of its passes that an attack needed, and the least and greatest."""
    found = defaultdict(list)
    for job in jobs:
        start, rest = expected(job, row)
        # Of a job that hardly does more than start, the share is noise.
        if job.what not in WHOLE and rest > 0.5:
            found[job.what].append(min(1.0, max(0.01, (job.seconds - start) / rest)))
    rows = [{"attack": rates.OTHER, "share": 1, "least": "", "greatest": "", "records": 0, "source": "an upper bound"}]
    for attack, values in sorted(found.items()):
        numbers = {"share": statistics.mean(values), "least": min(values), "greatest": max(values)}
        row = {key: f"{value:.2g}" for key, value in numbers.items()}
        rows.append({"attack": attack, **row, "records": len(values), "source": f"{len(values)} records of the demo"})
    return rows


def write(name: str, rows: list[dict]) -> None:
    with replacing(rates.FOLDER / f"{name}.csv") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    rates.table.cache_clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="a folder of finished runs")
    options = parser.parse_args()
    before = importing()
    write("networks", networks())
    write("attacks", [{"attack": rates.OTHER, "share": 1, "source": ""}])
    jobs = list(read(options.results, before))
    row = fit(jobs)
    with open(rates.FOLDER / "devices.csv", encoding="utf-8", newline="") as stream:
        others = [other for other in csv.DictReader(stream) if other["device"] != row["device"]]
    write("devices", [row, *others])
    write("attacks", shares(jobs, row))
    print("measured seconds over estimated: least, median, greatest")
    jobs = list(read(options.results, before))
    for what in sorted({job.what for job in jobs}):
        ratios = [job.seconds / sum(expected(job, row)) for job in jobs if job.what == what]
        print(f"{what:18} {len(ratios):4} {min(ratios):6.2f} {statistics.median(ratios):6.2f} {max(ratios):6.2f}")


if __name__ == "__main__":
    main()
