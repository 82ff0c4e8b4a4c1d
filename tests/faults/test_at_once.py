"""Two at once, a stale lock, a read-only folder, and a clock that jumps."""

import os
import shutil
import subprocess
import time

import pytest
from faulty import kill

pytestmark = pytest.mark.xdist_group("faults")

YEAR = 365 * 24 * 3600
# All runs and what is measured of them, but no paper.
MANIFEST = "results/papers/ding2025/manifest.json"


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to this"
        time.sleep(0.02)


def forget(study) -> None:
    """One attack and what is made of it have to be made again."""
    study.made("results/runs/*-1cross_entropy-inverse-time-s0-*/attacks/*/attack.json").unlink()
    study.forget_paper()


def locks(study) -> list:
    return list(study.folder.glob(".snakemake/locks/*.lock"))


def test_a_second_snakemake_is_sent_away_and_disturbs_nothing(undisturbed, study):
    forget(study)
    # Whole attacks and audits, so that the first one is at work for longer than the second takes to plan.
    for path in study.folder.glob("results/runs/*/*/*/a*.json"):
        shutil.rmtree(path.parent)
    first = study.start("--cores", "1", "--", MANIFEST)
    wait_for(lambda: locks(study))
    second = study.snakemake("--cores", "2", "--", MANIFEST, check=False)
    assert second.returncode != 0
    assert "locked" in second.stdout + second.stderr and "Traceback" not in second.stdout + second.stderr
    # Where the first one was done before the second had looked, it has taken its lock away itself, and is about to end.
    assert locks(study) or first.wait(timeout=15) == 0, "the first one's lock was taken for that of a dead one"
    assert first.wait(timeout=120) == 0
    assert study.numbers(papers=False) == undisturbed.numbers(papers=False)
    study.verified()


def test_two_that_start_in_the_same_moment(undisturbed, study):
    forget(study)
    both = [study.start("--cores", "1", "--", MANIFEST) for _ in range(2)]
    assert sorted(process.wait(timeout=120) for process in both)[0] == 0
    study.snakemake("--cores", "1", "--", MANIFEST)
    assert study.numbers(papers=False) == undisturbed.numbers(papers=False)


def test_the_lock_of_a_snakemake_that_was_killed(undisturbed, study):
    forget(study)
    process = study.start("--cores", "1", "--", MANIFEST)
    wait_for(lambda: locks(study))
    kill(process)
    assert locks(study)
    found = study.snakemake("--cores", "1", "--", MANIFEST)
    assert "removed the lock of a Snakemake that was killed" in found.stdout + found.stderr
    assert not locks(study)


@pytest.fixture
def read_only(study):
    """The study's results, in which nothing can be written; root ignores modes, so it is a read-only mount."""
    results = study.folder / "results"
    try:
        subprocess.run(["mount", "--bind", str(results), str(results)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no folder can be mounted here ({error})")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(results)], check=True)
    yield study
    subprocess.run(["umount", "-l", str(results)], check=True)


def test_a_read_only_results_folder(read_only):
    """A job says what to do; questions, which write nothing, are answered."""
    run = read_only.made("results/runs/*")
    data = read_only.made("data/prepared/*").relative_to(read_only.folder)
    out = f"{run.relative_to(read_only.folder)}/features-00000000"
    words = ["--run", str(run.relative_to(read_only.folder)), "--data", str(data), "--out", out]
    found = read_only.robustloss("features", *words)
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert "Read-only file system; make that folder writable and start again" in found.stderr
    read_only.verified()
    assert read_only.scheduled() == {}


@pytest.mark.parametrize("left", ["a table", "nothing"])
def test_snakemake_on_a_read_only_results_folder(study, request, left):
    """What is missing cannot be made, which is said, and nothing that is there is touched."""
    forget(study)
    if left == "nothing":
        for path in study.folder.glob("results/runs/*-1cross_entropy-inverse-time-s0-*/attacks/*"):
            shutil.rmtree(path)
    before = study.numbers()
    study = request.getfixturevalue("read_only")
    found = study.snakemake("--cores", "1", check=False)
    text = found.stdout + found.stderr
    assert found.returncode != 0 and "Traceback" not in text, text
    assert "Write-protected output files" in text or "Read-only file system" in text, text
    assert study.numbers() == before


def dated(study, seconds: float) -> None:
    """Every file as if written `seconds` from now."""
    now = time.time()
    for path in study.folder.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (now + seconds, now + seconds))


def test_a_clock_that_jumped_back(undisturbed, study):
    """All files come from the future; what is missing is made once, and Snakemake takes nothing new for stale."""
    dated(study, YEAR)
    assert study.scheduled() == {}
    forget(study)
    study.snakemake("--cores", "2")
    assert study.numbers() == undisturbed.numbers()
    study.verified()
    assert study.scheduled() == {}


def test_a_clock_that_jumped_ahead(study):
    dated(study, -YEAR)
    assert study.scheduled() == {}
