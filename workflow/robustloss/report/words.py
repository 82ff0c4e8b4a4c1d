"""Numbers and settings in a reader's words."""

import re
from collections.abc import Iterable

from markupsafe import Markup, escape

from robustloss.papers import formulas, wording
from robustloss.papers.wording import DASH

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
        for denominator in (wording.fraction(value).denominator, *PIXELS):
            if round(value * denominator) / denominator == value:
                return f"{round(value * denominator)}/{denominator}"
    return DASH if value is None else str(value)


def listed(values: Iterable) -> str:
    """Values joined by commas, each once."""
    return ", ".join(dict.fromkeys(str(value) for value in values)) or DASH
