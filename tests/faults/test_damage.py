"""Flipped bits and cut files: refused by the job that reads them, named, and made again on request."""

import shutil
import subprocess

import pytest
from faulty import spec_of

pytestmark = pytest.mark.xdist_group("faults")


def flip(path) -> None:
    """One bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def refused(found: subprocess.CompletedProcess, name: str) -> None:
    """One sentence that names the file."""
    assert found.returncode == 1, found.stdout + found.stderr
    assert "Traceback" not in found.stderr
    last = found.stderr.strip().splitlines()[-1]
    assert last.startswith("robustloss: ") and name in last, found.stderr


@pytest.fixture
def run(study):
    return study.made("results/runs/*-1cross_entropy-inverse-time-s0-*").relative_to(study.folder)


@pytest.fixture
def data(study):
    return study.made("data/prepared/*").relative_to(study.folder)


@pytest.mark.parametrize("damage", [flip, cut])
def test_a_damaged_checkpoint(study, run, data, damage):
    damage(study.folder / run / "weights" / "epoch-002.safetensors")
    attack = next((study.folder / run / "attacks").iterdir())
    words = ["--run", str(run), "--data", str(data), "--spec", spec_of(attack / "attack.json"), "--out", "out/attack"]
    refused(study.robustloss("attack", *words), "epoch-002.safetensors is damaged")
    refused(study.robustloss("verify"), "results is not as it was written: 1 problem")


@pytest.mark.parametrize(("split", "damage"), [("train", flip), ("test", cut)])
def test_a_damaged_array(study, run, data, split, damage):
    damage(study.folder / data / f"{split}.npy")
    words = ["--data", str(data), "--spec", spec_of(study.folder / run / "run.json"), "--out", "out/run"]
    refused(study.robustloss("train", *words), f"{split}.npy is not the file that was prepared")


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("results/runs/*/features-*/epochs.csv", "epochs.csv"),
        ("results/runs/*/attacks/*/attack.json", "attack.json"),
        ("results/runs/*/features-*/features.json", "features.json"),
    ],
)
def test_a_damaged_number_is_not_shown(study, pattern, name):
    """The notebook fails in a sentence in place of showing a number that nobody measured."""
    path = study.made(pattern)
    text = path.read_text()
    place = next(place for place in range(len(text) // 2, len(text)) if text[place] in "12345678")
    path.write_text(text[:place] + "9" + text[place + 1 :])
    words = ["--notebook", "notebooks/ding2025.ipynb", "--manifest", "results/papers/ding2025/manifest.json"]
    refused(study.robustloss("paper", *words, "--out", "out/paper"), name)
    assert not (study.folder / "out" / "paper" / "ding2025.html").exists()


def test_everything_damaged_at_once_is_named_deleted_and_made_again(undisturbed, study, run, data):
    """`verify` names each file; with their folders deleted, the same command makes equal numbers."""
    damaged = [
        study.folder / run / "weights" / "epoch-001.safetensors",
        study.folder / data / "evaluation.npy",
        study.made(f"{run}/features-*/classes.csv"),
        study.made("results/runs/*+1entropy-*/attacks/*/samples/epoch-002.npz"),
    ]
    for path in damaged:
        flip(path)
    found = study.robustloss("verify")
    named = [line for line in found.stdout.splitlines() if line.startswith("PROBLEM")]
    assert len(named) == len(damaged)
    for path in damaged:
        assert any(str(path.relative_to(study.folder)) in line for line in named)
    for folder in (study.folder / data, study.folder / run, damaged[3].parents[1]):
        shutil.rmtree(folder)
    study.forget_paper()
    study.snakemake("--cores", "2", "--", "results/papers/ding2025/manifest.json")
    assert study.numbers(papers=False) == undisturbed.numbers(papers=False)
    study.verified()
