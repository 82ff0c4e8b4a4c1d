"""The environments agree with each other, and name no registry."""

import re
from pathlib import Path

import yaml

ENVS = Path(__file__).parents[2] / "envs"
CONDA_NAMES = {"pytorch": "torch"}
TESTS_BELOW = "# What its tests and checks need.\n"


def pinned() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==([^ \\;]+)", (ENVS / "requirements.txt").read_text(), re.M):
        found.setdefault(name, set()).add(version)
    return found


def wanted(end: str | None = None) -> set[str]:
    """What requirements.in names, or what it names above a line."""
    text = (ENVS / "requirements.in").read_text()
    lines = (text.split(end)[0] if end else text).splitlines()
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
    # These start jobs or keep what they made.
    around_jobs = {"snakemake", "snakemake-executor-plugin-slurm", "dvc", "dvc-s3", "dvc-ssh"}
    assert names - {"python"} == wanted(TESTS_BELOW) - around_jobs


def test_the_container_installs_what_pip_pins_and_git():
    recipe = (ENVS / "robustloss.def").read_text()
    dependencies = yaml.safe_load((ENVS / "robustloss.yaml").read_text())["dependencies"]
    python = next(item.split("=")[1] for item in dependencies if item.startswith("python="))
    assert re.search(rf"^From: python:{re.escape(python)}-", recipe, re.M)
    source, target = re.search(r"^%files\n +(\S+) (\S+)$", recipe, re.M).groups()
    assert (ENVS.parent / source) == ENVS / "requirements.txt"
    installed = re.findall(r"pip install (.*)$", recipe, re.M)
    assert [words.split()[-2:] for words in installed] == [["-r", target]]
    assert "--require-hashes" in installed[0]
    assert re.findall(r"apt-get install --yes --no-install-recommends (.*?) &&", recipe) == ["git"]
    assert recipe.count(" install ") == 2


def test_every_wanted_package_is_pinned_with_hashes():
    text = (ENVS / "requirements.txt").read_text()
    assert wanted() <= pinned().keys()
    blocks = re.split(r"^(?=[a-z0-9._-]+==)", text, flags=re.M)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
