"""What other people measured of a paper's losses, from data/reference/independent.csv, beside ours."""

import pandas as pd
from pandas.io.formats.style import Styler

from robustloss.papers import display
from robustloss.papers.cells import Measure
from robustloss.papers.collection import Collection
from robustloss.papers.estimates import Measured, columns
from robustloss.papers.measured import names, read_table

# What the file calls accuracy on clean images; without a label we have nothing to compare.
CLEAN = "clean"


def table(collection: Collection) -> tuple[pd.DataFrame, Styler]:
    """One row for each of their numbers: `percent_others` and, of our run at the nearest setting, `percent`."""
    found = read_table(collection.root / "data" / "reference" / "independent.csv")
    found = found[found["paper"] == collection.manifest["paper"]].fillna({"label": ""}).reset_index(drop=True)
    frame = found.drop(columns="paper").rename(columns={"percent": "percent_others"})
    frame = frame.join(pd.DataFrame(columns("percent", _ours(collection, row)) for row in found.itertuples()))
    # Ours beside theirs.
    frame = frame[[*frame.columns.drop(["source", "note"]), "source", "note"]]
    frame["runs"] = [names(collection.of(row.experiment, row.row)) for row in found.itertuples()]
    return frame, _shown(collection, frame)


def _ours(collection: Collection, row) -> Measured | None:
    if not row.label:
        return None
    measure = Measure() if row.label == CLEAN else Measure(row.label)
    found = measure.of(collection.of(row.experiment, row.row))
    return found and found.percent()


def _shown(collection: Collection, frame: pd.DataFrame) -> Styler:
    shown = frame[["row", "attack", "percent_others", "source", "note"]].copy()
    shown.insert(3, "ours, %", display.intervals(frame, "percent"))
    shown = shown.rename(columns={"row": "network", "percent_others": "others, %"})
    caption = f"Grey: others. In brackets: 95 % intervals. {display.DASH}: not run at scale {collection.scale}."
    left = ("network", "attack", "source", "note")
    styler = display.styled(shown, "independent", caption, left=left, grey=("others, %", "source", "note"))
    return styler.format(precision=2, subset=["others, %"])
