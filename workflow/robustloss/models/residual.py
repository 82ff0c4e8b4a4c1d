"""What the residual networks share: the sum of a branch and a shortcut, and He et al.'s (2015) drawing of weights."""

import torch
from torch import nn


class Residual(nn.Module):
    """after(branch(x) + shortcut(x)); without `shortcut` and `after` both are the identity."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module | None = None, after: nn.Module | None = None) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut or nn.Identity()
        self.after = after or nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # In place, since a branch ends in a layer that does not look at its outputs again.
        return self.after(self.branch(images).add_(self.shortcut(images)))


def draw_weights(body: nn.Module, kinds: type | tuple[type, ...], mode: str) -> nn.Module:
    """Redraw the weights of all modules of `kinds` from N(0, 2 / n), biases 0; gives `body` back.

    n counts a neuron's inputs (`mode` "fan_in") or the neurons that one input reaches ("fan_out").
    """
    for module in body.modules():
        if isinstance(module, kinds):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return body
