"""Dates of files where the computer's clock has been set back."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

# The arguments of stages that name a file which is read; `run`, `data`, `raw` and `results` name folders.
READ = ("notebook", "manifest", "reference", "pretrained")


def no_later_than_now(paths: Iterable[Path]) -> None:
    """Date files from the future as of now.

    Snakemake takes what a job has made for stale where an input is newer, and removes it, be it a month's work.
    """
    now = time.time_ns()
    for path in paths:
        # Whose files they are may forbid it; then Snakemake says so.
        with contextlib.suppress(OSError):
            if path.stat().st_mtime_ns > now:
                os.utime(path)


def read_by(options) -> Iterator[Path]:
    """The files that Snakemake compares a stage's outputs with, from the arguments of its command."""
    given = {name: path for name, path in vars(options).items() if isinstance(path, Path)}
    yield from (given[name] for name in READ if name in given)
    if "run" in given:
        # Other runs, too: an attack may take the examples of one of them.
        yield from given["run"].parent.glob("*/run.json")
    if "data" in given:
        yield given["data"] / "record.json"
    if "raw" in given:
        yield from given["raw"].glob("*/*")
    if "results" in given:
        yield from given["results"].glob("papers/*/*")
        yield from (Path(__file__).parent / "report" / "templates").iterdir()
    # What videos were extracted to, and Table 1, which a paper finds where it writes.
    yield from given["out"].glob("videos/*")
    yield from given["out"].glob("tables/table1.csv")
