"""What the audit for gradient masking says of a paper's networks."""

import pandas as pd
from pandas.io.formats.style import Styler

from robustloss.papers import display
from robustloss.papers.collection import Collection
from robustloss.papers.measured import Run

COLUMNS = (
    *("experiment", "row", "run_as", "seed", "epsilon", "images", "clean_percent", "pgd_percent", "worst_case_percent"),
    *("flagged", "verdict", "run"),
)
ACCURACIES = {"clean": "clean", "PGD": "pgd", "worst case": "worst_case"}


def table(collection: Collection) -> tuple[pd.DataFrame, Styler]:
    """One line per audited run, of every row that has one: a frame with COLUMNS, and how it looks."""
    lines = [
        _line(collection, experiment, row, run, run.audit)
        for experiment, rows in collection.manifest["rows"].items()
        for row in rows
        for run in collection.of(experiment, row)
        if run.audit is not None
    ]
    frame = pd.DataFrame(lines, columns=list(COLUMNS))
    return frame, _styled(frame)


def _line(collection: Collection, experiment: str, row: str, run: Run, audit: dict) -> dict:
    accuracies = audit["summary"]["robust_accuracy"]
    return {
        "experiment": experiment,
        "row": row,
        "run_as": collection.label(experiment, row),
        "seed": run.seed,
        "epsilon": audit["spec"]["epsilon"],
        "images": audit["summary"]["count"],
        **{f"{name}_percent": 100 * accuracies[name]["accuracy"] for name in ACCURACIES.values()},
        "flagged": ", ".join(audit["summary"]["flagged"]),
        "verdict": audit["summary"]["verdict"],
        "run": run.name,
    }


def _styled(frame: pd.DataFrame) -> Styler:
    shown = pd.DataFrame(
        {
            "experiment": frame["experiment"],
            "row": frame["row"],
            "seed": frame["seed"],
            "ε": frame["epsilon"].map("{:.3g}".format),
            "images": frame["images"],
            **{f"{title}, %": frame[f"{name}_percent"].map("{:.1f}".format) for title, name in ACCURACIES.items()},
            "signs": frame["flagged"].map(lambda names: names.replace("_", " ") or "none"),
            "verdict": frame["verdict"],
        }
    )
    caption = (
        "Signs of gradient masking of the last network of each audited run (docs/audit.md). PGD as papers run it: "
        "cross-entropy, one start, the last iterate; worst case: whatever was tried, image by image."
    )
    left = ("experiment", "row", "signs", "verdict")
    found = display.styled(shown, "audits", caption if len(shown) else "This scale audits no run.", left=left)
    wide = {name: [{"selector": "", "props": "white-space: normal; min-width: 11em;"}] for name in ("signs", "verdict")}
    return found.set_table_styles(wide, overwrite=False)
