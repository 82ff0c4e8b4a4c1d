import csv
import itertools
import json
import math
import re
import shutil
from pathlib import Path

import papers_fixture
import pytest
import report_fixture
from report_fixture import Page

from robustloss import report
from robustloss.errors import Problem
from robustloss.papers import wording
from robustloss.report import ledger, notebook, plots, words

# They share a results folder that takes seconds to make.
pytestmark = pytest.mark.xdist_group("report")
EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A results folder, left as it is by every test."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return report_fixture.write(root)


@pytest.fixture(scope="module")
def folder(made):
    """The report of it."""
    return report.write(made, made / "report").parent


@pytest.fixture
def results(made, tmp_path):
    """A copy to change."""
    return Path(shutil.copytree(made, tmp_path / "results", ignore=shutil.ignore_patterns("report")))


@pytest.fixture
def write(results):
    """Write the report of the copy; a function of a page's path."""

    def page(path: str) -> Page:
        return Page(report.write(results, results / "report").parent / path)

    return page


def run_page(name: str) -> str:
    return f"runs/{name}.html"


def links(page: Page, element) -> list[str]:
    return [link.attributes["href"] for link in page.all("a", inside=element)]


def rows_of(path: Path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_there_is_a_page_for_each_paper_and_each_run_that_a_manifest_names(made, folder):
    named = set()
    for path in made.glob("papers/*/manifest.json"):
        for rows in json.loads(path.read_text())["rows"].values():
            named |= {entry["run"] for entries in rows.values() for entry in entries}
    assert {path.stem for path in (folder / "runs").iterdir()} == named
    pages = {path.relative_to(folder).as_posix() for path in folder.rglob("*.html")} - {
        run_page(name) for name in named
    }
    papers = {f"{paper}/{page}.html" for paper in ("chen2019", "ding2025") for page in ("index", "notebook")}
    assert pages == papers | {"index.html", "runs.html"}


def test_every_link_resolves_also_where_the_folder_was_moved_to(folder, tmp_path):
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    assert report_fixture.broken(report_fixture.site(moved), moved) == []


def test_the_link_checker_sees_what_is_missing(folder, tmp_path):
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    (moved / "chen2019" / "figures" / "summary.png").unlink()
    (moved / "runs.html").write_text('<a href="index.html#nowhere">a</a><img src="http://example.org/a.png">')
    found = report_fixture.broken(report_fixture.site(moved), moved)
    for reason in ("missing: figures/summary.png", "no such place: index.html#nowhere", "from outside: http:"):
        assert any(reason in line for line in found), reason


def test_pages_are_whole_and_can_be_read_without_seeing_them(folder):
    for path, page in report_fixture.site(folder).items():
        if path.name == "notebook.html":
            continue
        assert page.wrong == [], path
        assert not page.all("script", "iframe", "style"), path
        assert page.all("html")[0].attributes["lang"] == "en"
        assert page.all("title")[0].words and len(page.all("main")) == 1
        levels = [int(heading.tag[1]) for heading in page.all("h1", "h2", "h3", "h4")]
        assert levels[0] == 1 and levels.count(1) == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels)), path
        assert len(page.ids) == len(set(page.ids)), path
        assert all(image.attributes.get("alt") for image in page.all("img"))
        assert all(head.attributes.get("scope") for head in page.all("th"))
        assert len(page.all("caption")) == len(page.all("table"))
        for element in page.elements:
            for name in element.attributes.get("aria-labelledby", "").split():
                assert name in page.ids
            assert element.tag != "svg" or {"aria-hidden", "aria-label"} & element.attributes.keys()


def test_the_overview_has_the_verdicts_and_what_was_run(made, folder):
    page = Page(folder / "index.html")
    card = next(element for element in page.all("article") if "Title of chen2019" in element.text)
    assert [item.words for item in page.all("li", inside=card)] == [
        "1 ✓ reproduced",
        "1 ↓ collapses",
        "C1 Claim C1 of GCE ✓ reproduced",
        "C2 Claim C2 of GCE ↓ collapses",
    ]
    run = page.section("What was run")
    lines = {line["paper"].words: {key: cell.words for key, cell in line.items()} for line in page.rows(run)}
    # Tables 3 to 6 of ding2025 have 11, 3, 3 and 6 rows, one of which was left out; two seeds each.
    assert lines["ding2025"]["rows run"] == "22 of 23"
    assert lines["ding2025"]["networks"] == lines["ding2025"]["attacks"] == "44"
    # Ten seconds each (`papers_fixture.ENVIRONMENT`): training, features, attack.
    assert [lines["ding2025"][key] for key in ("training", "attacking", "all")] == [
        "7 min 20 s",
        "7 min 20 s",
        "22 min 0 s",
    ]
    attacks = len(list(made.glob("runs/mnist*/attacks/*")))
    assert (lines["chen2019"]["networks"], lines["chen2019"]["attacks"]) == ("3", str(attacks))
    machine = page.rows(page.section("On what"))[0]
    assert machine["machine"].words == "Example CPU @ 2.00GHz, 1 thread"
    assert "python 3.11.0, torch 2.15.0" in page.section("On what").words
    assert "0123456789" in page.section("On what").words


def test_a_claim_shows_both_sides_numbers_and_runs(made, folder):
    page = Page(folder / "chen2019" / "index.html")
    line = page.rows(page.section("Claims"))[1]
    assert line["verdict"].words == "↓ collapses gone"
    assert line["compared"].words == "robust accuracy under pgd 0.1: GCE 1/3 higher than XE mnist"
    assert (line["paper"].words, line["ours"].words) == ("+5.2", "+10.0 [4.1, 16.0]")
    assert line["honest"].words == "−0.3 honest 0.1"
    wanted = [report_fixture.entries(made, "chen2019", "mnist", row)[0]["run"] for row in ("GCE 1/3", "XE")]
    assert links(page, line["rests on"]) == [f"../{run_page(name)}" for name in wanted]


def test_claims_without_most_columns_are_shown_as_far_as_they_go(results, write):
    report_fixture.write_claims(results, [{"id": "A", "claim": "Something", "verdict": "odd", "extra": "1.23456"}])
    page = write("chen2019/index.html")
    line = page.rows(page.section("Claims"))[0]
    assert (line["claim"].words, line["verdict"].words, line["ours"].words) == ("Something", "– odd", "—")
    assert "extra 1.235" in line["rests on"].words


def test_further_comparisons_of_a_claim_stand_below(results, write):
    found = [report_fixture.claim("C1", "") | {"attack": name, "found": f"holds {name}"} for name in ("bim", "mim")]
    report_fixture.write_claims(results, found, name="comparisons")
    page = write("chen2019/index.html")
    table = next(
        table for table in page.all("table") if page.all("caption", inside=table)[0].words == "All comparisons"
    )
    lines = page.all("tr", inside=page.all("tbody", inside=table)[0])
    assert [re.findall("under (.im).*holds (.im)", line.words) for line in lines] == [[("bim",) * 2], [("mim",) * 2]]


def test_the_numbers_of_a_table_are_those_of_its_file_and_of_the_paper(made, folder):
    page = Page(folder / "ding2025" / "index.html")
    lines = page.rows(page.section("Heading of table3"))
    stored = rows_of(made / "papers" / "ding2025" / "tables" / "table3.csv")
    reference = rows_of(papers_fixture.REFERENCE)
    printed = {
        cell["row"]: cell["value"] for cell in reference if (cell["item"], cell["metric"]) == ("table3", "accuracy")
    }
    assert len(lines) == len(stored) == len(printed) + 1
    for line, row in zip(lines, stored, strict=True):
        mean, low, high = (row[f"accuracy_percent{part}"] for part in ("", "_low", "_high"))
        shown = line["accuracy, %"].words
        assert shown.startswith(f"{float(mean):.1f}")
        if row["index"] in printed:
            ours = f"{float(mean):.1f} [{float(low):.1f}, {float(high):.1f}]"
            # As printed, with the zeros at the end that the table's file leaves out.
            assert shown == f"{ours} paper {printed[row['index']]}"


def test_a_table_of_cells_is_laid_out_with_its_published_values_and_runs(made, folder):
    page = Page(folder / "chen2019" / "index.html")
    lines = {line[""].words: line for line in page.rows(page.section("Heading of table3"))}
    cell = lines["MNIST, PGD, ε = 0.1"]["GCE"]
    # An attack of strength 0.1 leaves 0.7 - 0.1, and 0.1 more at the last epoch (`papers_fixture`); 81.81 is printed.
    name = report_fixture.entries(made, "chen2019", "mnist", "GCE 1/3")[0]["run"]
    reference = rows_of(papers_fixture.REFERENCE.with_name("chen2019.csv"))
    printed = next(
        found["value"] for found in reference if (found["row"], found["column"]) == ("MNIST eps=0.1 GCE", "PGD")
    )
    assert cell.words.startswith(f"70.0 [65.0, 75.0] paper {printed} seed 0")
    assert links(page, cell) == [f"../{run_page(name)}"]
    missing = lines["CIFAR10, PGD, ε = 0.04"]["GCE"]
    assert missing.words.startswith("— paper") and links(page, missing) == []


def test_every_row_and_figure_leads_to_the_runs_of_the_manifest(made, folder):
    page = Page(folder / "ding2025" / "index.html")
    manifest = json.loads((made / "papers" / "ding2025" / "manifest.json").read_text())
    for line in page.rows(page.section("Heading of table3"))[:-1]:
        row = next(iter(line.values())).words
        wanted = [entry["run"] for entry in manifest["rows"]["table3"][row.replace("L CE", "L_CE")]]
        assert [Path(link).stem for link in links(page, line["rests on"])] == wanted
        told = [f"{seed}, run {run}" for seed, run in enumerate(wanted)]
        assert line["rests on"].words == f"seeds {told[0]}, {told[1]}"
    figure = page.section("Heading of figure2")
    wanted = {
        entry["run"] for row in manifest["figures"]["figure2"]["rows"] for entry in manifest["rows"]["table3"][row]
    }
    found = {Path(link).stem for link in links(page, figure) if "runs/" in link}
    assert found == wanted
    assert page.all("img", inside=figure)[0].attributes["alt"].startswith("Distances in the training split")


def test_a_table_has_the_notebooks_words_around_it(folder):
    page = Page(folder / "chen2019" / "index.html")
    section = page.section("Heading of table2")
    assert [text.words for text in page.all("p", inside=section)][:2] == [
        "What table2 of chen2019 says & means.",
        "More of it.",
    ]
    assert "95 % intervals over the samples of one seed" in section.words
    assert "Grey" not in section.words
    captions = {element.words for element in page.all("p") if element.attributes.get("class") == "caption"}
    assert all(caption[0].isupper() for caption in captions)
    assert "tables/table2.csv" in links(page, section)


def test_what_shares_a_heading_is_told_apart_and_explained_once_for_tables_and_figures(tmp_path):
    picture = {"data": {"image/png": ""}, "metadata": {"image/png": {"alt": "A figure.", "width": 480}}}
    cells = [{"cell_type": "markdown", "source": "## Figures 5 and 6\n\nRead me."}]
    for name, output in (("figure5", picture), ("numbers5", {}), ("figure6", picture), ("numbers6", {})):
        cells.append({"cell_type": "code", "source": f'paper.show("{name}")', "outputs": [output]})
    papers_fixture.write_json(tmp_path / "book.ipynb", {"cells": cells})
    found = notebook.read(tmp_path / "book.ipynb")
    assert list(found) == ["figure5", "numbers5", "figure6", "numbers6"]
    assert found["figure6"].title == "Figures 5 and 6 (figure 6)"
    assert [shown.text for shown in found.values()] == [("Read me.",), ("Read me.",), (), ()]
    assert (found["figure5"].description, found["figure5"].width) == ("A figure.", 480)


def test_a_table_of_which_nothing_was_run_is_folded(results, write):
    path = results / "papers" / "chen2019" / "tables" / "ours.csv"
    path.write_text("experiment,row,pgd_percent,pgd_percent_low,pgd_percent_high\nmnist,A,—,—,—\nmnist,B,—,—,—\n")
    page = write("chen2019/index.html")
    folded = page.all("details", inside=page.section("Ours"))
    assert folded[0].words.startswith("None of its 2 lines was run at scale demo")
    assert not page.all("details", inside=page.section("Heading of table3"))


def test_the_attack_that_leaves_least_of_its_epsilon_is_marked(results, write):
    for row, left in (("XE", 0.05), ("GCE 1/3", 0.35)):
        entry = report_fixture.entries(results, "chen2019", "mnist", row)[0]
        path = results.parent / entry["attacks"]["mim 0.1"] / "attack.json"
        papers_fixture.edit(path, lambda record, left=left: record["summary"]["robust_accuracy"].update(last=left))
    page = write("chen2019/index.html")
    table = next(
        t for t in page.all("table") if page.all("caption", inside=t)[0].words.startswith("Accuracies of mnist ")
    )
    top, heads = page.all("tr", inside=page.all("thead", inside=table)[0])
    groups = [
        (cell.words, int(cell.attributes["colspan"]))
        for cell in page.all("th", inside=top)
        if "colspan" in cell.attributes
    ]
    assert [name for name, _ in groups] == ["ε = 0.1", "ε = 0.2", "ε = 0.3", "no ε"]
    labels = [cell.words for cell in page.all("th", inside=heads)]
    assert sum(count for _, count in groups) == len(labels)
    for line in page.all("tr", inside=page.all("tbody", inside=table)[0]):
        row, _, _, clean, *cells = page.all("th", "td", inside=line)
        shown = dict(zip(labels, (cell.words for cell in cells), strict=True))
        accuracy = report_fixture.CHEN["mnist"][row.words]
        assert clean.words == f"{100 * (accuracy + 0.1):.1f}"
        assert shown["pgd 0.1"] == f"{100 * accuracy:.1f}"
        assert shown["mim 0.1"] == f"{ {'XE': 5, 'GCE 1/3': 35}[row.words]:.1f} (least of ε = 0.1)"
        assert [label for label in labels if label.endswith(" 0.1") and "least" in shown[label]] == ["mim 0.1"]


def test_a_runs_page_says_how_it_was_made_and_what_was_found(made, folder):
    entry = report_fixture.entries(made, "chen2019", "mnist", "XE")[0]
    page = Page(folder / run_page(entry["run"]))
    text = page.all("main")[0].words
    record = json.loads((made.parent / entry["directory"] / "run.json").read_text())
    settings = dict(_settings(page, "Specification"))
    assert settings["model.name"] == record["spec"]["model"]["name"]
    assert settings["seed"] == "0" and settings["epochs"] == str(record["spec"]["epochs"])
    assert settings["objective 1.loss"] == "cross_entropy"
    assert "chen2019, mnist, row XE: label of XE" in text
    attacks = {line["attack"].words: line for line in page.rows(page.section("Attacks"))}
    assert attacks.keys() == entry["attacks"].keys()
    assert attacks["pgd 0.1"]["last epoch"].words == "60.0 [55.0, 65.0]"
    assert (attacks["pgd 0.1"]["ε"].words, attacks["pgd 0.1"]["images"].words) == ("0.1", "140")
    signs = page.rows(page.section("Signs of gradient masking"))
    assert [(line["sign"].words, line["flag"].words) for line in signs] == [
        ("saturation", "⚑ flagged"),
        ("noise", "clear"),
        ("transfer", "not measured"),
    ]
    assert "PGD overstates by 39 points." in text
    made_by = page.rows(page.section("How it was made"))
    assert {line["stage"].words.split()[0] for line in made_by} == {"training", "features", "attack", "audit"}
    assert {line["machine"].words for line in made_by} == {"Example CPU @ 2.00GHz, 1 thread"}
    assert "torch 2.15.0" in text and "2025-01-01 00:00:00" in text
    plot = next(svg for svg in page.all("svg") if "Objective" in svg.attributes.get("aria-label", ""))
    assert "objective goes from 2.25 at epoch 1 to 1.12 at epoch 2" in plot.attributes["aria-label"]
    history = page.rows(page.section("History"))
    assert [[cell.words for cell in line.values()] for line in history] == [
        ["1", "2.25", "0.1"],
        ["2", "1.125", "0.05"],
    ]


def _settings(page: Page, heading: str) -> list[tuple[str, str]]:
    table = page.all("table", inside=page.section(heading))[0]
    lines = page.all("tr", inside=table)
    return [tuple(cell.words for cell in page.all("th", "td", inside=line)) for line in lines]


def test_whatever_is_shown_is_text(results, tmp_path):
    manifest = results / "papers" / "chen2019" / "manifest.json"
    content = json.loads(manifest.read_text().replace("Title of chen2019", EVIL.replace('"', '\\"')))
    entry = content["rows"]["mnist"]["XE"][0]
    content["labels"]["mnist"]["XE"] = EVIL
    content["rows"]["mnist"][EVIL] = [entry]
    # A name becomes the name of a file, where a slash cannot stand; the folder stays where it was.
    entry["run"] = EVIL
    entry["attacks"][EVIL] = entry["attacks"].pop("pgd 0.1")
    manifest.write_text(json.dumps(content))
    directory = results.parent / entry["directory"]
    papers_fixture.edit(directory / "run.json", lambda run: run["spec"].update(seed=EVIL, extra={EVIL: EVIL}))
    papers_fixture.edit(
        results.parent / entry["audit"] / "audit.json",
        lambda audit: (audit["summary"].update(verdict=EVIL), audit["signs"][0].update(name=EVIL, sentence=EVIL)),
    )
    papers_fixture.edit(manifest.with_name("chen2019.ipynb"), lambda book: _fill(book, EVIL))
    (directory / "history.csv").write_text(f'epoch,"{EVIL.replace(chr(34), chr(34) * 2)}",rate\n1,2,3\n2,3,4\n')
    bad = report_fixture.claim(EVIL, EVIL, **dict.fromkeys(("claim", "note", "source", "row", "ours", "unit"), EVIL))
    report_fixture.write_claims(results, [bad])
    table = manifest.parent / "tables" / "table2.csv"
    table.write_text(table.read_text().replace("MNIST", f'"{EVIL.replace(chr(34), chr(34) * 2)}"', 1))
    folder = report.write(results, tmp_path / "report").parent
    seen = 0
    for path, page in report_fixture.site(folder).items():
        assert page.wrong == [], path
        assert not page.all("script"), path
        assert all(image.attributes["src"] != "x" for image in page.all("img"))
        assert not [e for e in page.elements if any(name.startswith("on") for name in e.attributes)], path
        seen += sum(EVIL in element.text for element in page.all("body"))
    assert seen >= 4
    run = Page(next(path for path in folder.glob("runs/*.html") if "script" in path.name))
    assert run.all("main")[0].text.count(EVIL) > 8
    assert report_fixture.broken(report_fixture.site(folder), folder) == []


def _fill(book: dict, text: str) -> None:
    for cell in book["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = [f"## {text}\n", "\n", text]
        for output in cell.get("outputs", []):
            if picture := output["metadata"].get("image/png"):
                picture["alt"] = text


@pytest.mark.parametrize("damage", ["missing", "damaged", "not whole"])
def test_a_record_that_cannot_be_read_is_named_and_the_rest_is_shown(results, write, damage):
    entry = report_fixture.entries(results, "chen2019", "mnist", "XE")[0]
    path = results.parent / entry["attacks"]["pgd 0.2"] / "attack.json"
    {
        "missing": path.unlink,
        "damaged": lambda: path.write_text(path.read_text()[:40]),
        "not whole": lambda: path.write_text("{}"),
    }[damage]()
    page = write(run_page(entry["run"]))
    notice = next(element for element in page.all("section") if element.attributes.get("class") == "notice")
    assert damage in notice.words and "pgd-0.2-0000/attack.json" in notice.words
    shown = {line["attack"].words for line in page.rows(page.section("Attacks"))}
    assert shown == entry["attacks"].keys() - {"pgd 0.2"}


def test_a_run_without_its_record_and_a_paper_without_a_manifest_are_named(results, write):
    entry = report_fixture.entries(results, "chen2019", "mnist", "XE")[0]
    (results.parent / entry["directory"] / "run.json").unlink()
    (results / "papers" / "ding2025" / "manifest.json").write_text("{")
    page = write(run_page(entry["run"]))
    assert "run.json is missing" in page.all("main")[0].words
    overview = Page(results / "report" / "index.html")
    assert "ding2025/manifest.json is damaged" in overview.all("main")[0].words
    assert [article.words[:17] for article in overview.all("article")] == ["Title of chen2019"]
    assert not (results / "report" / "ding2025").exists()


def test_a_paper_that_was_not_rendered_has_its_names_for_headings(results, write):
    (results / "papers" / "chen2019" / "chen2019.ipynb").unlink()
    (results / "papers" / "chen2019" / "chen2019.html").unlink()
    page = write("chen2019/index.html")
    assert page.section("Table 3") and "chen2019.ipynb is missing" in page.all("main")[0].words
    assert report_fixture.broken(report_fixture.site(results / "report"), results / "report") == []


def test_no_paper_is_a_problem(tmp_path):
    with pytest.raises(Problem, match=r"has no paper with a manifest\.json: run the workflow first"):
        report.write(tmp_path, tmp_path / "report")


def test_the_same_results_make_the_same_bytes_and_old_runs_go(results, write, tmp_path):
    write("index.html")
    first = {path: path.read_bytes() for path in (results / "report").rglob("*") if path.is_file()}
    stale = results / "report" / "runs" / "old.html"
    stale.write_text("old")
    (results / "report" / "mine.txt").write_text("kept")
    write("index.html")
    assert {path: path.read_bytes() for path in first} == first
    assert not stale.exists() and (results / "report" / "mine.txt").read_text() == "kept"


def test_points_stand_where_their_values_say():
    values = [(1, 2.25), (2, 1.5), (3, 1.75), (4, math.nan), (5, 0.5)]
    plot = plots.over_epochs("Objective", {"a": values, "alone": [(1, 2.0)]})
    assert [curve.name for curve in plot.curves] == ["a"]
    (x1, y1), (x2, y2), (x3, y3), (x5, y5) = plot.curves[0].points
    assert (x2 - x1) * 2 == pytest.approx(x3 - x1) and (x5 - x1) == pytest.approx(4 * (x2 - x1))
    assert (y2 - y1) / (y5 - y1) == pytest.approx((1.5 - 2.25) / (0.5 - 2.25)) and y1 < y3 < y2 < y5
    ticks = {float(text.replace("−", "-")): place for place, text in plot.up}
    assert min(ticks) <= 0.5 and max(ticks) >= 2.25
    for value, place in ticks.items():
        assert (place - y1) / (y5 - y1) == pytest.approx((value - 2.25) / (0.5 - 2.25))
    assert all(text == str(int(text)) for _, text in plot.across)


@pytest.mark.parametrize("values", [[0.0, 0.0], [-3.2, 7.1], [1e-7, 2e-7], [2.3025, 2.3026], [0, 12345.6]])
def test_ticks_are_few_round_and_enclose_the_values(values):
    plot = plots.over_epochs("a", {"a": list(enumerate(values, 1))})
    ticks = [float(text.replace("−", "-")) for _, text in plot.up]
    assert 2 <= len(ticks) <= 9 and ticks == sorted(set(ticks))
    assert min(ticks) <= min(values) and max(ticks) >= max(values)
    assert all(plot.top <= round(y, 6) <= plot.bottom for _, y in plot.curves[0].points)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "8/255"),
        (1 / 6, "1/6"),
        (0.3, "0.3"),
        (0.03, "0.03"),
        (1, "1"),
        (True, "true"),
        (None, "—"),
        (0.1 / 40, "0.0025"),
    ],
)
def test_numbers_are_shown_as_they_were_written(value, text):
    assert words.exact(value) == text


def test_times_and_formulas_read_well():
    assert [words.duration(seconds) for seconds in (0.04, 42, 61, 7800, None)] == [
        "0.0 s",
        "42 s",
        "1 min 1 s",
        "2 h 10 min",
        "—",
    ]
    assert words.formula("L_CE - 1/6 L_CE^1") == "<i>L</i><sub>CE</sub> − 1/6 <i>L</i><sub>CE</sub><sup>1</sup>"
    assert words.formula("1 cross_entropy") == "1 cross_entropy"
    assert words.formula("<b>L_CE") == "&lt;b&gt;<i>L</i><sub>CE</sub>"


def test_an_objective_is_told_term_by_term():
    spec = {
        "clean": [{"loss": "cross_entropy", "weight": 0.5}],
        "objective": [{"loss": "gce", "weight": -1 / 3, "alpha": 0.2}, {"loss": "cross_entropy", "weight": 1}],
        "perturbation": {"name": "pgd"},
    }
    assert wording.objective(spec) == "1/2 cross_entropy (clean); 1 cross_entropy - 1/3 gce[alpha 1/5] (pgd)"
    assert wording.objective({}) == ""


def test_verdicts_are_counted_from_the_best_to_the_worst():
    found = [ledger.Claim({"verdict": word}, (), {}) for word in ("collapses", "odd", "reproduced", "collapses", "")]
    assert ledger.counts(found) == [("reproduced", 1), ("collapses", 2), ("no verdict", 1), ("odd", 1)]


def test_runs_of_rows_of_one_name_in_two_experiments_are_told_apart():
    manifest = {"rows": {"table4": {"6": [{"run": "a"}]}, "table3": {"6": [{"run": "b"}]}}}
    row = {"experiment": "table4", "row": "6", "against": "6", "against_experiment": "table3"}
    (found,) = ledger.claims([row], [], manifest)
    assert found.runs == {"6 of table4": ["a"], "6 of table3": ["b"]}


def test_names_sort_by_their_numbers():
    assert notebook.title("figure_a2") == "Figure A2"
    names = ["table10", "table9", "figureA1", "summary", "figure2"]
    assert sorted(names, key=notebook.natural) == ["figure2", "figureA1", "summary", "table9", "table10"]
    assert [notebook.title(name) for name in ("table3", "figureA1", "pgd_ce")] == ["Table 3", "Figure A1", "Pgd ce"]
