"""What a test needs to break a study: a process to kill, and the numbers to compare afterwards."""

import contextlib
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import studies
import yaml
from safetensors.torch import load_file


class Study(studies.Study):
    """A study of two rows, one of which takes the other's adversarial examples in its audit."""

    def copy(self, folder: Path, *left_out: str) -> "Study":
        return Study(super().copy(folder, *left_out).folder)

    def shrink(self) -> None:
        self.configure()
        path = self.folder / "config.yaml"
        settings = yaml.safe_load(path.read_text())
        demo = settings["ding2025"]["scales"]["demo"]
        demo["rows"] |= {"table3": ["1", "8"], "table4": []}
        demo["audited"] = {"table3": ["1"]}
        path.write_text(yaml.safe_dump(settings))

    def start(self, *arguments: str) -> subprocess.Popen:
        """Snakemake, with a session of its own, so that it can be killed with its jobs or without."""
        command = [sys.executable, "-m", "snakemake", *arguments]
        with open(self.folder / "snakemake.log", "w") as log:
            return subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def begin(self, *words: str) -> subprocess.Popen:
        """One stage, in the background."""
        environment = os.environ | {"PYTHONPATH": "workflow"}
        command = [sys.executable, "-m", "robustloss", *words]
        return subprocess.Popen(command, cwd=self.folder, env=environment, stderr=subprocess.PIPE, text=True)

    def robustloss(self, *words: str, **options) -> subprocess.CompletedProcess:
        """One stage or question, as typed."""
        environment = os.environ | {"PYTHONPATH": "workflow"}
        command = [sys.executable, "-m", "robustloss", *words]
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, **options)

    def numbers(self, papers: bool = True) -> dict:
        """All weights and outcomes by path, and the tables of the papers."""
        found = {}
        for path in sorted(self.folder.glob("results/runs/**/*.*")):
            key = path.relative_to(self.folder).as_posix()
            if path.suffix == ".safetensors":
                found[key] = {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}
            elif path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as stored:
                    found[key] = {name: stored[name].tobytes() for name in stored.files}
            elif path.suffix == ".csv":
                found[key] = path.read_text()
        tables = self.folder.glob("results/papers/*/**/*.csv") if papers else ()
        return found | {path.relative_to(self.folder).as_posix(): path.read_text() for path in tables}

    def verified(self) -> None:
        """Every byte is what a record vouches for."""
        found = self.robustloss("verify")
        assert found.returncode == 0, found.stdout + found.stderr

    def made(self, pattern: str) -> Path:
        return sorted(self.folder.glob(pattern))[0]


def spec_of(record: Path) -> str:
    """The specification in a record, as a stage takes it."""
    return json.dumps(json.loads(record.read_text())["spec"])


def held(lock: Path) -> bool:
    """Whether a living process has this lock; the file alone says nothing."""
    with open(lock) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def kill(process: subprocess.Popen, whole: bool = True) -> None:
    """SIGKILL to Snakemake, and, with `whole`, to its jobs."""
    if whole:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def kill_a_job(process: subprocess.Popen, chance: random.Random, seconds: float = 60) -> str:
    """SIGKILL to one of the jobs that a Snakemake runs, as soon as there is one; its stage and folder."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if jobs := _jobs(process.pid):
            number = chance.choice(sorted(jobs))
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
                return f"the job {jobs[number]}"
        time.sleep(0.02)
    raise AssertionError("no job was running")


def _jobs(group: int) -> dict[int, str]:
    """The stages that run in a group of processes, by the number of the process."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_text(errors="replace").split("\0")
            if words[1:3] == ["-m", "robustloss"] and os.getpgid(int(path.parent.name)) == group:
                found[int(path.parent.name)] = f"{words[3]} {words[words.index('--out') + 1]}"
    return found
