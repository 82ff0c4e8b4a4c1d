"""Neighbourhoods of images in [0, 1] that projected gradient steps stay in: how to start, to step and to project."""

from typing import NamedTuple, Self

import torch

# Newton steps of the projection onto an L2 ball and [0, 1]; from below, so that stopping early stays inside.
PROJECTION_STEPS = 5


class Linf(NamedTuple):
    """What differs from the originals (N, channels, height, width) by at most epsilon in each value."""

    images: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    epsilon: float

    @classmethod
    def around(cls, images: torch.Tensor, epsilon: float) -> Self:
        return cls(images, (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1), epsilon)

    def of(self, rows: torch.Tensor) -> Self:
        """Those of some of the samples."""
        return Linf(self.images[rows], self.low[rows], self.high[rows], self.epsilon)

    @staticmethod
    def numbers(size: int) -> int:
        """How many uniform numbers a start is made from, for images of `size` values."""
        return size

    def start(self, uniform: torch.Tensor) -> torch.Tensor:
        """A uniform point of the ball, cut to [0, 1], from uniform numbers (N, numbers)."""
        noise = uniform.to(self.images.device).mul(2).sub_(1).view_as(self.images)
        return self.images.add(noise, alpha=self.epsilon).clamp_(self.low, self.high)

    def step(self, images: torch.Tensor, gradient: torch.Tensor, size: float) -> torch.Tensor:
        """The images moved by size × sign(gradient), projected."""
        return images.add(gradient.sign(), alpha=size).clamp_(self.low, self.high)


class L2(NamedTuple):
    """What differs from the originals (N, channels, height, width) by an L2 norm of at most epsilon."""

    images: torch.Tensor
    epsilon: float

    @classmethod
    def around(cls, images: torch.Tensor, epsilon: float) -> Self:
        return cls(images, epsilon)

    def of(self, rows: torch.Tensor) -> Self:
        return L2(self.images[rows], self.epsilon)

    @staticmethod
    def numbers(size: int) -> int:
        return size + 1

    def start(self, uniform: torch.Tensor) -> torch.Tensor:
        uniform = uniform.to(self.images.device).clamp(min=torch.finfo(uniform.dtype).tiny)
        normal = torch.special.ndtri(uniform[:, 1:]).view_as(self.images)
        radius = self.epsilon * uniform[:, 0] ** (1 / normal[0].numel())
        return (self.images + _per_image(radius) * _unit(normal)).clamp_(0, 1)

    def step(self, images: torch.Tensor, gradient: torch.Tensor, size: float) -> torch.Tensor:
        """The images moved by size × gradient / ||gradient||, projected; where there is no gradient they stay."""
        return self._project(images.add(_unit(gradient), alpha=size))

    def _project(self, moved: torch.Tensor) -> torch.Tensor:
        """The nearest images in the ball and in [0, 1].

        These are x + clip(s d), d the difference from the original x, with the largest s up to 1 that the ball allows.
        ||clip(s d)||² is concave in s², so that Newton's steps from s = epsilon / ||d|| approach from below.
        """
        difference = moved - self.images
        lowest, highest = -self.images, 1 - self.images
        squares = difference.square()
        scale = self._scale(squares.sum((1, 2, 3)), 0)
        for _ in range(PROJECTION_STEPS):
            scaled = _per_image(scale) * difference
            cut = scaled.clamp(lowest, highest)
            free = cut == scaled
            rest = torch.where(free, 0, cut).square().sum((1, 2, 3))
            scale = scale.maximum(self._scale(torch.where(free, squares, 0).sum((1, 2, 3)), rest))
        return (self.images + _per_image(scale) * difference).clamp_(0, 1)

    def _scale(self, squares: torch.Tensor, rest: torch.Tensor | float) -> torch.Tensor:
        """The factor (N,), at most 1, by which values of squared norm `squares` fit into the ball beside `rest`."""
        tiny = torch.finfo(squares.dtype).tiny
        return ((self.epsilon**2 - rest) / squares.clamp(min=tiny)).clamp(0, 1).sqrt()


NORMS = {"linf": Linf, "l2": L2}


def _unit(gradient: torch.Tensor) -> torch.Tensor:
    """Each sample's gradient divided by its L2 norm, also where squares underflow; no gradient stays none."""
    tiny = torch.finfo(gradient.dtype).tiny
    gradient = gradient / gradient.abs().amax((1, 2, 3), keepdim=True).clamp(min=tiny)
    return gradient / gradient.square().sum((1, 2, 3), keepdim=True).sqrt().clamp(min=tiny)


def _per_image(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)
