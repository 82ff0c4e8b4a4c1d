"""Pang et al. (2020), ICLR: which of our measurements stands in which table and figure.

No table of the paper is at hand, so all of these are ours; they follow what its authors' code runs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure
from pandas import DataFrame
from pandas.io.formats.style import Styler

from robustloss.papers import dots, embedding, estimates, facts, matrix, ours, style
from robustloss.papers import independent as others_found
from robustloss.papers.cells import ACCURACY, Measure
from robustloss.papers.collection import Collection
from robustloss.papers.dots import Panel
from robustloss.papers.estimates import NOTHING, Measured
from robustloss.papers.measured import Run
from robustloss.papers.ours import Column, Line

LOSSES = ("SCE", "Center", "MMLDA", "L-GM", "MMC-10 rand", "MMC-10", "MMC-10 paper", "EMC")
METHODS = {"mnist": LOSSES, "cifar10": (*LOSSES, "MMC-100"), "cifar100": (*LOSSES, "HMM")}
TRAINED = (
    *("AT-un SCE", "AT-tar SCE", "AT-un MMC-10", "AT-tar MMC-10"),
    *("AT-un MMC-10 adaptive", "AT-tar MMC-10 adaptive"),
)
DATA = {"mnist": "MNIST", "cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
EPSILONS = ("8", "16", "32")


def clean(collection: Collection) -> tuple[DataFrame, Styler]:
    """Accuracy on clean images."""
    experiments = METHODS | {"cifar10-at": TRAINED}
    lines = [Line((_data(name), row), name, row) for name, rows in experiments.items() for row in rows]
    return ours.table(collection, "clean", PLACE, lines, [CLEAN], "Accuracy in %")


def compared(collection: Collection) -> tuple[DataFrame, Styler]:
    """The attack library's loss, the released adaptive loss and stronger attacks, at one epsilon each."""
    lines = [Line((*_at(name), row), name, row) for name, rows in METHODS.items() for row in rows]
    return ours.table(collection, "compared", AT, lines, [CLEAN, *_compared("32", "8")], STRENGTHS)


def trained(collection: Collection) -> tuple[DataFrame, Styler]:
    """Adversarial training on CIFAR-10, beside the same losses without it."""
    lines = [Line((row,), "cifar10", row) for row in ("SCE", "MMC-10")]
    lines += [Line((row,), "cifar10-at", row) for row in TRAINED]
    return ours.table(collection, "trained", ("method",), lines, [CLEAN, *_compared("8")], RADII)


def pgd_ce(collection: Collection) -> tuple[DataFrame, Styler]:
    """PGD up the attack library's cross-entropy."""
    return _pgd(collection, "pgd_ce", "ce")


def pgd_adaptive(collection: Collection) -> tuple[DataFrame, Styler]:
    """PGD up the released adaptive loss, and the margin between centres."""
    return _pgd(collection, "pgd_adaptive", "adaptive")


def others(collection: Collection) -> tuple[DataFrame, Styler]:
    """C&W, SPSA, Gaussian noise and rotation on CIFAR-10."""
    lines = [Line((row,), "cifar10-others", row) for row in (*METHODS["cifar10"], *TRAINED)]
    columns = [
        CLEAN,
        ours.percent(("accuracy, %", "noise, σ = 0.05"), Measure("noise 0.05")),
        ours.percent(("accuracy, %", "rotation, 30°"), Measure("rotation 30")),
        ours.percent(("accuracy, %", "SPSA, ε = 8/256"), Measure("spsa 8")),
        ours.percent(("accuracy, %", "C&W"), Measure("cw 0")),
        ours.distance(("mean L2", "C&W"), "cw 0"),
    ]
    return ours.table(collection, "others", ("method",), lines, columns, "Distances on pixels in [0, 1]")


def capacity(collection: Collection) -> tuple[DataFrame, Styler]:
    """Two depths on CIFAR-10."""
    depths = {"cifar10": "47", "cifar10-deep": "164"}
    lines = [Line((depth, row), name, row) for name, depth in depths.items() for row in ("SCE", "MMC-10")]
    columns = [CLEAN, *_compared("8")]
    return ours.table(collection, "capacity", ("layers", "method"), lines, columns, RADII)


def transfer(collection: Collection) -> tuple[DataFrame, Styler]:
    """Adversarial examples of one network on another, CIFAR-10."""
    lines = [Line((row,), TRANSFER, row) for row in (*METHODS["cifar10"], *TRAINED)]
    columns = [
        CLEAN,
        *(ours.percent(("examples of", source), Measure(f"from {source}")) for source in SOURCES),
    ]
    return ours.table(collection, "transfer", ("attacked",), lines, columns, f"{RADII}; ε = 8/256")


def centres(collection: Collection) -> tuple[DataFrame, Styler]:
    """Optimal centres against random ones."""
    lines = [Line((*_at(name), row), name, row) for name in METHODS for row in ("MMC-10", "MMC-10 rand")]
    return ours.table(collection, "centres", AT, lines, [CLEAN, *_compared("32", "8")], STRENGTHS)


def speed(collection: Collection) -> tuple[DataFrame, Styler]:
    """How fast networks learn MNIST, and what an epoch costs."""
    lines = [Line((row,), "mnist", row) for row in METHODS["mnist"]]
    columns = [_error_after(epoch) for epoch in (*EPOCHS, None)]
    columns.append(Column(("seconds", "per epoch"), "seconds_per_epoch", _seconds))
    return ours.table(collection, "speed", ("method",), lines, columns, "Seconds are those of the training alone")


def independent(collection: Collection) -> tuple[DataFrame, Styler]:
    """What others measured of the same losses, beside ours."""
    return others_found.table(collection)


def attacks(collection: Collection) -> Figure:
    """What each network withstands, attack by attack."""
    panels = [
        Panel(
            f"{DATA[name]}, ε = {epsilon}/256",
            "accuracy, %",
            name,
            ours.readers(collection, name, {title: ours.percent((), measure) for title, measure in _climbed(epsilon)}),
            limits=(-3, 103),
        )
        for name, epsilon in STRENGTH.items()
    ]
    rows = list(dict.fromkeys(row for methods in METHODS.values() for row in methods))
    return dots.figure(collection, rows, panels, "epsilon: a radius on pixels in [0, 1]")


def transferred(collection: Collection) -> Figure:
    """The transfer table in colours."""
    rows = [*METHODS["cifar10"], *TRAINED]
    shares = [[Measure(f"from {source}").of(collection.of(TRANSFER, row)) for source in SOURCES] for row in rows]
    values = np.array([[100 * found.mean if found else NOTHING for found in line] for line in shares])
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    axis = figure.subplots()
    shown = matrix.draw(axis, values, rows, SOURCES, low=0, high=100, digits=1)
    axis.set(xlabel="network that the adversarial examples are made on", ylabel="attacked network")
    figure.colorbar(shown, label="accuracy, %")
    if np.isnan(values).all():
        style.not_run(figure)
    style.footer(
        figure,
        facts.footer(collection, TRANSFER, rows, "ε = 8/256; on its own examples a network is attacked white-box"),
    )
    return figure


def angles(collection: Collection) -> Figure:
    """Cosines between the centres of ten classes, optimal and random; a formula."""
    # Only here, so that everything else waits for no torch.
    from robustloss.papers import angles

    return angles.figure(classes=10, dimension=256)


def strength(collection: Collection) -> Figure:
    """Accuracy against epsilon under PGD-50 with each loss: CIFAR-10, or MNIST where only that was run."""
    attacks = {"cross-entropy": "pgd50un {} ce", "adaptive": "pgd50un {} adaptive", "pairwise": "pairwise {}"}
    only_mnist = any(collection.seeds("mnist-pgd")) and not any(collection.seeds("cifar10-pgd"))
    data = "mnist" if only_mnist else "cifar10"
    panels = {
        title: {0.0: ACCURACY} | {float(epsilon): Measure(label.format(epsilon)) for epsilon in EPSILONS}
        for title, label in attacks.items()
    }
    note = "epsilon: a radius on pixels in [0, 1]"
    return ours.measured_curves(collection, f"{data}-pgd", METHODS[data], panels, "epsilon × 256", note, {})


def convergence(collection: Collection) -> Figure:
    """Test error after each epoch, MNIST."""
    curves = {row: _errors(collection.of("mnist", row)) for row in METHODS["mnist"]}
    return ours.curves(collection, "mnist", {"MNIST": curves}, "epoch", "split test", share="test error", scale="log")


def plane(collection: Collection) -> Figure:
    """Test images of MNIST as the two numbers before the head."""
    return embedding.figure(collection, {"plane": "MNIST"})


TRANSFER = "cifar10-transfer"
SOURCES = ("SCE", "MMC-10", "MMC-100", "AT-un SCE", "AT-un MMC-10")
EPOCHS = (1, 2, 5, 10)
CLEAN = ours.percent(("", "clean"), ACCURACY)
PLACE = ("data set", "method")
AT = ("data set", "ε", "method")
# The epsilon of the main comparison, times 256.
STRENGTH = {"mnist": "32", "cifar10": "8", "cifar100": "8"}
RADII = "Accuracy in %. ε is an L∞ radius on pixels in [0, 1]"
STRENGTHS = f"{RADII}: {'; '.join(f'{DATA[name]} {epsilon}/256' for name, epsilon in STRENGTH.items())}"


def _errors(runs: Sequence[Run]) -> dict[int, Measured]:
    """The error on the test split by epoch, of the epochs that all runs kept."""
    told = {run.name: _accuracies(run) for run in runs}
    epochs = sorted(set.intersection(*map(set, told.values()))) if told else ()
    found = {epoch: estimates.share(runs, lambda run, at=epoch: told[run.name][at], "last") for epoch in epochs}
    # The interval of an accuracy, turned round.
    return {epoch: Measured(1 - accuracy, 1 - high, 1 - low) for epoch, (accuracy, low, high) in found.items()}


def _accuracies(run: Run) -> dict[int, dict[str, float]]:
    """By epoch what a summary has of the last one."""
    names = {"accuracy": "last", "accuracy_low": "last_low", "accuracy_high": "last_high"}
    test = run.epochs[run.epochs["split"] == "test"].set_index("epoch")
    return test[list(names)].rename(columns=names).to_dict("index")


def _data(experiment: str) -> str:
    return f"{DATA['cifar10']}, AT" if experiment == "cifar10-at" else DATA[experiment]


def _at(experiment: str) -> tuple[str, str]:
    """The data set, and the epsilon of its main comparison."""
    return DATA[experiment], f"{STRENGTH[experiment]}/256"


def _compared(*epsilons: str) -> list[Column]:
    """A column for each attack of the main comparison, whichever of the epsilons an experiment has."""
    above = f"ε = {epsilons[0]}/256" if len(epsilons) == 1 else "at this ε"
    named = zip(*map(_climbed, epsilons), strict=True)
    return [ours.percent((above, same[0][0]), *(measure for _, measure in same)) for same in named]


def _climbed(epsilon: str) -> Iterator[tuple[str, Measure]]:
    """The attacks of the main comparison, from what a library climbs to what is honest."""
    attacks = {
        "PGD-50, cross-entropy": f"pgd50un {epsilon} ce",
        "PGD-50, adaptive": f"pgd50un {epsilon} adaptive",
        "pairwise": f"pairwise {epsilon}",
        "AutoAttack": f"autoattack {epsilon}",
        "worst case": f"honest {epsilon}",
    }
    return ((title, Measure(label)) for title, label in attacks.items())


def _error_after(epoch: int | None) -> Column:
    """The test error after an epoch; without `epoch` after the last one."""

    def read(collection: Collection, runs: Sequence[Run]) -> Measured | None:
        found = _errors(runs)
        error = found.get(epoch or max(found, default=0))
        return error and error.percent()

    name = f"epoch {epoch}" if epoch else "last epoch"
    return Column(("test error, %", name), f"error_{epoch or 'last'}_percent", read)


def _seconds(collection: Collection, runs: Sequence[Run]) -> Measured | None:
    return estimates.value(runs, lambda run: run.record["environment"]["seconds"] / run.trained_epochs)


def _pgd(collection: Collection, name: str, kind: str) -> tuple[DataFrame, Styler]:
    lines = [Line((DATA[data], row), f"{data}-pgd", row) for data, rows in METHODS.items() for row in rows]
    attacks = [f"pgd{steps}{goal}" for goal in ("un", "tar") for steps in (10, 50)]
    labels = {(label, epsilon): f"{label} {epsilon} {kind}" for label in attacks for epsilon in EPSILONS}
    if kind == "adaptive":
        labels |= {("pairwise", epsilon): f"pairwise {epsilon}" for epsilon in EPSILONS}
    columns = [
        ours.percent((label, f"ε = {epsilon}/256"), Measure(attack)) for (label, epsilon), attack in labels.items()
    ]
    return ours.table(collection, name, PLACE, lines, columns, RADII)


TABLES = {
    function.__name__: function
    for function in (
        *(clean, compared, trained, pgd_ce, pgd_adaptive, others, transfer, centres, capacity, speed, independent),
    )
}
FIGURES = {function.__name__: function for function in (attacks, strength, transferred, angles, convergence, plane)}
