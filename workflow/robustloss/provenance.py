"""How a result was made: the machine, the versions, the time and memory it took, the state of the repository."""

import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "av")


class Stopwatch:
    """Measures one job from its creation to `environment()`."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def environment(self, device=None) -> dict:
        """Date, seconds, peak memory (bytes), device, hardware, threads, versions and commit, for a record."""
        record = {
            "date": self.date,
            "seconds": round(time.monotonic() - self.start, 3),
            "peak_memory_bytes": _peak_memory(),
        }
        if device is not None:
            record |= _device(device)
        return record | {"python": platform.python_version(), "versions": _versions(), **_commit()}


def _peak_memory() -> int:
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _device(device) -> dict:
    import torch

    record = {"device": device.type, "hardware": _processor(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        record["hardware"] = torch.cuda.get_device_name(device)
        record["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated(device)
    return record


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _versions() -> dict:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> dict:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout

    try:
        return {"git_commit": git("rev-parse", "HEAD").strip(), "git_dirty": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_dirty": None}
