import csv
import json
import math
import re

import numpy as np
import papers_fixture
import pytest
import yaml
from matplotlib.colors import to_hex
from papers_fixture import ROOT
from papers_texts import check_texts
from scipy import stats

from robustloss import papers, reference
from robustloss.errors import Problem
from robustloss.papers import cells, chen2019, simplex, style

MANIFEST = "results/papers/chen2019/manifest.json"
SMALL = ("0.04", "0.12", "0.2")
TABLES = ("table2", "table3", "table4", "table5", "table6")
PRINTED = reference.read(ROOT / "data" / "reference" / "chen2019.csv")
# Clean accuracies; under an attack of strength e the fixture has e less, and at the last epoch 0.1 more.
ROWS = {
    "mnist": {"XE": 0.6, "GCE 1/3": 0.8, "GCE exact": 0.7, "mine": 0.5, "COT": 0.75},
    "cifar10": {"XE": 0.4, "MMC": 0.5},
    "mnist-at": {"XE": 0.85},
}


def load(root, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        papers_fixture.write_chen2019(root, **options)
        return papers.load(MANIFEST)


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    return load(tmp_path_factory.mktemp("one"), rows=ROWS, left_out=("mim 0.3", "jsma 0.5", "cw 0"))


@pytest.fixture(scope="module")
def frames(paper):
    return {item: paper.table(item).set_index(["row", "column"]) for item in TABLES}


def percentages(item):
    return {(cell.row, cell.column): cell for cell in PRINTED.cells if cell.item == item and cell.unit == "%"}


@pytest.mark.parametrize("item", TABLES)
def test_every_printed_percentage_stands_in_its_table_once_and_first(frames, item):
    frame, printed = frames[item], percentages(item)
    assert frame.index.is_unique
    in_paper = frame[frame["in_paper"]]
    assert set(in_paper.index) == set(printed)
    for key, cell in printed.items():
        assert in_paper.loc[key, ["metric", "percent_published"]].to_list() == [cell.metric, cell.value]
    assert frame[~frame["in_paper"]]["percent_published"].isna().all()


def test_every_attack_of_a_cell_is_in_the_yaml_of_its_experiment():
    experiments = yaml.safe_load((ROOT / "workflow/papers/chen2019.yaml").read_text(encoding="utf-8"))["experiments"]
    missing = {
        cell.measure.attack
        for table in chen2019.PRINTED.values()
        for trained in table.trained
        for cell in table.cells(trained)
        if cell.measure.attack and cell.measure.attack not in experiments[trained.experiment]["attacks"]
    }
    assert not missing
    for table in chen2019.PRINTED.values():
        assert all(trained.row in experiments[trained.experiment]["rows"] for trained in table.trained)


@pytest.mark.parametrize(
    ("item", "row", "column", "expected"),
    [
        # 100 (1 - 0.6 - 0.1) of 340 test images; the interval of the accuracy, 70 ± 5, turned round.
        ("table2", "MNIST XE", "Classification error rates", (30, 25, 35, 340)),
        ("table3", "MNIST eps=0.2 GCE", "PGD", (70, 65, 75, 140)),
        ("table3", "CIFAR10 eps=0.04 XE", "FGSM", (46, 41, 51, 140)),
        ("table5", "MNIST eps=0.2 COT", "MIM", (65, 60, 70, 140)),
        ("table6", "MNIST eps=0.3 XE", "PGD", (65, 60, 70, 140)),
    ],
)
def test_a_cell_is_the_last_epochs_share_of_the_right_run(frames, item, row, column, expected):
    found = frames[item].loc[(row, column)]
    assert found[["percent", "percent_low", "percent_high", "samples"]].to_list() == pytest.approx(expected)
    assert (found["seeds"], found["interval"]) == (1, "samples")


def test_what_was_not_run_has_its_published_value_alone(frames):
    for item, row, column in (
        ("table2", "CIFAR100 alpha=1/5 GCE", "Classification error rates"),
        ("table3", "CIFAR10 eps=0.12 GCE", "MIM"),  # the row was not run
        ("table3", "MNIST eps=0.3 GCE", "MIM"),  # the attack was not
        ("table3", "MNIST gamma=0.5 XE", "JSMA"),
        ("table3", "MNIST c=0 XE", "C&W"),
        ("table4", "Tiny ImageNet eps=0.2 XE", "PGD"),
    ):
        found = frames[item].loc[(row, column)]
        assert found["percent_published"] == percentages(item)[row, column].value
        assert found[["percent", "percent_low", "percent_high", "interval", "samples"]].isna().all()
        assert found["seeds"] == 0


def test_rows_that_the_paper_has_not_follow_the_printed_ones_where_they_were_run(frames):
    added = {item: frame[~frame["in_paper"]] for item, frame in frames.items()}
    for frame in frames.values():
        assert frame["in_paper"].to_list() == sorted(frame["in_paper"], reverse=True)
    assert set(added["table2"].index.get_level_values("row")) == {"MNIST GCE exact", "MNIST mine", "CIFAR10 MMC"}
    assert added["table3"].loc[("MNIST eps=0.1 mine", "BIM"), "percent"] == pytest.approx(50)
    assert added["table3"].loc[("MNIST eps=0.1 mine", "BIM"), "run_as"] == "label of mine"
    # XE and COT, which other tables print, are not repeated here; an attack that was not run has no added cell.
    by_paper = [row for row, column in added["table3"].index if column != "worst case"]
    assert {row.split(maxsplit=2)[2] for row in by_paper} == {"GCE exact", "mine", "MMC"}
    assert ("MNIST eps=0.3 mine", "MIM") not in added["table3"].index
    assert added["table4"].empty
    further = [(f"MNIST eps={epsilon} XE", "worst case") for epsilon in ("0.1", "0.2", "0.3")]
    assert list(added["table6"].index) == [("MNIST eps=0.3 steps=40 XE", "PGD"), *further]


def test_the_worst_case_is_an_attack_that_the_paper_has_not(frames, paper):
    found = frames["table3"].loc[("MNIST eps=0.2 GCE", "worst case")]
    assert found[["metric", "percent"]].to_list() == ["robust_accuracy_worst_case", pytest.approx(70)]
    assert not found["in_paper"]
    last = list(lines(paper.show("table3").to_html()).items())[-6:]
    assert [line[:2] for line, _ in last] == [(data, "worst case") for data in ("MNIST", "CIFAR10") for _ in range(3)]
    assert all("not in the paper" in line[2] for line, _ in last)
    assert last[0][1][:4] == ["—", "60.0 [55.0, 65.0]", "—", "80.0 [75.0, 85.0]"]


def test_several_seeds_have_students_interval_beside_that_of_the_samples(tmp_path):
    row = load(tmp_path, rows={"mnist": {"XE": 0.6}}, seeds=(0, 1, 2)).table("table3").set_index(["row", "column"])
    found = row.loc[("MNIST eps=0.3 XE", "FGSM")]
    values = [40, 42, 44]
    half = math.hypot(42 - stats.t.interval(0.95, 2, loc=42, scale=stats.sem(values))[0], 5)
    assert found[["percent", "percent_low", "percent_high"]].to_list() == pytest.approx([42, 42 - half, 42 + half])
    assert (found["seeds"], found["interval"]) == (3, "samples and seeds")


def test_behind_a_defence_clean_accuracy_is_that_of_the_largest_attack(paper):
    (run,) = paper.collection.of("mnist", "XE")
    attacks = {
        label: {"spec": spec, "summary": papers_fixture.attacked(0.1, clean, count)}
        for label, spec, clean, count in (
            ("few", {"defence": {"name": "random"}}, 0.2, 10),
            ("many", {"defence": {"name": "random"}}, 0.3, 100),
        )
    }
    summary, count = cells.ACCURACY.record(type(run)(**vars(run) | {"attacks": attacks}))
    assert (summary["mean"], count) == (0.3, 100)
    assert cells.ACCURACY.record(run)[0]["mean"] == 0.6


def test_the_csv_has_every_cell_with_all_digits(paper, frames):
    paper.show("table3")
    path = paper.collection.directory / "tables" / "table3.csv"
    with open(path, encoding="utf-8", newline="") as stream:
        rows = {(row["row"], row["column"]): row for row in csv.DictReader(stream)}
    assert list(rows) == list(frames["table3"].index)
    assert rows["MNIST c=0 GCE", "C&W"]["percent"] == rows["MNIST c=0 GCE", "C&W"]["interval"] == "—"
    assert (
        float(rows["MNIST eps=0.3 XE", "PGD"]["percent"])
        == frames["table3"].loc[("MNIST eps=0.3 XE", "PGD"), "percent"]
    )


def lines(html):
    """The texts of each line by its headings at the left, of which a line has only those that change."""
    found, above = {}, ()
    for line in re.findall(r"<tr>(.*?)</tr>", html.partition("<tbody>")[2], re.DOTALL):
        texts = re.findall(r"<td[^>]*>(.*?)</td>", line, re.DOTALL)
        kept = next(place for place, text in enumerate(texts) if text)
        above = (*above[:kept], *texts[kept:3])
        found[above] = texts[3:]
    return found


def test_the_displayed_table_has_the_papers_digits_and_ours_with_its_interval(paper):
    html = paper.show("table3").to_html()
    found = lines(html)
    # Published and ours of XE and GCE, then ours of GCE exact, mine and MMC.
    assert found["MNIST", "FGSM", "ε = 0.1"] == [
        *("78.32", "60.0 [55.0, 65.0]", "87.66", "80.0 [75.0, 85.0]"),
        *("70.0 [65.0, 75.0]", "50.0 [45.0, 55.0]", "—"),
    ]
    assert found["MNIST", "C&amp;W", "c = 0"] == ["0.0", "—", "25.6", "—", "—", "—", "—"]
    assert found["CIFAR10", "PGD", "ε = 0.2"][:2] == ["0.0", "30.0 [25.0, 35.0]"]
    assert len(found) == 2 * (4 * 3 + 2 + 1 + 3)
    assert "Robust accuracy in %. Ours: digits; lenet5; resnet_cifar (depth 8); 140 images; last epoch." in html
    assert "95 % intervals over the samples of one seed" in html
    assert "not run at scale demo" in html


def test_added_heads_and_lines_say_that_they_are_not_in_the_paper(paper):
    html = paper.show("table3").to_html()
    marked = re.findall(r">([\w =ε.]+)<br><small[^>]*>not in the paper", html)
    worst = [f"ε = {epsilon}" for epsilon in ("0.1", "0.2", "0.3", "0.04", "0.12", "0.2")]
    assert marked == ["GCE exact", "mine", "MMC", *worst]
    html = paper.show("table2").to_html()
    assert re.findall(r">([\w =/α]+)<br><small[^>]*>not in the paper", html) == ["GCE exact", "mine", "MMC"]
    assert re.findall(r">([^<>]+)<br><small[^>]*>not in the paper", paper.show("table6").to_html()) == [
        f"ε = {epsilon}" for epsilon in ("0.3", "0.1", "0.2", "0.3")
    ]


def test_published_columns_alone_are_grey(paper):
    html = paper.show("table5").to_html()
    rules = re.findall(r"([^{}]*)\{[^{}]*color: #767676[^{}]*\}", html)
    grey = {rule.strip().rpartition("_")[2] for style in rules for rule in style.split(",")}
    heads = dict(re.findall(r'class="col_heading level1 (col\d+)" >(.*?)</th>', html))
    assert grey == {column for column, head in heads.items() if head == "published"}
    assert len(grey) == 3


def test_error_rates_have_two_decimals(paper):
    assert "30.00 [25.00, 35.00]" in paper.show("table2").to_html()


def test_a_table_without_any_run_shows_what_is_printed(tmp_path):
    paper = load(tmp_path, rows={})
    for item in TABLES:
        assert paper.table(item)["percent"].isna().all()
        assert set(paper.table(item)["in_paper"]) == {True}
        assert "Ours:" not in paper.show(item).to_html()
    figure = paper.figure("summary")
    assert figure.get_supxlabel() == "No row of this figure is run at scale demo."
    assert len(figure.axes[0].get_lines()) > 0


def test_an_unknown_column_is_one_sentence(paper):
    trained = cells.Trained("mnist", "XE", "XE")
    cell = cells.Cell(("a",), ("b",), "MNIST XE", "FSGM", cells.ACCURACY)
    tables = {"table3": cells.Table("Robust accuracy", ("loss",), (trained,), lambda _: [cell])}
    with pytest.raises(Problem, match="table3 has no column 'FSGM': it has FGSM, BIM"):
        cells.entries(paper.collection, "table3", tables)


def test_a_run_with_other_attacks_in_another_row_is_trained_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = papers_fixture.write_chen2019(tmp_path, rows={"mnist": {"XE": 0.6}})
    content = json.loads(path.read_text(encoding="utf-8"))
    entry = content["rows"]["mnist"]["XE"][0]
    few = {"fgsm 0.1": entry["attacks"]["fgsm 0.1"]}
    content["rows"]["mnist"]["few"] = [entry | {"attacks": few}]
    papers_fixture.write_json(path, content)
    paper = papers.load(MANIFEST)
    assert list(paper.collection.of("mnist", "few")[0].attacks) == ["fgsm 0.1"]
    count = len(entry["attacks"])
    assert len(paper.collection.of("mnist", "XE")[0].attacks) == count
    facts = paper.overview().data.set_index("what")["value"]
    assert facts["trained"] == "1 networks, 2 epochs, seed 0"
    assert facts["time"] == f"{10 * count + 20} s (training 10 s, features 10 s, attacks {10 * count} s)"


def test_the_overview_names_experiments_attacks_and_what_was_not_run(paper):
    facts = paper.overview().data.set_index("what")["value"]
    assert "mnist: digits, lenet5, 5 of 11 rows" in facts["experiments"]
    assert "cifar10: digits, resnet_cifar (depth 8), 2 of 10 rows" in facts["experiments"]
    labels = {label for run in paper.collection.all_runs() for label in run.attacks}
    assert facts["attacks"] == f"digits: {len(labels)} (bim, fgsm, honest, jsma, mim, pgd) on 140 images"
    assert "cifar100: all" in facts["rows not run"]
    assert (
        "mnist: COT exact, GCE 1/2, GCE 1/4, GCE 1/5, I-SCE, MMC; mnist-at: GCE 1/3, XE fast; mnist-best: all"
        in facts["rows not run"]
    )


def points(axis, color, hollow):
    lines = [line for line in axis.get_lines() if to_hex(line.get_color()) == color]
    (found,) = [line for line in lines if (line.get_markerfacecolor() == "none") == hollow]
    return dict(zip(found.get_xdata(), found.get_ydata(), strict=True))


def test_the_summary_draws_ours_as_curves_and_the_published_as_hollow_points(paper):
    figure = paper.figure("summary")
    assert [axis.get_title() for axis in figure.axes] == ["FGSM", "BIM", "PGD", "MIM", "worst case"]
    rows = cells.rows(paper.collection, "mnist", chen2019.PRINTED)
    assert rows[:8] == ["XE", "GCE 1/2", "GCE 1/3", "GCE 1/4", "GCE 1/5", "COT", "COT exact", "GCE exact"]
    colours = {row: mark.color for row, mark in style.marks(rows).items()}
    fgsm, mim = figure.axes[0], figure.axes[3]
    assert points(fgsm, colours["GCE 1/3"], False) == pytest.approx({0: 90, 0.1: 80, 0.2: 70, 0.3: 60})
    assert points(mim, colours["GCE 1/3"], False) == pytest.approx({0: 90, 0.1: 80, 0.2: 70})
    # The error rate of Table 2 is an accuracy at 0.
    assert points(fgsm, colours["GCE 1/3"], True) == {0: 100 - 0.67, 0.1: 87.66, 0.2: 62.74, 0.3: 47.21}
    assert points(mim, colours["COT"], True) == {0.2: 4.26}
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [*rows[:6], "GCE exact", "mine", "published"]


def test_the_summary_of_cifar10_has_its_own_epsilons_and_published_values(paper):
    figure = paper.figure("summary_cifar10")
    color = style.marks(["XE"])["XE"].color
    assert points(figure.axes[0], color, False) == pytest.approx({0: 50, 0.04: 46, 0.12: 38, 0.2: 30})
    printed = {float(eps): PRINTED.value("table3", f"CIFAR10 eps={eps} XE", "robust_accuracy_fgsm") for eps in SMALL}
    assert points(figure.axes[0], color, True) == {0: 100 - 7.99} | printed


def test_intervals_of_the_summary_are_those_of_the_table(paper):
    axis = paper.figure("summary").axes[0]
    ends = {tuple(path.vertices[:, 1].round(6)) for found in axis.collections for path in found.get_paths()}
    assert (75.0, 85.0) in ends


def test_complement_entropy_is_level_along_equal_wrong_classes_and_gce_falls(paper):
    alphas = {"1": 1, "1/2": 1 / 2, "1/3": 1 / 3, "1/4": 1 / 4, "1/5": 1 / 5, "1/10": 1 / 10}
    figure = paper.figure("figure3")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == [f"α = {alpha}" for alpha in alphas]
    for line, alpha in zip(figure.axes[0].get_lines(), alphas.values(), strict=True):
        # The wrong classes share the rest: their entropy is log 2, so that nothing but -p^alpha is left.
        assert line.get_ydata() == pytest.approx(-(line.get_xdata() ** alpha), abs=1e-6)
    assert simplex.value(np.array([[p, (1 - p) / 2, (1 - p) / 2] for p in (0.1, 0.5, 0.9)]), 0) == pytest.approx(-1)


def test_landscapes_are_those_of_the_printed_equation(paper):
    figure = paper.figure("figure2")
    assert [axis.get_title() for axis in figure.axes[:4]] == [
        *("(a) complement entropy", "(b) GCE, α = 1/2", "(c) GCE, α = 1/3", "(d) GCE, α = 1/10"),
    ]
    for axis, alpha in zip(figure.axes, (0, 1 / 2, 1 / 3, 1 / 10), strict=False):
        shown = axis.get_images()[0].get_array()
        points = (np.arange(len(shown)) + 0.5) / len(shown)
        for row, column in ((10, 10), (30, 100), (150, 40)):
            x, y = points[column], points[row]
            guide = (1 - x - y) ** alpha
            inner = sum(q * np.log(q) for q in (x / (x + y), y / (x + y)))
            assert shown[row, column] == pytest.approx(guide * inner / np.log(2), rel=1e-6)
        # Beyond the triangle there are no probabilities.
        assert shown.mask[-1, -1] if np.ma.is_masked(shown) else np.isnan(shown[-1, -1])


@pytest.mark.parametrize("name", ["figure2", "figure3"])
def test_no_text_overlaps_another_in_the_formulas(paper, name, monkeypatch):
    check_texts(paper.figure(name), monkeypatch)
