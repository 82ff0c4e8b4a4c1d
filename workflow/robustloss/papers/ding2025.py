"""Ding and Möller (2025), Electronics 14(17):3529: which of our measurements stands in which table and figure."""

from dataclasses import replace

from matplotlib.figure import Figure
from pandas import DataFrame
from pandas.io.formats.style import Styler

from robustloss.papers import display, examples, figures, paths, tables
from robustloss.papers.collection import Collection
from robustloss.papers.figures import Panel
from robustloss.papers.measured import read_table
from robustloss.papers.tables import Distance, Share

# Section 2.1: accuracy on the test set, robustness and distances on the evaluation set.
ROBUST = Share(
    "robust_accuracy",
    "PGD robust accuracy",
    of=lambda run: run.attack("pgd")["summary"],
    key="robust_accuracy",
    balanced="balanced_robust_accuracy",
)
ACCURACY = Share(
    "accuracy",
    "Accuracy",
    of=lambda run: run.features["summary"]["test"],
    key="accuracy",
    balanced="balanced_accuracy",
)
D_CC = Distance("d_cc", "D_cc", split="evaluation", relative_to="1")
D_IC = Distance("d_ic", "D_ic", split="evaluation", relative_to="1")
COLUMNS = (ROBUST, ACCURACY, D_CC, D_IC)
# Tables 5 and 6 have no row for clean training.
PLAIN_COLUMNS = (ROBUST, ACCURACY, replace(D_CC, relative_to=None), replace(D_IC, relative_to=None))

INTRA = "mean intra-class distance $D_\\mathrm{ic}$"
INTER = "mean inter-class distance $D_\\mathrm{cc}$"
LOGITS = "distance (raw logits)"
NATS = "cross-entropy (nats per image)"


def table1(collection: Collection) -> tuple[DataFrame, Styler]:
    """Images per class; counted by the data stage."""
    frame = read_table(collection.directory / "tables" / "table1.csv")
    return frame, display.counts(frame, "table1")


def table2(collection: Collection) -> tuple[DataFrame, Styler]:
    """The functions, their gradients, and the terms of our runs."""
    frame = tables.losses(collection, "table2", "table3")
    return frame, display.losses(frame, "table2")


def table3(collection: Collection) -> tuple[DataFrame, Styler]:
    """ResNet-50 with every function."""
    return _comparison(collection, "table3")


def table4(collection: Collection) -> tuple[DataFrame, Styler]:
    """EfficientNet with functions 1, 6 and 7."""
    return _comparison(collection, "table4")


def table5(collection: Collection) -> tuple[DataFrame, Styler]:
    """Borderline adversarial training."""
    return _adversarial(collection, "table5", "loss")


def table6(collection: Collection) -> tuple[DataFrame, Styler]:
    """Borderline adversarial training towards other targets."""
    return _adversarial(collection, "table6", "generation")


def figure1(collection: Collection) -> Figure:
    """One image of each tool."""
    return examples.figure(collection, "surgical")


def figure2(collection: Collection) -> Figure:
    """Distances in the training split per epoch: functions that spread the features."""
    return _over_epochs(collection, "figure2", Panel("d_ic", INTRA, LOGITS), Panel("d_cc", INTER, LOGITS))


def figure3(collection: Collection) -> Figure:
    """Cross-entropy of the training split per epoch, and again from the epoch that the caption names."""
    table, _ = collection.figure("figure3")
    last = max((run.last_epoch for runs in collection.runs[table].values() for run in runs), default=1)
    # A short training ends before that epoch; then its last two epochs are shown.
    first = max(1, min(int(collection.reference.value("figure3", "8", "epoch")), last - 1))
    zoom = Panel("cross_entropy", f"training error from epoch {first}", NATS, first_epoch=first)
    return _over_epochs(collection, "figure3", Panel("cross_entropy", "training error", NATS), zoom)


def figure4(collection: Collection) -> Figure:
    """Cross-entropy and number of images of each class of the training split at the last epoch."""
    return figures.by_class(collection, *collection.figure("figure4"), "train")


def figure5(collection: Collection) -> Figure:
    """Distances and cross-entropy of the training split per epoch: functions that draw the features together."""
    panels = (
        Panel("d_ic", INTRA, LOGITS, scale="log"),
        Panel("d_cc", INTER, LOGITS, scale="log"),
        Panel("cross_entropy", "training error", NATS),
    )
    return _over_epochs(collection, "figure5", *panels)


def figure_a1(collection: Collection) -> Figure:
    """Adversarial loss of images of one class along the iterations, towards several targets."""
    return paths.losses(collection, "figure_a1")


def figure_a2(collection: Collection) -> Figure:
    """The loss of the same images where they change class."""
    return paths.boundary(collection, "figure_a2")


def figure_a3(collection: Collection) -> Figure:
    """The probabilities of all classes there."""
    return paths.probabilities(collection, "figure_a3")


def summary(collection: Collection) -> Figure:
    """Table 3 at a glance; not a figure of the paper."""
    return figures.summary(collection, "table3", (ROBUST, ACCURACY), D_CC)


TABLES = {function.__name__: function for function in (table1, table2, table3, table4, table5, table6)}
FIGURES = {
    function.__name__: function
    for function in (figure1, figure2, figure3, figure4, figure5, figure_a1, figure_a2, figure_a3, summary)
}
# Tables that another stage writes and this one only shows.
STORED = ("table1",)


def _comparison(collection: Collection, table: str) -> tuple[DataFrame, Styler]:
    frame = tables.comparison(collection, table, COLUMNS)
    return frame, display.comparison(collection, table, frame, COLUMNS)


def _adversarial(collection: Collection, table: str, text: str) -> tuple[DataFrame, Styler]:
    frame = tables.comparison(collection, table, PLAIN_COLUMNS, text)
    return frame, display.comparison(collection, table, frame, PLAIN_COLUMNS, text, terms=True)


def _over_epochs(collection: Collection, name: str, *panels: Panel) -> Figure:
    return figures.over_epochs(collection, *collection.figure(name), "train", panels)
