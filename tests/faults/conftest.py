"""A small study, finished and not yet begun."""

import shutil

import pytest
from faulty import ROOT, Study, workflow


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Study:
    """The finished study; tests copy it before they break anything."""
    folder = tmp_path_factory.mktemp("undisturbed") / "study"
    for name in workflow.COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    study = Study(folder)
    study.shrink()
    study.snakemake("--cores", "2")
    return study


@pytest.fixture
def study(undisturbed, tmp_path) -> Study:
    """A copy of the finished study that the test may break."""
    return undisturbed.copy(tmp_path / "study")


@pytest.fixture
def fresh(undisturbed, tmp_path) -> Study:
    """The study before anything was made."""
    return undisturbed.copy(tmp_path / "fresh", "results", ".snakemake", "prepared", "raw", "logs")
