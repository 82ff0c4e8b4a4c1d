"""How far the centres of classes lie apart (pang2020)."""

import numpy as np
import torch
from matplotlib.figure import Figure

from robustloss.heads import centres
from robustloss.papers import matrix, style


def figure(classes: int, dimension: int) -> Figure:
    """The cosines between optimal and between random centres of `classes` classes in `dimension` dimensions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = {"optimal": centres.optimal(classes, dimension), "random": centres.random(classes, dimension)}
    drawn = Figure(figsize=(10, 4.2), layout="constrained")
    for axis, (name, vectors) in zip(drawn.subplots(1, 2), found.items(), strict=True):
        cosines = (vectors @ vectors.T).numpy()
        others = cosines[~np.eye(classes, dtype=bool)]
        labels = [str(number) for number in range(classes)]
        shown = matrix.draw(axis, cosines, labels, labels, low=-1, high=1, digits=2)
        smallest = np.degrees(np.arccos(others.max()))
        axis.set(title=f"{name}: at least {smallest:.1f}° between two centres", xlabel="class", ylabel="class")
    drawn.colorbar(shown, ax=drawn.axes, label="cosine")
    style.footer(drawn, f"{classes} classes in {dimension} dimensions; a formula, nothing is measured")
    return drawn
