import csv
import math
import re

import pandas as pd
import papers_fixture
import pytest
from papers_fixture import ADVERSARIAL, LABELS, REFERENCE, TOOLS, TRUTH
from scipy import stats

from robustloss import papers
from robustloss.errors import Problem
from robustloss.papers import formulas
from robustloss.papers.collection import Watched

TABLE6 = [("table6", row) for row in ADVERSARIAL["table6"]]
PRINTED_ROWS = ["0", "1", "2", "3", "4", "5", "5(2)", "6", "6(2)", "7", "8"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    return papers_fixture.write(root, left_out=(("table3", "2"), ("table4", "7"), *TABLE6))


@pytest.fixture(scope="module")
def paper(results):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(results.parents[3])
        return papers.load("results/papers/ding2025/manifest.json")


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A small results folder of one's own, to break."""
    monkeypatch.chdir(tmp_path)
    left_out = [("table3", row) for row in ("0", "2", "3", "4", "6", "7")] + [("table4", row) for row in "167"]
    left_out += [("table5", row) for row in ADVERSARIAL["table5"]] + TABLE6
    return papers_fixture.write(tmp_path, left_out=left_out, epochs=3)


def published(item):
    with open(REFERENCE, encoding="utf-8", newline="") as stream:
        return {(row["row"], row["metric"]): row["value"] for row in csv.DictReader(stream) if row["item"] == item}


def test_rows_stand_in_printed_order_with_the_majority_last(paper):
    assert paper.table("table3")["index"].to_list() == [*PRINTED_ROWS, "majority class"]
    assert paper.table("table4")["index"].to_list() == ["1", "6", "7", "majority class"]
    assert paper.table("table2")["index"].to_list() == list("12345678")


@pytest.mark.parametrize("table", ["table3", "table4"])
def test_every_published_number_is_that_of_the_reference_file(paper, table):
    frame = paper.table(table).set_index("index").drop(index="majority class")
    printed = published(table)
    columns = {"robust_accuracy": "robust_accuracy_percent", "accuracy": "accuracy_percent"}
    numbers = {key: value for key, value in printed.items() if key[1] != "loss"}
    assert len(numbers) == 4 * len(frame)
    for (row, metric), value in numbers.items():
        assert frame.loc[row, f"{columns.get(metric, metric)}_published"] == float(value)
        assert frame.loc[row, "loss"] == printed[row, "loss"]


def test_cells_of_one_seed_are_those_of_its_records(paper):
    row = paper.table("table3").set_index("index").loc["1"]
    expected = {
        "seeds": 1,
        "interval": "samples",
        "robust_accuracy_percent": 12.5,
        "robust_accuracy_percent_low": 7.5,
        "robust_accuracy_percent_high": 17.5,
        "robust_accuracy_percent_last": 22.5,
        "robust_accuracy_percent_last_low": 17.5,
        "balanced_robust_accuracy_percent": 6.25,
        "balanced_robust_accuracy_percent_last": 3.125,
        "robust_accuracy_samples": 140,
        "accuracy_percent": 75,
        "accuracy_percent_last": 85,
        "balanced_accuracy_percent": 37.5,
        "accuracy_samples": 340,
        "d_cc": 8,
        "d_ic": 3.2,
    }
    assert row[list(expected)].to_dict() == pytest.approx(expected)
    assert row[["d_cc_low", "d_ic_high"]].isna().all()


def test_distances_are_compared_with_function_1(paper):
    frame = paper.table("table3").set_index("index")
    assert frame.loc["8", "d_cc_ratio"] == pytest.approx(12 / 8)
    assert frame.loc["8", "d_cc_ratio_published"] == pytest.approx(17.05 / 11.84)
    assert frame.loc["1", "d_ic_ratio"] == 1


def test_without_function_1_only_the_published_ratios_stand(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    papers_fixture.write(tmp_path, left_out=(("table4", "1"),))
    frame = papers.load("results/papers/ding2025/manifest.json").table("table4").set_index("index")
    assert frame["d_cc_ratio"].isna().all()
    assert frame.loc["6", "d_cc_ratio_published"] == pytest.approx(0.67 / 6.51)


def test_the_majority_is_that_of_the_samples_of_each_column(paper):
    row = paper.table("table3").set_index("index").loc["majority class"]
    assert row["robust_accuracy_percent"] == 50
    assert row["accuracy_percent"] == pytest.approx(100 * 160 / 340)
    assert pd.isna(row["robust_accuracy_percent_published"])


def test_several_seeds_have_students_interval_beside_that_of_the_samples(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    papers_fixture.write(tmp_path, seeds=(0, 1, 2))
    row = papers.load("results/papers/ding2025/manifest.json").table("table3").set_index("index").loc["7"]
    robust, accuracy, distance, _ = TRUTH["7"]
    expected = {
        "robust_accuracy_percent": [100 * (robust + 0.02 * seed) for seed in range(3)],
        "accuracy_percent_last": [100 * (accuracy + 0.1 + 0.02 * seed) for seed in range(3)],
        "d_cc": [distance * (1 + 0.03 * seed) for seed in range(3)],
    }
    assert (row["seeds"], row["interval"]) == (3, "samples and seeds")
    for name, values in expected.items():
        mean = sum(values) / 3
        samples = 5 if "percent" in name else 0
        half = math.hypot(mean - stats.t.interval(0.95, 2, loc=mean, scale=stats.sem(values))[0], samples)
        assert row[[name, f"{name}_low", f"{name}_high"]].to_list() == pytest.approx([mean, mean - half, mean + half])


def test_the_csv_has_full_digits_and_a_dash_where_nothing_was_run(paper, results):
    paper.show("table3")
    path = results.parent / "tables" / "table3.csv"
    with open(path, encoding="utf-8", newline="") as stream:
        rows = {row["index"]: row for row in csv.DictReader(stream)}
    assert rows["2"]["accuracy_percent_published"] == "93.5"
    assert {rows["2"][name] for name in ("accuracy_percent", "d_cc", "d_ic_ratio", "interval")} == {"—"}
    assert rows["2"]["seeds"] == "0"
    assert float(rows["8"]["d_cc_ratio_published"]) == 17.05 / 11.84
    # A row that was not run rests on no run, which is an empty text and no dash.
    assert (rows["2"]["runs"], rows["1"]["runs"]) == ("", paper.collection.of("table3", "1")[0].name)
    again = pd.read_csv(path, na_values="—", keep_default_na=False).astype({"seeds": "Int64"})
    ours = paper.table("table3").astype({"robust_accuracy_samples": float, "accuracy_samples": float})
    pd.testing.assert_frame_equal(again, ours, check_dtype=False, check_exact=True)


def test_the_displayed_table_keeps_the_printed_digits(paper):
    page = paper.show("table3").to_html()
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    width = len(cells) // (len(PRINTED_ROWS) + 1)
    rows = {cells[start]: cells[start : start + width] for start in range(0, len(cells), width)}
    assert rows["0"][2] == "0"
    assert rows["2"][6] == "93.50"
    assert rows["2"][3:6] == ["—"] * 3
    assert rows["1"][3] == "12.5 [7.5, 17.5]"
    assert "95 % intervals over the samples of one seed" in page
    assert "not run at scale demo" in page


def test_published_cells_and_no_others_are_grey(paper):
    page = paper.show("table4").to_html()
    grey = {
        rule.rpartition("_")[2]
        for style in re.findall(r"([^{}]*)\{[^{}]*color: #767676[^{}]*\}", page)
        for rule in style.replace("\n", " ").split(",")
        for rule in [rule.strip()]
    }
    heads = dict(re.findall(r'class="col_heading level1 (col\d+)" >(.*?)</th>', page))
    assert {heads[column] for column in grey} == {"function", "published", "published / row 1"}
    assert grey == {column for column, head in heads.items() if "published" in head or head == "function"}


def test_words_are_left_by_a_rule_that_goes_before_that_of_all_cells(paper):
    for page, words in ((paper.show("table3"), 2), (paper.overview(), 2), (paper.show("table5"), 3)):
        html = page.to_html()
        # An id and a class outweigh the id and the element of the rule that sets numbers flush right.
        left = re.findall(r"#T_\w+ \.(col\d) \{\s*text-align: left;", html)
        assert left == [f"col{number}" for number in range(words)]


def test_a_row_of_ours_that_the_paper_lacks_is_shown_with_dashes(fresh):
    def add(content):
        content["rows"]["table3"]["9"] = content["rows"]["table3"]["8"]
        content["labels"]["table3"]["9"] = "new loss"

    papers_fixture.edit(fresh, add)
    row = papers.load("results/papers/ding2025/manifest.json").table("table3").set_index("index").loc["9"]
    assert row["run_as"] == "new loss"
    assert row["accuracy_percent"] == pytest.approx(76)
    assert row[["loss", "accuracy_percent_published", "d_cc_published", "d_cc_ratio_published"]].isna().all()


@pytest.mark.parametrize(("table", "text"), [("table5", "loss"), ("table6", "generation")])
def test_tables_of_adversarial_training_have_every_published_cell_and_no_ratio(paper, table, text):
    frame = paper.table(table).set_index("index")
    columns = {"robust_accuracy": "robust_accuracy_percent", "accuracy": "accuracy_percent"}
    printed = published(table)
    assert list(frame.index) == [*dict.fromkeys(row for row, _ in printed), "majority class"]
    assert len(printed) == 5 * (len(frame) - 1)
    for (row, metric), value in printed.items():
        found = frame.loc[row, text if metric == text else f"{columns.get(metric, metric)}_published"]
        assert found == (value if metric == text else float(value))
    assert not [name for name in frame if "_ratio" in name]


def test_adversarial_training_is_measured_and_named_by_both_of_its_terms(paper):
    frame = paper.table("table5").set_index("index")
    row = frame.loc["clean+(adv-adv_f)"]
    assert row[["robust_accuracy_percent", "accuracy_percent", "d_cc"]].to_list() == pytest.approx([36, 71, 3])
    adversarial = "1/2 cross_entropy - 1/2 false_label (sai_fgsm, target all_one)"
    assert row["terms"] == f"1/2 cross_entropy (clean); {adversarial}"
    assert paper.table("table6").set_index("index")["terms"].isna().all()
    page = paper.show("table5").to_html()
    assert adversarial in page
    assert "<i>L</i><sub>adv</sub><sup>f</sup>" in page
    assert "(i-FGSM)" in paper.show("table6").to_html()


def test_a_run_of_two_objectives_is_named_by_both(fresh):
    path = fresh.parents[3] / "results/runs/cholec80-sim-table3-8-s0/run.json"
    then = [{"loss": "complement_entropy", "weight": 1}]
    gce = [{"loss": "gce", "alpha": 1 / 3, "weight": 1}]
    papers_fixture.edit(path, lambda record: record["spec"].update({"objective": gce, "then": then}))
    frame = papers.load("results/papers/ding2025/manifest.json").table("table2").set_index("index")
    assert frame.loc["8", "run_as"] == "1 gce[alpha 1/3]; then 1 complement_entropy"


def test_table_2_names_the_terms_of_the_runs(paper):
    frame = paper.table("table2").set_index("index")
    assert frame.loc["3", "run_as"] == "1 cross_entropy - 1 false_label"
    assert frame.loc["5", "run_as"] == "1 cross_entropy + 1/6 all_one"
    assert pd.isna(frame.loc["2", "run_as"])
    assert frame["gradient"].to_dict() == {
        row: value for (row, metric), value in published("table2").items() if metric == "gradient"
    }


def test_table_1_is_shown_and_left_as_it_was_written(paper, results):
    path = results.parent / "tables" / "table1.csv"
    before = path.read_bytes()
    page = paper.show("table1").to_html()
    assert all(tool in page for tool in TOOLS)
    assert "total" in page
    assert path.read_bytes() == before


def test_the_overview_counts_runs_seconds_and_what_is_left_out(paper):
    facts = paper.overview().data.set_index("what")["value"]
    assert facts["scale"] == "demo"
    assert facts["experiments"] == (
        "table3: cholec80-sim, small, 10 of 11 rows; table4: cholec80-sim, small_separable, 2 of 3 rows; "
        "table5: cholec80-sim, small, 3 of 3 rows"
    )
    assert facts["images"] == "cholec80-sim: train 634, test 340, evaluation 150"
    assert facts["attacks"] == "cholec80-sim: 1 (pgd) on 140 images"
    assert facts["trained"] == "15 networks, 10 epochs, seed 0"
    assert facts["rows not run"] == "table3: 2; table4: 7; table6: all"
    assert facts["hardware"] == "Example CPU @ 2.00GHz, 1 thread"
    assert facts["versions"] == "python 3.11.0, torch 2.15.0"
    assert facts["time"] == "450 s (training 150 s, features 150 s, attacks 150 s)"


def test_a_run_that_two_rows_share_is_counted_once(fresh):
    def share(content):
        content["rows"]["table3"]["5(2)"] = content["rows"]["table3"]["5"]

    papers_fixture.edit(fresh, share)
    paper = papers.load("results/papers/ding2025/manifest.json")
    assert "4 networks" in paper.overview().data.set_index("what").loc["trained", "value"]
    frame = paper.table("table3").set_index("index")
    assert frame.loc["5(2)", "accuracy_percent"] == frame.loc["5", "accuracy_percent"]


def test_the_manifest_is_found_from_the_notebooks_folder(results, monkeypatch):
    folder = results.parents[3] / "notebooks"
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    assert papers.load("results/papers/ding2025/manifest.json").collection.directory == results.parent


@pytest.mark.parametrize(
    "name", ["run.json", "features-0000/features.json", "features-0000/epochs.csv", "attacks/pgd-0000/attack.json"]
)
@pytest.mark.parametrize("damage", ["missing", "half"])
def test_a_missing_or_half_written_file_is_one_sentence_naming_the_run(fresh, name, damage):
    run = "cholec80-sim-table3-6_2-s0"
    path = fresh.parents[3] / "results" / "runs" / run / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(Problem, match=re.escape(run)) as caught:
        papers.load("results/papers/ding2025/manifest.json")
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_without_a_needed_value_is_one_sentence(fresh):
    path = fresh.parents[3] / "results/runs/cholec80-sim-table3-8-s0/attacks/pgd-0000/attack.json"
    papers_fixture.edit(path, lambda content: content["summary"].pop("majority"))
    with pytest.raises(Problem, match=r"table3-8-s0.*'summary\.majority'"):
        papers.load("results/papers/ding2025/manifest.json")


def test_a_row_without_the_attack_is_one_sentence(fresh):
    papers_fixture.edit(fresh, lambda content: content["rows"]["table3"]["1"][0]["attacks"].clear())
    with pytest.raises(Problem, match="table3-1-s0 has no attack 'pgd'"):
        papers.load("results/papers/ding2025/manifest.json").table("table3")


def test_unknown_names_are_one_sentence(paper, tmp_path, monkeypatch):
    with pytest.raises(Problem, match="no 'table9': there are table1"):
        paper.show("table9")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Problem, match=r"manifest\.json is missing"):
        papers.load("results/papers/ding2025/manifest.json")


def test_a_missing_table_1_is_one_sentence(fresh):
    (fresh.parent / "tables" / "table1.csv").unlink()
    with pytest.raises(Problem, match=r"table1\.csv is missing"):
        papers.load("results/papers/ding2025/manifest.json").show("table1")


def test_formulas_are_set_with_indices_and_signs():
    assert formulas.to_html("L_CE - L_CE^f") == "<i>L</i><sub>CE</sub> − <i>L</i><sub>CE</sub><sup>f</sup>"
    assert formulas.to_html("L^f - L") == "<i>L</i><sup>f</sup> − L"
    assert formulas.to_mathtext(LABELS["5"]) == r"$L_{\mathrm{CE}}$ + 1/6 $L_{\mathrm{CE}}^{\mathrm{1}}$"
    assert formulas.to_html("p - Y if p != Y") == "p − Y if p ≠ Y"


def test_a_figure_rests_on_the_runs_that_it_asks_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    papers_fixture.write(tmp_path, seeds=(0, 1))
    paper = papers.load("results/papers/ding2025/manifest.json")
    watched = Watched(**vars(paper.collection))
    assert watched.seeds("table3") == [2] * len(LABELS)
    assert not watched.asked
    assert [run.seed for run in watched.first("table3", "4")] == [0]
    assert [run.seed for run in watched.of("table3", "5")] == [0, 1]
    assert list(watched.asked) == [f"cholec80-sim-table3-{row}-s{seed}" for row, seed in (("4", 0), ("5", 0), ("5", 1))]
    assert paper.show("figure5").runs == tuple(
        f"cholec80-sim-table3-{row}-s{seed}" for row in ("1", "5", "6", "7") for seed in (0, 1)
    )
