"""Linf and L2 balls around images, cut to [0, 1]: how to start and step in them, and how to stay in them.

A radius is a number or one per sample (N, 1, 1, 1): a fraction of the pixel range for Linf, Euclidean for L2.
"""

from dataclasses import dataclass
from typing import Self

import torch

from robustloss.attacks.parts import checks
from robustloss.code import nearest
from robustloss.errors import Problem

# Newton steps of the projection onto an L2 ball and [0, 1]; from below, so that stopping early stays inside.
PROJECTION_STEPS = 5


@dataclass(frozen=True)
class Linf:
    """What differs from the centres (N, channels, height, width) by at most the radius in each value."""

    centre: torch.Tensor
    radius: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    @classmethod
    def around(cls, centre: torch.Tensor, radius: float | torch.Tensor) -> Self:
        return cls(centre, _radii(radius, centre), (centre - radius).clamp_(min=0), (centre + radius).clamp_(max=1))

    def __getitem__(self, rows: torch.Tensor) -> Self:
        return Linf(self.centre[rows], self.radius[rows], self.low[rows], self.high[rows])

    @staticmethod
    def numbers(size: int) -> int:
        """How many uniform numbers a start is made from, for images of `size` values."""
        return size

    def start(self, uniform: torch.Tensor) -> torch.Tensor:
        """A uniform point of the ball, cut to [0, 1], from uniform numbers (N, numbers)."""
        noise = uniform.to(self.centre).mul(2).sub_(1).view_as(self.centre)
        return self.project_(noise.mul_(self.radius).add_(self.centre))

    def step(self, images: torch.Tensor, gradient: torch.Tensor, size: float | torch.Tensor) -> torch.Tensor:
        """The images moved by size × sign(gradient), projected; `size` is a number or one per sample."""
        return self.project_(gradient.sign().mul_(size).add_(images))

    def project_(self, images: torch.Tensor) -> torch.Tensor:
        """The nearest images in the ball and in [0, 1], in place."""
        return images.clamp_(self.low, self.high)

    @staticmethod
    def size(difference: torch.Tensor) -> torch.Tensor:
        """The norm per sample (N,)."""
        return difference.flatten(1).abs().amax(1)


@dataclass(frozen=True)
class L2:
    """What differs from the centres (N, channels, height, width) by an L2 norm of at most the radius."""

    centre: torch.Tensor
    radius: torch.Tensor

    @classmethod
    def around(cls, centre: torch.Tensor, radius: float | torch.Tensor) -> Self:
        return cls(centre, _radii(radius, centre))

    def __getitem__(self, rows: torch.Tensor) -> Self:
        return L2(self.centre[rows], self.radius[rows])

    @staticmethod
    def numbers(size: int) -> int:
        return size + 1

    def start(self, uniform: torch.Tensor) -> torch.Tensor:
        uniform = uniform.to(self.centre).clamp(min=torch.finfo(uniform.dtype).tiny)
        normal = torch.special.ndtri(uniform[:, 1:]).view_as(self.centre)
        length = self.radius * _per_image(uniform[:, 0] ** (1 / normal[0].numel()))
        return (self.centre + length * _unit(normal)).clamp_(0, 1)

    def step(self, images: torch.Tensor, gradient: torch.Tensor, size: float | torch.Tensor) -> torch.Tensor:
        """The images moved by size × gradient / ||gradient||, projected; where there is no gradient they stay."""
        return self.project_(_unit(gradient).mul_(size).add_(images))

    def project_(self, images: torch.Tensor) -> torch.Tensor:
        """The nearest images in the ball and in [0, 1], in place.

        These are x + clip(s d), d the difference from the centre x, with the largest s up to 1 that the ball allows.
        ||clip(s d)||² is concave in s², so that Newton's steps from s = radius / ||d|| approach from below.
        """
        difference = images.sub_(self.centre)
        lowest, highest = -self.centre, 1 - self.centre
        squares = difference.square()
        scale = self._scale(_total(squares), 0)
        for _ in range(PROJECTION_STEPS):
            scaled = scale * difference
            cut = scaled.clamp(lowest, highest)
            free = cut == scaled
            rest = _total(torch.where(free, 0, cut).square())
            scale = scale.maximum(self._scale(_total(torch.where(free, squares, 0)), rest))
        return difference.mul_(scale).add_(self.centre).clamp_(0, 1)

    def _scale(self, squares: torch.Tensor, rest: torch.Tensor | float) -> torch.Tensor:
        """The factor, at most 1, by which values of squared norm `squares` fit into the ball beside `rest`."""
        tiny = torch.finfo(squares.dtype).tiny
        return ((self.radius**2 - rest) / squares.clamp(min=tiny)).clamp(0, 1).sqrt()

    @staticmethod
    def size(difference: torch.Tensor) -> torch.Tensor:
        return difference.flatten(1).norm(dim=1)


BALLS = {"linf": Linf, "l2": L2}


def choose(norm: str, epsilon: float | None) -> type[Linf] | type[L2]:
    """The kind of ball that an attack's setting `norm` names; refuses an `epsilon` that is no radius of it."""
    if norm not in BALLS:
        raise Problem(f"attack: there is no norm '{norm}'{nearest(norm, BALLS)}")
    if epsilon is not None:
        checks.check_numbers(epsilon=epsilon)
    if epsilon is not None and norm == "linf" and epsilon > 1:
        raise Problem(f"attack: epsilon is a fraction of the pixel range: write 8/255, not {epsilon:g}")
    if epsilon is not None and not 0 < epsilon < float("inf"):
        raise Problem(f"attack: epsilon must be above 0, not {epsilon}")
    return BALLS[norm]


def draw(ball: type[Linf] | type[L2], images: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Uniform numbers for `count` starts of each sample (N, count, numbers).

    A sample's are drawn together, so that on a CPU they do not depend on the size of the batch.
    """
    shape = (len(images), count, ball.numbers(images[0].numel()))
    return torch.rand(shape, generator=generator, dtype=images.dtype, device=generator.device)


def _radii(radius, centre) -> torch.Tensor:
    return torch.as_tensor(radius, dtype=centre.dtype, device=centre.device).expand(len(centre), 1, 1, 1)


def _unit(gradient: torch.Tensor) -> torch.Tensor:
    """Each sample's gradient divided by its L2 norm, also where squares underflow; no gradient stays none."""
    tiny = torch.finfo(gradient.dtype).tiny
    gradient = gradient / gradient.abs().amax((1, 2, 3), keepdim=True).clamp(min=tiny)
    return gradient.div_(_total(gradient.square()).sqrt().clamp(min=tiny))


def _total(values: torch.Tensor) -> torch.Tensor:
    return values.sum((1, 2, 3), keepdim=True)


def _per_image(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)
