"""Tables for the eye: rounded, aligned, published values in grey, a dash where there is nothing."""

from collections.abc import Callable

import pandas as pd
from pandas.io.formats.style import Styler

from robustloss.papers import facts
from robustloss.papers.collection import Collection
from robustloss.papers.formulas import to_html
from robustloss.papers.tables import Share

DASH = "—"
GREY = "#767676"
_STYLES = [
    {"selector": "", "props": "border-collapse: collapse; font-variant-numeric: tabular-nums;"},
    {"selector": "caption", "props": "caption-side: bottom; text-align: left; font-size: 90%; padding-top: 0.6em;"},
    {"selector": "th, td", "props": "padding: 0.25em 0.7em; text-align: right; white-space: nowrap;"},
    {"selector": "thead tr:last-child", "props": "border-bottom: 1px solid currentColor;"},
    {"selector": "th.col_heading.level0", "props": "text-align: center;"},
]


def styled(frame: pd.DataFrame, name: str, caption: str, left: tuple = (), grey: tuple = ()) -> Styler:
    """`frame` without its index; the columns `left` are aligned left, the columns `grey` are grey; NaN is a dash."""
    table = Styler(frame, uuid=name, cell_ids=False).hide(axis="index").format(na_rep=DASH).set_caption(caption)
    table.set_table_styles(_STYLES)
    table.set_properties(subset=list(left), **{"text-align": "left"})
    return table.set_properties(subset=list(grey), color=GREY)


def comparison(collection: Collection, table: str, frame: pd.DataFrame, metrics: tuple) -> Styler:
    """The frame of `tables.comparison` with two rows of headings, one interval to a cell."""
    shown = {("", "index"): frame["index"], ("", "function"): frame["loss"].fillna(frame["run_as"]).map(_formula)}
    for metric in metrics:
        printed = [collection.printed(table, row, metric.metric) for row in collection.rows(table)]
        texts = [cell.printed if cell else DASH for cell in printed]
        texts += [DASH] * (len(frame) - len(texts))
        columns = _share_columns if isinstance(metric, Share) else _distance_columns
        shown |= {(to_html(head), sub): cells for (head, sub), cells in columns(frame, metric, texts).items()}
    shown = pd.DataFrame(shown)
    first = shown.columns[:2]
    grey = [column for column in shown.columns if "published" in column[1]]
    return styled(shown, table, _caption(collection, table, frame, metrics), left=tuple(first), grey=(first[1], *grey))


def losses(frame: pd.DataFrame, name: str) -> Styler:
    """The frame of `tables.losses`."""
    shown = frame.assign(loss=frame["loss"].map(_formula), gradient=frame["gradient"].map(_formula))
    shown.columns = ["index", "composite cross-entropy", "gradient", "run as"]
    caption = "Grey: published, its minus signs restored. Run as: the terms and weights in the record of our run."
    return styled(shown, name, caption, left=tuple(shown.columns), grey=tuple(shown.columns[1:3]))


def counts(frame: pd.DataFrame, name: str) -> Styler:
    """The class counts that the data stage wrote."""
    shown = frame.map(lambda cell: f"{cell:,.0f}" if isinstance(cell, int | float) and cell == cell else cell)
    return styled(shown, name, "Images per class. Grey: published.", left=("tool",), grey=("published",))


def pairs(frame: pd.DataFrame, name: str) -> Styler:
    """Two columns of words; long ones are broken."""
    table = styled(frame, name, "", left=tuple(frame.columns), grey=(frame.columns[0],)).hide(axis="columns")
    return table.set_table_styles([{"selector": "td", "props": "white-space: normal;"}], overwrite=False)


def _share_columns(frame: pd.DataFrame, metric: Share, printed: list[str]) -> dict:
    name = f"{metric.metric}_percent"
    head = f"{metric.heading}, %"
    return {
        (head, "published"): printed,
        (head, "ours"): _intervals(frame, name),
        (head, "last epoch"): _intervals(frame, f"{name}_last"),
        (head, "balanced"): frame[f"{metric.balanced}_percent"].map(_rounded(1)),
    }


def _distance_columns(frame: pd.DataFrame, metric, printed: list[str]) -> dict:
    head, base = metric.heading, metric.relative_to
    return {
        (head, "published"): printed,
        (head, "ours"): _intervals(frame, metric.metric, digits=2),
        (head, f"published / row {base}"): frame[f"{metric.metric}_ratio_published"].map(_rounded(2)),
        (head, f"ours / row {base}"): frame[f"{metric.metric}_ratio"].map(_rounded(2)),
    }


def _intervals(frame: pd.DataFrame, name: str, digits: int = 1) -> list[str]:
    write = _rounded(digits)
    return [
        write(mean) if pd.isna(low) else f"{write(mean)} [{write(low)}, {write(high)}]"
        for mean, low, high in zip(frame[name], frame[f"{name}_low"], frame[f"{name}_high"], strict=True)
    ]


def _rounded(digits: int) -> Callable[[float], str]:
    return lambda number: DASH if pd.isna(number) else f"{number:.{digits}f}".replace("-", "−")


def _formula(text: str | float) -> str:
    return to_html(text) if isinstance(text, str) else DASH


def _caption(collection: Collection, table: str, frame: pd.DataFrame, metrics: tuple) -> str:
    runs = [run for row in collection.rows(table) for run in collection.of(table, row)]
    counts = [
        f"{metric.heading} of {count:,} images"
        for metric in metrics
        if isinstance(metric, Share)
        for count in frame[f"{metric.metric}_samples"].dropna().unique()
    ]
    sentences = [
        f"Ours: {facts.networks(runs)}; {'; '.join(counts)}; mean over the epochs and last epoch" if runs else "",
        "Distances: raw logits at the last epoch",
        f"In brackets: {facts.interval_note(collection, table)}" if runs else "",
        "Grey: published",
        f"{DASH}: not run at scale {collection.scale}, or not printed",
    ]
    return " ".join(f"{sentence}." for sentence in sentences if sentence)
