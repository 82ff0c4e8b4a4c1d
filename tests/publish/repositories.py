"""A copy of the repository under git, in which DVC and the library's commands run as a user would run them."""

import os
import subprocess
import sys
from pathlib import Path

import yaml
from studies import COPIED, Study, lay_out

VERSIONED = (*COPIED, "Makefile", "REPRODUCING.md", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore")


class Repository(Study):
    """A folder under git with the workflow."""

    def begin(self, **settings) -> None:
        """Lay out the workflow with settings of its own, and commit it."""
        lay_out(self.folder, VERSIONED)
        self.set(**settings)
        self.run("git", "init", "--quiet", ".")
        self.run("git", "add", ".")
        self.run("git", "commit", "--quiet", "-m", "The workflow")

    def set(self, **settings) -> None:
        """Change config.yaml."""
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | settings))

    def finish(self, *papers: str) -> None:
        """Make what config.yaml plans, and the pages of `papers`; the pages of others are only claimed."""
        self.run(sys.executable, str(Path(__file__).with_name("finish.py")), *papers)

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

    def make(self, *words: str) -> subprocess.CompletedProcess:
        """A command of the README, with the environment of the tests in place of a new one."""
        if not (self.folder / ".venv").exists():
            (self.folder / ".venv").symlink_to(sys.prefix)
        # The tests may themselves be run by make, whose folders are not to be told.
        return self.run("make", "--no-print-directory", "--old-file=.venv/ready", *words)

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
