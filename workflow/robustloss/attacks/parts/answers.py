"""Networks that answer at random: whether one does, and the mean of its answers."""

import torch
from torch import nn

from robustloss.attacks.parts import network


class Mean(nn.Module):
    """The mean of the logits (N, K) of `draws` passes; in evaluation mode, as the network is."""

    def __init__(self, model: nn.Module, draws: int) -> None:
        super().__init__()
        self.model, self.draws = model, draws
        self.train(model.training)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.model(images) for _ in range(self.draws)]).mean(0)


def are_random(model: nn.Module, images: torch.Tensor, highest: int) -> bool:
    """Whether the network answers differently when it is asked again, for a few of the images."""
    few = images[: network.FEW]
    return not torch.equal(network.predict(model, few, highest), network.predict(model, few, highest))
