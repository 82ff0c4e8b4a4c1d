"""Numbers, settings and environments in a reader's words."""

import re
from collections.abc import Iterable
from fractions import Fraction

from markupsafe import Markup, escape

from robustloss.papers import formulas

DASH = "—"
# A weight such as 1/6 is stored as a float; this finds the fraction again, and no other one by chance.
LARGEST_DENOMINATOR = 100
# Levels of a pixel, as papers count them.
PIXELS = (255, 256)
# A float that was written with so few characters was no fraction.
SHORT = 7
# A name in code, whose underscore makes no index.
_NAME = re.compile(r"[A-Za-z]{2,}_")


def parse(text: str | None) -> float | None:
    """The number that a table's cell holds; None for a dash or a text."""
    try:
        return float(text or "")
    except ValueError:
        return None


def number(value: float | None, digits: int | None = None) -> str:
    """With so many digits after the point, or four significant ones; a dash for nothing."""
    if value is None:
        return DASH
    # Adding 0 makes a rounded -0 a 0.
    text = f"{value:.4g}" if digits is None else f"{round(value, digits) + 0:.{digits}f}"
    return text.replace("-", "−")


def percent(share: float | None) -> str:
    """A share in [0, 1] as percent."""
    return number(None if share is None else 100 * share, 1)


def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds is None:
        return DASH
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours:,} h {minutes_left} min" if hours else f"{minutes} min {rest} s"


def size(count: float | None) -> str:
    """Bytes in MB or GB."""
    if count is None:
        return DASH
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def formula(text: str) -> Markup:
    """A formula of a manifest or table, indices set low and high; a text with a name of code in it as it is."""
    return escape(text) if _NAME.search(text) else Markup(formulas.to_html(text))


def objective(spec: dict) -> str:
    """What a network was trained with: `cross_entropy − 1/6 false_label, adversaries of pgd`."""
    parts = [f"{_terms(spec['clean'])} clean"] if spec.get("clean") else []
    parts += [_terms(spec.get("objective", []))]
    parts += [f"then {_terms(spec['then'])}"] if spec.get("then") else []
    parts += [f"adversaries of {spec['perturbation']['name']}"] if spec.get("perturbation") else []
    return ", ".join(part for part in parts if part)


def network(spec: dict) -> str:
    """The network's name with its sizes and head."""
    model = spec.get("model", {})
    sizes = [f"{key} {model[key]}" for key in ("depth", "width") if key in model]
    head = [f"head {model['head']['name']}"] if "head" in model else []
    own = ", ".join([*sizes, *head])
    return f"{model.get('name', DASH)} ({own})" if own else model.get("name", DASH)


def settings(value, name: str = "") -> list[tuple[str, str]]:
    """A specification line by line: (`schedule.rate`, `0.1`)."""
    if isinstance(value, dict):
        return [line for key, item in value.items() for line in settings(item, f"{name}.{key}" if name else key)]
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return [line for place, item in enumerate(value, 1) for line in settings(item, f"{name} {place}")]
    if isinstance(value, list):
        return [(name, ", ".join(map(exact, value)))]
    return [(name, exact(value))]


def exact(value) -> str:
    """A number as it was written: 8/255 and 1/6 again, all else as it is."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and len(str(value)) > SHORT:
        for denominator in (Fraction(value).limit_denominator(LARGEST_DENOMINATOR).denominator, *PIXELS):
            if round(value * denominator) / denominator == value:
                return f"{round(value * denominator)}/{denominator}"
    return DASH if value is None else str(value)


def versions(environment: dict) -> str:
    """`python 3.11.2, torch 2.15.0`."""
    found = {"python": environment.get("python"), **environment.get("versions", {})}
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)


def machine(environment: dict) -> str:
    """The processor or the accelerator, with the number of threads where it was a processor."""
    hardware = environment.get("hardware", DASH)
    threads = environment.get("threads")
    if environment.get("device") != "cpu" or threads is None:
        return hardware
    return f"{hardware}, {threads} thread{'s' if threads > 1 else ''}"


def commit(environment: dict) -> str:
    """The commit in short, and whether files were changed."""
    found = environment.get("git_commit")
    return f"{found[:10]}{' with changes' if environment.get('git_dirty') else ''}" if found else DASH


def listed(values: Iterable) -> str:
    """Values joined by commas, each once."""
    return ", ".join(dict.fromkeys(str(value) for value in values)) or DASH


def _terms(terms: list[dict]) -> str:
    """Losses with their weights, the largest weight first; the weight 1 is left out."""
    parts = []
    for term in sorted(terms, key=lambda term: -term["weight"]):
        weight = exact(abs(term["weight"]))
        own = [f"{key} {exact(value)}" for key, value in term.items() if key not in ("loss", "weight")]
        name = f"{term['loss']} ({', '.join(own)})" if own else term["loss"]
        sign = "−" if term["weight"] < 0 else "+"
        parts.append(f"{sign} {name}" if weight == "1" else f"{sign} {weight} {name}")
    return " ".join(parts).removeprefix("+ ")
