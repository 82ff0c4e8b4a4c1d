"""Formulas as the reference files write them (`L_CE - 1/6 L_CE^1`), set for HTML and for figures."""

import re
from html import escape

_SIGNS = ((" - ", " − "), ("!=", "≠"))
_INDEXED = re.compile(r"(?P<base>[A-Za-z])(?=[_^])(?:_(?P<low>\w+?))?(?:\^(?P<high>\w+))?(?!\w)")


class Html(str):
    """Text that is HTML already; any other is escaped before it is shown."""


def to_html(text: str) -> Html:
    """Indices as <sub> and <sup>; whatever else looks like HTML is text."""
    return Html(_INDEXED.sub(_html_index, escape(_with_signs(text), quote=False)))


def to_mathtext(text: str) -> str:
    """Indices as matplotlib sets them."""
    return _INDEXED.sub(_math_index, _with_signs(text))


def _with_signs(text: str) -> str:
    for plain, sign in _SIGNS:
        text = text.replace(plain, sign)
    return text


def _html_index(match: re.Match) -> str:
    low, high = (
        f"<{tag}>{match[part]}</{tag}>" if match[part] else "" for part, tag in (("low", "sub"), ("high", "sup"))
    )
    return f"<i>{match['base']}</i>{low}{high}"


def _math_index(match: re.Match) -> str:
    low, high = (
        rf"{sign}{{\mathrm{{{match[part]}}}}}" if match[part] else "" for part, sign in (("low", "_"), ("high", "^"))
    )
    return f"${match['base']}{low}{high}$"
