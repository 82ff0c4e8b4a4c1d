"""A small study, finished and not yet begun."""

import pytest
from faulty import Study
from studies import lay_out


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> Study:
    """The finished study; tests copy it before they break anything."""
    folder = tmp_path_factory.mktemp("undisturbed") / "study"
    lay_out(folder)
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
