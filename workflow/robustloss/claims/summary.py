"""How the claims of all papers stand, as a table for the readme."""

from pathlib import Path

import pandas as pd

from robustloss.claims.verdicts import Word
from robustloss.files import write_between
from robustloss.papers.measured import read_table

BEGIN, END = "<!-- verdicts: written by `python -m robustloss summary` -->", "<!-- end of verdicts -->"
NONE = "No claim has been judged yet: run the workflow first."


def write(results: Path, readme: Path) -> None:
    """Replace what stands between the markers of `readme` by the table of <results>/papers/*/claims.csv."""
    write_between(readme, BEGIN, END, table(results))


def table(results: Path) -> str:
    """Markdown: one line per paper, one column per verdict."""
    frames = [read_table(path) for path in sorted(results.glob("papers/*/claims.csv"))]
    if not frames:
        return NONE
    heads = ["paper", "scale", "claims", *(str(word) for word in Word)]
    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)], *(_line(frame) for frame in frames)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(frame: pd.DataFrame) -> list[str]:
    counts = [(frame["verdict"] == word).sum() for word in Word]
    return [frame["paper"][0], ", ".join(dict.fromkeys(frame["scale"])), str(len(frame)), *map(str, counts)]
