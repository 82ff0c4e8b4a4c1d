"""A fully connected last layer, which makes of the body's output an embedding of chosen dimension.

song2022 (Figure 9) puts three dimensions before the output layer, the code of pang2020 256, both without a
non-linearity between them and the logits.
"""

import torch
from torch import nn


def head(classes: int, dimension: int, *, centres: bool = False) -> nn.Module:
    """Logits W z + b; with `centres`, a learned centre per class, drawn from N(0, 1), for the loss `center`.

    The centres (classes, dimension) have no part in the logits. They are parameters like W: the training's one
    optimiser moves them, weight decay included.
    """
    layer = nn.Linear(dimension, classes)
    if centres:
        layer.register_parameter("centres", nn.Parameter(torch.randn(classes, dimension)))
    return layer
