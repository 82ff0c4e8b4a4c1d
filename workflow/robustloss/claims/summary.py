"""How the claims of all papers stand, as a table for the readme."""

from pathlib import Path

import pandas as pd

from robustloss.claims.verdicts import Word
from robustloss.errors import Problem
from robustloss.files import write_between
from robustloss.lineage import collected
from robustloss.papers.measured import read_table

BEGIN, END = "<!-- verdicts: written by `python -m robustloss summary` -->", "<!-- end of verdicts -->"


def write(results: Path, readme: Path) -> None:
    """Replace what stands between the markers of `readme` by the table of <results>/papers/*/claims.csv.

    Raises Problem where there are none, and for one that is not as it was made.
    """
    write_between(readme, BEGIN, END, table(results))


def table(results: Path) -> str:
    """Markdown: one line per paper, one column per verdict."""
    paths = sorted(results.glob("papers/*/claims.csv"))
    if not paths:
        raise Problem(f"{results}/papers has no claims yet: run the workflow first, or name another folder of results")
    frames = [read_table(collected.check(path, path.parent)) for path in paths]
    heads = ["paper", "scale", "claims", *(str(word) for word in Word)]
    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)], *(_line(frame) for frame in frames)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(frame: pd.DataFrame) -> list[str]:
    counts = [(frame["verdict"] == word).sum() for word in Word]
    return [frame["paper"][0], ", ".join(dict.fromkeys(frame["scale"])), str(len(frame)), *map(str, counts)]
