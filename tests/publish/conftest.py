"""A repository with two finished papers, as an author has it, and clones of it, as a reviewer has them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from studies import COPIED, Study, lay_out

VERSIONED = (*COPIED, "REPRODUCING.md", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore")
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


class Repository(Study):
    """A folder under git with the workflow; the library's commands and DVC run in it as a user would run them."""

    def run(self, *words: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
        people = {f"GIT_{who}_{what}": "someone" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        known = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "AWS"))}
        environment = known | people | {"PYTHONPATH": "workflow"} | environment
        found = subprocess.run(words, cwd=self.folder, env=environment, capture_output=True, text=True)
        if check and found.returncode:
            raise AssertionError(f"{' '.join(words)} failed:\n{found.stdout}\n{found.stderr}")
        return found

    def library(self, *words: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess:
        return self.run(sys.executable, "-m", "robustloss", *words, check=check, **environment)

    def dvc(self, *words: str) -> None:
        self.run(sys.executable, "-m", "dvc", *words)

    def told(self, *words: str, **environment: str) -> str:
        """The sentence with which a command of the library fails."""
        found = self.library(*words, check=False, **environment)
        assert found.returncode == 1, found.stdout
        assert "Traceback" not in found.stderr, found.stderr
        return [line for line in found.stderr.splitlines() if line.startswith("robustloss: ")][-1]

    def publish(self, *words: str, **environment: str) -> list[str]:
        """Publish and commit as the command says; the sentences on what was left out."""
        found = self.library("publish", *words, **environment)
        for line in found.stdout.splitlines()[:2]:
            self.run("bash", "-c", line)
        return [line for line in found.stderr.splitlines() if line.startswith("left out: ")]

    def clone(self, folder: Path) -> "Repository":
        self.run("git", "clone", "--quiet", ".", str(folder))
        return Repository(folder)

    def runs(self, paper: str | None = None) -> list[Path]:
        """The finished runs, of all papers or those whose names say that they are of one."""
        network = {"chen2019": "lenet5", "pang2020": "resnet_cifar", None: ""}[paper]
        return sorted(path.parent for path in self.folder.glob(f"results/runs/*{network}*/run.json"))

    def bytes(self, *kinds: str) -> dict[str, bytes]:
        """What DVC has of runs and data sets, by path."""
        kinds = kinds or ("results/runs/*/weights/*", "results/runs/**/samples/*", "data/prepared/*/*")
        found = {path for kind in kinds for path in self.folder.glob(kind)}
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in sorted(found)}


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Repository:
    """The author's repository, nothing of it published yet; tests copy it before they change anything."""
    folder = tmp_path_factory.mktemp("made") / "author"
    lay_out(folder, VERSIONED)
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings |= {"papers": [*PAPERS], "chen2019": CHEN, "pang2020": PANG}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    author = Repository(folder)
    author.run("git", "init", "--quiet", ".")
    author.run("git", "add", ".")
    author.run("git", "commit", "--quiet", "-m", "The workflow")
    author.run(sys.executable, str(Path(__file__).with_name("finish.py")), "chen2019")
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
