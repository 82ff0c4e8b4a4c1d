"""One GPU for each job: which are seen, which is taken, and that the lock of a killed job is free again."""

import os
import signal
import subprocess
import sys

import pytest

from robustloss import gpus
from robustloss.errors import Problem

HOLDER = """
import sys, time
from pathlib import Path
from robustloss import gpus
with gpus.one("cuda", Path(sys.argv[1])) as name:
    print(name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def machine(monkeypatch):
    """A machine of four GPUs of which this process may see two, outside Slurm."""
    monkeypatch.delenv(gpus.SLURM_JOB, raising=False)
    monkeypatch.delenv(gpus.SHARED, raising=False)
    monkeypatch.setenv(gpus.CHOSEN, "1,3")


@pytest.fixture
def hold(machine, tmp_path):
    """Start a process that takes a GPU and keeps it."""
    started = []

    def start(**variables: str) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | variables
        command = [sys.executable, "-c", HOLDER, str(tmp_path)]
        started.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_gpus_are_counted_by_their_device_files(tmp_path):
    for name in ("nvidia10", "nvidia2", "nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert gpus.visible({}, tmp_path) == ["0", "2", "10"]
    assert gpus.visible({gpus.CHOSEN: "GPU-5d9c,GPU-77aa"}, tmp_path) == ["GPU-5d9c", "GPU-77aa"]
    assert gpus.visible({gpus.CHOSEN: ""}, tmp_path) == gpus.visible({gpus.CHOSEN: "-1"}, tmp_path) == []


def test_jobs_spread_over_the_gpus_and_a_third_waits_for_a_killed_one(hold):
    first, second = hold(), hold()
    names = [process.stdout.readline().strip() for process in (first, second)]
    assert sorted(names) == ["1", "3"]
    third = hold()
    assert "all GPUs are taken (1, 3)" in third.stderr.readline()
    first.send_signal(signal.SIGKILL)
    assert third.stdout.readline().strip() == names[0]


def test_two_jobs_a_gpu_take_free_gpus_first(hold, monkeypatch):
    monkeypatch.setenv(gpus.SHARED, "2")
    names = [hold().stdout.readline().strip() for _ in range(4)]
    assert sorted(names[:2]) == sorted(names[2:]) == ["1", "3"]


def test_the_process_sees_the_gpu_that_it_holds_and_no_other(machine, tmp_path):
    with gpus.one("auto", tmp_path) as name:
        assert os.environ[gpus.CHOSEN] == name == "1"


def test_within_slurm_the_gpus_of_a_job_are_its_own(hold):
    """Each job may know its GPU as 0; what runs in one allocation takes turns."""
    for job in ("7", "8"):
        assert hold(SLURM_JOB_ID=job, CUDA_VISIBLE_DEVICES="0").stdout.readline().strip() == "0"
    assert "all GPUs are taken (0)" in hold(SLURM_JOB_ID="7", CUDA_VISIBLE_DEVICES="0").stderr.readline()


def test_nothing_is_held_on_the_cpu_or_without_gpus(machine, tmp_path, monkeypatch):
    with gpus.one("cpu", tmp_path) as name:
        assert name is None
    monkeypatch.setenv(gpus.CHOSEN, "")
    with gpus.one("auto", tmp_path) as name:
        assert name is None
    assert not list(tmp_path.iterdir())


def test_a_slurm_job_that_was_given_no_gpu_has_none(tmp_path):
    (tmp_path / "nvidia0").touch()
    assert gpus.visible({gpus.SLURM_JOB: "7"}, tmp_path) == []
    assert gpus.visible({gpus.SLURM_JOB: "7", gpus.CHOSEN: "0"}, tmp_path) == ["0"]


def test_a_gpu_that_is_let_go_leaves_nothing_behind(machine, tmp_path):
    with gpus.one("auto", tmp_path):
        assert len(list(tmp_path.iterdir())) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["0", "-1", "two", ""])
def test_jobs_per_gpu_must_be_a_number(machine, tmp_path, monkeypatch, text):
    monkeypatch.setenv(gpus.SHARED, text)
    with pytest.raises(Problem, match="whole number from 1"), gpus.one("cuda", tmp_path):
        pass
