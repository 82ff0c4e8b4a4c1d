"""A results folder with two papers that have been shown, for the report, and pages as a parser sees them."""

import csv
import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import papers_fixture

from robustloss import papers

BLOCKS = {
    "p",
    "div",
    "section",
    "article",
    "h1",
    "h2",
    "h3",
    "ul",
    "ol",
    "li",
    "dl",
    "dt",
    "dd",
    "tr",
    "td",
    "th",
    "br",
}
BLOCKS |= {"table", "caption", "thead", "tbody", "details", "summary", "figure", "figcaption", "nav", "header", "main"}
VOID = {"meta", "link", "img", "br", "hr", "input", "line", "rect", "circle", "polyline", "path"}
# What each paper's notebook shows here, beside some of what every notebook has.
SHOWN = {"ding2025": ("table2", "table3", "figure2"), "chen2019": ("table2", "table3", "summary")}
CHEN = {"mnist": {"XE": 0.6, "GCE 1/3": 0.7}, "mnist-at": {"XE": 0.5}}
CLAIM_COLUMNS = (
    "paper",
    "id",
    "claim",
    "source",
    "verdict",
    "note",
    "measure",
    "attack",
    "honest_attack",
    "experiment",
)
CLAIM_COLUMNS += ("row", "direction", "against", "against_experiment", "unit", "published", "ours", "low", "high")
CLAIM_COLUMNS += ("honest", "honest_low", "honest_high", "seeds", "images", "scale")
SIGNS = (("saturation", 0.39, True), ("noise", 0.0, False), ("transfer", None, False))


def write(root: Path) -> Path:
    """Results of ding2025 (two seeds) and chen2019 below `root`, the working directory; the results folder."""
    manifests = {
        "ding2025": papers_fixture.write(root, seeds=(0, 1)),
        "chen2019": papers_fixture.write_chen2019(root, CHEN),
    }
    for name, manifest in manifests.items():
        _show(name, manifest)
    write_claims(root / "results", [claim("C1", "reproduced"), claim("C2", "collapses", note="gone")])
    _train(root, manifests["chen2019"])
    return root / "results"


def claim(name: str, verdict: str, **changed) -> dict:
    """A row of chen2019's claims.csv."""
    row = {
        "paper": "chen2019",
        "id": name,
        "claim": f"Claim {name} of GCE",
        "source": "Abstract",
        "verdict": verdict,
        "measure": "robust accuracy",
        "attack": "pgd 0.1",
        "honest_attack": "honest 0.1",
        "experiment": "mnist",
        "row": "GCE 1/3",
        "direction": "higher",
        "against": "XE",
        "against_experiment": "mnist",
        "unit": "points",
        "published": 5.17,
        "ours": 10.04,
        "low": 4.06,
        "high": 16.0,
        "honest": -0.31,
        "seeds": 1,
        "images": 140,
        "scale": "demo",
    }
    return {**dict.fromkeys(CLAIM_COLUMNS, "—"), **row, **changed}


def write_claims(results: Path, rows: list[dict], paper: str = "chen2019", name: str = "claims") -> None:
    """Write claims.csv, or comparisons.csv."""
    with open(results / "papers" / paper / f"{name}.csv", "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def entries(results: Path, paper: str, experiment: str, row: str) -> list[dict]:
    """What the manifest says of a row's runs."""
    return json.loads((results / "papers" / paper / "manifest.json").read_text())["rows"][experiment][row]


def _show(name: str, manifest: Path) -> None:
    """Tables, figures, and what an executed notebook keeps of them."""
    paper = papers.load(manifest)
    cells = [{"cell_type": "markdown", "source": [f"# {name}\n", "\n", "Words at the top."]}]
    for item in SHOWN[name]:
        found = paper.show(item)
        if hasattr(found, "png"):
            output = {"data": {"image/png": "…"}, "metadata": {"image/png": found._repr_png_()[1]}}
        else:
            output = {"data": {"text/html": found._repr_html_()}, "metadata": {}}
        heading = [f"## Heading of {item}\n", "\n", f"What `{item}` of {name} says & means.\n", "\n", "More of it."]
        cells += [
            {"cell_type": "markdown", "source": heading},
            {"cell_type": "code", "source": [f'paper.show("{item}")'], "outputs": [output]},
        ]
    papers_fixture.write_json(manifest.parent / f"{name}.ipynb", {"cells": cells})
    (manifest.parent / f"{name}.html").write_text("<!doctype html><title>notebook</title><p>executed</p>")


def _train(root: Path, manifest: Path) -> None:
    """What the fixture of the papers leaves out: epsilons, an audit, a history."""
    for path in root.glob("results/runs/mnist*/attacks/*/attack.json"):
        name, strength = path.parent.name.split("-")[:2]
        if name not in ("cw", "jsma"):
            papers_fixture.edit(path, lambda record, strength=strength: record["spec"].update(epsilon=float(strength)))
    content = json.loads(manifest.read_text())
    entry = content["rows"]["mnist"]["XE"][0]
    entry["audit"] = f"{entry['directory']}/audits/audit-eps0.1-0000"
    manifest.write_text(json.dumps(content))
    signs = [
        {"name": name, "value": value, "threshold": 0.01, "flagged": flagged, "source": "Somebody 2018", "evidence": {}}
        | {"sentence": f"What {name} found."}
        for name, value, flagged in SIGNS
    ]
    robust = {
        name: {"accuracy": share, "accuracy_low": share - 0.05, "accuracy_high": share + 0.05}
        for name, share in (("clean", 0.9), ("pgd", 0.6), ("pgd_restarts", 0.5), ("strong", 0.3), ("worst_case", 0.21))
    }
    summary = {"verdict": "PGD overstates by 39 points.", "flagged": ["saturation"], "count": 200}
    audit = {
        "name": "audit-eps0.1-0000",
        "spec": {"split": "evaluation", "epsilon": 0.1},
        "summary": summary | {"robust_accuracy": robust},
        "signs": signs,
        "environment": papers_fixture.ENVIRONMENT,
    }
    papers_fixture.write_json(root / entry["audit"] / "audit.json", audit)
    lines = ["epoch,objective,rate", "1,2.25,0.1", "2,1.125,0.05"]
    (root / entry["directory"] / "history.csv").write_text("\n".join(lines) + "\n")


@dataclass
class Element:
    """An element with its attributes, the text inside it and those elements around it."""

    tag: str
    attributes: dict
    around: tuple["Element", ...] = field(repr=False)
    text: str = ""

    @property
    def words(self) -> str:
        """The text as it reads."""
        return " ".join(self.text.split())


@dataclass(repr=False)
class Page(HTMLParser):
    """The elements of one file, in order."""

    path: Path
    elements: list[Element] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self):
        super().__init__(convert_charrefs=True)
        self._open: list[Element] = []
        self.feed(self.path.read_text(encoding="utf-8"))
        self.wrong += [f"<{element.tag}> is not closed" for element in self._open]

    def handle_starttag(self, tag, attrs):
        self.handle_data("\n" if tag in BLOCKS else "")
        element = Element(tag, dict(attrs), tuple(self._open))
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append(Element(tag, dict(attrs), tuple(self._open)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        if not self._open or self._open[-1].tag != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()} closes {self._open[-1].tag if self._open else 'nothing'}")
        if any(element.tag == tag for element in self._open):
            while self._open.pop().tag != tag:
                pass
        self.handle_data("\n" if tag in BLOCKS else "")

    def handle_data(self, data):
        for element in self._open:
            element.text += data

    def all(self, *tags: str, inside: Element | None = None) -> list[Element]:
        """The elements with one of these tags."""
        found = [element for element in self.elements if element.tag in tags]
        return found if inside is None else [element for element in found if any(e is inside for e in element.around)]

    def section(self, name: str) -> Element:
        """The innermost section with this heading."""
        heading = next(e for e in self.all("h1", "h2", "h3") if e.words == name)
        return next(element for element in reversed(heading.around) if element.tag in ("section", "main"))

    def rows(self, inside: Element) -> list[dict[str, Element]]:
        """The lines of the first table inside an element."""
        return self.lines(self.all("table", inside=inside)[0])

    def lines(self, table: Element) -> list[dict[str, Element]]:
        """For each line of a table its cells by the last line of headings."""
        *_, head = self.all("tr", inside=self.all("thead", inside=table)[0])
        names = [cell.words for cell in self.all("th", inside=head)]
        lines = self._own(("tr",), table, "table", self.all("tbody", inside=table)[0])
        return [dict(zip(names, self.cells(line), strict=True)) for line in lines]

    def cells(self, line: Element) -> list[Element]:
        """The cells of a line, without those of a table in one of them."""
        return self._own(("th", "td"), line, "tr", line)

    def _own(self, tags: tuple, around: Element, tag: str, inside: Element) -> list[Element]:
        """The elements inside whose innermost `tag` is `around`."""
        found = self.all(*tags, inside=inside)
        return [element for element in found if [e for e in element.around if e.tag == tag][-1] is around]

    @property
    def ids(self) -> list[str]:
        """The names that links can lead to."""
        return [element.attributes["id"] for element in self.elements if "id" in element.attributes]


def site(folder: Path) -> dict[Path, Page]:
    """Every page below a folder."""
    return {path: Page(path) for path in sorted(folder.rglob("*.html"))}


def broken(pages: dict[Path, Page], folder: Path) -> list[str]:
    """Links and files that are not there, and whatever is taken from outside of the folder."""
    found = []
    for path, page in pages.items():
        for element in page.elements:
            for name in ("href", "src"):
                if target := element.attributes.get(name):
                    found += [f"{path}: {why}: {target}" for why in _wrong(target, element, path, pages, folder)]
    return found


def _wrong(target: str, element: Element, path: Path, pages: dict[Path, Page], folder: Path) -> list[str]:
    parts = urlsplit(target)
    if parts.scheme == "data":
        return []
    if parts.scheme or parts.netloc:
        return [] if element.tag == "a" and parts.netloc == "doi.org" else ["from outside"]
    file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not file.is_relative_to(folder.resolve()):
        return ["leaves the folder"]
    if not file.is_file():
        return ["missing"]
    # As a browser does: the fragment as it stands, then without its percent signs.
    places = {parts.fragment, unquote(parts.fragment)} - {""}
    return ["no such place"] if places and file.suffix == ".html" and not places & {*pages[file].ids} else []
