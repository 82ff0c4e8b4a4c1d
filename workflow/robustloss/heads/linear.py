"""A fully connected last layer, which makes of the body's output an embedding of chosen dimension.

song2022 (Figure 9) puts three dimensions before the output layer, the code of pang2020 256, both without a
non-linearity between them and the logits.
"""

import torch
from torch import nn

from robustloss.errors import Problem


def head(classes: int, dimension: int, *, centres: bool = False, centre_rate: float | None = None) -> nn.Module:
    """Logits W z + b; with `centres`, a learned centre per class, drawn from N(0, 1), for the loss `center`.

    The centres (classes, dimension) have no part in the logits. With a `centre_rate` they follow plain gradient descent
    at this constant rate, as Wen et al. (2016) move theirs; without, they are parameters like W to the optimiser. When
    n_j of a batch's N samples are of class j and the loss has the weight w, centre j goes centre_rate × w × n_j / N of
    the way to their mean, which is stable whatever the batch up to a rate of 2 / w; Wen et al. go n_j / (2 + 2 n_j).
    """
    if centre_rate is not None and not (centres and centre_rate > 0):
        raise Problem(f"head linear: centre_rate is a number above 0 and needs `centres: true`, not {centre_rate!r}")
    layer = nn.Linear(dimension, classes)
    layer.centre_rate = centre_rate
    if centres:
        layer.register_parameter("centres", nn.Parameter(torch.randn(classes, dimension)))
    return layer
