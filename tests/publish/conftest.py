"""A repository with two finished papers, as an author has it, and clones of it, as a reviewer has them."""

import shutil

import pytest
from repositories import Repository

DIGITS = {"train_count": 200, "evaluation_count": 60}
QUICK = {"name": "pgd", "step_size": 0.03, "steps": 2, "random_start": True, "loss": "scaled_cross_entropy"}
# Two networks of chen2019 and one of pang2020, which is attacked with examples of a fourth that no table shows.
CHEN = {
    "objectives": {"XE": {"terms": [{"loss": "cross_entropy", "weight": 1}]}},
    "figures": {"figure1 MNIST": {"rows": ["XE"]}, "landscape": {"rows": []}},
    "scales": {
        "demo": {
            "data": {"mnist": DIGITS},
            "training": {"mnist": {"epochs": 1}},
            "rows": {"mnist": ["XE", "GCE 1/3"], "mnist-at": []},
            "attacked": {"mnist": ["fgsm 0.2"]},
            "audited": {"mnist": []},
        }
    },
}
EMPTY = ("cifar10", "cifar100", "mnist-pgd", "cifar10-pgd", "cifar100-pgd", "cifar10-at", "cifar10-deep")
EMPTY += ("cifar10-others", "cifar10-transfer", "mnist-plane")
PANG = {
    "scales": {
        "demo": {
            "data": {"mnist": DIGITS},
            "training": {"mnist": {"epochs": 1, "keep": "last"}},
            "attacks": {"honest 32": {"attacks": [QUICK, {"name": "transfer", "source": "SCE", "attack": QUICK}]}},
            "rows": {"mnist": ["MMC-10"], **{name: [] for name in EMPTY}},
            "attacked": {"mnist": ["honest 32"]},
            "audited": {"mnist": []},
        }
    }
}
PAPERS = ("chen2019", "pang2020")


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Repository:
    """The author's repository, nothing of it published yet; tests copy it before they change anything."""
    author = Repository(tmp_path_factory.mktemp("made") / "author")
    author.begin(papers=[*PAPERS], chen2019=CHEN, pang2020=PANG)
    author.finish("chen2019")
    return author


@pytest.fixture
def author(made, tmp_path) -> Repository:
    """A copy of the author's repository that the test may change."""
    shutil.copytree(made.folder, tmp_path / "author", symlinks=True)
    return Repository(tmp_path / "author")


@pytest.fixture(scope="session")
def shelf(made, tmp_path_factory) -> Repository:
    """The author's repository once everything is published in the folder that travels with it."""
    folder = tmp_path_factory.mktemp("shelf") / "author"
    shutil.copytree(made.folder, folder, symlinks=True)
    shelf = Repository(folder)
    shelf.publish()
    return shelf
