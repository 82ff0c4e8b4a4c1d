"""The ledger as files, and as a table for the eye."""

import math
from html import escape

import pandas as pd
from pandas.io.formats.style import Styler

from robustloss.claims import statements
from robustloss.claims.differences import Difference
from robustloss.claims.verdicts import Comparison, Finding, Verdict, Word
from robustloss.files import replacing
from robustloss.papers import display
from robustloss.papers.collection import Collection
from robustloss.papers.formulas import Html

NOTHING = float("nan")
# Dark enough to read on white; the word says the same to whoever sees no colours.
COLOURS = {
    Word.REPRODUCED: "#1b6e3c",
    Word.DIRECTION: "#2f5d8a",
    Word.NOT_REPRODUCED: "#8a4b00",
    Word.COLLAPSES: "#a3232a",
    Word.NOT_ATTEMPTED: display.GREY,
}
UNITS = {**dict.fromkeys(statements.SHARES, "points"), **dict.fromkeys(statements.RATIOS, "times")}
UNITS |= {"cross-entropy": "nats", "perturbation": "L2"}
DIGITS = {"points": 1, "times": 2, "nats": 3, "L2": 2}


def show(collection: Collection, verdicts: list[Verdict]) -> Styler:
    """Write claims.csv and comparisons.csv, if there are claims, and lay out the former."""
    tables = {"claims": claims(verdicts), "comparisons": comparisons(verdicts)}
    for name, frame in tables.items():
        if len(frame):
            with replacing(collection.directory / f"{name}.csv") as stream:
                frame.to_csv(stream, index=False, na_rep=display.DASH, lineterminator="\n")
    return _styled(verdicts)


def claims(verdicts: list[Verdict]) -> pd.DataFrame:
    """One row per claim: its verdict, and the numbers of the comparison that it hangs on."""
    rows = [
        {
            "paper": verdict.paper,
            "id": verdict.name,
            "claim": verdict.claim,
            "source": verdict.source,
            "verdict": str(verdict.word),
            "note": note(verdict),
            "comparisons": len(verdict.comparisons),
            "run": len(verdict.run),
            **_numbers(verdict.decisive),
            "scale": verdict.scale,
        }
        for verdict in verdicts
    ]
    return _frame(rows)


def comparisons(verdicts: list[Verdict]) -> pd.DataFrame:
    """One row per comparison of each claim."""
    rows = [
        {
            "paper": verdict.paper,
            "id": verdict.name,
            **_numbers(comparison),
            "found": _finding(comparison, comparison.ours),
            "honest_found": _finding(comparison, comparison.honest),
            "missing": comparison.missing,
            "scale": verdict.scale,
        }
        for verdict in verdicts
        for comparison in verdict.comparisons
    ]
    return _frame(rows)


def note(verdict: Verdict) -> str:
    """Why the verdict is what it is, in a clause or two."""
    reasons = _reasons(verdict, verdict.decisive)
    remarks = [
        (not all(found.printed for found in verdict.comparisons), "the printed numbers do not all say so"),
        (any("honest" in found.settings and not found.honest for found in verdict.run), "not all judged honestly"),
        (verdict.word in (Word.NOT_REPRODUCED, Word.COLLAPSES), ", ".join(verdict.stand_ins)),
    ]
    return "; ".join([*reasons, *(text for given, text in remarks if given and text)])


def _reasons(verdict: Verdict, decisive: Comparison) -> list[str]:
    match verdict.word:
        case Word.NOT_ATTEMPTED:
            return [decisive.missing]
        case Word.NOT_REPRODUCED:
            return [_failing(verdict, decisive)]
        case Word.COLLAPSES:
            return [f"holds as published; under the honest attacks {decisive.finding(decisive.honest)}"]
    return verdict.reservations


def _failing(verdict: Verdict, decisive: Comparison) -> str:
    finding = str(decisive.finding(decisive.ours))
    if finding == Finding.HOLDS:
        finding = "the size is another"
    if len(verdict.run) == 1:
        return finding
    standing = len(verdict.run) - len(verdict.failing)
    return f"{standing} of {len(verdict.run)} comparisons hold; in the one shown {finding}"


def _finding(comparison: Comparison, found: Difference | None) -> str | float:
    return str(comparison.finding(found)) if found else NOTHING


def _numbers(comparison: Comparison) -> dict:
    """What was compared and what came out, shares in points, ratios as such."""
    settings = comparison.settings
    experiment = settings["experiment"]
    return {
        "data": comparison.data or NOTHING,
        "published_data": settings["original"]["data"],
        "stand_ins": ", ".join(comparison.stand_ins) or NOTHING,
        "measure": _measured(settings),
        "attack": settings.get("attack", NOTHING),
        "honest_attack": _joined(settings["honest"]) if "honest" in settings else NOTHING,
        "experiment": experiment,
        "row": _joined(settings["row"]),
        "direction": settings["direction"],
        "against": _joined(settings["against"]),
        "against_experiment": settings.get("against_experiment", experiment),
        "against_attack": settings.get("against_attack", settings.get("attack", NOTHING)),
        "unit": UNITS[settings["measure"]],
        "published": NOTHING if comparison.published is None else _shown(comparison.published, settings),
        **_interval("ours", "", comparison.ours, settings),
        **_interval("honest", "honest_", comparison.honest, settings),
        "tolerance": settings.get("tolerance", NOTHING),
        "seeds": comparison.trainings,
        "images": comparison.images or NOTHING,
        "honest_images": comparison.honest_images or NOTHING,
        "interval": _covers(comparison),
    }


def _interval(name: str, prefix: str, found: Difference | None, settings: dict) -> dict:
    values = (NOTHING,) * 3
    if found:
        values = tuple(_shown(value, settings) for value in (found.mean, *found.interval()))
    return dict(zip((name, f"{prefix}low", f"{prefix}high"), values, strict=True))


def _covers(comparison: Comparison) -> str | float:
    """What is drawn by chance in the interval."""
    if not comparison.ours:
        return NOTHING
    if not comparison.images:
        return "trainings"
    return "images and trainings" if comparison.trainings > 1 else "images"


def _shown(value: float, settings: dict) -> float:
    unit = UNITS[settings["measure"]]
    return 100 * value if unit == "points" else math.exp(value) if unit == "times" else value


def _measured(settings: dict) -> str:
    return settings["measure"] + (f" of class {settings['class'] + 1}" if "class" in settings else "")


def _joined(value: str | list[str]) -> str:
    return " and ".join(statements.several(value))


def _frame(rows: list[dict]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    return frame.astype(dict.fromkeys(("seeds", "images", "honest_images"), "Int64")) if rows else frame


def _styled(verdicts: list[Verdict]) -> Styler:
    lines = [_line(verdict) for verdict in verdicts]
    columns = ["", "claim", "compared", "published", "ours", "honest", "verdict", "why"]
    frame = pd.DataFrame(lines, columns=columns)
    left = ("", "claim", "compared", "verdict", "why")
    table = display.styled(frame, "claims", _caption(verdicts), left=left, grey=("published",))
    wrapped = {
        name: [{"selector": "", "props": f"white-space: normal; min-width: {width}em; text-align: left;"}]
        for name, width in (("claim", 22), ("compared", 14), ("verdict", 8), ("why", 14))
    }
    return table.set_table_styles(wrapped, overwrite=False)


def _line(verdict: Verdict) -> list[str]:
    found, word = verdict.decisive, verdict.word
    numbers = _numbers(found)
    unit = numbers["unit"]
    return [
        verdict.name,
        Html(f'{escape(verdict.claim)}<br><small style="color: {display.GREY}">{escape(verdict.source)}</small>'),
        _compared(found.settings, numbers),
        text(unit, numbers["published"]),
        text(unit, numbers["ours"], numbers["low"], numbers["high"]),
        text(unit, numbers["honest"], numbers["honest_low"], numbers["honest_high"]),
        Html(f'<strong style="color: {COLOURS[word]}">{word}</strong>'),
        note(verdict),
    ]


def _compared(settings: dict, numbers: dict) -> str:
    under = f" under {settings['attack']}" if "attack" in settings else ""
    other = f" of {settings['against_experiment']}" if "against_experiment" in settings else ""
    rows = f"{numbers['row']} against {numbers['against']}{other}"
    return f"{settings['experiment']}: {_measured(settings)}{under}, {rows}, claimed {settings['direction']}"


def text(unit: str, value: float, low: float = NOTHING, high: float = NOTHING) -> str:
    """`+26.4 [20.1, 32.0]`, or `× 0.31` for a ratio."""
    if math.isnan(value):
        return display.DASH
    digits = DIGITS[unit]
    sign = "× " if unit == "times" else "+" if value > 0 else ""
    shown, *bounds = (f"{number:.{digits}f}".replace("-", "−") for number in (value, low, high))
    return f"{sign}{shown}" if math.isnan(low) else f"{sign}{shown} [{', '.join(bounds)}]"


def _caption(verdicts: list[Verdict]) -> str:
    if not verdicts:
        return "This paper's yaml states no claims."
    sentences = [
        "Differences in points, of distances ratios, of the comparison that the verdict hangs on",
        "In brackets: 95 % intervals, over the images that both rows saw and, from two on, over trainings",
        "Honest: the same rows under the strongest attacks that were run, after the last epoch",
        f"Grey: published. {display.DASH}: not run at scale {verdicts[0].scale}, or not printed",
        "docs/claims.md has the rule, comparisons.csv all comparisons",
    ]
    return " ".join(f"{sentence}." for sentence in sentences)
