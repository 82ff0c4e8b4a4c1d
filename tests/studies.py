"""A copy of the repository with a shrunken demo, in which Snakemake runs as a user would run it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
COPIED = ("Snakefile", "config.yaml", "workflow", "profiles", "notebooks", "envs", "data/reference", "data/sources.csv")
# Half of the rows, three short clips, two epochs and few attacked images.
ROWS = ("0", "1", "5", "5(2)", "7", "8")
SHRUNKEN = {
    "data": {
        "surgical": {
            "seconds": 40,
            "width": 64,
            "height": 48,
            "image_size": 16,
            "splits": {"train": "1-2", "test": "3", "evaluation": "3"},
        },
    },
    "networks": {"resnet": {"width": 4}, "efficientnet": {"width": 4}},
    "training": {"default": {"epochs": 2}},
    "attacks": {"pgd": {"count": 10, "steps": 2}},
    # One audit, of row 0, that tries the examples of row 8.
    "attacked": {"table3": ["pgd"], "table4": ["pgd"]},
    "audits": {
        "surgical": {
            "source": {"experiment": "table3", "row": "8"},
            "count": 10,
            "steps": 2,
            "restarts": 1,
            "queries": 2,
            "draws": 2,
        }
    },
    "audited": {"table3": ["0"], "table4": []},
}


def lay_out(folder: Path, names: tuple[str, ...] = COPIED) -> None:
    """Copy files and folders of the repository, and links as links, to the same places below `folder`."""
    for name in names:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir() and not source.is_symlink():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target, follow_symlinks=False)


class Study:
    """A folder with the workflow and its results, and Snakemake run in it as a user would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def copy(self, folder: Path, *left_out: str) -> "Study":
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns("__pycache__", *left_out))
        return Study(folder)

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        found = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        if check and found.returncode:
            raise AssertionError(f"snakemake {' '.join(arguments)} failed:\n{found.stdout}\n{found.stderr}")
        return found

    def scheduled(self) -> dict[str, set[str]]:
        """What a dry run would do: {rule: its wildcards' values}."""
        found = self.snakemake("-n", "--nocolor")
        jobs: dict[str, set[str]] = {}
        rule = None
        for line in (found.stdout + found.stderr).splitlines():
            if line.startswith(("rule ", "localrule ")):
                rule = line.split()[1].rstrip(":")
                jobs.setdefault(rule, set())
            elif line.startswith("    wildcards: ") and rule:
                jobs[rule].add(line.removeprefix("    wildcards: "))
        jobs.pop("all", None)
        return jobs

    def configure(self, *rows: str, **section) -> None:
        """Lay settings over the paper in config.yaml; `rows` are trained beside those of ROWS."""
        path = self.folder / "config.yaml"
        settings = yaml.safe_load(path.read_text())
        scale = SHRUNKEN | {"rows": {"table3": [*ROWS, *rows], "table4": ["7"], "table5": [], "table6": []}}
        settings["papers"] = ["ding2025"]
        settings["ding2025"] = {"scales": {"demo": scale}} | section
        path.write_text(yaml.safe_dump(settings))

    def forget_paper(self) -> None:
        """Remove what was collected, so that Snakemake looks at what it rests on."""
        for collected in ("papers", "report"):
            shutil.rmtree(self.folder / "results" / collected)

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{file} no longer contains {old!r}"
        path.write_text(text.replace(old, new, 1))
