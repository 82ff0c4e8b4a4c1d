"""Random resizing and padding (Xie et al. 2018, "Mitigating adversarial effects through randomization").

Published for 299 x 299 images: `smallest: 310` in the released code (299 in the paper), `size: 331`, `passes: 30`,
`flip: true`; for CIFAR a third party resizes 32 x 32 to less than 35. The released code pads by 0 after scaling pixels
to [-1, 1], which is `fill: 0.5` here. It draws once for a batch; here every image has draws of its own, so that the
outcomes of a batch's images are independent of each other.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from robustloss.errors import Problem


def defend(
    model: nn.Module,
    generator: torch.Generator,
    *,
    smallest: int,
    size: int,
    passes: int,
    flip: bool = False,
    fill: float = 0.0,
) -> nn.Module:
    """`model` on random versions of an image, its predictions averaged over `passes` of them.

    In each pass, a square image is resized (nearest pixel) to a uniform side in [`smallest`, `size`) and placed
    uniformly in an image of side `size` that is `fill` elsewhere; with `flip` it is mirrored left to right with
    probability 1/2 before. The logits are the logarithm of the mean of the passes' softmax, so that their largest is
    the largest mean probability; gradients flow to the image through all passes. Raises Problem for settings out of
    range, for images that are not square, and when the network cannot take images of side `size`.
    """
    for key, value in {"smallest": smallest, "size": size, "passes": passes}.items():
        if type(value) is not int or value < 1:
            raise Problem(f"defence random_padding: {key} must be a whole number from 1, not {value!r}")
    if smallest >= size:
        raise Problem(f"defence random_padding: smallest must be below size, which is {size}, not {smallest}")
    if not isinstance(flip, bool):
        raise Problem(f"defence random_padding: flip must be true or false, not {flip!r}")
    if isinstance(fill, bool) or not isinstance(fill, int | float) or not 0 <= fill <= 1:
        raise Problem(f"defence random_padding: fill is a pixel's value in [0, 1], not {fill!r}")
    return RandomPadding(model, generator, smallest, size, passes, flip, fill)


class RandomPadding(nn.Module):
    """See `defend`."""

    def __init__(
        self,
        model: nn.Module,
        generator: torch.Generator,
        smallest: int,
        size: int,
        passes: int,
        flip: bool,
        fill: float,
    ) -> None:
        super().__init__()
        self.model, self.generator = model, generator
        self.smallest, self.size, self.passes, self.flip, self.fill = smallest, size, passes, flip, fill

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.shape[2] != images.shape[3]:
            raise Problem(f"defence random_padding takes square images, not {images.shape[2]} x {images.shape[3]}")
        log_f = [self._logits(images).log_softmax(1) for _ in range(self.passes)]
        return torch.stack(log_f).logsumexp(0) - math.log(self.passes)

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        side = images.shape[2]
        places = draw(len(images), self.generator, self.smallest, self.size, self.flip).to(images.device)
        placed = place(images, places, self.size, self.fill)
        try:
            return self.model(placed)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, Problem) as error:
            if side == self.size:
                raise
            raise Problem(
                f"defence random_padding: the network, whose images have side {side}, cannot take side {self.size} "
                f"({str(error).splitlines()[0]}): set size to {side} and smallest below it"
            ) from error


def draw(count: int, generator: torch.Generator, smallest: int, size: int, flip: bool) -> torch.Tensor:
    """For each of `count` images its side, top row, left column, and whether (1) it is mirrored: (4, count) int64."""
    uniform = torch.rand(4, count, generator=generator, device=generator.device, dtype=torch.float64)
    sides = smallest + (uniform[:1] * (size - smallest)).floor()
    corners = uniform[1:3] * (size - sides + 1)
    mirrored = uniform[3:] < (0.5 if flip else 0)
    return torch.cat([sides, corners, mirrored]).long()


def place(images: torch.Tensor, places: torch.Tensor, size: int, fill: float) -> torch.Tensor:
    """Images (N, C, S, S), each resized and put into an image of side `size` as `places` (see `draw`) says."""
    sides, top, left, mirrored = places
    ys, xs = _sources(images, sides, top, size), _sources(images, sides, left, size)
    xs = torch.where(mirrored[:, None] == 1, -xs, xs)
    grid = torch.stack(torch.broadcast_tensors(xs[:, None, :], ys[:, :, None]), -1)
    placed = F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return torch.where((grid.abs() > 1).any(-1)[:, None], fill, placed) if fill else placed


def _sources(images: torch.Tensor, sides: torch.Tensor, start: torch.Tensor, size: int) -> torch.Tensor:
    """Where in [-1, 1] each row (or column) of the new images lies in the old one (N, size); 3, so outside, for none.

    The centre of the pixel that `F.interpolate`, like the released code's TensorFlow, takes for the nearest one.
    """
    side = images.shape[2]
    steps = torch.arange(size, device=images.device) - start[:, None]
    pixel = (steps * (side / sides.float())[:, None]).floor().clamp(max=side - 1)
    centre = (2 * pixel.to(images.dtype) + 1) / side - 1
    return torch.where((steps >= 0) & (steps < sides[:, None]), centre, 3)
