"""Tables of numbers as a page shows them: each of ours with its interval, the paper's and the runs behind it."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean

from robustloss.report import words
from robustloss.report.notebook import natural
from robustloss.report.shelf import Attack, Paper, Shelf

# What the headings of a table of cells are joined by in its file.
SEPARATOR = " | "
# Columns that say how a number came about and stand elsewhere on the page, or in no reader's way.
_HIDDEN = ("runs", "run", "seed", "interval", "samples", "metric", "in_paper")


@dataclass(frozen=True)
class Number:
    """A measured value with its 95 % interval and the printed one; shares (in percent) are drawn as well.

    `attack` is the attack's label where the table names it. Without `mean` it was not run.
    """

    mean: float | None
    low: float | None = None
    high: float | None = None
    published: float | None = None
    share: bool = False
    attack: str = ""
    runs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A line of a table: its cells, of which the first is its heading, and the runs that it rests on."""

    cells: tuple[str | Number, ...]
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table with its column headings; `by_cell` says that each cell has runs of its own."""

    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    by_cell: bool = False

    @property
    def empty(self) -> bool:
        """Whether it has a place for numbers, but none was measured or printed."""
        numbers = [cell for line in self.lines for cell in line.cells if isinstance(cell, Number)]
        return bool(numbers) and all(number.mean is None and number.published is None for number in numbers)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether a column holds numbers."""
        return tuple(any(map(_is_number, column)) for column in self._columns())

    @property
    def decimals(self) -> tuple[int | None, ...]:
        """Digits after the point of a column's published shares, whose last zeros a file leaves out; None without."""
        return tuple(_decimals(column) for column in self._columns())

    def _columns(self) -> Iterator[tuple[str | Number, ...]]:
        return zip(*(line.cells for line in self.lines), strict=True)


@dataclass(frozen=True)
class Strength:
    """Attacks that may be compared, by label: those of one epsilon. Without `epsilon`: all that have none."""

    epsilon: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Fall:
    """A row of an experiment: accuracy in percent, clean and under each attack by label.

    All are means over the row's runs at their last epoch; an attack that was not run is missing.
    """

    row: str
    label: str
    clean: float | None
    robust: dict[str, float]
    runs: tuple[str, ...]

    def lowest(self, strength: Strength) -> set[str]:
        """The labels of the attacks that leave least, where there is something to compare."""
        found = {label: self.robust[label] for label in strength.labels if label in self.robust}
        if not strength.epsilon or len(found) < 2:
            return set()
        return {label for label, accuracy in found.items() if accuracy == min(found.values())}


def grid(rows: Sequence[dict]) -> Grid:
    """A table's file, laid out by its lines and heads if it is a list of cells."""
    if not rows:
        return Grid((), ())
    return _of_cells(rows) if {"line", "head", "percent"} <= rows[0].keys() else _of_lines(rows)


def falls(paper: Paper, shelf: Shelf) -> Iterator[tuple[str, list[Strength], list[Fall]]]:
    """(experiment, its attacks by strength, rows that were run) of each experiment with an attack."""
    for experiment, rows in paper.manifest["rows"].items():
        found = {row: _attacks(entries, shelf) for row, entries in rows.items() if entries}
        epsilons = {
            label: "" if attacks[0].epsilon is None else words.exact(attacks[0].epsilon)
            for row in found.values()
            for label, attacks in row.items()
        }
        if epsilons:
            lines = [_fall(paper, experiment, row, rows[row], found[row], shelf) for row in sorted(found, key=natural)]
            yield experiment, _strengths(epsilons), lines


def heading(name: str) -> str:
    """A column's name in words: `robust_accuracy_percent_last` is `robust accuracy, last epoch, %`."""
    parts = name.split("_")
    text = " ".join(part for part in parts if part not in ("percent", "last"))
    marks = ["last epoch"] * ("last" in parts) + ["%"] * ("percent" in parts)
    return ", ".join(filter(None, [re.sub("^d (cc|ic)", r"D_\1", text), *marks]))


def _of_cells(rows: Sequence[dict]) -> Grid:
    """One line per heading at the left, one column per heading above, in the order of the file."""
    heads = list(dict.fromkeys(row["head"] for row in rows))
    found: dict[str, dict[str, Number]] = {}
    for row in rows:
        found.setdefault(row["line"], {})[row["head"]] = _number(row, "percent")
    lines = [
        Line((line.replace(SEPARATOR, ", "), *(cells.get(head, words.DASH) for head in heads)), ())
        for line, cells in found.items()
    ]
    return Grid(("", *(head.replace(SEPARATOR, ", ") for head in heads)), tuple(lines), by_cell=True)


def _of_lines(rows: Sequence[dict]) -> Grid:
    names = list(rows[0])
    measures = [name for name in names if {f"{name}_low", f"{name}_published"} & set(names)]
    parts = {f"{name}_{part}" for name in measures for part in ("low", "high", "published")}
    # What was trained is told by its terms where they are listed.
    hidden = {*parts, *_HIDDEN, *(("run_as",) if "terms" in names else ())}
    shown = [name for name in names if name not in hidden and not name.endswith("_samples")]
    shown.sort(key=lambda name: (name in ("seeds", "terms"), name != "row"))
    lines = [
        Line(
            tuple(_number(row, name) if name in measures else _plain(row[name]) for name in shown),
            _runs(row),
        )
        for row in rows
    ]
    return Grid(tuple(map(heading, shown)), tuple(lines))


def _number(row: dict, name: str) -> Number:
    mean, low, high, published = (words.parse(row.get(f"{name}{part}")) for part in ("", "_low", "_high", "_published"))
    return Number(mean, low, high, published, "percent" in name.split("_"), row.get("attack") or "", _runs(row))


def _runs(row: dict) -> tuple[str, ...]:
    """The runs that a row of a file rests on: several, or one."""
    return tuple((row.get("runs") or row.get("run") or "").replace(words.DASH, "").split())


def _decimals(column: Iterable[str | Number]) -> int | None:
    printed = [cell.published for cell in column if isinstance(cell, Number) and cell.share]
    return max((len(words.number(value).partition(".")[2]) for value in printed if value is not None), default=None)


def _is_number(cell: str | Number) -> bool:
    return isinstance(cell, Number) or words.parse(cell.replace(",", "")) is not None


def _plain(text: str | None) -> str:
    number = words.parse(text)
    if number is None:
        return text or words.DASH
    return f"{number:,.0f}" if number.is_integer() else f"{number:.4g}"


def _attacks(entries: list[dict], shelf: Shelf) -> dict[str, list[Attack]]:
    """The attacks on a row's runs, by label."""
    found: dict[str, list[Attack]] = {}
    for entry in entries:
        for label, folder in entry["attacks"].items():
            if attack := shelf.runs[entry["run"]].attacks.get(folder.rpartition("/")[2]):
                found.setdefault(label, []).append(attack)
    return found


def _strengths(epsilons: dict[str, str]) -> list[Strength]:
    """The weakest first, and last the attacks without an epsilon."""
    labels: dict[str, list[str]] = {}
    for label in sorted(epsilons, key=natural):
        labels.setdefault(epsilons[label], []).append(label)
    order = sorted(labels, key=lambda epsilon: float(Fraction(epsilon or "1e9")))
    return [Strength(epsilon, tuple(labels[epsilon])) for epsilon in order]


def _fall(paper: Paper, experiment: str, row: str, entries: list[dict], attacks: dict, shelf: Shelf) -> Fall:
    runs = [shelf.runs[entry["run"]] for entry in entries]
    clean = [100 * run.clean["last"] for run in runs if "last" in run.clean]
    return Fall(
        row=row,
        label=paper.label(experiment, row),
        clean=fmean(clean) if clean else None,
        robust={label: fmean(100 * attack.robust["last"] for attack in found) for label, found in attacks.items()},
        runs=tuple(run.name for run in runs),
    )
