"""Chen et al. (2019), ICCV, pages 4880-4888: which of our measurements stands in which table."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial

from matplotlib.figure import Figure

from robustloss.papers import cells, display, embedding, ours, planes
from robustloss.papers.cells import ACCURACY, ERROR, Cell, Measure, Table, Trained
from robustloss.papers.collection import Collection

# What the tables call the data sets of the experiments.
DATA = {
    "mnist": "MNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "tiny-imagenet": "Tiny ImageNet",
    "mnist-best": "MNIST, best epoch",
    "mnist-at": "MNIST",
    "cifar10-at": "CIFAR10",
}
BOUNDED = ("FGSM", "BIM", "PGD", "MIM")
SMALL = ("0.04", "0.12", "0.2")
LARGE = ("0.1", "0.2", "0.3")
EPSILONS = {"mnist": LARGE, "cifar10": SMALL, "cifar100": SMALL, "tiny-imagenet": SMALL}
EPSILONS |= {"mnist-at": LARGE, "cifar10-at": ("0.04", "0.08")}
# The share of pixels that JSMA may change.
GAMMAS = {"mnist": ("0.25", "0.5"), "cifar10": ("0.07", "0.14")}
# Table 5 has one strength of each.
FIRST_EPSILON = {"mnist": ("0.2",), "cifar10": ("0.04",)}
FIRST_GAMMA = {"mnist": ("0.25",), "cifar10": ("0.07",)}
# Section 5.3: Table 6 attacks with the first number of steps; the second is that of the training.
HARDENED = {"mnist-at": (("0.3",), ("100", "40")), "cifar10-at": (("0.04", "0.08"), ("40", "10"))}
# Several attacks together, which the paper has not.
WORST = "worst case"
TSNE = "t-SNE of what the last layer is given; distances between clusters mean nothing"
SIGNS = {"eps": "ε", "gamma": "γ", "c": "c"}


def figure1(collection: Collection) -> Figure:
    """Latent spaces of networks trained with XE and with GCE, by t-SNE."""
    return embedding.figure(collection, {"figure1": "CIFAR10", "figure1 MNIST": "MNIST"}, TSNE)


def figure2(collection: Collection) -> Figure:
    """Loss landscapes of complement entropy and of GCE, three classes."""
    # Only here, so that everything else waits for no torch.
    from robustloss.papers import simplex

    smallest = _alpha(collection, "larger basin of Figure 2")
    shown = {"(a) complement entropy": "0", "(b) GCE": "1/2", "(c) GCE": "1/3", "(d) GCE": smallest}
    titles = {name if alpha == "0" else f"{name}, α = {alpha}": Fraction(alpha) for name, alpha in shown.items()}
    return simplex.landscapes({title: float(alpha) for title, alpha in titles.items()})


def figure3(collection: Collection) -> Figure:
    """GCE along the line of equal wrong classes, several α."""
    from robustloss.papers import simplex

    named = (_alpha(collection, cell) for cell in ("constant slope of Figure 3", "larger basin of Figure 2"))
    largest, smallest = named
    alphas = (largest, "1/2", "1/3", "1/4", "1/5", smallest)
    return simplex.profile({alpha: float(Fraction(alpha)) for alpha in alphas})


def figure4(collection: Collection) -> Figure:
    """Latent spaces of the adversarially trained networks, by t-SNE."""
    return embedding.figure(collection, {"figure4": "CIFAR10", "figure4 MNIST": "MNIST"}, TSNE)


def landscape(collection: Collection) -> Figure:
    """Cross-entropy on a plane through a test image; not a figure of the paper."""
    return planes.figure(collection, "landscape")


def summary(collection: Collection) -> Figure:
    """Accuracy on MNIST against epsilon, a panel for each bounded attack; not a figure of the paper."""
    return _against_epsilon(collection, "mnist")


def summary_cifar10(collection: Collection) -> Figure:
    """Accuracy on CIFAR-10 against epsilon, a panel for each bounded attack; not a figure of the paper."""
    return _against_epsilon(collection, "cifar10")


def _errors(trained: Trained) -> Iterator[Cell]:
    data = DATA[trained.experiment]
    line = trained.name.replace("alpha=", "α = ")
    yield Cell((line,), (data,), f"{data} {trained.name}", "Classification error rates", ERROR)


def _all_attacks(trained: Trained) -> Iterator[Cell]:
    yield from _attacks(trained, BOUNDED, EPSILONS, GAMMAS)
    yield from _worst(trained)


def _one_strength(trained: Trained) -> Iterator[Cell]:
    yield from _attacks(trained, ("FGSM", "BIM", "MIM"), FIRST_EPSILON, FIRST_GAMMA)


def _attacks(trained: Trained, bounded: tuple, epsilons: dict, gammas: dict) -> Iterator[Cell]:
    for attack in bounded:
        for epsilon in epsilons[trained.experiment]:
            yield _attacked(trained, attack, "eps", epsilon)
    for gamma in gammas[trained.experiment]:
        yield _attacked(trained, "JSMA", "gamma", gamma)
    yield _attacked(trained, "C&W", "c", "0")


def _pgd(trained: Trained) -> Iterator[Cell]:
    for epsilon in EPSILONS[trained.experiment]:
        yield _attacked(trained, "PGD", "eps", epsilon)
    yield from _worst(trained)


def _attacked(trained: Trained, attack: str, sign: str, strength: str) -> Cell:
    experiment, _, loss = trained
    line = (DATA[experiment], attack, f"{SIGNS[sign]} = {strength}")
    return Cell(line, (loss,), f"{DATA[experiment]} {sign}={strength} {loss}", attack, _under(attack, strength))


def _hardened(trained: Trained) -> Iterator[Cell]:
    experiment, _, loss = trained
    epsilons, (printed, *further) = HARDENED[experiment]
    for steps in (printed, *further):
        for epsilon in epsilons:
            line = (DATA[experiment], f"PGD, {steps} steps", f"ε = {epsilon}")
            added = "" if steps == printed else f" steps={steps}"
            row = f"{DATA[experiment]} eps={epsilon}{added} {loss}"
            yield Cell(line, (loss,), row, "PGD", Measure(f"pgd {epsilon} xe {steps}"))
    yield from _worst(trained)


def _worst(trained: Trained) -> Iterator[Cell]:
    for epsilon in EPSILONS[trained.experiment]:
        yield replace(_attacked(trained, WORST, "eps", epsilon), metric="robust_accuracy_worst_case")


def _under(attack: str, strength: str) -> Measure:
    """The attack by its label in the yaml: `fgsm 0.1`, `jsma 0.25`, `cw 0`, `honest 0.1`."""
    name = "honest" if attack == WORST else attack.lower().replace("&", "")
    return Measure(f"{name} {strength}")


def _trained(rows: dict[str, str], *experiments: str) -> tuple[Trained, ...]:
    """`rows` by the tables' names for them, in each of the experiments."""
    return tuple(Trained(experiment, row, name) for experiment in experiments for name, row in rows.items())


ALPHAS = {"XE": "XE", **{f"alpha={alpha} GCE": f"GCE {alpha}" for alpha in ("1/2", "1/3", "1/4", "1/5")}}
# Section 5.2: robustness is measured at alpha = 1/3 only.
PAIR = {"XE": "XE", "GCE": "GCE 1/3"}
COT = {"XE": "XE", "COT": "COT", "GCE": "GCE 1/3"}
PLACE = ("data set", "attack", "strength")
# Not printed: the epoch that is best on the test set, of the same trainings.
BEST = _trained({name: row for name, row in ALPHAS.items() if row in PAIR.values()}, "mnist-best")
PRINTED = {
    "table2": Table(
        "Error rate", ("loss",), _trained(ALPHAS, "mnist", "cifar10", "cifar100", "tiny-imagenet") + BEST, _errors
    ),
    "table3": Table("Robust accuracy", PLACE, _trained(PAIR, "mnist", "cifar10"), _all_attacks),
    "table4": Table("Robust accuracy", PLACE, _trained(PAIR, "cifar100", "tiny-imagenet"), _pgd),
    "table5": Table("Robust accuracy", PLACE, _trained(COT, "mnist", "cifar10"), _one_strength),
    "table6": Table("Robust accuracy", PLACE, _trained(PAIR, "mnist-at", "cifar10-at"), _hardened),
}
TABLES = {item: partial(display.as_printed, item=item, tables=PRINTED) for item in PRINTED}
FIGURES = {
    function.__name__: function
    for function in (figure1, figure2, figure3, figure4, summary, summary_cifar10, landscape)
}


def _alpha(collection: Collection, row: str) -> str:
    """A value of α that the text names."""
    return collection.printed("text", row, "alpha").printed


def _against_epsilon(collection: Collection, experiment: str) -> Figure:
    panels = {
        attack: {0.0: ACCURACY} | {float(epsilon): _under(attack, epsilon) for epsilon in EPSILONS[experiment]}
        for attack in (*BOUNDED, WORST)
    }
    rows = cells.rows(collection, experiment, PRINTED)
    published = cells.published(collection, PRINTED)
    note = "epsilon: fraction of the pixel range"
    figure = ours.measured_curves(collection, experiment, rows, panels, "epsilon", note, published, width=1.76)
    figure.axes[0].set_xticks([0.0, *map(float, EPSILONS[experiment])], ["0", *EPSILONS[experiment]])
    return figure
