"""How long Snakemake takes to say what it would do, and in how much memory, for the four papers and for a large study.

Each plan is a dry run in a process of its own, in a copy of the repository without results, so that every job is due.
Where others use the machine too, processor time is the steadier measure. Goals: the paper scale of all four papers in
10 seconds and 1 GB, as it is and for Slurm; 2,000 runs with 10 attacks each in 60 seconds.

    python tests/benchmarks/planning.py
"""

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "tests")]

from studies import COPIED, lay_out  # noqa: E402

from robustloss import files  # noqa: E402
from robustloss.progress import track  # noqa: E402
from robustloss.provenance import Stopwatch  # noqa: E402

RUNS, ATTACKS = 2000, 10
PAPERS = {"seconds": 10, "bytes": 10**9}
GOALS = {"papers": PAPERS, "papers on slurm": PAPERS, "study": {"seconds": 60}}
# Eight rows of chen2019 on MNIST with 250 seeds and ten of their attacks.
ROWS = ("XE", "GCE 1/2", "GCE 1/3", "GCE 1/4", "GCE 1/5", "COT", "MMC", "I-SCE")
STUDY = {
    "scale": "paper",
    "papers": ["chen2019"],
    "seeds": list(range(RUNS // len(ROWS))),
    "chen2019": {
        "scales": {
            "paper": {
                "rows": {"mnist": list(ROWS)}
                | {name: [] for name in ("cifar10", "cifar100", "tiny-imagenet", "mnist-at", "cifar10-at")},
                "attacked": {
                    "mnist": [f"{name} {size}" for name in ("fgsm", "bim", "mim") for size in (0.1, 0.2, 0.3)]
                    + ["pgd 0.3"]
                },
                "audited": {"mnist": []},
            }
        }
    },
}


def snakemake(folder: Path, *arguments: str) -> tuple[str, dict]:
    """What Snakemake says in `folder`, and its seconds by the clock and of the processor, and its peak memory."""
    command = [sys.executable, "-m", "snakemake", "--nocolor", "--quiet", "rules", *arguments]
    output = folder / "said.txt"
    with open(output, "w") as stream:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.monotonic() - start
    said = output.read_text()
    if status:
        sys.exit(f"{' '.join(command)} failed:\n{said[-2000:]}")
    return said, {
        "seconds": round(seconds, 2),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_memory_bytes": used.ru_maxrss * 1024,
    }


def dry_run(folder: Path, *arguments: str) -> dict:
    """The number of jobs of a dry run, and what it takes."""
    said, taken = snakemake(folder, "-n", *arguments)
    return {"jobs": int(re.search(r"^total +(\d+)$", said, re.MULTILINE)[1]), **taken}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many dry runs counts (3)")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "benchmarks" / "planning.json")
    options = parser.parse_args()
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lay_out(folder, (*COPIED, "slurm"))
        study = folder / "study.yaml"
        study.write_text(yaml.safe_dump(STUDY))
        papers = ("--config", "scale=paper")
        cases = {
            "papers": papers,
            "papers on slurm": ("--profile", "slurm", *papers),
            "study": ("--configfile", str(study)),
        }
        found = {}
        for case, settings in cases.items():
            rounds = [dry_run(folder, *settings) for _ in track(range(options.repeats), case)]
            found[case] = min(rounds, key=lambda each: each["seconds"]) | {"goals": GOALS[case]}
            print(f"{case}: {found[case]}")
    environment = watch.environment() | {"processors": os.cpu_count(), "machine": platform.machine()}
    environment["versions"] = {"snakemake": version("snakemake")}
    files.write_json(options.output, {"plans": found, "repeats": options.repeats, "environment": environment})


if __name__ == "__main__":
    main()
