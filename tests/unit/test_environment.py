"""The environments agree with each other, and name no registry."""

import re
from pathlib import Path

import yaml

ENVS = Path(__file__).parents[2] / "envs"
CONDA_NAMES = {"pytorch": "torch"}


def pinned() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^ \\;]+)", (ENVS / "requirements.txt").read_text(), re.M):
        found.setdefault(name, set()).add(version)
    return found


def wanted() -> set[str]:
    lines = (ENVS / "requirements.in").read_text().splitlines()
    return {re.match(r"[a-z0-9-]+", line)[0] for line in lines if line and not line.startswith("#")}


def test_conda_names_the_versions_that_pip_pins():
    dependencies = yaml.safe_load((ENVS / "robustloss.yaml").read_text())["dependencies"]
    versions = dict(item.split("=") for item in dependencies)
    assert versions.pop("python") == "3.12"
    for name, version in versions.items():
        assert version in pinned()[CONDA_NAMES.get(name, name)]


def test_conda_has_everything_that_a_job_needs():
    dependencies = yaml.safe_load((ENVS / "robustloss.yaml").read_text())["dependencies"]
    names = {CONDA_NAMES.get(name, name) for name in (item.split("=")[0] for item in dependencies)}
    of_the_workflow = {"snakemake", "pytest", "pytest-xdist", "ruff", "snakefmt"}
    assert names - {"python"} == wanted() - of_the_workflow


def test_every_wanted_package_is_pinned_with_hashes():
    text = (ENVS / "requirements.txt").read_text()
    assert wanted() <= pinned().keys()
    blocks = re.split(r"^(?=[a-z0-9._-]+==)", text, flags=re.M)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
