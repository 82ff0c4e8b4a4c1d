"""What a job costs beside its own work: from its submission to its end, less the seconds that its record counts.

Attacks on a small network, each a job of well under a second, run one after the other under Snakemake. From the time of
the call goes that of a dry run of the same, which plans alike, and what the jobs' records count as work: these begin
after Python, torch and the library have been imported and the data checked. What is left, by the number of jobs, is the
overhead of one: submission, shell, import, and the end. Goal: 3 seconds.

    python tests/benchmarks/overhead.py
"""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "tests")]

from planning import dry_run, snakemake  # noqa: E402
from studies import lay_out  # noqa: E402

from robustloss import config  # noqa: E402
from robustloss.files import read_json, write_json  # noqa: E402
from robustloss.progress import track  # noqa: E402
from robustloss.provenance import Stopwatch  # noqa: E402

GOAL = 3
# One network of chen2019 on digits, and its quick attacks.
ATTACKS = [f"{name} {size}" for name in ("fgsm", "bim", "mim") for size in (0.1, 0.2, 0.3)]


def configure(folder: Path) -> None:
    """Have the demo of chen2019 consist of one network and its attacks."""
    settings = config.read_yaml(ROOT / "config.yaml")
    experiments = config.read_yaml(ROOT / "workflow/papers/chen2019.yaml")["experiments"]
    demo = {
        "rows": {name: [] for name in experiments} | {"mnist": ["XE"]},
        "attacked": {"mnist": ATTACKS},
        "audited": {name: [] for name in experiments},
    }
    settings |= {"papers": ["chen2019"], "chen2019": {"scales": {"demo": demo}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))


def overhead(folder: Path) -> dict:
    """Of a job in a study whose network is trained and not attacked yet, and the processor's time of all that job."""
    planned = dry_run(folder, "--until", "attack")
    _, taken = snakemake(folder, "--cores", "1", "--until", "attack")
    records = sorted(folder.glob("results/runs/*/attacks/*/attack.json"))
    worked = sum(read_json(path)["environment"]["seconds"] for path in records)
    seconds = taken["seconds"] - planned["seconds"] - worked
    processor = taken["processor_seconds"] - planned["processor_seconds"]
    for path in records:
        shutil.rmtree(path.parent)
    return {
        "jobs": len(records),
        "seconds": round(seconds / len(records), 2),
        "processor_seconds": round(processor / len(records), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many studies counts (3)")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "benchmarks" / "overhead.json")
    options = parser.parse_args()
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(folder)
        configure(folder)
        snakemake(folder, "--cores", "1", "--until", "train")
        rounds = [overhead(folder) for _ in track(range(options.repeats), "overhead")]
    found = min(rounds, key=lambda each: each["seconds"])
    print(f"overhead of a job: {found['seconds']} s (goal {GOAL} s); processor: {found['processor_seconds']} s in all")
    environment = watch.environment() | {"processors": os.cpu_count(), "machine": platform.machine()}
    write_json(options.output, {"job": found, "goal": GOAL, "repeats": options.repeats, "environment": environment})


if __name__ == "__main__":
    main()
