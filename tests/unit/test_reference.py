import csv
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml

from robustloss import reference
from robustloss.errors import Problem

DING = Path(__file__).parents[2] / "data" / "reference" / "ding2025.csv"
HEADER = "item,row,column,metric,value,unit,source,note"
GOOD = "table3,1,PGD,robust_accuracy,2.57,%,Table 3,"


@pytest.fixture(scope="module")
def ding():
    return reference.read(DING)


@pytest.fixture
def refused(tmp_path):
    """The sentence with which a file of these lines is refused."""

    def refuse(*lines):
        path = tmp_path / "paper.csv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with pytest.raises(Problem) as problem:
            reference.read(path)
        return str(problem.value)

    return refuse


MEASURED = {"PGD": "robust_accuracy", "Accuracy": "accuracy", "D_cc": "d_cc", "D_ic": "d_ic"}
ATTACKED = {"PGD Attack": "robust_accuracy", "Accuracy": "accuracy", "D_cc": "d_cc", "D_ic": "d_ic"}


@pytest.mark.parametrize(
    ("item", "rows", "columns"),
    [
        (
            "table1",
            "Grasper Bipolar Hook Scissors Clipper Irrigator Bag",
            {"Class": "class_index", "Number of Frames": "frames"},
        ),
        ("table2", "1 2 3 4 5 6 7 8", {"Composite Cross-Entropy": "loss", "Gradients": "gradient"}),
        ("table3", "0 1 2 3 4 5 5(2) 6 6(2) 7 8", {"Composite Cross-Entropy": "loss", **MEASURED}),
        ("table4", "1 6 7", {"Composite Cross-Entropy": "loss", **MEASURED}),
        (
            "table5",
            "clean+adv clean+(adv-adv_f) (clean-clean_f)+(adv-adv_f)",
            {"Training Objective Function": "loss", **ATTACKED},
        ),
        (
            "table6",
            "all-one entropy␣(i-FGSM) entropy y_2nd y_3 y_4",
            {"Adversary Generation Function": "generation", **ATTACKED},
        ),
    ],
)
def test_every_table_of_ding2025_is_whole_and_in_printed_order(ding, item, rows, columns):
    rows = [row.replace("␣", " ") for row in rows.split()]
    assert ding.rows(item) == rows
    assert list(ding.columns(item).items()) == list(columns.items())
    found = [(cell.row, cell.column) for cell in ding.cells if cell.item == item]
    assert found == [(row, column) for row in rows for column in columns]


def test_table_1_sums_to_the_two_sets_of_the_text(ding):
    frames = sum(ding.value("table1", row, "frames") for row in ding.rows("table1"))
    assert frames == sum(ding.value("text", f"{name} set", "images") for name in ("training", "test"))


def test_tables_3_and_4_name_the_functions_of_table_2(ding):
    for item in ("table3", "table4"):
        for row in ding.rows(item):
            function = re.sub(r"\(2\)$", "", row).replace("0", "1")
            printed = ding.value(item, row, "loss").removesuffix(" (Lr = 0.001)")
            assert printed == ding.value("table2", function, "loss")


def test_steps_of_the_appendix_add_up_to_epsilon(ding):
    for item in ("figureA1", "figureA2", "figureA3"):
        reach = ding.value(item, "Grasper", "iterations") * ding.value(item, "Grasper", "step_size")
        assert reach == ding.value("text", "Table 6", "epsilon")


def multiplied(text):
    """Python of a formula as the paper writes it, where a space between factors means their product."""
    text = text.replace("log f(x) · f(x)", "inner").replace("log f(x)", "logf").replace("f(x)", "f")
    text = re.sub(r"L_CE\^(.)", r"L\1", text).replace("L_CE", "L")
    return re.sub(r"(\d/\d|\d|\bf) (?=[\w(])", r"(\1)*", text)


def composite(formula, z, label):
    """A composite loss of Table 2 at logits `z` (Equations 1 to 4)."""
    logf = z - np.log(np.exp(z).sum())
    wrong = 0 if z.argmax() == label else -logf[z.argmax()]
    terms = {"L": -logf[label], "Lf": wrong, "L1": -logf.sum(), "Ls": -(np.exp(logf) * logf).sum()}
    return eval(multiplied(formula), terms)


def gradient(formula, z, label):
    """A gradient of Table 2 at logits `z`, of the case that applies where it distinguishes two."""
    if " if " in formula:
        wrong, right = (case.split(" if ")[0] for case in formula.split("; "))
        formula = right if z.argmax() == label else wrong
    logf = z - np.log(np.exp(z).sum())
    f, one_hot = np.exp(logf), np.eye(len(z))
    return eval(
        multiplied(formula), {"f": f, "logf": logf, "inner": logf @ f, "Y": one_hot[label], "p": one_hot[z.argmax()]}
    )


@pytest.mark.parametrize("row", list("12345678"))
def test_gradients_of_table_2_with_restored_signs_are_the_derivatives(ding, row):
    generator, step = np.random.default_rng(int(row)), 1e-5
    seen = set()
    for _ in range(20):
        z, label = generator.normal(scale=2, size=7), int(generator.integers(7))
        seen.add(bool(z.argmax() == label))
        sides = [
            [composite(ding.value("table2", row, "loss"), z + s * e, label) for e in step * np.eye(7)] for s in (1, -1)
        ]
        numerical = np.subtract(*sides) / (2 * step)
        assert gradient(ding.value("table2", row, "gradient"), z, label) == pytest.approx(numerical, abs=1e-7)
    assert seen == {True, False}


def test_values_are_numbers_with_their_printed_digits_beside_them(ding):
    cell = ding.cell("table3", "3", "d_cc")
    assert (cell.value, cell.printed) == (11.4, "11.40")
    assert ding.value("table3", "5(2)", "robust_accuracy") == 20.03
    assert ding.cell("table3", "5(2)", "robust_accuracy").source == "Table 3, row 5(2), column PGD"
    assert "31 %" in ding.cell("table3", "6(2)", "robust_accuracy").note
    assert ding.value("table2", "3", "loss") == "L_CE - L_CE^f"


def test_the_file_says_exactly_what_is_read(ding):
    with open(DING, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [{**vars(cell), "value": cell.printed} for cell in ding.cells] == [
        {**r, "printed": r["value"]} for r in rows
    ]


def test_the_schema_is_valid_and_closed():
    schema = yaml.safe_load(reference.SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert schema["required"] == list(schema["properties"]) == HEADER.split(",")
    assert all(column["description"] for column in schema["properties"].values())


@pytest.mark.parametrize(
    ("row", "column", "what"),
    [
        ("table 3,1,PGD,robust_accuracy,2.57,%,Table 3,", "item", "'table 3'"),
        ("table3,,PGD,robust_accuracy,2.57,%,Table 3,", "row", "''"),
        ("table3,1, PGD,robust_accuracy,2.57,%,Table 3,", "column", "' PGD'"),
        ("table3,1,PGD,Robust accuracy,2.57,%,Table 3,", "metric", "'Robust accuracy'"),
        ("table3,1,PGD,robust_accuracy,2.57%,%,Table 3,", "value", "a plain number"),
        ('table1,Hook,Number,frames,"44,887",frames,Table 1,', "value", "a plain number"),
        ("table3,1,PGD,robust_accuracy,nan,%,Table 3,", "value", "a plain number"),
        ("table3,1,PGD,robust_accuracy,,,Table 3,", "value", "the printed value"),
        ("table3,1,PGD,robust_accuracy,2.57,%,,", "source", "where in the paper"),
    ],
)
def test_a_wrong_value_is_named_with_its_line_and_column(refused, row, column, what):
    sentence = refused(HEADER, GOOD.replace("3,1,", "3,0,"), row)
    assert f"paper.csv, line 3, column {column}: " in sentence
    assert what in sentence


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (GOOD, "has 'PGD' already"),
        ("table3,2,PGD,accuracy,1,%,Table 3,", "contradicts 'PGD' with 'robust_accuracy'"),
        ("table3,1,PGD Attack,robust_accuracy,1,%,Table 3,", "contradicts 'PGD' with 'robust_accuracy'"),
        (GOOD + ",", "9 cells instead of 8"),
        ("", "0 cells instead of 8"),
        (GOOD + '"x"y', "not a CSV file"),
    ],
)
def test_an_ambiguous_or_broken_line_is_refused(refused, row, what):
    assert what in refused(HEADER, GOOD, row, "table3,9,PGD,robust_accuracy,2.57,%,Table 3,")


def test_the_same_labels_in_another_table_are_no_duplicate(tmp_path):
    path = tmp_path / "paper.csv"
    path.write_text("\n".join([HEADER, GOOD, GOOD.replace("table3,", "table4,")]), encoding="utf-8")
    assert len(reference.read(path).cells) == 2


def test_a_wrong_header_and_an_empty_or_missing_file_are_refused(refused, tmp_path):
    assert "line 1: the header is" in refused(HEADER.replace("unit", "units"), GOOD)
    assert "must be 'item,row" in refused("")
    assert "no row" in refused(HEADER)
    with pytest.raises(Problem, match="is missing"):
        reference.read(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}\n{GOOD}é\n".encode("latin-1"))
    with pytest.raises(Problem, match="UTF-8"):
        reference.read(tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (("table9", "1", "accuracy"), "it has table1, table2"),
        (("table4", "2", "accuracy"), "its rows are 1, 6, 7"),
        (("table4", "6", "recall"), "it has loss, robust_accuracy, accuracy, d_cc, d_ic"),
    ],
)
def test_an_unknown_cell_is_answered_with_what_there_is(ding, key, what):
    with pytest.raises(Problem, match=what):
        ding.value(*key)
