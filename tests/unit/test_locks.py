"""Locks that go with their process, and dates from the future."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustloss import clock, locks

LIBRARY = Path(locks.__file__).parents[1]
HOLD = "from pathlib import Path; from robustloss import locks; import time\n"


@pytest.fixture
def other(tmp_path):
    """Another process that runs a script with a lock, and says when it has it."""
    started = []

    def start(script: str) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLD + script + "; print('held', flush=True); time.sleep(60)"]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(LIBRARY)}, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_one_alone_does_not_wait_and_leaves_nothing(tmp_path):
    with locks.alone(tmp_path / "runs" / "x") as waited:
        assert not waited
        assert [path.name for path in (tmp_path / "runs").iterdir()] == [".x.lock"]
        with locks.alone(tmp_path / "runs" / "y") as waited:
            assert not waited
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_lock_of_a_killed_process_is_free(tmp_path, other):
    process = other("found = locks.alone(Path('x')); found.__enter__()")
    process.kill()
    process.wait()
    assert (tmp_path / ".x.lock").exists()
    with locks.alone(tmp_path / "x") as waited:
        assert not waited
    assert not (tmp_path / ".x.lock").exists()


def test_the_second_waits_for_the_first(tmp_path, other, capsys):
    """Also when the first takes its lock away: the second then has a new one, not that of a file without a name."""
    process = other("found = locks.alone(Path('x')); found.__enter__()")
    killer = subprocess.Popen([sys.executable, "-c", f"import os, time; time.sleep(0.5); os.kill({process.pid}, 9)"])
    with locks.alone(tmp_path / "x") as waited:
        assert waited
        assert (tmp_path / ".x.lock").exists()
    killer.wait()
    assert f"another process is making {tmp_path / 'x'}: waiting for it" in capsys.readouterr().err


def locked(folder: Path) -> list[Path]:
    (folder / "locks").mkdir(parents=True, exist_ok=True)
    for name in ("0.input.lock", "0.output.lock"):
        (folder / "locks" / name).write_text("results/x\n")
    return list((folder / "locks").iterdir())


def test_the_lock_of_a_dead_snakemake_is_taken_away(tmp_path, other, capsys):
    process = other("sign = locks.clear_stale(Path('.snakemake'))")
    files = locked(tmp_path / ".snakemake")
    second = locks.clear_stale(tmp_path / ".snakemake")
    assert all(path.exists() for path in files), "the first one lives"
    second.close()
    process.kill()
    process.wait()
    sign = locks.clear_stale(tmp_path / ".snakemake")
    assert not any(path.exists() for path in files)
    assert "removed the lock of a Snakemake that was killed" in capsys.readouterr().err
    sign.close()


def test_a_folder_without_locks_is_left_as_it_is(tmp_path, capsys):
    with locks.clear_stale(tmp_path / ".snakemake"):
        assert capsys.readouterr().err == ""
    (tmp_path / "file").write_text("")
    assert locks.clear_stale(tmp_path / "file" / ".snakemake") is None


def test_only_files_from_the_future_are_dated_anew(tmp_path):
    now = time.time()
    for name, seconds in (("future", 1000), ("past", -1000)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (now + seconds, now + seconds))
    clock.no_later_than_now([tmp_path / "future", tmp_path / "past", tmp_path / "absent"])
    assert now - 1 < (tmp_path / "future").stat().st_mtime <= time.time() + 1
    assert abs((tmp_path / "past").stat().st_mtime - (now - 1000)) < 1
