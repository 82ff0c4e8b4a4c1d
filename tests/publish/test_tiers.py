"""What a clone can do: show the tables, attack the networks again, train what is changed and no more."""

import csv
import json
import re

import pytest
import yaml

from robustloss.publishing import again

PAPERS = ("chen2019", "pang2020")

pytestmark = pytest.mark.xdist_group("publish")
COLLECTED = {"manifest", "paper", "report"}


@pytest.fixture
def clone(shelf, tmp_path):
    return shelf.clone(tmp_path / "clone")


@pytest.fixture(scope="session")
def _fetched(shelf, tmp_path_factory):
    clone = shelf.clone(tmp_path_factory.mktemp("fetched") / "clone")
    clone.library("pull")
    return clone


@pytest.fixture
def fetched(_fetched):
    """A clone with everything that is published; tests only plan in it, and may change config.yaml."""
    yield _fetched
    _fetched.run("git", "checkout", "--quiet", "config.yaml")


def planned(clone, *words: str) -> dict[str, int]:
    """How many jobs of each rule a dry run lists."""
    lines = clone.snakemake("-n", "--nocolor", *words).stdout.splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("job ")), None)
    if start is None:
        return {}
    table = lines[start + 2 : lines.index("", start)]
    return {rule: int(count) for rule, count in map(str.split, table) if rule not in ("all", "total")}


def other_code(clone) -> None:
    """Training is another one since."""
    clone.edit("workflow/robustloss/training.py", "\ndef _steps(", "\nEXTRA = 1\n\n\ndef _steps(")


def test_tables_of_a_clone_equal_the_author_s(shelf, clone):
    """Without data, weights or outcomes, and whatever has become of the code that made them."""
    other_code(clone)
    words = ("--config", "published=true", "papers=[chen2019]")
    assert planned(clone, *words) == {"restore": 1, "paper": 1, "report": 1}
    said = clone.make("tables", "PAPERS=chen2019").stdout
    equal = "chen2019: 8 of 8 tables and ledgers equal the published, byte for byte"
    assert said.splitlines()[-1] == equal
    ours, theirs = (folder / "results/papers/chen2019" for folder in (clone.folder, shelf.folder))
    for path in [
        file for kind in ("tables/*.csv", "*.csv", "figures/*.png", "images.npz") for file in theirs.glob(kind)
    ]:
        assert (ours / path.relative_to(theirs)).read_bytes() == path.read_bytes(), path
    assert clone.bytes() == {}
    assert clone.library("verify").returncode == 0
    claims = ours / "claims.csv"
    claims.write_text(claims.read_text().replace("chen2019", "chen2018", 1))
    assert "7 of 8" in clone.library("agree").stdout
    # What another scale made in their place is not held against them.
    manifest = ours / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"scale": "other"}))
    assert re.search("is of scale other, .*: not compared", clone.library("agree").stdout)


def test_attacks_again(shelf, clone):
    other_code(clone)
    words = ("--config", "published=true")
    assert planned(clone, *words, "--", "attacks_again") == {"attacks_again": 1}
    said = clone.make("attacks").stdout
    assert "3 attacks made again, 180 outcomes: 3 attacks agree in all" in said
    assert "on fewer images" not in said
    assert planned(clone, *words, "--", "attacks_again") == {}
    assert clone.run("git", "status", "--porcelain", "results").stdout == ""
    # Other outcomes are told.
    outcome = next(clone.folder.glob("results/again/*/fgsm-*/samples/epoch-001.npz"))
    swap(outcome)
    said = clone.library("agree").stdout
    assert "2 attacks agree in all" in said
    assert "of 60 outcomes differ" in said
    with open(clone.folder / "results/again/agreement.csv", newline="") as stream:
        assert [int(row["differing"]) > 0 for row in csv.DictReader(stream)].count(True) == 1
    said = clone.make("attacks", "IMAGES=10", "PAPERS=pang2020").stdout
    assert "4 attacks made again, 190 outcomes" in said
    assert "on fewer images random starts and targets are others" in said


def swap(path) -> None:
    """Predictions that are right become wrong."""
    import numpy as np

    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["adversarial_predictions"] = np.where(
        arrays["adversarial_predictions"] == arrays["labels"], -1, arrays["labels"]
    ).astype(np.int16)
    np.savez_compressed(path, **arrays)


def test_fewer_images(fetched, monkeypatch):
    """They are other attacks, with names of their own, on so many images at most."""
    monkeypatch.chdir(fetched.folder)
    settings = {"papers": [*PAPERS], "data_root": "data/raw"}
    every, few, many = (again.plan(settings | more) for more in ({}, {"images": 10}, {"images": 1000}))
    assert {json.loads(spec)["count"] for spec in few.attacks.values()} == {10}
    assert not every.attacks.keys() & few.attacks.keys()
    assert [len(plan.attacks) for plan in (every, few, many)] == [3, 3, 3]
    assert few.again.keys() == every.again.keys()


def test_nothing_is_trained_after_a_pull(fetched):
    assert set(planned(fetched)) <= COLLECTED
    # What is published is no plan: the manifests that papers are made from are today's.
    assert planned(fetched)["manifest"] == 2


def test_one_loss_weight_after_a_pull(fetched):
    papers = yaml.safe_load((fetched.folder / "config.yaml").read_text())["chen2019"]
    papers["objectives"]["XE"]["terms"][0]["weight"] = 2
    fetched.set(chen2019=papers)
    jobs = planned(fetched)
    assert {rule: jobs[rule] for rule in jobs if rule not in COLLECTED} == {
        **{"train": 1, "features": 1, "attack": 1, "measure": 1}
    }
    new, count = fetched.library("why").stdout.splitlines()
    assert "spec.objective.1.weight 1 -> 2; the same code" in new
    assert count == "Missing in all: 1 run, 1 set of features, 1 attack, 1 measurement."


def test_a_seed_after_a_pull(fetched):
    fetched.set(seeds=[0, 1])
    jobs = fetched.scheduled()
    assert len(jobs["train"]) == 4
    assert all("-s1-" in run for run in jobs["train"])
    assert "prepare_images" not in jobs
    # Nor are finished runs trained again where their data have to be prepared again, being too many or not free.
    folder = next(fetched.folder.glob("data/prepared/*/"))
    folder.rename(folder.with_name("elsewhere"))
    jobs_then = fetched.scheduled()
    folder.with_name("elsewhere").rename(folder)
    assert jobs_then == jobs | {"prepare_images": {f"data={folder.name}"}}


def test_weights_that_were_not_fetched_are_named(clone):
    run = clone.runs("chen2019")[0]
    attack = next(run.glob("attacks/*"))
    (attack / "attack.json").unlink()
    found = clone.snakemake("--cores", "1", "--", str((attack / "attack.json").relative_to(clone.folder)), check=False)
    assert "published but not here: `make pull` fetches them" in found.stdout + found.stderr
