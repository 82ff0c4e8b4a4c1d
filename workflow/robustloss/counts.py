"""Table 1 of ding2025: how many frames show each tool alone, counted from the annotations; no video is needed."""

from pathlib import Path

from robustloss import reference
from robustloss.data import cholec80
from robustloss.data.prepared import SPLITS
from robustloss.files import write_csv

DASH = "—"


def write_table(spec: dict, raw: Path, published: Path, path: Path) -> None:
    """Write class, tool, published count, ours, and ours in each split; a last row has the sums.

    Ours counts the videos of train and test once. A data set without tool annotations leaves dashes.
    """
    found = reference.read(published)
    tools = found.rows("table1")
    counts = {split: [DASH] * len(tools) for split in ("ours", *SPLITS)}
    if "splits" in spec:
        videos = sorted({*spec["splits"]["train"], *spec["splits"]["test"], *spec["splits"]["evaluation"]})
        counts = cholec80.count_classes(raw / "tool_annotations", {"ours": videos, **spec["splits"]})
    rows = [
        {
            "class": int(found.value("table1", tool, "class_index")),
            "tool": tool,
            "published": int(found.value("table1", tool, "frames")),
            **{split: counts[split][place] for split in ("ours", *SPLITS)},
        }
        for place, tool in enumerate(tools)
    ]
    sums = {split: _sum(counts[split]) for split in ("ours", *SPLITS)}
    rows.append({"class": "", "tool": "all", "published": sum(row["published"] for row in rows), **sums})
    write_csv(path, rows)


def _sum(counts: list) -> int | str:
    return DASH if DASH in counts else sum(counts)
