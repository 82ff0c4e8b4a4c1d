"""GCE over all probabilities of three classes, and where the wrong ones are equal (chen2019, Figs. 2 and 3)."""

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure

from robustloss.losses import gce
from robustloss.papers import style

POINTS = 240
NOTE = "class 0 is the true one; the exact loss of Equation 3, with its sign restored; a formula, nothing is measured"


def value(probabilities: np.ndarray, alpha: float) -> np.ndarray:
    """GCE (N,) at probabilities (N, K), the first that of the true class; at alpha 0 it is complement entropy."""
    logits = torch.from_numpy(probabilities).log()
    return gce.loss(logits, torch.zeros(len(logits), dtype=torch.int64), alpha=alpha).numpy()


def landscapes(panels: Mapping[str, float]) -> Figure:
    """One triangle for each title and alpha: the loss over the two wrong classes' probabilities.

    Hatched is where the true class has the largest one.
    """
    figure = Figure(figsize=(2.65 * len(panels) + 0.9, 3.2), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True)
    # Points within the triangle, where no probability is 0.
    sides = (np.arange(POINTS) + 0.5) / POINTS
    x, y = np.meshgrid(sides, sides)
    true = 1 - x - y
    inside = true > 0
    probabilities = np.stack([true, x, y], -1)[inside]
    for axis, (title, alpha) in zip(axes, panels.items(), strict=True):
        loss = np.full(x.shape, np.nan)
        loss[inside] = value(probabilities, alpha)
        shown = axis.imshow(loss, origin="lower", extent=(0, 1, 0, 1), cmap="viridis", vmin=-1, vmax=0)
        axis.contour(x, y, loss, levels=np.linspace(-0.9, -0.1, 9), colors="white", linewidths=0.4, linestyles="-")
        right = np.where(inside, true - np.maximum(x, y), np.nan)
        axis.contourf(x, y, right, levels=(0, 1), colors="none", hatches=("///",))
        axis.contour(x, y, right, levels=(0,), colors="black", linewidths=1.2)
        axis.grid(visible=False)
        axis.set(title=title, xlabel="probability of class 1")
    axes[0].set_ylabel("probability of class 2")
    figure.colorbar(shown, ax=axes, label="loss", shrink=0.85)
    style.footer(figure, f"hatched: predicted rightly  ·  {NOTE}")
    return figure


def profile(alphas: Mapping[str, float], classes: int = 3) -> Figure:
    """The loss against the true class's probability where the wrong classes share the rest equally, by alpha."""
    figure = Figure(figsize=(5.6, 3.5), layout="constrained")
    axis = figure.subplots()
    true = (np.arange(POINTS) + 0.5) / POINTS
    probabilities = np.stack([true, *[(1 - true) / (classes - 1)] * (classes - 1)], -1)
    marks = style.marks(f"GCE {name}" for name in alphas)
    for (name, alpha), mark in zip(alphas.items(), marks.values(), strict=True):
        axis.plot(true, value(probabilities, alpha), **mark.drawn(), markevery=(12, 24), label=f"α = {name}")
    axis.set(xlabel="probability of the true class", ylabel="GCE", xlim=(0, 1), ylim=(-1.02, 0.02))
    figure.legend(loc="outside right upper")
    style.footer(figure, f"wrong classes equal  ·  {NOTE}")
    return figure
