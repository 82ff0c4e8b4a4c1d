"""The pages themselves, and the files that they show, copied beside them so that the folder can go anywhere."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from robustloss.files import replacing
from robustloss.papers import wording
from robustloss.report import grids, ledger, notebook, plots, summary, words
from robustloss.report.shelf import Attack, Paper, Run, Shelf

TEMPLATES = Path(__file__).parent / "templates"
STYLE = "style.css"


def write(shelf: Shelf, out: Path) -> Path:
    """Write index.html, runs.html, one folder per paper and one page per run; return the path of index.html.

    Pages of runs that no paper names any more are removed.
    """
    templates = _templates(shelf)
    _copy(TEMPLATES / STYLE, out / STYLE)
    for paper in shelf.papers.values():
        _write_paper(templates, paper, shelf, out / paper.name)
    pages = {out / "runs" / page_name(name): run for name, run in shelf.runs.items()}
    for path, run in pages.items():
        _write(templates, "run.html", path, root="../", run=run, plots=_plots(run))
    for path in set(out.glob("runs/*.html")) - pages.keys():
        path.unlink()
    _write(templates, "runs.html", out / "runs.html", root="", shelf=shelf)
    _write(templates, "index.html", out / "index.html", root="", shelf=shelf)
    return out / "index.html"


def page_name(run: str) -> str:
    """The file of a run's page."""
    return f"{re.sub(r'[^A-Za-z0-9._+-]', '_', run)}.html"


def _templates(shelf: Shelf) -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals |= {
        "papers": shelf.papers,
        "runs": shelf.runs,
        "summary": summary,
        "ledger": ledger,
        "words": words,
        "wording": wording,
        "grid": grids.grid,
        "falls": lambda paper: list(grids.falls(paper, shelf)),
        "title": notebook.title,
    }
    templates.filters |= {
        "number": words.number,
        "percent": words.percent,
        "duration": words.duration,
        "size": words.size,
        "formula": words.formula,
        "prose": _prose,
        "tidy": _tidy,
        "moment": lambda date: date.replace("T", " ").removesuffix("Z"),
        "commit": wording.commit,
        "versions": wording.versions,
        "masking": _masking,
        "last_epoch": _last_epoch,
        "slug": lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"),
        "run_page": lambda name: f"runs/{quote(page_name(name))}",
        "link": quote,
    }
    templates.tests["measured"] = lambda cell: isinstance(cell, grids.Number)
    return templates


def _write_paper(templates: jinja2.Environment, paper: Paper, shelf: Shelf, folder: Path) -> None:
    for kind, endings, names in (("tables", ["csv"], paper.tables), ("figures", ["png", "pdf"], paper.figures)):
        for name in names:
            for ending in endings:
                _copy(paper.directory / kind / f"{name}.{ending}", folder / kind / f"{name}.{ending}")
    if paper.page:
        _copy(paper.page, folder / "notebook.html")
    _write(templates, "paper.html", folder / "index.html", root="../", paper=paper, shelf=shelf, folder=folder)


def _write(templates: jinja2.Environment, template: str, path: Path, **context) -> None:
    with replacing(path) as stream:
        stream.write(templates.get_template(template).render(**context))


def _copy(source: Path, target: Path) -> None:
    """Copy a file, if it is there, whole."""
    if source.is_file():
        with replacing(target, "wb") as stream, open(source, "rb") as original:
            shutil.copyfileobj(original, stream)


def _plots(run: Run) -> list[plots.Plot]:
    """The objectives and, where the networks of several epochs were measured, the accuracies."""
    names = [name for name in run.history[0] if name not in ("epoch", "rate", "test_accuracy")] if run.history else []
    objectives = {name: _points(run.history, name) for name in names}
    splits = dict.fromkeys(row.get("split", "") for row in run.epochs)
    accuracies = {
        split: _points([row for row in run.epochs if row.get("split") == split], "accuracy", factor=100)
        for split in splits
    }
    found = plots.over_epochs("Objective", objectives), plots.over_epochs("Accuracy, %", accuracies)
    return [plot for plot in found if plot]


def _points(rows: Iterable[dict], column: str, factor: float = 1) -> list[tuple[float, float]]:
    pairs = ((words.parse(row.get("epoch")), words.parse(row.get(column))) for row in rows)
    return [(epoch, factor * value) for epoch, value in pairs if None not in (epoch, value)]


def _prose(text: str) -> Markup:
    """Text of a notebook: what stands in backquotes is code, all else is shown as it is."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _tidy(text: str) -> str:
    """A cell of a file: a number with four significant digits, a text as it is."""
    value = words.parse(text)
    return (text or words.DASH) if value is None else words.number(value)


def _masking(run: Run) -> str:
    """How many signs of gradient masking are flagged; a dash without an audit."""
    flagged = [record["summary"]["flagged"] for record in run.audits.values()]
    if not flagged:
        return words.DASH
    count = len({name for names in flagged for name in names})
    return f"{count} sign{'s' * (count != 1)}" if count else "none"


def _last_epoch(attack: Attack) -> grids.Number:
    """Robust accuracy at the last epoch in percent."""
    values = (attack.robust.get(key) for key in ("last", "last_low", "last_high"))
    return grids.Number(*(None if value is None else 100 * value for value in values), share=True)
