"""A finished study, for tests that change it."""

import pytest
from studies import Study, lay_out


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Study:
    """The finished study; tests copy it before they change anything."""
    folder = tmp_path_factory.mktemp("finished") / "study"
    lay_out(folder)
    study = Study(folder)
    study.configure()
    study.snakemake("--cores", "2")
    return study


@pytest.fixture
def study(finished, tmp_path) -> Study:
    """A copy of the finished study that the test may change."""
    return finished.copy(tmp_path / "study")
