"""Tables for the eye: rounded, aligned, published values in grey, a dash where there is nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

import pandas as pd
from pandas.io.formats.style import Styler

from robustloss.papers import cells, facts
from robustloss.papers.cells import Entry, Table
from robustloss.papers.collection import Collection
from robustloss.papers.formulas import Html, to_html
from robustloss.papers.tables import Share
from robustloss.papers.wording import DASH

GREY = "#767676"
_STYLES = [
    {"selector": "", "props": "border-collapse: collapse; font-variant-numeric: tabular-nums;"},
    {
        "selector": "caption",
        "props": "caption-side: bottom; text-align: left; font-size: 90%; padding-top: 0.6em; max-width: 80em;",
    },
    {"selector": "th, td", "props": "padding: 0.25em 0.7em; text-align: right; white-space: nowrap;"},
    {"selector": "thead tr:last-child", "props": "border-bottom: 1px solid currentColor;"},
    {"selector": "th.col_heading.level0", "props": "text-align: center;"},
]


def styled(frame: pd.DataFrame, name: str, caption: str, left: tuple = (), grey: tuple = ()) -> Styler:
    """`frame` without its index; the columns `left` are aligned left, the columns `grey` are grey; NaN is a dash.

    Labels come from whoever writes a yaml, so cells, headings and caption are text, but for what is `Html`.
    """
    shown = frame.map(_escaped)
    shown.columns = frame.columns.map(_heading)
    table = Styler(shown, uuid=name, cell_ids=False).hide(axis="index").format(na_rep=DASH)
    table.set_caption(escape(caption, quote=False)).set_table_styles(_STYLES)
    _set(table, map(_heading, left), "text-align: left;")
    return table.set_properties(subset=[_heading(column) for column in grey], color=GREY)


def _escaped(cell):
    return escape(cell, quote=False) if isinstance(cell, str) and not isinstance(cell, Html) else cell


def _heading(column):
    return tuple(map(_escaped, column)) if isinstance(column, tuple) else _escaped(column)


def _set(table: Styler, columns: Iterable, properties: str) -> Styler:
    """Properties of whole columns that go before those of every cell; `Styler.set_properties` would come after them."""
    found = {column: [{"selector": "", "props": properties}] for column in columns}
    return table.set_table_styles(found, overwrite=False) if found else table


def comparison(
    collection: Collection, table: str, frame: pd.DataFrame, metrics: tuple, text: str = "loss", terms: bool = False
) -> Styler:
    """The frame of `tables.comparison` with two rows of headings, one interval to a cell; with `terms` what was run."""
    shown = {("", "index"): frame["index"], ("", "function"): frame[text].fillna(frame["run_as"]).map(_formula)}
    if terms:
        shown["", "run as"] = [_lines(text) if isinstance(text, str) else DASH for text in frame["terms"]]
    for metric in metrics:
        printed = [collection.printed(table, row, metric.metric) for row in collection.rows(table)]
        texts = [cell.printed if cell else DASH for cell in printed]
        texts += [DASH] * (len(frame) - len(texts))
        columns = _share_columns if isinstance(metric, Share) else _distance_columns
        shown |= {(to_html(head), sub): column for (head, sub), column in columns(frame, metric, texts).items()}
    shown = pd.DataFrame(shown)
    left = [column for column in shown.columns if column[0] == ""]
    grey = [column for column in shown.columns if "published" in column[1] or column[1] == "function"]
    found = styled(shown, table, _caption(collection, table, frame, metrics), left=tuple(left), grey=tuple(grey))
    return _set(found, left[2:], "white-space: normal; min-width: 20em;")


def as_printed(collection: Collection, item: str, tables: Mapping[str, Table]) -> tuple[pd.DataFrame, Styler]:
    """The frame of `cells.measured`, and how it looks: by lines and heads; what is not in the paper says so."""
    table, entries = tables[item], cells.entries(collection, item, tables)
    frame = cells.measured(collection, item, entries)
    texts = _texts(collection, item, entries, frame)
    lines, heads = (list(dict.fromkeys(keys)) for keys in zip(*texts, strict=True))
    printed = {line for (line, _), (text, _) in texts.items() if text}
    marked = [_marked(line, line in printed) for line in lines]
    left = line_columns(table.titles, marked, above=len(heads[0]))
    right = [_head_columns(head, [texts.get((line, head), (None, DASH)) for line in lines]) for head in heads]
    shown = pd.DataFrame({name: column for columns in (left, *right) for name, column in columns.items()})
    grey = tuple(name for name in shown.columns if name[-1] == "published")
    caption = _caption_of_cells(collection, table, entries, frame)
    return frame, styled(shown, item, caption, left=tuple(left), grey=grey)


def losses(frame: pd.DataFrame, name: str) -> Styler:
    """The frame of `tables.losses`."""
    shown = frame.drop(columns="runs")
    shown = shown.assign(loss=frame["loss"].map(_formula), gradient=frame["gradient"].map(_formula))
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


def line_columns(
    titles: Sequence[str], lines: Sequence[tuple[str, ...]], above: int
) -> dict[tuple[str, ...], tuple[str, ...]]:
    """The columns of headings at the left, each only where it or one before it changes, under `above` empty ones."""
    rows = [
        ["" if line[:depth] == last[:depth] else text for depth, text in enumerate(line, 1)]
        for line, last in zip(lines, [(), *lines], strict=False)
    ]
    return {(*[""] * above, title): column for title, column in zip(titles, zip(*rows, strict=True), strict=True)}


def intervals(frame: pd.DataFrame, name: str, digits: int = 1) -> list[str]:
    """A column with its `_low` and `_high`: `12.3 [10.1, 14.5]`, without brackets where there is no interval."""
    write = _rounded(digits)
    numbers = zip(frame[name], frame[f"{name}_low"], frame[f"{name}_high"], strict=True)
    return [
        write(mean) if pd.isna(low) else f"{write(mean)} [{write(low)}, {write(high)}]" for mean, low, high in numbers
    ]


def _share_columns(frame: pd.DataFrame, metric: Share, printed: list[str]) -> dict:
    name = f"{metric.metric}_percent"
    head = f"{metric.heading}, %"
    return {
        (head, "published"): printed,
        (head, "ours"): intervals(frame, name),
        (head, "last epoch"): intervals(frame, f"{name}_last"),
        (head, "balanced"): frame[f"{metric.balanced}_percent"].map(_rounded(1)),
    }


def _distance_columns(frame: pd.DataFrame, metric, printed: list[str]) -> dict:
    head, base = metric.heading, metric.relative_to
    found = {(head, "published"): printed, (head, "ours"): intervals(frame, metric.metric, digits=2)}
    if base is None:
        return found
    return found | {
        (head, f"published / row {base}"): frame[f"{metric.metric}_ratio_published"].map(_rounded(2)),
        (head, f"ours / row {base}"): frame[f"{metric.metric}_ratio"].map(_rounded(2)),
    }


def _texts(collection: Collection, item: str, entries: Sequence[Entry], frame: pd.DataFrame) -> dict:
    """(printed or None, ours) by line and head."""
    digits = 2 if all(entry.cell.measure.error for entry in entries) else 1
    printed = [collection.printed(item, row, metric) for row, metric in zip(frame["row"], frame["metric"], strict=True)]
    return {
        (entry.cell.line, entry.cell.head): (cell and cell.printed, ours)
        for entry, cell, ours in zip(entries, printed, intervals(frame, "percent", digits), strict=True)
    }


def _head_columns(head: tuple[str, ...], found: list[tuple[str | None, str]]) -> dict[tuple, list[str]]:
    printed, ours = zip(*found, strict=True)
    name = _marked(head, any(printed))
    published = {(*name, "published"): [text or DASH for text in printed]} if any(printed) else {}
    return published | {(*name, "ours"): ours}


def _marked(heading: tuple[str, ...], in_paper: bool) -> tuple[str, ...]:
    *first, last = (Html(escape(part, quote=False)) for part in heading)
    return (*first, last if in_paper else Html(f'{last}<br><small style="color: {GREY}">not in the paper</small>'))


def _rounded(digits: int) -> Callable[[float], str]:
    return lambda number: DASH if pd.isna(number) else f"{number:.{digits}f}".replace("-", "−")


def _lines(text: str) -> Html:
    return Html("<br>".join(escape(part, quote=False) for part in text.split("; ")))


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
    ours = f"Ours: {facts.networks(runs)}; {'; '.join(counts)}; mean over the epochs and last epoch" if runs else ""
    return _sentences(collection, frame["seeds"], ours, "Distances: raw logits at the last epoch")


def _caption_of_cells(collection: Collection, table: Table, entries: Sequence[Entry], frame: pd.DataFrame) -> str:
    runs = [run for trained, _ in entries for run in collection.of(trained.experiment, trained.row)]
    counts = " or ".join(f"{count:,}" for count in sorted(frame["samples"].dropna().unique()))
    ours = f"Ours: {facts.data_sets(runs)}; {facts.networks(runs)}; {counts} images; last epoch" if counts else ""
    return _sentences(collection, frame["seeds"], f"{table.what} in %", ours)


def _sentences(collection: Collection, seeds: pd.Series, *first: str) -> str:
    intervals = facts.interval_note(seeds)
    sentences = [
        *first,
        f"In brackets: {intervals}" if intervals else "",
        "Grey: published",
        f"{DASH}: not run at scale {collection.scale}, or not printed",
    ]
    return " ".join(f"{sentence}." for sentence in sentences if sentence)
