"""A paper's claims with their verdicts, as claims.csv and comparisons.csv have them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from robustloss.report import words

# How a verdict is marked, beside its own word; one that is not here has the last one's mark.
MARKS = {
    "reproduced": "✓",
    "direction only": "≈",
    "not reproduced": "✗",
    "collapses": "↓",
    "not attempted at this scale": "–",
}
DIGITS = {"points": 1, "times": 2, "nats": 3, "L2": 2}
# Columns that a page shows at places of their own; others of these files are shown as pairs.
PLACED = ("paper", "id", "claim", "source", "verdict", "note", "scale", "seeds", "images", "unit")
PLACED += ("published", "ours", "low", "high", "honest", "honest_low", "honest_high", "attack", "honest_attack")
PLACED += ("experiment", "row", "direction", "against", "against_experiment", "against_attack", "measure")


@dataclass(frozen=True)
class Claim:
    """A row of claims.csv, its comparisons, and by row the runs of the comparison that its verdict hangs on."""

    row: dict
    comparisons: tuple[dict, ...]
    runs: dict[str, list[str]]

    @property
    def verdict(self) -> str:
        """The verdict's word."""
        return self.row.get("verdict") or "no verdict"

    @property
    def further(self) -> list[tuple[str, str]]:
        """What the file says beyond what a page shows anyway."""
        return [(key.replace("_", " "), text) for key, text in self.row.items() if key not in PLACED and told(text)]


def claims(rows: Sequence[dict], comparisons: Sequence[dict], manifest: dict) -> list[Claim]:
    """The claims of claims.csv, with those rows of comparisons.csv that have the same id."""
    return [
        Claim(row, tuple(other for other in comparisons if other.get("id") == row.get("id")), _runs(row, manifest))
        for row in rows
    ]


def counts(claims: Iterable[Claim]) -> list[tuple[str, int]]:
    """(verdict, number of claims), the best first."""
    found = Counter(claim.verdict for claim in claims)
    order = {word: place for place, word in enumerate(MARKS)}
    return sorted(found.items(), key=lambda item: (order.get(item[0], len(order)), item[0]))


def mark(verdict: str) -> str:
    """The sign of a verdict."""
    return MARKS.get(verdict, list(MARKS.values())[-1])


def told(text: str | None) -> str:
    """A cell's text; nothing for a dash."""
    return "" if text in (None, words.DASH) else text


def amount(text: str | None, unit: str | None, low: str | None = None, high: str | None = None) -> str:
    """`+26.4 [20.1, 32.0]`, `× 0.31` for a ratio; a text as it is, and a dash for nothing."""
    values = [words.parse(part) for part in (text, low, high)]
    if values[0] is None:
        return text or words.DASH
    digits = DIGITS.get(unit)
    sign = "× " if unit == "times" else "+" if unit and values[0] > 0 else ""
    shown, *bounds = (words.number(value, digits) for value in values)
    return f"{sign}{shown}" if None in values else f"{sign}{shown} [{', '.join(bounds)}]"


def _runs(row: dict, manifest: dict) -> dict[str, list[str]]:
    """The runs of both sides, by row, and by experiment where these differ; a side may pool rows: `A and B`."""
    found: dict[str, list[str]] = {}
    own = row.get("experiment")
    other = told(row.get("against_experiment")) or own
    for side, experiment in (("row", own), ("against", other)):
        rows = manifest["rows"].get(experiment, {})
        text = row.get(side) or ""
        for name in [text] if text in rows else text.split(" and "):
            label = name if own == other else f"{name} of {experiment}"
            found.setdefault(label, []).extend(entry["run"] for entry in rows.get(name, []))
    return {name: list(dict.fromkeys(runs)) for name, runs in found.items() if runs}
