"""How the claims of all papers stand, as a table for the readme."""

import re
from pathlib import Path

import pandas as pd

from robustloss.claims.verdicts import Word
from robustloss.errors import Problem
from robustloss.files import replacing
from robustloss.papers.tables import stored

BEGIN, END = "<!-- verdicts: written by `python -m robustloss summary` -->", "<!-- end of verdicts -->"
NONE = "No claim has been judged yet: run the workflow first."


def write(results: Path, readme: Path) -> None:
    """Replace what stands between the markers of `readme` by the table of <results>/papers/*/claims.csv."""
    text = _read(readme)
    parts = re.split(f"({re.escape(BEGIN)}|{re.escape(END)})", text)
    if parts[1::2] != [BEGIN, END]:
        raise Problem(f"{readme} needs the lines {BEGIN} and {END} once each: write them where the table belongs")
    with replacing(readme) as stream:
        stream.write(f"{parts[0]}{BEGIN}\n\n{table(results)}\n\n{END}{parts[4]}")


def table(results: Path) -> str:
    """Markdown: one line per paper, one column per verdict."""
    frames = [stored(path) for path in sorted(results.glob("papers/*/claims.csv"))]
    if not frames:
        return NONE
    heads = ["paper", "scale", "claims", *(str(word) for word in Word)]
    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)], *(_line(frame) for frame in frames)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _line(frame: pd.DataFrame) -> list[str]:
    counts = [(frame["verdict"] == word).sum() for word in Word]
    return [frame["paper"][0], ", ".join(dict.fromkeys(frame["scale"])), str(len(frame)), *map(str, counts)]


def _read(readme: Path) -> str:
    try:
        return readme.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Problem(f"{readme} is missing: name the file that holds the table") from None
