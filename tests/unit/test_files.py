"""Files are whole or absent, also when the disk is full or the process is killed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robustloss import files
from robustloss.data import prepared
from robustloss.errors import Problem
from robustloss.files import canonical

LIBRARY = Path(files.__file__).parents[1]


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 KiB."""
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not allow mounting a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def robustloss(*arguments) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(LIBRARY)}
    return subprocess.run(
        [sys.executable, "-m", "robustloss", *map(str, arguments)], env=environment, capture_output=True, text=True
    )


def assert_full_disk(found: subprocess.CompletedProcess) -> None:
    """One sentence, no traceback."""
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    last = found.stderr.splitlines()[-1]
    assert last.startswith("robustloss: ")
    assert "No space left on device" in last or "GB free" in last
    assert "free some space" in last


def test_replacing_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.replacing(path) as stream:
        stream.write("half of the ne")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writing_between_markers_leaves_the_rest_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->old<!-- b -->\nafter <!-- c -->\n")
    for text in ("first", "new"):
        files.write_between(page, "<!-- a -->", "<!-- b -->", text)
    assert page.read_text() == "before\n<!-- a -->\n\nnew\n\n<!-- b -->\nafter <!-- c -->\n"


@pytest.mark.parametrize("text", ["", "<!-- a -->", "<!-- b --><!-- a -->", "<!-- a --><!-- b --><!-- b -->"])
def test_a_page_without_both_markers_once_each_stays_as_it_was(tmp_path, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(Problem, match=r"page\.md needs the lines <!-- a --> and <!-- b --> once each"):
        files.write_between(page, "<!-- a -->", "<!-- b -->", "new")
    assert page.read_text() == text
    with pytest.raises(Problem, match=r"other\.md is missing"):
        files.write_between(tmp_path / "other.md", "<!-- a -->", "<!-- b -->", "new")


def test_a_killed_writer_leaves_no_half_file_and_the_next_one_cleans_up(tmp_path):
    script = (
        "import os, signal; from robustloss.files import replacing\n"
        f"with replacing({str(tmp_path / 'a.txt')!r}) as s: s.write('x' * 10**6); s.flush(); os.kill(os.getpid(), 9)"
    )
    environment = os.environ | {"PYTHONPATH": str(LIBRARY)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == -signal.SIGKILL
    assert not (tmp_path / "a.txt").exists()
    with files.replacing(tmp_path / "a.txt") as stream:
        stream.write("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_full_disk_while_training_keeps_the_epochs_before(small_disk, bars, spec):
    spec |= {"epochs": 50}
    run = small_disk / "run"
    command = ("train", "--spec", canonical(spec), "--data", bars.directory, "--out", run, "--device", "cpu")
    assert_full_disk(robustloss(*command))
    weights = sorted((run / "weights").glob("*.safetensors"))
    assert weights
    assert not (run / "run.json").exists()
    for path in weights[:-1]:
        path.unlink()
    # With room again, the same command goes on; here it fills the disk a second time, further on.
    again = robustloss(*command)
    assert "going on after epoch" in again.stderr
    assert_full_disk(again)


def test_full_disk_while_preparing_data(small_disk):
    found = robustloss(
        "prepare",
        "--spec",
        canonical({"name": "digits", "image_size": 64}),
        "--raw",
        ".",
        "--out",
        small_disk / "digits",
    )
    assert_full_disk(found)
    assert not (small_disk / "digits" / "record.json").exists()


def test_full_disk_while_streaming_an_array(small_disk):
    """The check of free space is passed, and the disk fills up while blocks come in."""

    def blocks():
        yield np.zeros((100, 8, 8, 3), np.uint8)
        (small_disk / "other").write_bytes(b"x" * 180_000)
        yield np.zeros((500, 8, 8, 3), np.uint8)

    def split(count: int):
        return [{"image": i, "class": i % 2} for i in range(count)]

    tiny = ([np.zeros((2, 8, 8, 3), np.uint8)], (2, 8, 8, 3), split(2))
    splits = {"train": (blocks(), (600, 8, 8, 3), split(600)), "test": tiny, "evaluation": tiny}
    with pytest.raises(OSError, match="No space left"):
        prepared.write(small_disk / "data", {"name": "x"}, ["a", "b"], splits, {})
    assert not list((small_disk / "data").glob("*"))


def test_full_disk_while_drawing_and_extracting(small_disk, tmp_path):
    spec = {"name": "cholec80-sim", "seed": 0, "seconds": 40, "width": 160, "height": 90, "image_size": 64}
    spec["splits"] = {"train": [1], "test": [2], "evaluation": [2]}
    text = canonical(spec)
    assert_full_disk(robustloss("simulate", "--spec", text, "--video", 1, "--out", small_disk / "raw"))
    assert not list(small_disk.glob("raw/tool_annotations/*"))
    assert robustloss("simulate", "--spec", text, "--video", 1, "--out", tmp_path / "raw").returncode == 0
    out = small_disk / "videos"
    assert_full_disk(robustloss("extract", "--spec", text, "--video", 1, "--raw", tmp_path / "raw", "--out", out))
    assert not list(out.glob("*.npy"))


def test_read_only_results_are_one_sentence(tmp_path, bars, spec):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "run").mkdir(mode=0o555)
    command = ("train", "--spec", canonical(spec), "--data", bars.directory, "--out", tmp_path / "run" / "x")
    found = robustloss(*command)
    assert "make that folder writable" in found.stderr


@pytest.mark.parametrize("text", ["{", "", "\x00"])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(Problem, match=r"run\.json is damaged"):
        files.read_json(tmp_path / "run.json")


def test_canonical_is_one_text_per_value():
    assert canonical({"b": [1, 2.5, None], "a": "ü"}) == canonical({"a": "ü", "b": [1, 2.5, None]})
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(float("nan"))


def test_digest_counts_the_borders_of_texts():
    assert files.digest("ab", "c") != files.digest("a", "bc")
