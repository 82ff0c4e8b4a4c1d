"""A disk that fills up in each stage: a sentence, no half file under a whole one's name, and afterwards it goes on."""

import json
import shutil
import subprocess

import pytest
import torch
from faulty import spec_of
from safetensors.torch import load_file

pytestmark = pytest.mark.xdist_group("faults")

PAGE = 4096


@pytest.fixture
def disk(tmp_path):
    """A file system of a few pages, whose size the test gives; only root may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = []

    def mount(pages: int):
        command = ["mount", "-t", "tmpfs", "-o", f"size={pages * PAGE}", "tmpfs", str(place)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no small file system can be mounted here ({error})")
        mounted.append(place)
        return place

    yield mount
    for _ in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def full(found: subprocess.CompletedProcess, place) -> None:
    assert found.returncode == 1, found.stdout + found.stderr
    assert "Traceback" not in found.stderr, found.stderr
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("robustloss: ") and ("No space left" in last or "GB free" in last), found.stderr
    assert not [path for path in place.rglob("*") if path.name.endswith((".partial", ".lock"))]


def words(study, stage: str, out) -> list[str]:
    """The stage's command, with its output in `out`, from what the finished study's records say."""
    run = study.made("results/runs/*-1cross_entropy-inverse-time-s0-*")
    data = study.made("data/prepared/*")
    place = {
        "attack": "attacks/*/attack.json",
        "audit": "audits/*/audit.json",
        "measure": "measured/*/measurement.json",
    }
    given = {"--out": out}
    if stage in ("simulate", "extract"):
        spec = json.loads((data / "record.json").read_text())["data"]
        drawn = {key: value for key, value in spec.items() if key not in ("splits", "image_size")}
        given |= {"--spec": json.dumps(drawn if stage == "simulate" else spec), "--video": 1}
        given |= {"--raw": study.made("data/raw/cholec80-sim-*")} if stage == "extract" else {}
    elif stage == "prepare":
        given |= {"--spec": json.dumps({"name": "digits"}), "--raw": study.folder}
    elif stage == "paper":
        manifest = study.made("results/papers/*/manifest.json")
        given |= {"--notebook": study.folder / "notebooks/ding2025.ipynb", "--manifest": manifest}
    elif stage == "report":
        given |= {"--results": study.folder / "results"}
    elif stage == "count":
        spec = json.loads((data / "record.json").read_text())["data"]
        reference = study.folder / "data/reference/ding2025.csv"
        given |= {"--spec": json.dumps(spec), "--raw": study.made("data/raw/cholec80-sim-*"), "--reference": reference}
    else:
        given |= {"--data": data} | ({"--run": run} if stage != "train" else {})
        record = run / "run.json" if stage == "train" else study.made(f"{run.relative_to(study.folder)}/*/*/*.json")
        if stage in place:
            record = study.made(f"{run.relative_to(study.folder)}/{place[stage]}")
        given |= {"--spec": spec_of(record)} if stage != "features" else {}
    return [stage, *(str(word) for pair in given.items() for word in pair)]


STAGES = ("simulate", "extract", "prepare", "count", "train", "features", "attack", "audit", "measure", "report")


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_in_each_stage(undisturbed, disk, stage):
    place = disk(1)
    (place / "else").write_bytes(bytes(PAGE))
    full(undisturbed.robustloss(*words(undisturbed, stage, place / "out")), place)


def test_a_full_disk_where_videos_are_joined(undisturbed, disk, tmp_path):
    data = undisturbed.made("data/prepared/*")
    spec = json.loads((data / "record.json").read_text())["data"]
    for video in (1, 2, 3):
        command = words(undisturbed, "extract", tmp_path / "out" / "videos")
        command[command.index("--video") + 1] = str(video)
        assert undisturbed.robustloss(*command).returncode == 0
    needed = sum(-(-path.stat().st_size // PAGE) for path in (tmp_path / "out" / "videos").iterdir())
    place = disk(needed + 2)
    shutil.copytree(tmp_path / "out", place / "out")
    full(undisturbed.robustloss("assemble", "--spec", json.dumps(spec), "--out", str(place / "out")), place)


def test_a_training_on_a_full_disk_goes_on_where_it_was(undisturbed, disk):
    """The first epoch fits; with more space the second follows, and the weights are those of the undisturbed run."""
    run = undisturbed.made("results/runs/*-1cross_entropy-inverse-time-s0-*")
    one = -(-(run / "weights" / "epoch-001.safetensors").stat().st_size // PAGE)
    place = disk(3 * one + 2)
    command = words(undisturbed, "train", place / run.name)
    found = undisturbed.robustloss(*command)
    full(found, place)
    assert "epoch 1 of 2" in found.stderr and not (place / run.name / "run.json").exists()
    subprocess.run(["mount", "-o", "remount,size=1m", str(place)], check=True)
    again = undisturbed.robustloss(*command)
    assert again.returncode == 0, again.stderr
    assert "going on after epoch 1" in again.stderr
    for path in (run / "weights").iterdir():
        expected, weights = load_file(path), load_file(place / run.name / "weights" / path.name)
        assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_a_crate_on_a_full_disk(undisturbed, disk):
    """Nothing of it is left, so that the same command makes all of it once there is space."""
    place = disk(8)
    full(undisturbed.robustloss("crate", "--out", str(place / "out")), place)
    assert not (place / "out").exists()


def test_a_paper_on_a_full_disk(undisturbed, disk):
    place = disk(8)
    full(undisturbed.robustloss(*words(undisturbed, "paper", place / "out")), place)


def test_results_on_a_full_disk(undisturbed, study, disk):
    """Through Snakemake: the job says it, and with space there is nothing to mend."""
    results = study.folder / "results"
    place = disk(1)
    shutil.move(results, study.folder / "aside")
    results.symlink_to(place, target_is_directory=True)
    run = undisturbed.made("results/runs/*").relative_to(undisturbed.folder)
    found = study.snakemake("--cores", "2", "--", f"{run}/run.json", check=False)
    text = found.stdout + found.stderr
    assert found.returncode != 0 and "Traceback" not in text
    told = [line for line in text.splitlines() if line.startswith("robustloss: cannot write")]
    assert told and all("No space left on device; free some space and start again" in line for line in told)
    results.unlink()
    shutil.move(study.folder / "aside", results)
    assert study.scheduled() == {}
