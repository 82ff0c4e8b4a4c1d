"""Song et al. (2022), Mathematics 10(19):3716: which of our measurements stands in which table and figure."""

import itertools
from collections.abc import Iterator
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from pandas import DataFrame
from pandas.io.formats.style import Styler

from robustloss.papers import cells, display, dots, embedding, facts, ours, surfaces
from robustloss.papers.cells import ACCURACY, Cell, Measure, Table, Trained
from robustloss.papers.collection import Collection
from robustloss.papers.dots import Panel
from robustloss.papers.estimates import NOTHING
from robustloss.papers.measured import names
from robustloss.papers.ours import Line

# The methods in the order of Section 4, then those that are not the paper's.
METHODS = ("SCE", "Center", "L-GM", "ArcFace", "MMC", "LS", "Random", "AT", "I-SCE", "I-SCE code")
DATA = {"mnist": "MNIST", "cifar10": "CIFAR10"}
STEPS = {"mnist": ("0.02", "0.04"), "cifar10": ("0.01", "0.04")}
PGD = {
    "pgd10un": "PGD 10, untargeted",
    "pgd50un": "PGD 50, untargeted",
    "pgd10tar": "PGD 10, targeted",
    "pgd50tar": "PGD 50, targeted",
}
HONEST = {"mnist": "0.1", "cifar10": "8/255"}
QUERIES = {"mnist": "300", "cifar10": "500"}
# Figure 7: the step of the adversaries that a network is trained on, and the attacks.
TRAINED_STEPS = ("0", "0.01", "0.02", "0.03", "0.04", "0.06")
CURVES = {"0.03/10": "pgd10un 0.03", "0.03/30": "pgd30un 0.03", "0.06/10": "pgd10un 0.06", "0.06/30": "pgd30un 0.06"}
# Improvements that the text prints: row of the reference file, experiment, the method that I-SCE is above, and attack.
# Epsilons are not printed: the smaller one, with which Table 1 agrees.
GAINS = (
    ("MNIST ResNet-32 PGD50un I-SCE over SCE", "mnist", "SCE", "pgd50un 0.02"),
    ("MNIST ResNet-32 PGD50un I-SCE over Center", "mnist", "Center", "pgd50un 0.02"),
    ("MNIST ResNet-32 PGD50un I-SCE over L-GM", "mnist", "L-GM", "pgd50un 0.02"),
    ("MNIST ResNet-32 PGD50un I-SCE over MMC", "mnist", "MMC", "pgd50un 0.02"),
    ("CIFAR10 PGD5tar I-SCE over SCE, Section 5", "cifar10", "SCE", "pgd5tar 0.01"),
    ("MNIST shallow PGD50un I-SCE over SCE", "mnist-shallow", "SCE", "pgd50un 0.02"),
    ("CIFAR10 shallow PGD50un I-SCE over SCE", "cifar10-shallow", "SCE", "pgd50un 0.01"),
)
GRID = {"s": ("1", "1.25", "1.5", "1.75", "2"), "m": ("0.02", "0.04", "0.06", "0.08", "0.1")}
GRIDS = {
    "MNIST, DeepFool as coded": ("mnist-grid", "deepfool coded"),
    "CIFAR10, DeepFool as coded": ("cifar10-grid", "deepfool coded"),
    "MNIST, PGD50un 0.02": ("mnist-grid", "pgd50un 0.02"),
    "CIFAR10, PGD50un 0.01": ("cifar10-grid", "pgd50un 0.01"),
}


def gains(collection: Collection) -> tuple[DataFrame, Styler]:
    """How far I-SCE is above another method: improvements that the text prints, and ours."""
    rows = []
    for name, experiment, other, attack in GAINS:
        runs = [collection.of(experiment, row) for row in ("I-SCE", other)]
        found = [Measure(attack).of(each) for each in runs]
        rows.append(
            {
                "row": name,
                "attack": attack,
                "points_published": collection.reference.value("text", name, "robustness_gain"),
                "points": 100 * (found[0].mean - found[1].mean) if all(found) else NOTHING,
                "percent_i_sce": 100 * found[0].mean if found[0] else NOTHING,
                "percent_other": 100 * found[1].mean if found[1] else NOTHING,
                "runs": names(itertools.chain(*runs)),
            }
        )
    frame = DataFrame(rows)
    headings = ["improvement", "our attack", "published", "ours", "I-SCE", "the other"]
    shown = frame.drop(columns="runs").set_axis(headings, axis=1)
    caption = (
        "Points of robust accuracy. Grey: published, of an epsilon that is not printed. The two columns on the right "
        f"are ours, at the smaller epsilon of the tables. {display.DASH}: not run at scale {collection.scale}."
    )
    styler = display.styled(shown, "gains", caption, left=("improvement", "our attack"), grey=("published",))
    return frame, styler.format(precision=2, na_rep=display.DASH)


def numbers5(collection: Collection) -> tuple[DataFrame, Styler]:
    """Figure 5 in numbers of ours: MNIST, ResNet-32."""
    return _under_pgd(collection, "numbers5", "mnist", "mnist")


def numbers6(collection: Collection) -> tuple[DataFrame, Styler]:
    """Figure 6 in numbers of ours: CIFAR-10, ResNet-32."""
    return _under_pgd(collection, "numbers6", "cifar10", "cifar10")


def numbers10(collection: Collection) -> tuple[DataFrame, Styler]:
    """Figure 10 in numbers of ours: MNIST, LeNet-5."""
    return _under_pgd(collection, "numbers10", "mnist-shallow", "mnist")


def numbers11(collection: Collection) -> tuple[DataFrame, Styler]:
    """Figure 11 in numbers of ours: CIFAR-10, eight layers."""
    return _under_pgd(collection, "numbers11", "cifar10-shallow", "cifar10")


def numbers4(collection: Collection) -> tuple[DataFrame, Styler]:
    """Figure 4 in numbers of ours: a training for each s and m."""
    lines = [
        Line((DATA[experiment.removesuffix("-grid")], s, m), experiment, f"s {s} m {m}")
        for experiment in dict.fromkeys(experiment for experiment, _ in GRIDS.values())
        for s in GRID["s"]
        for m in GRID["m"]
    ]
    columns = [
        ours.percent(("", "clean"), ACCURACY),
        ours.percent(("", "DeepFool as coded"), Measure("deepfool coded")),
        ours.percent(("MNIST", "PGD50un 0.02"), Measure("pgd50un 0.02")),
        ours.percent(("CIFAR10", "PGD50un 0.01"), Measure("pgd50un 0.01")),
    ]
    return ours.table(collection, "numbers4", ("data set", "s", "m"), lines, columns, "Accuracy in %")


def numbers7(collection: Collection) -> tuple[DataFrame, Styler]:
    """Figure 7 in numbers of ours."""
    lines = [Line((step,), "cifar10-at", step) for step in TRAINED_STEPS]
    columns = [
        ours.percent(("", "clean"), ACCURACY),
        *(ours.percent(("attack: step / iterations", title), Measure(attack)) for title, attack in CURVES.items()),
    ]
    about = "Accuracy in %. Steps are on pixels in [−1, 1], ten of them in training; at 0 nothing is perturbed"
    return ours.table(collection, "numbers7", ("step in training",), lines, columns, about)


def numbers8(collection: Collection) -> tuple[DataFrame, Styler]:
    """Figure 8 in numbers of ours: DeepFool, ResNet-32."""
    return _under_deepfool(collection, "numbers8", {"mnist-deepfool": "MNIST", "cifar10-deepfool": "CIFAR10"})


def numbers12(collection: Collection) -> tuple[DataFrame, Styler]:
    """Figure 12 in numbers of ours: DeepFool, shallow networks."""
    shallow = {"mnist-shallow-deepfool": "MNIST", "cifar10-shallow-deepfool": "CIFAR10"}
    return _under_deepfool(collection, "numbers12", shallow)


def figure3(collection: Collection) -> Figure:
    """z(s, m) for the printed S and f; I-SCE's interval is the larger one where it is positive."""
    wrong, own = (
        collection.reference.value("text", "MNIST and CIFAR10, mean over all examples", metric)
        for metric in ("wrong_exponentials", "correct_logit")
    )
    s, m = np.meshgrid(np.linspace(1, 2, 101), np.linspace(0, 0.1, 101))
    z = interval_slope(s, m, own, wrong)
    title = f"z(s, m) for S = {wrong:g}, f = {own:g}"
    about = f"smallest value {z.min():.2g}, at s = 1 and m = 0; a formula, nothing is measured"
    return surfaces.slope(z, s, m, title, about)


def figure4(collection: Collection) -> Figure:
    """Accuracy over s and m under DeepFool and untargeted PGD."""
    panels = {
        f"({letter}) {title}": np.array(
            [[_grid_share(collection, experiment, s, m, attack) for s in GRID["s"]] for m in GRID["m"]]
        )
        for letter, (title, (experiment, attack)) in zip("abcd", GRIDS.items(), strict=True)
    }
    return surfaces.figure(panels, GRID["s"], GRID["m"], _about_grids(collection))


def figure5(collection: Collection) -> Figure:
    """PGD on MNIST, ResNet-32."""
    return _over_steps(collection, "mnist", "mnist")


def figure6(collection: Collection) -> Figure:
    """PGD on CIFAR-10, ResNet-32."""
    return _over_steps(collection, "cifar10", "cifar10")


def figure7(collection: Collection) -> Figure:
    """Adversarial training: accuracy against the step of the adversaries that it trains on."""
    curves = {
        title: {float(step): measure.of(collection.of("cifar10-at", step)) for step in TRAINED_STEPS}
        for title, measure in {"clean": ACCURACY, **{name: Measure(attack) for name, attack in CURVES.items()}}.items()
    }
    note = f"curves: step / iterations of the attack  ·  {SCALE}"
    return ours.curves(collection, "cifar10-at", {"adversarial training": curves}, "step in training", note)


def figure8(collection: Collection) -> Figure:
    """DeepFool, ResNet-32."""
    return _deepfool(collection, {"mnist-deepfool": "MNIST", "cifar10-deepfool": "CIFAR10"})


def figure9(collection: Collection) -> Figure:
    """Test images as the three numbers before the output layer."""
    return embedding.figure(collection, {"figure9": "MNIST", "figure9 CIFAR10": "CIFAR10"})


def figure10(collection: Collection) -> Figure:
    """PGD on MNIST, LeNet-5."""
    return _over_steps(collection, "mnist-shallow", "mnist")


def figure11(collection: Collection) -> Figure:
    """PGD on CIFAR-10, eight layers."""
    return _over_steps(collection, "cifar10-shallow", "cifar10")


def figure12(collection: Collection) -> Figure:
    """DeepFool, shallow networks."""
    return _deepfool(collection, {"mnist-shallow-deepfool": "MNIST", "cifar10-shallow-deepfool": "CIFAR10"})


def interval_slope(s, m, own: float, wrong: float):
    """z(s, m) of Section 3.3.2: the derivative of P_I - P (Eq. 10) by the true logit `own`, over `wrong`.

    `wrong` is S, the sum of exp(f_j) over the wrong classes.
    """
    raised = np.exp(s * own + m)
    return s * raised / (raised + wrong) ** 2 - np.exp(own) / (np.exp(own) + wrong) ** 2


SCALE = "steps on pixels in [-1, 1], without projection: no radius"


def _pgd50(trained: Trained) -> Iterator[Cell]:
    experiment, _, method = trained
    data = DATA[experiment]
    yield Cell((method,), ("", "Clean"), f"{data} {method}", "Clean", ACCURACY)
    for goal in ("un", "tar"):
        for step in STEPS[experiment]:
            attack = Measure(f"pgd50{goal} {step}")
            head = (f"PGD 50 {goal}", f"ε = {step}")
            yield Cell((method,), head, f"{data} eps={step} {method}", f"PGD 50 {goal}", attack)
    honest = Measure(f"honest {HONEST[experiment]}")
    row = f"{data} honest={HONEST[experiment]} {method}"
    yield Cell(
        (method,), ("worst case", f"L∞ {HONEST[experiment]}"), row, "worst case", honest, "robust_accuracy_honest"
    )


def _simba(trained: Trained) -> Iterator[Cell]:
    experiment, _, method = trained
    key = experiment.removesuffix("-simba")
    data = DATA[key]
    yield Cell((method,), (data, "Clean"), f"{data} {method}", "Clean", ACCURACY)
    for step in ("0.5", "1", "1.5"):
        attack = Measure(f"simba{QUERIES[key]} {step}")
        yield Cell((method,), (data, f"ε = {step}"), f"{data} eps={step} {method}", "SimBA", attack)


def _under_pgd(collection: Collection, name: str, experiment: str, data: str) -> tuple[DataFrame, Styler]:
    lines = [Line((method,), experiment, method) for method in METHODS]
    columns = [
        ours.percent(("", "clean"), ACCURACY),
        *(
            ours.percent((title, f"ε = {step}"), Measure(f"{attack} {step}"))
            for attack, title in PGD.items()
            for step in STEPS[data]
        ),
        ours.percent(("worst case", f"L∞ {HONEST[data]}"), Measure(f"honest {HONEST[data]}")),
        ours.percent(("PGD", "L∞ 0.5"), Measure("linf 0.5")),
    ]
    about = "Accuracy in %. ε is the length of a step on pixels in [−1, 1], L∞ a radius on [0, 1]"
    return ours.table(collection, name, ("method",), lines, columns, about)


def _under_deepfool(collection: Collection, name: str, experiments: dict[str, str]) -> tuple[DataFrame, Styler]:
    lines = [Line((data, method), experiment, method) for experiment, data in experiments.items() for method in METHODS]
    columns = [
        ours.percent(("accuracy, %", "clean"), ACCURACY),
        ours.percent(("accuracy, %", "DeepFool as coded"), Measure("deepfool coded")),
        ours.percent(("accuracy, %", "DeepFool"), Measure("deepfool")),
        ours.distance(("mean L2", "DeepFool"), "deepfool"),
        ours.distance(("mean L2", "DDN"), "ddn"),
    ]
    return ours.table(collection, name, ("data set", "method"), lines, columns, "Distances on pixels in [0, 1]")


def _over_steps(collection: Collection, experiment: str, data: str) -> Figure:
    panels = {
        title: {0.0: ACCURACY} | {float(step): Measure(f"{attack} {step}") for step in STEPS[data]}
        for attack, title in PGD.items()
    }
    clean = _printed_clean(collection, experiment).items()
    published = cells.published(collection, PRINTED)
    published |= {(experiment, method, ACCURACY): percent for method, percent in clean}
    return ours.measured_curves(collection, experiment, METHODS, panels, "step", SCALE, published)


def _printed_clean(collection: Collection, experiment: str) -> dict[str, float]:
    """The accuracies on clean images that are printed for networks such as those of `experiment`, by method.

    Of two that differ, Table 3's gives way to that of Table 1 or 2, which stands beside the attacks of this figure.
    """
    name = experiment.removesuffix("-deepfool")
    values = cells.published(collection, PRINTED)
    found = {method: values.get((f"{name}-simba", method, ACCURACY)) for method in METHODS}
    found |= {method: values[name, method, ACCURACY] for method in METHODS if (name, method, ACCURACY) in values}
    return {method: percent for method, percent in found.items() if percent is not None}


def _deepfool(collection: Collection, experiments: dict[str, str]) -> Figure:
    """Accuracies, and the mean L2 of the perturbations of the attacks that go on until the class changes."""
    reads = {
        "clean": ours.percent((), ACCURACY),
        "DeepFool as coded": ours.percent((), Measure("deepfool coded")),
        "DeepFool": ours.percent((), Measure("deepfool")),
    }
    panels = [
        Panel(f"{data}, accuracy", "%", name, ours.readers(collection, name, reads), limits=(-3, 103))
        for name, data in experiments.items()
    ]
    panels += [
        Panel(
            f"{data}, how far attacks go",
            "mean L2 on [0, 1]",
            name,
            ours.readers(
                collection, name, {"DeepFool": ours.distance((), "deepfool"), "DDN": ours.distance((), "ddn")}
            ),
            limits=(0, None),
        )
        for name, data in experiments.items()
    ]
    published = {
        (experiment, method, "clean"): percent
        for experiment in experiments
        for method, percent in _printed_clean(collection, experiment).items()
    }
    return dots.figure(collection, METHODS, panels, "DeepFool as coded stops after three steps", published)


def _about_grids(collection: Collection) -> str:
    rows = [f"s {s} m {m}" for s in GRID["s"] for m in GRID["m"]]
    parts = []
    for experiment in dict.fromkeys(experiment for experiment, _ in GRIDS.values()):
        run = [row for row in rows if collection.of(experiment, row)]
        counted = f"{experiment}: {len(run)} of {len(rows)} trainings"
        parts.append(facts.footer(collection, experiment, run, f"{counted}, mean over seeds") if run else counted)
    return "  ·  ".join(parts)


def _grid_share(collection: Collection, experiment: str, s: str, m: str, attack: str) -> float:
    found = Measure(attack).of(collection.of(experiment, f"s {s} m {m}"))
    return 100 * found.mean if found else NOTHING


def _trained(methods: tuple[str, ...], *experiments: str) -> tuple[Trained, ...]:
    return tuple(Trained(experiment, method, method) for method in methods for experiment in experiments)


SIMBA = ("SCE", "Center", "MMC", "I-SCE", "Random", "AT")
PRINTED = {
    "table1": Table("Accuracy", ("method",), _trained(("I-SCE", "AT"), "mnist"), _pgd50),
    "table2": Table("Accuracy", ("method",), _trained(("I-SCE", "AT"), "cifar10"), _pgd50),
    "table3": Table("Accuracy", ("method",), _trained(SIMBA, "mnist-simba", "cifar10-simba"), _simba),
}
TABLES = {item: partial(display.as_printed, item=item, tables=PRINTED) for item in PRINTED} | {
    function.__name__: function
    for function in (gains, *(numbers4, numbers5, numbers6, numbers7, numbers8, numbers10, numbers11, numbers12))
}
FIGURES = {
    function.__name__: function
    for function in (*(figure3, figure4, figure5, figure6, figure7, figure8, figure9, figure10, figure11, figure12),)
}
