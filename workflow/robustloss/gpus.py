"""One of a machine's GPUs for one job: jobs side by side spread over them, each held by a lock on a file.

The operating system lets a lock go when its holder ends, however it ends. Slurm may call the first GPU that it gives a
job 0, whichever it is, so the GPUs within a Slurm job are shared out among what runs in that job alone. Nothing here
imports torch, which looks at CUDA_VISIBLE_DEVICES once, when CUDA is first used.
"""

import contextlib
import fcntl
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from robustloss.errors import Problem
from robustloss.progress import say

CHOSEN = "CUDA_VISIBLE_DEVICES"
# Which Slurm job this is a part of.
SLURM_JOB = "SLURM_JOB_ID"
# How many jobs may share a GPU.
SHARED = "ROBUSTLOSS_JOBS_PER_GPU"
SECONDS_BETWEEN_LOOKS = 0.5


def visible(environment: dict[str, str] | None = None, devices: Path = Path("/dev")) -> list[str]:
    """The GPUs that a job may use, as CUDA_VISIBLE_DEVICES names them: those it names already, else all there are.

    Within Slurm only what that gave the job: a job that asked for none has none.
    """
    environment = dict(os.environ) if environment is None else environment
    if CHOSEN in environment:
        return [name for name in environment[CHOSEN].split(",") if name not in ("", "-1")]
    if SLURM_JOB in environment:
        return []
    numbers = [re.fullmatch(r"nvidia(\d+)", path.name) for path in devices.glob("nvidia*")]
    return [str(number) for number in sorted(int(found[1]) for found in numbers if found)]


@contextlib.contextmanager
def one(device: str, locks: Path | None = None) -> Iterator[str | None]:
    """Hold one GPU, the freest one, and show this process no other; waits while all are held. Gives its name.

    `device` is the setting `auto`, `cpu` or `cuda`; with `cpu` or without GPUs nothing is held, and None is given.
    Raises Problem for a number of jobs per GPU that is none.
    """
    names = [] if device == "cpu" else visible()
    if not names:
        yield None
        return
    folder = locks or Path(tempfile.gettempdir()) / f"robustloss-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _held(names, _jobs_per_gpu(), folder) as name:
        os.environ[CHOSEN] = name
        yield name


def _jobs_per_gpu() -> int:
    text = os.environ.get(SHARED, "1")
    if not text.isdigit() or int(text) < 1:
        raise Problem(f"{SHARED} must be a whole number from 1, not {text!r}")
    return int(text)


@contextlib.contextmanager
def _held(names: list[str], jobs: int, folder: Path) -> Iterator[str]:
    # The first place of every GPU before the second of any.
    job = os.environ.get(SLURM_JOB, "machine")
    places = [(name, folder / f"{job}-{name.replace('/', '_')}.{place}") for place in range(jobs) for name in names]
    told = False
    while True:
        for name, path in places:
            with open(path, "a") as stream:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                if not _has_name(stream, path):
                    continue
                try:
                    yield name
                finally:
                    path.unlink(missing_ok=True)
                return
        if not told:
            say(f"all GPUs are taken ({', '.join(names)}): waiting for one")
            told = True
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _has_name(stream: IO, path: Path) -> bool:
    """Whether an open file is the one of that name: who held it before may have removed it."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    return False
