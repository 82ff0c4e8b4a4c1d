"""docs/bring-your-own-loss.md, followed literally: its files are written, its commands are run, its promise is kept."""

import csv
import re
import shlex
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs/bring-your-own-loss.md"
FILE = re.compile(r"^Write `([^`]+)`:\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^```sh\nsnakemake (.*?)\n```", re.MULTILINE)

pytestmark = pytest.mark.xdist_group("study")


def test_the_page_makes_a_row_of_table_3(study):
    page = PAGE.read_text()
    files, (plan, run) = FILE.findall(page), COMMAND.findall(page)
    assert len(files) == 2
    for name, text in files:
        assert not (study.folder / name).exists()
        (study.folder / name).write_text(text)
    study.configure("focal")
    planned = study.snakemake(*shlex.split(plan)).stdout
    for rule, count in (("train", 1), ("features", 1), ("attack", 1), ("manifest", 1), ("paper", 1), ("all", 1)):
        assert re.search(rf"^{rule}\s+{count}$", planned, re.MULTILINE), rule
    study.snakemake(*shlex.split(run))
    with open(study.folder / "results/papers/ding2025/tables/table3.csv", newline="") as stream:
        row = next(row for row in csv.DictReader(stream) if row["index"] == "focal")
    assert row["run_as"] == "focal loss, gamma 2"
    assert 0 <= float(row["accuracy_percent"]) <= 100
    assert "focal loss, gamma 2" in (study.folder / "results/papers/ding2025/ding2025.html").read_text()
    assert len(list((study.folder / "results/runs").glob("*-1focal-*/run.json"))) == 1
