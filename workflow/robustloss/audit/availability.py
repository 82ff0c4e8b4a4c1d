"""Whether a network's gradient can be had at all, and whether its forward pass computes gradients of its own."""

import sys

import torch
from torch import nn

# As many images show it as any number.
FEW = 4


class Gradientless(nn.Module):
    """A network whose gradient is 0, which is all that an attack by gradients gets of one that gives none."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            logits = self.model(images)
        return logits + 0 * images.flatten(1).sum(1, keepdim=True)


def unavailable(model: nn.Module, images: torch.Tensor) -> bool:
    """Whether autograd finds no way from the logits back to images (N, C, height, width), or the way fails."""
    inputs = images[:FEW].detach().requires_grad_()
    try:
        with torch.enable_grad():
            torch.autograd.grad(model(inputs).sum(), inputs)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return True
    return False


@torch.no_grad()
def inside(model: nn.Module, images: torch.Tensor) -> bool:
    """Whether a forward pass runs autograd backwards, as some defences do that change their own inputs."""
    found, before = [], sys.getprofile()

    def watch(frame, event, called):
        if event == "c_call" and called.__name__ == "run_backward":
            found.append(called)

    sys.setprofile(watch)
    try:
        model(images[:FEW])
    finally:
        sys.setprofile(before)
    return bool(found)
