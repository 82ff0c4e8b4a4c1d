"""What it brings that several small jobs share one GPU, the setting `jobs_per_gpu`.

As many trainings of a small network as `--jobs` start at once, as the workflow starts them, and take their turns on one
GPU: one at a time, then two, four and so on. What counts is the time from the first start to the last end, importing
and all. Where there is no GPU they take turns in the same way and compute on the processor: that tries this program and
says nothing of GPUs.

    python tests/benchmarks/sharing.py
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

from training import TABLES, prepare, specification  # noqa: E402

from robustloss import gpus  # noqa: E402
from robustloss.files import canonical, read_json, write_json  # noqa: E402
from robustloss.progress import track  # noqa: E402
from robustloss.provenance import Stopwatch  # noqa: E402

# So that a training takes several times as long as its start.
EPOCHS = {"cpu": 1, "cuda": 10}


def together(folder: Path, name: str, spec: dict, jobs: int, shared: int) -> dict:
    """Seconds of `jobs` trainings of which `shared` are on the GPU at a time, and the GPU memory of one."""
    where = {gpus.CHOSEN: next(iter(gpus.visible()), "0"), gpus.SHARED: str(shared)}
    environment = os.environ | where | {"PYTHONPATH": str(ROOT / "workflow"), "OMP_NUM_THREADS": "1"}
    outs = [folder / f"{name}-{shared}" / f"run{job}" for job in range(jobs)]
    command = [sys.executable, "-m", "robustloss", "train", "--spec", canonical(spec), "--data", str(folder / name)]
    start = time.monotonic()
    running = [
        subprocess.Popen([*command, "--out", str(out)], env=environment, stderr=subprocess.PIPE, text=True)
        for out in outs
    ]
    for job in running:
        _, said = job.communicate()
        if job.returncode:
            sys.exit(said)
    seconds = time.monotonic() - start
    made = [read_json(out / "run.json")["environment"] for out in outs]
    return {"seconds": round(seconds, 1), "device_memory_bytes": made[0].get("peak_device_memory_bytes", 0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=8, help="trainings (8)")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "benchmarks" / "sharing.json")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    watch = Stopwatch()
    settings = [2**power for power in range(options.jobs.bit_length()) if 2**power <= options.jobs]
    found: dict[str, dict[int, dict]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, device)
        for network, table in TABLES[device].items():
            spec = specification(table, EPOCHS[device], steps=0)
            rows = {
                shared: together(folder, network, spec, options.jobs, shared) for shared in track(settings, network)
            }
            for shared, row in rows.items():
                row["times_as_fast"] = round(rows[1]["seconds"] / row["seconds"], 2)
                memory = row["device_memory_bytes"] / 2**20
                print(
                    f"{network}, {options.jobs} trainings, jobs_per_gpu {shared}: {row['seconds']:.1f} s, "
                    f"{row['times_as_fast']:.2f} times as fast as one at a time, {memory:.0f} MiB of the GPU each"
                )
            found[network] = rows
    environment = watch.environment(torch.device(device))
    write_json(options.output, {"device": device, "jobs": options.jobs, "table": found, "environment": environment})


if __name__ == "__main__":
    main()
