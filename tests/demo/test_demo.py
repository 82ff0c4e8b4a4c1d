"""What `make demo` made, looked at after it ran: `pytest tests/demo`."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAPER = ROOT / "results/papers/ding2025"
PAPERS = ["ding2025", "song2022", "pang2020", "chen2019"]
VERDICTS = {"reproduced", "direction only", "not reproduced", "collapses", "not attempted at this scale"}
TABLE3 = ["0", "1", "2", "3", "4", "5", "5(2)", "6", "6(2)", "7", "8"]


@pytest.fixture(scope="module")
def manifest() -> dict:
    return json.loads((PAPER / "manifest.json").read_text())


def rows(path: Path) -> list[dict]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def table(name: str) -> list[dict]:
    return rows(PAPER / "tables" / f"{name}.csv")


def test_every_row_was_trained_attacked_and_measured(manifest):
    assert list(manifest["rows"]["table3"]) == TABLE3
    for rows in manifest["rows"].values():
        for run in (run for runs in rows.values() for run in runs):
            record = json.loads((ROOT / run["directory"] / "run.json").read_text())
            epochs = record["spec"]["epochs"]
            weights = sorted((ROOT / run["directory"] / "weights").glob("*.safetensors"))
            assert len(weights) == epochs == 8
            for folder in (run["features"], run["attacks"]["pgd"]):
                assert len(list((ROOT / folder / "samples").glob("*.npz"))) == epochs


def test_networks_learnt_and_the_attack_attacks(manifest):
    """Plain cross-entropy beats the majority class when clean, and loses much of it under attack."""
    run = manifest["rows"]["table3"]["1"][0]
    clean = json.loads((ROOT / run["features"] / "features.json").read_text())["summary"]["test"]
    attack = json.loads((ROOT / run["attacks"]["pgd"] / "attack.json").read_text())["summary"]
    assert clean["accuracy"]["last"] > clean["majority"] + 0.1
    assert attack["robust_accuracy"]["last"] < attack["clean_accuracy"]["last"] - 0.1


def test_tables_stand_beside_the_published_numbers():
    printed = [row for row in table("table3") if any("31.09" in value for value in row.values())]
    assert len(printed) == 1
    counts = {row["tool"]: row for row in table("table1")}
    assert counts["Hook"]["published"] == "44887"
    assert int(counts["all"]["ours"]) == int(counts["all"]["train"]) + int(counts["all"]["test"])
    for name in ("table2", "table4"):
        assert table(name)


@pytest.mark.parametrize("name", ["figure2", "figure3", "figure4", "figure5"])
def test_figures_are_pictures_with_something_on_them(name):
    with Image.open(PAPER / "figures" / f"{name}.png") as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(2**24)) > 20
    assert (PAPER / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_the_page_is_whole_and_self_contained():
    page = (PAPER / "ding2025.html").read_text()
    for item in ("Table 1", "Table 2", "Table 3", "Table 4", "Figure 2", "Figure 3", "Figure 4", "Figure 5"):
        assert item in page
    assert "Traceback" not in page
    sources = re.findall(r'<img[^>]*src="([^"]{0,40})', page)
    assert len(sources) >= 4
    assert all(source.startswith("data:image/") for source in sources)


@pytest.mark.parametrize("paper", PAPERS)
def test_every_paper_has_its_verdicts_and_audits(paper):
    folder = ROOT / "results/papers" / paper
    verdicts = [claim["verdict"] for claim in rows(folder / "claims.csv")]
    assert len(verdicts) >= 5 and set(verdicts) <= VERDICTS
    assert verdicts.count("not attempted at this scale") < len(verdicts)
    # The data stand in for the paper's, so nothing is reproduced.
    assert "reproduced" not in verdicts
    audited = rows(folder / "tables/audits.csv")
    assert audited
    for line in audited:
        assert 0 <= float(line["worst_case_percent"]) <= float(line["pgd_percent"]) <= float(line["clean_percent"])
        assert line["verdict"].startswith(("Cross-entropy PGD ", "The network "))


def test_the_honest_attacks_break_networks():
    """The honest ensemble leaves no more than the clean accuracy, and breaks something somewhere."""
    records = [json.loads(path.read_text()) for path in (ROOT / "results/runs").glob("*/attacks/worst_case-*/*.json")]
    shares = [record["summary"] for record in records]
    assert all(share["robust_accuracy"]["last"] <= share["clean_accuracy"]["last"] for share in shares)
    assert min(share["robust_accuracy"]["last"] for share in shares) < 0.2


def test_snakemakes_own_report_shows_every_paper(tmp_path):
    page = tmp_path / "report.html"
    command = [sys.executable, "-m", "snakemake", "--config", "scale=demo", "--report", str(page)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    text = page.read_text()
    assert all(f"results/papers/{paper}/{paper}.html" in text for paper in PAPERS)


def test_a_second_demo_has_nothing_to_do():
    found = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n", "--config", "scale=demo"], cwd=ROOT, capture_output=True, text=True
    )
    assert "Nothing to be done" in found.stdout + found.stderr
