"""Killed at ten random moments, Snakemake, its jobs or both: the same command goes on to equal numbers."""

import random
import subprocess
import time

import pytest
from faulty import held, kill, kill_a_job, spec_of

pytestmark = pytest.mark.xdist_group("faults")

KILLS = 10
SECONDS = (1.5, 5.0)


def test_ten_kills_over_a_whole_study_and_then_the_same_command(undisturbed, fresh):
    """No --unlock and no other help between; where Snakemake alone dies, its jobs go on beside those of the next."""
    moments, told = random.Random(20260721), []
    for number in range(KILLS):
        process = fresh.start("--cores", "2")
        try:
            process.wait(moments.uniform(*SECONDS))
        except subprocess.TimeoutExpired:
            if number % 3 == 2:
                # Snakemake lives to see that a job was killed.
                kill_a_job(process, moments)
                time.sleep(1)
            kill(process, whole=number % 3 != 1)
        told.append((fresh.folder / "snakemake.log").read_text())
    found = fresh.snakemake("--cores", "2")
    told.append(found.stdout + found.stderr)
    assert not [text for text in told if "Traceback" in text]
    assert any("removed the lock of a Snakemake that was killed" in text for text in told)
    assert fresh.numbers() == undisturbed.numbers()
    assert fresh.scheduled() == {}
    fresh.verified()
    left = [path for path in fresh.folder.rglob("*") if ".snakemake" not in path.parts]
    assert [path for path in left if path.suffix == ".partial"] == []
    # The name of a lock may stay: a job killed between its last output and the end of its lock is not run again.
    assert [path for path in left if path.suffix == ".lock" and held(path)] == []


def test_a_job_that_outlives_snakemake_is_waited_for(undisturbed, study):
    """Two processes make one run at once; the second waits, and finds it made."""
    run = study.made("results/runs/*-1cross_entropy-inverse-time-s0-*")
    (run / "run.json").unlink()
    spec = undisturbed.made(f"results/runs/{run.name}/run.json")
    data = study.made("data/prepared/*").relative_to(study.folder)
    command = ["train", "--spec", spec_of(spec), "--data", str(data), "--out", f"results/runs/{run.name}"]
    first, second = (study.begin(*command) for _ in range(2))
    told = [process.communicate(timeout=60)[1] for process in (first, second)]
    assert first.returncode == second.returncode == 0, told
    (waited,) = (text for text in told if "waiting for it" in text)
    assert "epoch 1" not in waited
    assert study.numbers() == undisturbed.numbers()


def test_a_job_killed_where_it_writes_most(undisturbed, study):
    """Each file of a run is whole or absent at every moment that a training is killed at."""
    run = study.made("results/runs/*-1cross_entropy-inverse-time-s0-*")
    spec = spec_of(run / "run.json")
    for path in (*run.glob("weights/*"), run / "run.json", run / "history.csv"):
        path.unlink()
    data = study.made("data/prepared/*").relative_to(study.folder)
    command = ["train", "--spec", spec, "--data", str(data), "--out", f"results/runs/{run.name}"]
    for moment in (0.0, 0.05, 0.2):
        process = study.begin(*command)
        wanted = time.monotonic() + 30
        while not list(run.glob("**/.*.partial")) + list(run.glob("weights/*")) and time.monotonic() < wanted:
            time.sleep(0.005)
        time.sleep(moment)
        kill(process, whole=False)
    assert study.robustloss(*command).returncode == 0
    assert study.numbers() == undisturbed.numbers()
