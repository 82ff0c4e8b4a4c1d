"""The claims of the artifact appendix: verdicts as the ledger has them, hours as the records have them."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from repositories import Repository

from robustloss.publishing import claims_table

pytestmark = pytest.mark.xdist_group("publish")


def write(path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"spec": {}, "environment": {"seconds": seconds}}))


def test_hours_of_a_claim(tmp_path, monkeypatch):
    """Two trainings of 2.5 hours with their features; three and two attacks of an hour; each counts once."""
    monkeypatch.chdir(tmp_path)
    rows = {}
    for row, labels in {"A": ("pgd", "h1", "h2"), "B": ("pgd", "h1"), "C": ("pgd",)}.items():
        run = Path("results/runs") / row
        attacks = {label: str(run / "attacks" / label) for label in labels}
        entry = {"run": row, "directory": str(run), "features": str(run / "features"), "attacks": attacks}
        rows[row] = [entry]
        write(run / "run.json", 7200)
        write(run / "features/features.json", 1800)
        for folder in attacks.values():
            write(Path(folder) / "attack.json", 3600)
    shared = {"experiment": "e", "row": "A", "against": ["B"]}
    comparisons = [shared | {"attack": "pgd", "honest": ["h1", "h2"]}, shared | {"attack": "pgd"}]
    manifest = {"rows": {"e": rows}}
    assert claims_table.hours(comparisons, manifest) == (5, 10)
    # Of the whole paper, C with its attack too.
    assert claims_table.all_hours(Path("results"), manifest) == (6, 13.5)


def test_networks_that_are_not_published_cannot_be_attacked_again(shelf, tmp_path):
    folder = shutil.copytree(shelf.folder, tmp_path / "repository", symlinks=True)
    for pointer in (*folder.glob("results/runs/*/bytes.dvc"), *folder.glob("data/prepared/*.dvc")):
        pointer.unlink()
    shelf = Repository(folder)
    shelf.library("appendix")
    page = (folder / "REPRODUCING.md").read_text()
    assert "make tables PAPERS=chen2019" in page and "make attacks PAPERS=chen2019" not in page
    assert page.count("Its networks are not published") == 2
    assert "no network of chen2019 is published" in shelf.told("pull", "--papers", "chen2019")


def test_nothing_takes_the_place_of_claims_that_stand(shelf, tmp_path):
    """A wrong folder or a damaged ledger leaves the page as it was."""
    folder = shutil.copytree(shelf.folder, tmp_path / "repository", symlinks=True)
    repository, page = Repository(folder), (folder / "REPRODUCING.md").read_text()
    assert "nope/published has no paper yet" in repository.told("appendix", "--results", "nope")
    assert "nope/papers has no paper yet" in repository.told("publish", "--results", "nope")
    assert "no run is on the data set 'minst'; The choices are: digits" in repository.told("publish", "--data", "minst")
    ledger = folder / "results/published/chen2019/claims.csv"
    ledger.write_bytes(ledger.read_bytes()[:1500])
    assert f"{ledger.relative_to(folder)} is not as it was made: `git checkout -- " in repository.told("appendix")
    assert (folder / "REPRODUCING.md").read_text() == page and not (folder / "nope").exists()


def test_the_page_has_the_published_verdicts(shelf):
    page = (shelf.folder / "REPRODUCING.md").read_text()
    assert "make attacks PAPERS=chen2019" in page
    assert "in all < 0.01 for the attacks alone and < 0.01 for everything" in page
    with open(shelf.folder / "results/published/chen2019/claims.csv", newline="") as stream:
        claims = list(csv.DictReader(stream))
    for claim in claims:
        line = next(line for line in page.splitlines() if line.startswith(f"| {claim['id']} | {claim['claim'][:20]}"))
        assert claim["verdict"] in line
        assert ("—" if claim["run"] == "0" else f"{float(claim['ours']):.1f}".replace("-", "−")) in line
    assert shelf.run("git", "log", "-1", "--name-only", "--format=").stdout.count("REPRODUCING.md") == 1
