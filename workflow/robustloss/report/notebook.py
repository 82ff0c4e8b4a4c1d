"""What an executed notebook says around each table and figure: heading, explanation, caption, description, runs."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from robustloss.errors import Problem
from robustloss.files import read_json

_SHOW = re.compile(r"""^paper\.(?:show\(["']([^"']+)["']\)|(audits)\(\))""", re.MULTILINE)
# What a picture's metadata calls the fields of `Shown`.
_PICTURE = {"alt": "description", "width": "width", "runs": "runs"}
# The notebook's own mark of published values.
_GREY = re.compile(r"Grey: published\. ?|Grey: (?=published)")
_CAPTION = re.compile(r"<caption[^>]*>(.*?)</caption>", re.DOTALL)


@dataclass(frozen=True)
class Shown:
    """A table or figure as the notebook presents it.

    `text` is the explanation above it, by paragraphs, empty where the one before has it; `caption` stands below a
    table; `description` is a figure's, for those who do not see it, `width` its width in pixels; `runs` are the names
    of the runs that a figure rests on.
    """

    title: str
    text: tuple[str, ...] = ()
    caption: str = ""
    description: str = ""
    width: int | None = None
    runs: tuple[str, ...] = ()


def read(path: Path) -> dict[str, Shown]:
    """What the notebook shows, by name and in its order."""
    try:
        return _shown(read_json(path)["cells"])
    except (KeyError, TypeError, AttributeError) as error:
        raise Problem(
            f"{path} is not a notebook ({error!r}): delete it and run the stage that makes it again"
        ) from None


def ordered(names: Iterable[str], shown: dict[str, Shown]) -> list[str]:
    """Names in the notebook's order; those that it does not show come last, by their numbers."""
    place = {name: number for number, name in enumerate(shown)}
    return sorted(names, key=lambda name: (place.get(name, len(place)), natural(name)))


def natural(name: str) -> list[tuple[float, str]]:
    """A key to sort by that puts table10 after table9."""
    parts = re.findall(r"(\d+(?:\.\d+)?)|([^\d]+)", name)
    return [(float(number), "") if number else (-1.0, text) for number, text in parts]


def title(name: str) -> str:
    """`Table 3` for table3: what a table or figure is called where no notebook says it."""
    words = re.sub(r"_a(?=\d)", "A", name).replace("_", " ")
    words = re.sub(r"(?<=[a-z])(?=A?\d)", " ", words)
    return words[:1].upper() + words[1:]


def _shown(cells: list[dict]) -> dict[str, Shown]:
    found: dict[str, Shown] = {}
    for heading, text, code in _sections(cells):
        named = [(name, _output(cell.get("outputs", []))) for cell in code for name in _names(cell)]
        told = set()
        for name, output in named:
            # Tables and figures stand apart on a page, so the first of each has the explanation.
            kind = "description" in output
            own = f"{heading} ({title(name).lower()})" if len(named) > 1 else heading
            found[name] = Shown(own if heading else title(name), () if kind in told else text, **output)
            told.add(kind)
    return found


def _sections(cells: list[dict]) -> Iterator[tuple[str, tuple[str, ...], list[dict]]]:
    """(heading, explanation, code cells below)."""
    heading, text, code = "", (), []
    for cell in cells:
        if cell["cell_type"] == "code":
            code.append(cell)
            continue
        yield heading, text, code
        (heading, text), code = _explanation("".join(cell["source"])), []
    yield heading, text, code


def _names(cell: dict) -> list[str]:
    return ["".join(match) for match in _SHOW.findall("".join(cell["source"]))]


def _explanation(markdown: str) -> tuple[str, tuple[str, ...]]:
    head, _, rest = markdown.strip().partition("\n")
    paragraphs = (" ".join(part.split()) for part in rest.split("\n\n"))
    return head.lstrip("# "), tuple(part for part in paragraphs if part)


def _output(outputs: list[dict]) -> dict:
    found = {}
    for output in outputs:
        picture = output.get("metadata", {}).get("image/png", {})
        found |= {key: picture[name] for name, key in _PICTURE.items() if name in picture}
        if caption := _CAPTION.search("".join(output.get("data", {}).get("text/html", ""))):
            text = " ".join(unescape(re.sub(r"<[^>]+>", " ", caption[1])).split())
            text = _GREY.sub("", text)
            found["caption"] = text[:1].upper() + text[1:]
    return found | ({"runs": tuple(found["runs"])} if "runs" in found else {})
