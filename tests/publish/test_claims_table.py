"""The claims of the artifact appendix: verdicts as the ledger has them, hours as the records have them."""

import csv
import json

import pytest

from robustloss.publishing import claims_table

pytestmark = pytest.mark.xdist_group("publish")


def write(path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"environment": {"seconds": seconds}}))


def test_hours_of_a_claim(tmp_path):
    """Two trainings of 2.5 hours with their features; three and two attacks of an hour; each counts once."""
    rows = {}
    for row, labels in {"A": ("pgd", "h1", "h2"), "B": ("pgd", "h1"), "C": ("pgd",)}.items():
        run = tmp_path / row
        attacks = {label: str(run / "attacks" / label) for label in labels}
        rows[row] = [{"directory": str(run), "features": str(run / "features"), "attacks": attacks}]
        write(run / "run.json", 7200)
        write(run / "features/features.json", 1800)
        for folder in attacks.values():
            write(tmp_path / folder / "attack.json", 3600)
    shared = {"experiment": "e", "row": "A", "against": ["B"]}
    comparisons = [shared | {"attack": "pgd", "honest": ["h1", "h2"]}, shared | {"attack": "pgd"}]
    assert claims_table.hours(comparisons, {"rows": {"e": rows}}) == (5, 10)


def test_the_page_has_the_published_verdicts(shelf):
    page = (shelf.folder / "REPRODUCING.md").read_text()
    assert claims_table.NONE not in page
    assert "make attacks PAPERS=chen2019" in page
    with open(shelf.folder / "results/published/chen2019/claims.csv", newline="") as stream:
        claims = list(csv.DictReader(stream))
    for claim in claims:
        line = next(line for line in page.splitlines() if line.startswith(f"| {claim['id']} | {claim['claim'][:20]}"))
        assert claim["verdict"] in line
        assert ("—" if claim["run"] == "0" else f"{float(claim['ours']):.1f}".replace("-", "−")) in line
    assert shelf.run("git", "log", "-1", "--name-only", "--format=").stdout.count("REPRODUCING.md") == 1
