"""How a result was made: its code, the machine, the versions, the time and memory it took, the state of the repository.

A record ends with `code`, the digest of the modules that it rests on and of each of them; `files`, the SHA-256 of each
file that it vouches for, by its path below the record; `environment`; and a checksum of all this.
"""

import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from robustloss import files
from robustloss.code import digest_of_modules, module_digests

PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "av", "scikit-learn")


class Stopwatch:
    """Measures one job, which rests on `modules`, from its creation to `write`.

    The code and the commit are read at its creation: who edits the library during a long job changes no record of it.
    """

    def __init__(self, modules: Iterable[str] = ()) -> None:
        self.start = time.monotonic()
        self.date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.modules = module_digests(*modules)
        self.commit = _commit()

    def write(self, path: Path, about: dict, vouched: Iterable[Path] = (), device=None) -> None:
        """Write the record `about`, and how it was made, to `path`, after the files below it that it vouches for."""
        digests = {vouch.relative_to(path.parent).as_posix(): files.sha256(vouch) for vouch in vouched}
        made = {
            "code": {"digest": digest_of_modules(self.modules), "modules": self.modules},
            "files": digests,
            "environment": self.environment(device),
        }
        files.write_record(path, about | made)

    def environment(self, device=None) -> dict:
        """Date, seconds, peak memory (bytes), device, hardware, threads, versions and commit, for a record."""
        record = {
            "date": self.date,
            "seconds": round(time.monotonic() - self.start, 3),
            "peak_memory_bytes": _peak_memory(),
        }
        record |= {"hardware": _processor()} if device is None else _device(device)
        return record | {"python": platform.python_version(), "versions": _versions(), **self.commit}


def weights_digest(record: dict) -> str:
    """SHA-256 (hex) that stands for all weights of a finished run, from its record."""
    weights = {path: found for path, found in record["files"].items() if path.startswith("weights/")}
    return files.digest(files.canonical(weights))


def _peak_memory() -> int:
    # Linux counts in KiB, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _device(device) -> dict:
    import torch

    record = {"device": device.type, "hardware": _processor(), "threads": torch.get_num_threads()}
    if device.type == "cuda":
        from robustloss import graphs

        record["hardware"] = torch.cuda.get_device_name(device)
        record["cuda_graphs"] = graphs.wanted()
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
        # A module that git does not know is a change as well; new results are none.
        changes = git("status", "--porcelain", "-uno") + git("ls-files", "--others", "--exclude-standard")
        return {"git_commit": git("rev-parse", "HEAD").strip(), "git_dirty": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return {"git_commit": None, "git_dirty": None}
