"""Linf and L2 balls around images, cut to [0, 1]: how to step in them, stay in them, and draw from them.

A radius is a number or one per sample (N, 1, 1, 1): a fraction of the pixel range for Linf, Euclidean for L2.
"""

from dataclasses import dataclass

import torch

from robustloss.code import nearest
from robustloss.errors import Problem


@dataclass
class Linf:
    low: torch.Tensor
    high: torch.Tensor

    @classmethod
    def around(cls, centre: torch.Tensor, radius: float | torch.Tensor) -> "Linf":
        return cls((centre - radius).clamp_(min=0), (centre + radius).clamp_(max=1))

    def __getitem__(self, rows: torch.Tensor) -> "Linf":
        return Linf(self.low[rows], self.high[rows])

    def project_(self, images: torch.Tensor) -> torch.Tensor:
        """The nearest point of the ball, in place."""
        return images.clamp_(self.low, self.high)

    @staticmethod
    def draw(images: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
        """What `start` makes `count` points of (N, count, channels, height, width); a sample's are drawn together."""
        return _random(torch.rand, images, count, generator)

    def start(self, drawn: torch.Tensor) -> torch.Tensor:
        """A uniform point of the ball within [0, 1]."""
        return torch.lerp(self.low, self.high, drawn)

    @staticmethod
    def steepest(gradient: torch.Tensor) -> torch.Tensor:
        """The step of size 1 that raises a linear function of this gradient most; 0 where the gradient is 0."""
        return gradient.sign()

    @staticmethod
    def size(difference: torch.Tensor) -> torch.Tensor:
        """Per sample (N,)."""
        return difference.flatten(1).abs().amax(1)


@dataclass
class L2:
    centre: torch.Tensor
    radius: torch.Tensor

    @classmethod
    def around(cls, centre: torch.Tensor, radius: float | torch.Tensor) -> "L2":
        return cls(
            centre, torch.as_tensor(radius, dtype=centre.dtype, device=centre.device).expand(len(centre), 1, 1, 1)
        )

    def __getitem__(self, rows: torch.Tensor) -> "L2":
        return L2(self.centre[rows], self.radius[rows])

    def project_(self, images: torch.Tensor) -> torch.Tensor:
        """Onto the ball, then onto [0, 1]: inside both, though not always the nearest such point."""
        images.sub_(self.centre)
        length = _broadcast(self.size(images))
        return images.mul_((self.radius / length).clamp_(max=1)).add_(self.centre).clamp_(0, 1)

    @staticmethod
    def draw(images: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
        return _random(torch.randn, images, count, generator)

    def start(self, drawn: torch.Tensor) -> torch.Tensor:
        """A point at the radius in a uniform direction, then cut to [0, 1]."""
        return self.steepest(drawn).mul_(self.radius).add_(self.centre).clamp_(0, 1)

    @staticmethod
    def steepest(gradient: torch.Tensor) -> torch.Tensor:
        tiny = torch.finfo(gradient.dtype).tiny
        # Divided by the largest entry first: the squares of a small gradient are 0 in float32.
        scaled = gradient / _broadcast(Linf.size(gradient)).clamp_(min=tiny)
        return scaled.div_(_broadcast(L2.size(scaled)).clamp_(min=tiny))

    @staticmethod
    def size(difference: torch.Tensor) -> torch.Tensor:
        return difference.flatten(1).norm(dim=1)


BALLS = {"linf": Linf, "l2": L2}


def choose(norm: str, epsilon: float | None) -> type[Linf] | type[L2]:
    """The kind of ball that an attack's setting `norm` names; refuses an `epsilon` that is no radius of it."""
    if norm not in BALLS:
        raise Problem(f"attack: there is no norm '{norm}'{nearest(norm, BALLS)}")
    if epsilon is not None and norm == "linf" and epsilon > 1:
        raise Problem(f"attack: epsilon is a fraction of the pixel range: write 8/255, not {epsilon:g}")
    if epsilon is not None and not 0 < epsilon < float("inf"):
        raise Problem(f"attack: epsilon must be above 0, not {epsilon}")
    return BALLS[norm]


def _random(distribution, images, count, generator) -> torch.Tensor:
    shape = (len(images), count, *images.shape[1:])
    return distribution(shape, generator=generator, dtype=images.dtype, device=generator.device).to(images.device)


def _broadcast(values: torch.Tensor) -> torch.Tensor:
    return values.view(-1, 1, 1, 1)
