"""DVC, asked through its own command: which bytes lie where is its business alone."""

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from robustloss.errors import Problem
from robustloss.files import replacing


def remotes() -> tuple[dict[str, str], str]:
    """The configured remotes, url by name, and the name of the default one."""
    settings = dict(line.split("=", 1) for line in _dvc("config", "--list").splitlines())
    found = {key.split(".")[1]: url for key, url in settings.items() if re.fullmatch(r"remote\..+\.url", key)}
    if settings.get("core.remote") not in found:
        raise Problem(".dvc/config names no default remote: restore it from git")
    return found, settings["core.remote"]


def read(file: Path) -> dict[str, dict]:
    """What a .dvc file tracks, by path; nothing where there is no such file."""
    if not file.is_file():
        return {}
    return {out["path"]: out for out in yaml.safe_load(file.read_text(encoding="utf-8"))["outs"]}


def write(file: Path, outs: dict[str, dict]) -> None:
    """Write a .dvc file."""
    with replacing(file) as stream:
        yaml.safe_dump({"outs": [outs[path] for path in sorted(outs)]}, stream, sort_keys=False)


def by_remote(files: Iterable[Path], default: str) -> dict[str, list[Path]]:
    """.dvc files by the remote that has what they track."""
    found: dict[str, list[Path]] = {}
    for file in sorted(files):
        remote = next(iter(read(file).values())).get("remote", default)
        found.setdefault(remote, []).append(file)
    return found


def commit(files: Iterable[Path]) -> None:
    """Take what .dvc files track into the cache, and their digests into the files."""
    if files := list(map(str, files)):
        _dvc("commit", "--quiet", "--force", *files)


def push(files: Iterable[Path], remote: str) -> None:
    """Copy what .dvc files track to a remote."""
    _dvc("push", "--quiet", "--remote", remote, *map(str, files))


def pull(files: Iterable[Path], remote: str) -> None:
    """Fetch what .dvc files track from a remote, and put it where it belongs."""
    _dvc("pull", "--quiet", "--remote", remote, *map(str, files))


def _dvc(*words: str) -> str:
    """What the command prints; a Problem with the first error that it tells."""
    found = subprocess.run([sys.executable, "-m", "dvc", *words], capture_output=True, text=True)
    if found.returncode:
        lines = [" ".join(line.split()) for line in found.stderr.splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise Problem(f"dvc {words[0]}: {(errors or lines or ['it failed and said nothing'])[0]}")
    return found.stdout
