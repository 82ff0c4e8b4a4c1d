"""What a paper printed: each number with the cell it stands in, read from data/reference/<paper>.csv."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import yaml

from robustloss.errors import Problem

SCHEMA = Path(__file__).parents[1] / "schemas" / "reference.schema.yaml"


@dataclass(frozen=True)
class Cell:
    """One printed value; the fields are described in workflow/schemas/reference.schema.yaml."""

    item: str
    row: str
    column: str
    metric: str
    value: float | str
    unit: str
    source: str
    note: str
    printed: str


@dataclass(frozen=True)
class Reference:
    """A paper's printed values in printed order. Within an item a column head and a metric stand for each other."""

    path: Path
    cells: tuple[Cell, ...]

    def rows(self, item: str) -> list[str]:
        """Row labels of a table, in printed order."""
        return list(dict.fromkeys(cell.row for cell in self._of(item)))

    def columns(self, item: str) -> dict[str, str]:
        """Column heads of a table in printed order, each with its metric."""
        return {cell.column: cell.metric for cell in self._of(item)}

    def cell(self, item: str, row: str, metric: str) -> Cell:
        """The cell, or a Problem that says what there is instead."""
        cells = self._of(item)
        for cell in cells:
            if (cell.row, cell.metric) == (row, metric):
                return cell
        known = [cell.metric for cell in cells if cell.row == row]
        if not known:
            raise Problem(f"{self.path} has no row {row!r} in {item}: its rows are {', '.join(self.rows(item))}")
        raise Problem(f"{self.path} has no {metric!r} in {item}, row {row}: it has {', '.join(known)}")

    def value(self, item: str, row: str, metric: str) -> float | str:
        """The printed number (in its unit: 20.03 for 20.03 %), or the printed text where there is no unit."""
        return self.cell(item, row, metric).value

    def _of(self, item: str) -> list[Cell]:
        cells = [cell for cell in self.cells if cell.item == item]
        if not cells:
            known = dict.fromkeys(cell.item for cell in self.cells)
            raise Problem(f"{self.path} has no item {item!r}: it has {', '.join(known)}")
        return cells


def read(path: str | Path) -> Reference:
    """Read and check a reference file; a Problem names the line and the column to correct."""
    path = Path(path)
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    cells: list[Cell] = []
    for line, row in _lines(path, list(schema["properties"])):
        error = jsonschema.exceptions.best_match(validator.iter_errors(row))
        if error:
            column = error.path[0]
            raise Problem(
                f"{path}, line {line}, column {column}: {row[column]!r} is not {_expected(error, schema)}; correct it"
            )
        _refuse_ambiguity(row, cells, f"{path}, line {line}")
        value = float(row["value"]) if row["unit"] else row["value"]
        cells.append(Cell(**row | {"value": value}, printed=row["value"]))
    if not cells:
        raise Problem(f"{path} has a header and no row: add the paper's values")
    return Reference(path, tuple(cells))


def _lines(path: Path, header: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row with the number of its (last) line, once the header is right."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            found = next(reader, [])
            if found != header:
                raise Problem(f"{path}, line 1: the header is {','.join(found)!r} and must be {','.join(header)!r}")
            for cells in reader:
                if len(cells) != len(header):
                    raise Problem(
                        f"{path}, line {reader.line_num}: {len(cells)} cells instead of {len(header)}; "
                        "quote a value that holds a comma"
                    )
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except FileNotFoundError:
        raise Problem(f"{path} is missing: restore it from git") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise Problem(f"{path} is not a CSV file in UTF-8 ({error}): correct it or restore it from git") from None


def _expected(error: jsonschema.ValidationError, schema: dict) -> str:
    return error.schema.get("description") or schema["properties"][error.path[0]]["description"]


def _refuse_ambiguity(row: dict[str, str], cells: list[Cell], where: str) -> None:
    """A cell is found by its column head or by its metric, so the two must name the same cell."""
    for cell in cells:
        if cell.item != row["item"]:
            continue
        same_column = cell.column == row["column"]
        if same_column != (cell.metric == row["metric"]):
            raise Problem(
                f"{where}, columns column and metric: {row['column']!r} with {row['metric']!r} contradicts "
                f"{cell.column!r} with {cell.metric!r} further up in {cell.item}; let one head have one metric"
            )
        if same_column and cell.row == row["row"]:
            raise Problem(
                f"{where}, column column: {cell.item}, row {cell.row} has {cell.column!r} already; remove one"
            )
