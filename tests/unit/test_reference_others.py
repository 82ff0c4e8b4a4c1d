import re
from decimal import Decimal
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from robustloss import reference

DIRECTORY = Path(__file__).parents[2] / "data" / "reference"
PAPERS = {paper: reference.read(DIRECTORY / f"{paper}.csv") for paper in ("song2022", "pang2020", "chen2019")}
SONG, PANG, CHEN = PAPERS.values()

METHODS = ("SCE", "Center", "MMC", "I-SCE", "Random", "AT")
IMAGES = ("MNIST", "CIFAR10", "CIFAR100", "Tiny ImageNet")
STRENGTHS = {"MNIST": ("eps=0.1", "eps=0.2", "eps=0.3"), "CIFAR10": ("eps=0.04", "eps=0.12", "eps=0.2")}
SPARSE = {"MNIST": ("gamma=0.25", "gamma=0.5"), "CIFAR10": ("gamma=0.07", "gamma=0.14")}
CONFIDENCE = {"MNIST": ("c=0",), "CIFAR10": ("c=0",)}
BOUNDED = ("FGSM", "BIM", "PGD", "MIM")
GRIDS = {**dict.fromkeys(BOUNDED, STRENGTHS), "JSMA": SPARSE, "C&W": CONFIDENCE}


def printed(paper, item):
    return [(cell.row, cell.column) for cell in paper.cells if cell.item == item]


def table_of_pgd(data, epsilons):
    for method in ("I-SCE", "AT"):
        yield f"{data} {method}", "Clean"
        for goal, epsilon in product(("un", "tar"), epsilons):
            yield f"{data} eps={epsilon} {method}", f"PGD 50 {goal}"


def table_of_simba():
    for method, data in product(METHODS, ("MNIST", "CIFAR10")):
        yield f"{data} {method}", "Clean"
        for epsilon in ("0.5", "1", "1.5"):
            yield f"{data} eps={epsilon} {method}", "SimBA"


def table_of_errors():
    yield from ((data, "Architecture") for data in IMAGES)
    for setting, data in product((None, "1/2", "1/3", "1/4", "1/5"), IMAGES):
        yield f"{data} alpha={setting} GCE" if setting else f"{data} XE", "Classification error rates"


def table_of_attacks(losses, grids):
    """Lines of `attack, data set and strength, data set and strength`, a cell for each loss."""
    for attack, grid in grids.items():
        for line in zip(*grid.values(), strict=True):
            for (data, strength), loss in product(zip(grid, line, strict=True), losses):
                yield f"{data} {strength} {loss}", attack


LARGE = dict.fromkeys(("CIFAR100", "Tiny ImageNet"), STRENGTHS["CIFAR10"])
FIRST = {"MNIST": ("eps=0.2",), "CIFAR10": ("eps=0.04",)}
ONE_EACH = dict.fromkeys(("FGSM", "BIM", "MIM"), FIRST) | {
    "JSMA": {data: grid[:1] for data, grid in SPARSE.items()},
    "C&W": CONFIDENCE,
}
TRAINED = [("MNIST", "0.3"), ("CIFAR10", "0.04"), ("CIFAR10", "0.08")]


@pytest.mark.parametrize(
    ("paper", "item", "count", "cells"),
    [
        (SONG, "table1", 2 * (1 + 2 * 2), table_of_pgd("MNIST", ("0.02", "0.04"))),
        (SONG, "table2", 2 * (1 + 2 * 2), table_of_pgd("CIFAR10", ("0.01", "0.04"))),
        (SONG, "table3", 6 * 2 * (1 + 3), table_of_simba()),
        (CHEN, "table2", 4 + 5 * 4, table_of_errors()),
        (CHEN, "table3", (4 * 3 + 2 + 1) * 2 * 2, table_of_attacks(("XE", "GCE"), GRIDS)),
        (CHEN, "table4", 3 * 2 * 2, table_of_attacks(("XE", "GCE"), {"PGD": LARGE})),
        (CHEN, "table5", 5 * 2 * 3, table_of_attacks(("XE", "COT", "GCE"), ONE_EACH)),
        (CHEN, "table6", 3 * 2, ((f"{d} eps={e} {loss}", "PGD") for (d, e), loss in product(TRAINED, ("XE", "GCE")))),
    ],
)
def test_every_table_is_whole_and_in_printed_order(paper, item, count, cells):
    found = printed(paper, item)
    assert found == list(cells)
    assert len(found) == count


@pytest.mark.parametrize(
    ("paper", "item", "total"),
    [
        (SONG, "table1", "349.32"),
        (SONG, "table2", "215.28"),
        (SONG, "table3", "4144.97"),
        (CHEN, "table2", "407.52"),
        (CHEN, "table3", "1096.28"),
        (CHEN, "table4", "18.53"),
        (CHEN, "table5", "478.40"),
        (CHEN, "table6", "276.68"),
    ],
)
def test_each_table_sums_to_what_was_added_up_from_the_paper(paper, item, total):
    assert sum(Decimal(cell.printed) for cell in paper.cells if cell.item == item and cell.unit) == Decimal(total)


@pytest.mark.parametrize(
    ("paper", "item", "row", "metric", "value", "source"),
    [
        (SONG, "table1", "MNIST eps=0.02 I-SCE", "robust_accuracy_pgd50_un", "63.47", "Table 1, row I-SCE, "),
        (SONG, "table1", "MNIST eps=0.04 AT", "robust_accuracy_pgd50_tar", "0.01", "column PGD 50 tar, eps 0.04"),
        (SONG, "table2", "CIFAR10 eps=0.01 AT", "robust_accuracy_pgd50_un", "7.87", "Table 2, row AT, "),
        (SONG, "table3", "MNIST eps=1 AT", "robust_accuracy_simba", "66.98", "Table 3, MNIST, row AT, column eps 1"),
        (SONG, "table3", "CIFAR10 eps=1.5 Random", "robust_accuracy_simba", "71.30", "Table 3, CIFAR10, row Random"),
        (SONG, "table3", "CIFAR10 MMC", "accuracy", "89.77", "Table 3, CIFAR10, row MMC, column Clean"),
        (SONG, "text", "MNIST SimBA", "queries", "300", "Section 4.2"),
        (SONG, "figure7", "eps=0.06 iterations=30", "curve", "yellow", "Figure 7"),
        (CHEN, "table2", "CIFAR100 alpha=1/3 GCE", "error_rate", "31.75", "row alpha = 1/3, column CIFAR100"),
        (CHEN, "table2", "MNIST XE", "error_rate", "0.8", "Table 2, row Baseline, column MNIST"),
        (CHEN, "table3", "MNIST eps=0.2 GCE", "robust_accuracy_mim", "39.81", "MNIST, eps 0.2, row MIM, column GCE"),
        (CHEN, "table3", "CIFAR10 gamma=0.14 XE", "robust_accuracy_jsma", "0.14", "CIFAR10, gamma 0.14, row JSMA"),
        (CHEN, "table4", "CIFAR100 eps=0.12 GCE", "robust_accuracy_pgd", "0.46", "Table 4, CIFAR100, eps 0.12"),
        (CHEN, "table5", "MNIST eps=0.2 COT", "robust_accuracy_fgsm", "51.8", "Table 5, MNIST, eps 0.2, row FGSM"),
        (CHEN, "table6", "CIFAR10 eps=0.04 XE", "robust_accuracy_pgd", "41.50", "Table 6, CIFAR10, eps 0.04"),
        (CHEN, "text", "C&W", "iterations", "1000", "Section 5.2"),
        (CHEN, "text", "ResNet training", "weight_decay", "0.0001", "Section 5.1"),
        (PANG, "text", "experiments", "baselines", "SCE, Center loss, MMLDA, L-GM", "Summary"),
    ],
)
def test_some_cells_typed_again(paper, item, row, metric, value, source):
    cell = paper.cell(item, row, metric)
    assert cell.printed == value
    assert source in cell.source


@pytest.mark.parametrize(
    ("paper", "numbers"),
    [
        (
            SONG,
            {
                "robustness_gain": "63 63.13 60.31 61.06 11.35 17.41 50 50 97 79 48 55 63 38 97 79 48 55",
                "wrong_exponentials": "8",
                "correct_logit": "0.97",
                "stages": "5",
                "iterations": "10 50 10 10 30 10 30",
                "epsilon": "0.04 0.02 0.03 0.03 0.06 0.06",
                "queries": "300 500",
                "dimensions": "3",
                "examples": "5000",
            },
        ),
        (
            CHEN,
            {
                "classes": "3",
                "momentum": "0.9",
                "weight_decay": "0.0001",
                "learning_rate": "0.1",
                "epoch": "100 150",
                "learning_rate_divisor": "10 10",
                "error_rate": "38.56 39.54",
                "iterations": "10 40 40 1000 100 200 40 100 10 40",
                "epsilon": "1 0.02",
                "binary_steps": "9",
                "initial_constant": "0.001",
                "confidence": "0",
                "relative_improvement": "10.14",
                "robustness_gain": "5.91",
            },
        ),
    ],
)
def test_every_number_outside_the_tables_typed_again(paper, numbers):
    found = {}
    for cell in paper.cells:
        if cell.unit and not cell.item.startswith("table"):
            found.setdefault(cell.metric, []).append(cell.printed)
    assert {metric: " ".join(values) for metric, values in found.items()} == numbers


@pytest.mark.parametrize("paper", PAPERS.values(), ids=PAPERS)
def test_shares_are_percentages_and_everything_else_is_not(paper):
    shares = re.compile("(robust_)?accuracy|error_rate|robustness_gain|relative_improvement")
    for cell in paper.cells:
        assert (cell.unit == "%") == bool(shares.match(cell.metric)), cell
        assert cell.unit != "%" or 0 <= cell.value <= 100, cell


def test_run_together_digits_are_split_at_two_decimals_and_say_so():
    for cell in SONG.cells:
        if cell.item.startswith("table"):
            assert re.fullmatch(r"\d{1,2}\.\d\d", cell.printed), cell
            assert "run together" in cell.note, cell


def test_accuracy_never_rises_with_epsilon():
    for paper in (SONG, CHEN):
        series = {}
        for cell in paper.cells:
            found = re.fullmatch(r"(.+) (?:eps|gamma)=(\S+) (.+)", cell.row)
            if found and cell.item.startswith("table"):
                data, strength, loss = found.groups()
                series.setdefault((cell.item, data, loss, cell.metric), []).append((float(strength), cell.value))
        assert any(len(points) == 3 for points in series.values())
        for key, points in series.items():
            accuracies = [accuracy for _, accuracy in sorted(points)]
            assert accuracies == sorted(accuracies, reverse=True), key


# song2022


def gains(row):
    return SONG.value("text", row, "robustness_gain")


def test_the_gain_of_the_abstract_fits_only_the_smaller_epsilon_of_table_1():
    small, large = (
        SONG.value("table1", f"MNIST eps={epsilon} I-SCE", "robust_accuracy_pgd50_un") for epsilon in ("0.02", "0.04")
    )
    gain = gains("MNIST ResNet-32 PGD50un I-SCE over SCE")
    assert large < gain < small
    assert (
        f"{small - gain:.2f} %" in SONG.cell("text", "MNIST ResNet-32 PGD50un I-SCE over SCE", "robustness_gain").note
    )
    for place in ("Abstract", "Section 5"):
        assert gains(f"MNIST ResNet-32 PGD50un I-SCE over SCE, {place}") == int(gain)


def test_two_gains_over_center_loss_contradict_each_other_and_say_so():
    rows = [f"MNIST ResNet-32 PGD50un I-SCE over Center{which}" for which in ("", ", second sentence")]
    values = [SONG.cell("text", row, "robustness_gain").printed for row in rows]
    assert values == ["60.31", "11.35"]
    for row, other in zip(rows, reversed(values), strict=True):
        assert other in SONG.cell("text", row, "robustness_gain").note


def test_gains_read_from_figures_say_that_no_absolute_value_is_readable():
    for cell in SONG.cells:
        if cell.metric == "robustness_gain" and not cell.row.endswith(("Abstract", "over SCE, Section 5")):
            assert "figure without readable numbers" in cell.note, cell


def test_inference_softmax_is_the_most_accurate_under_simba():
    for data, epsilon in product(("MNIST", "CIFAR10"), ("0.5", "1", "1.5")):
        row = {m: SONG.value("table3", f"{data} eps={epsilon} {m}", "robust_accuracy_simba") for m in METHODS}
        assert max(row, key=row.get) == "I-SCE"


@pytest.mark.parametrize(("item", "data"), [("table1", "MNIST"), ("table2", "CIFAR10")])
@pytest.mark.parametrize("method", ["I-SCE", "AT"])
def test_clean_accuracies_that_differ_between_tables_name_each_other(item, data, method):
    one, two = (SONG.cell(table, f"{data} {method}", "accuracy") for table in (item, "table3"))
    assert one.value != two.value
    assert two.printed in one.note
    assert one.printed in two.note


def test_table_2_below_chance_says_so_and_that_adversarial_training_wins_a_cell():
    for cell in SONG.cells:
        if cell.item == "table2":
            assert (cell.value < 10) == ("chance" in cell.note), cell
    ours, theirs = (SONG.cell("table2", f"CIFAR10 eps=0.04 {m}", "robust_accuracy_pgd50_un") for m in ("I-SCE", "AT"))
    assert ours.value < theirs.value
    assert "weaker" in ours.note
    assert "weaker" in theirs.note


def test_weakened_adversarial_training_is_noted_where_it_is_attacked():
    assert SONG.value("text", "AT, Tables 1 and 2", "epsilon") == 0.02
    assert SONG.value("text", "AT, Tables 1 and 2", "iterations") == 10
    attacked = [cell for cell in SONG.cells if cell.item in ("table1", "table2") and re.search("eps=.* AT$", cell.row)]
    assert len(attacked) == 8
    assert all("reduced epsilon of 0.02" in cell.note for cell in attacked)


@pytest.mark.parametrize(
    ("row", "metric", "words"),
    [
        ("CIFAR10 PGD5tar I-SCE over SCE, Section 5", "robustness_gain", "only 10 and 50"),
        ("CIFAR10 shallow PGD50un I-SCE over SCE, Section 5", "robustness_gain", "LeNet-5"),
        ("training", "stages", "three stages"),
        ("training", "optimizer", "momentum SGD"),
        ("PGD", "norm", "a step and not a radius"),
        ("Equation 3", "formula", "number of classes"),
        ("I-SCE in the comparisons", "s", "s < 1"),
        ("CIFAR10 SimBA", "queries", "cannot show"),
        ("label smoothing", "incorrect_target", "sum of 1"),
    ],
)
def test_other_inconsistencies_of_song2022_are_noted(row, metric, words):
    assert words in SONG.cell("text", row, metric).note


def python(formula, *replacements):
    """Python of a formula as the files write it; `replacements` restore the products that are only spaces."""
    for written, meant in (*replacements, ("^", "**")):
        formula = formula.replace(written, meant)
    return formula


NAMES = {"exp": np.exp, "log": np.log, "ln": np.log, "max": max, "sum": np.sum, "tanh": np.tanh}
OF_LOGITS = (("sum_{j != i} exp(f_j)", "S"), ("sum_j exp(f_j)", "(S + exp(f_i))"), ("s f_i", "s * f_i"))


def song(row, **values):
    meant = (*OF_LOGITS, ("-sum_i y_i ", "-y_i * "), ("y_i (", "y_i * ("), ("(1 - y_i) f_i", "(1 - y_i) * f_i"))
    return eval(python(SONG.value("text", row, "formula"), *meant), NAMES | values)


@pytest.mark.parametrize(("s", "m"), [(1, 0), (1, 0.1), (1.7, 0.05)])
def test_inference_softmax_with_restored_signs_is_cross_entropy_of_the_changed_logit(s, m):
    generator = np.random.default_rng(1)
    for label in range(10):
        f = generator.normal(size=10)
        others = np.exp(f).sum() - np.exp(f)
        changed = np.where(np.arange(10) == label, s * f + m, f)
        expected = torch.nn.functional.cross_entropy(torch.tensor(changed)[None], torch.tensor([label])).item()
        loss = song("Equation 4", f_i=f, S=others, y_i=np.eye(10)[label], s=s, m=m).sum()
        assert loss == pytest.approx(expected)
        right = song("Equation 2", f_i=f[label], S=others[label], s=s, m=m)
        assert -np.log(right) == pytest.approx(expected)
        k = np.delete(np.arange(10), label)
        wrong = song("Equation 3", f_k=f[k], f_i=f[label], S=others[label], s=s, m=m)
        assert right + wrong.sum() == pytest.approx(1)
        difference = right - song("Equation 1", f_i=f[label], S=others[label])
        assert song("Equation 10", f_i=f[label], S=others[label], s=s, m=m) == pytest.approx(difference)


def surface(s, m, f, wrong):
    meant = (("s exp", "s * exp"), ("s f", "s * f"))
    return eval(python(SONG.value("text", "z", "formula"), *meant), NAMES | {"s": s, "m": m, "f": f, "S": wrong})


def test_the_surface_of_figure_3_is_the_derivative_of_equation_10():
    step = 1e-6
    for s, m, f in product((1, 1.3, 2), (0, 0.1), (-1, 0.3, 0.97, 2.5)):
        high, low = (song("Equation 10", f_i=f + d, S=8, s=s, m=m) for d in (step, -step))
        assert 8 * surface(s, m, f, 8) == pytest.approx((high - low) / (2 * step), abs=1e-8)


def test_the_surface_is_positive_where_the_paper_looked_and_not_everywhere():
    wrong, f = (
        SONG.value("text", "MNIST and CIFAR10, mean over all examples", m)
        for m in ("wrong_exponentials", "correct_logit")
    )
    assert surface(1, 0, f, wrong) == 0
    assert all(surface(s, m, f, wrong) > 0 for s, m in product(np.linspace(1, 2, 11)[1:], np.linspace(0.01, 0.1, 10)))
    note = SONG.cell("text", "MNIST and CIFAR10, mean over all examples", "z_sign").note
    limit = float(re.search(r"from f = ([\d.]+) on", note)[1])
    assert surface(1, 0.1, limit - 0.01, wrong) > 0 > surface(1, 0.1, limit + 0.01, wrong)


# chen2019


def cells_of(item, loss):
    return {
        (c.row.removesuffix(f" {loss}"), c.metric): c
        for c in CHEN.cells
        if c.item == item and c.row.endswith(f" {loss}")
    }


def differences(item, loss="GCE", base="XE"):
    ours, theirs = cells_of(item, loss), cells_of(item, base)
    assert list(ours) == list(theirs)
    return {key: round(ours[key].value - theirs[key].value, 2) for key in ours}


@pytest.mark.parametrize("item", ["table3", "table4", "table5", "table6"])
def test_guided_complement_entropy_is_above_cross_entropy_in_every_cell(item):
    assert min(differences(item).values()) > 0


def test_guided_complement_entropy_is_above_complement_training_in_every_cell():
    assert min(differences("table5", base="COT").values()) > 0


@pytest.mark.parametrize("loss", ["XE", "GCE"])
def test_table_5_repeats_table_3(loss):
    repeated, first = cells_of("table5", loss), cells_of("table3", loss)
    assert {key: cell.printed for key, cell in repeated.items()} == {key: first[key].printed for key in repeated}


def test_the_improvement_under_pgd_is_one_cell_and_larger_ones_are_noted():
    printed_gain = CHEN.value("text", "PGD GCE over XE", "robustness_gain")
    gained = {
        (item, row): gain
        for item in ("table3", "table4")
        for (row, metric), gain in differences(item).items()
        if metric == "robust_accuracy_pgd"
    }
    assert gained["table3", "CIFAR10 eps=0.04"] == printed_gain == 5.91
    larger = {place: gain for place, gain in gained.items() if gain > printed_gain}
    assert larger == {("table3", "MNIST eps=0.2"): 7.97, ("table4", "Tiny ImageNet eps=0.04"): 9.52}
    for (item, row), gain in larger.items():
        assert f"{gain:.2f} points" in CHEN.cell(item, f"{row} GCE", "robust_accuracy_pgd").note
        assert f"{gain:.2f}" in CHEN.cell("text", "PGD GCE over XE", "robustness_gain").note


def test_momentum_gains_most_on_mnist_and_not_on_cifar10_which_is_noted():
    gained = differences("table3")
    best = {data: max((k for k in gained if k[0].startswith(data)), key=gained.get) for data in ("MNIST", "CIFAR10")}
    assert best == {
        "MNIST": ("MNIST eps=0.3", "robust_accuracy_mim"),
        "CIFAR10": ("CIFAR10 eps=0.04", "robust_accuracy_fgsm"),
    }
    assert max(gained, key=gained.get) == best["MNIST"]
    note = CHEN.cell("text", "best improvement of Table 3", "claim").note
    assert all(f"{gained[key]:.2f}" in note for key in best.values())


def errors(setting):
    return {data: CHEN.value("table2", f"{data} {setting}", "error_rate") for data in IMAGES}


def test_the_relative_improvement_is_that_of_alpha_one_third():
    row = "CIFAR10 GCE over XE"
    base, third, fifth = (errors(s)["CIFAR10"] for s in ("XE", "alpha=1/3 GCE", "alpha=1/5 GCE"))
    relative = CHEN.value("text", row, "relative_improvement")
    assert relative == pytest.approx(100 * (base - third) / base, abs=0.005)
    assert f"{100 * (base - fifth) / base:.1f} %" in CHEN.cell("text", row, "relative_improvement").note
    assert "test set" in CHEN.cell("text", row, "relative_improvement").note


def test_errors_above_the_baseline_and_unused_best_values_are_noted():
    settings = [f"alpha=1/{n} GCE" for n in (2, 3, 4, 5)]
    base, table = errors("XE"), {setting: errors(setting) for setting in settings}
    for setting, data in product(settings, IMAGES):
        note = CHEN.cell("table2", f"{data} {setting}", "error_rate").note
        assert (table[setting][data] > base[data]) == ("above the baseline" in note)
        lowest = table[setting][data] == min(table[s][data] for s in settings) and data != "MNIST"
        assert lowest == ("at alpha 1/3 only" in note)
    assert min(settings, key=lambda s: table[s]["MNIST"]) == settings[0]


def test_error_rates_of_the_text_are_those_of_table_2():
    for row in ("Tiny ImageNet XE", "Tiny ImageNet alpha=1/3 GCE"):
        assert CHEN.value("text", row, "error_rate") == CHEN.value("table2", row, "error_rate")


def test_the_gains_of_adversarial_training_are_noted_as_small():
    for (row, metric), gain in differences("table6").items():
        assert f"only {gain:.2f} points" in CHEN.cell("table6", f"{row} GCE", metric).note


def test_contradictory_networks_and_epsilons_are_noted():
    assert CHEN.value("table2", "Tiny ImageNet", "architecture") == "ResNet-50"
    assert CHEN.value("text", "Table 4", "network") == "Resnet-56"
    for row in CHEN.rows("table4"):
        note = CHEN.cell("table4", row, "robust_accuracy_pgd").note
        assert ("ResNet-50" in note) == row.startswith("Tiny")
    caption = CHEN.value("text", "Table 3", "epsilons").split(", ")
    assert [f"eps={e}" for e in caption] == list(STRENGTHS["CIFAR10"])
    for row, attack in product(CHEN.rows("table3"), ("fgsm", "bim", "pgd", "mim")):
        if "eps=" in row:
            outside = re.search(r"eps=(\S+)", row)[1] not in caption
            assert outside == ("the caption names" in CHEN.cell("table3", row, f"robust_accuracy_{attack}").note)


def test_few_iterations_plateaus_and_the_unbounded_attack_are_noted():
    assert [CHEN.value("text", f"{a}, natural training", "iterations") for a in ("BIM", "PGD", "MIM")] == [10, 40, 40]
    for cell in CHEN.cells:
        if cell.item in ("table3", "table5"):
            assert (cell.column == "BIM") == ("not comparable" in cell.note), cell
            assert (cell.column == "C&W") == ("confidence" in cell.note), cell
    for row in ("MNIST eps=0.2", "MNIST eps=0.3"):
        for attack in ("bim", "mim"):
            assert "finds no gradient" in CHEN.cell("table3", f"{row} GCE", f"robust_accuracy_{attack}").note
    assert "leaves 0 %" in CHEN.cell("table3", "MNIST c=0 GCE", "robust_accuracy_cw").note
    assert "missing" in CHEN.cell("table5", "MNIST eps=0.2 COT", "robust_accuracy_fgsm").note


def test_gamma_is_two_pixels_for_each_iteration_of_the_saliency_attack():
    for which, position in (("smaller", 0), ("larger", 1)):
        iterations = CHEN.value("text", f"JSMA, {which} gamma", "iterations")
        for data, pixels in (("MNIST", 28 * 28), ("CIFAR10", 3 * 32 * 32)):
            gamma = float(SPARSE[data][position].removeprefix("gamma="))
            assert gamma == pytest.approx(2 * iterations / pixels, abs=0.0105)


def chen(row, p, label, alpha=1.0):
    """A loss of one sample with probabilities `p`; what stands before the sum over wrong classes is moved into it."""
    meant = (
        ("-1/N sum_i ", "-1 * "),
        ("sum_{j != g} ", ""),
        ("ŷ_ig^α ", "y_ig**alpha * "),
        ("log(K - 1) ", "log(K - 1) * "),
        (") log", ") * log"),
        ("ŷ", "y"),
    )
    values = {"y_ig": p[label], "y_ij": np.delete(p, label), "K": len(p), "alpha": alpha}
    return eval(python(CHEN.value("text", row, "formula"), *meant), NAMES | values).sum()


def test_complement_losses_as_printed_are_entropies_of_the_wrong_classes():
    generator = np.random.default_rng(2)
    for label, alpha in product(range(10), (1 / 5, 1 / 3, 1)):
        p = generator.dirichlet(np.ones(10))
        wrong = entropy(np.delete(p, label))
        assert chen("Equation 1", p, label) == pytest.approx(wrong)
        assert chen("Equation 2", p, label, alpha) == pytest.approx(p[label] ** alpha * wrong)
        assert chen("Equation 3", p, label, alpha) == pytest.approx(p[label] ** alpha * wrong / np.log(9))


def test_minimising_the_printed_sign_leads_away_from_the_right_class_which_is_noted():
    even = [np.array([right, *[(1 - right) / 9] * 9]) for right in (0.01, 0.5, 0.99)]
    values = [chen("Equation 3", p, 0, 1 / 3) for p in even]
    assert values == sorted(values)
    assert values[0] > 0
    assert values[-1] < 1
    assert CHEN.value("text", "normalised complement loss factor", "range") == "0 to -1"
    for equation in (1, 2, 3):
        assert "must not have it" in CHEN.cell("text", f"Equation {equation}", "formula").note
    assert "log(K)" in CHEN.cell("text", "Equation 3", "formula").note


def test_the_carlini_wagner_objective_with_restored_index_rewards_the_target():
    meant = (("max{Z_pre(x)_i : i != y}", "other"), ("Z_pre(x)_y", "target"), ("κ", "kappa"))
    text = python(CHEN.value("text", "Equation 10", "formula"), *meant)
    objective = [eval(text, NAMES | {"other": 1.0, "target": t, "kappa": 0.5}) for t in (0.0, 1.0, 1.2, 9.0)]
    assert objective == pytest.approx([1.0, 0.0, -0.2, -0.5])
    assert "restored: y" in CHEN.cell("text", "Equation 10", "formula").note


# pang2020


def test_a_summary_gives_claims_and_no_measurement():
    assert {cell.item for cell in PANG.cells} == {"text"}
    for cell in PANG.cells:
        assert cell.unit == "", cell
        assert not re.search(r"\d[.]\d|\d\d|%", re.sub("CIFAR-100?", "", cell.value)), cell


@pytest.mark.parametrize(
    ("row", "norm", "access"),
    [("PGD", "l_∞", "white-box"), ("C&W", "l_2", "white-box"), ("MIM", None, "black-box"), ("SPSA", None, "black-box")],
)
def test_the_four_attacks_of_the_summary(row, norm, access):
    assert PANG.value("text", row, "access").startswith(access)
    assert [cell.value for cell in PANG.cells if (cell.row, cell.metric) == (row, "norm")] == [norm] * (
        norm is not None
    )


def test_the_formulas_of_the_summary_and_what_is_wrong_with_them():
    loss = PANG.value("text", "MMC loss", "formula")
    z, centre = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([3.0, 0.0, 0.0])
    found = eval(
        python(loss, ("1/2 ||", "1/2 * square("), ("||_2^2", ")"), ("μ_y*", "centre")),
        {"square": lambda v: (v**2).sum().item(), "z": z, "centre": centre},
    )
    assert found == pytest.approx(torch.nn.functional.mse_loss(z, centre, reduction="sum").item() / 2)
    assert PANG.value("text", "MMC density", "formula") == "N_k p_k(C) / C^((d - 1)/2)"
    assert "C_MM" in PANG.cell("text", "MMC density", "formula").note
    assert "polynomial" in PANG.cell("text", "MMC density as C is minimised to zero", "claim").note
    for row in ("MMC over SCE, Abstract", "MMC over SCE, Center loss, MMLDA and L-GM"):
        assert "later evaluations contradict" in PANG.cell("text", row, "claim").note
