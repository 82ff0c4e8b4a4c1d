"""Smooth random curves and fields, and from them pictures of the inside of an abdomen."""

import math

import numpy as np

ORGANS = np.array(
    [
        (126, 50, 38),  # liver
        (144, 62, 48),
        (172, 106, 92),  # gall bladder
        (198, 136, 74),  # fat
        (180, 86, 72),  # bowel
        (134, 62, 58),  # abdominal wall
    ],
    np.float64,
)
BLOOD = np.array([120.0, 22.0, 22.0])


def spline(knots: np.ndarray, length: int, cells: float) -> np.ndarray:
    """`length` values (length, ...) of the uniform cubic B-spline through `cells` cells of `knots` (cells + 3, ...)."""
    place = np.arange(length) * (cells / length)
    first = place.astype(int)
    t = (place - first).reshape(-1, *[1] * (knots.ndim - 1))
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    return sum(weight * knots[first + k] for k, weight in enumerate(weights)) / 6


def path(rng: np.random.Generator, length: int, step: float) -> np.ndarray:
    """A smooth random curve of `length` values with about unit variance that turns about every `step` values."""
    cells = length / step
    return 1.45 * spline(rng.standard_normal(math.ceil(cells) + 3), length, cells)


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """A smooth random field of about unit variance with bumps about `cell` pixels wide."""
    down, right = (size / cell for size in shape)
    knots = rng.standard_normal((math.ceil(right) + 3, math.ceil(down) + 3))
    return 2.1 * spline(spline(knots, shape[1], right).T.copy(), shape[0], down)


def picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Lit tissue, uint8 (height, width, 3): overlapping organs with vessels, mottling and wet highlights."""
    shape = (height, width)
    colours, crease = organs(rng, height, width)
    mottle = 0.06 * noise(rng, shape, height / 12) + 0.05 * noise(rng, shape, height / 50)
    colours *= (0.7 + 0.3 * crease + mottle)[..., None]
    vessels = np.exp(-((noise(rng, shape, height / 7) / 0.06) ** 2)) * (noise(rng, shape, height / 5) > 0.4)
    colours += 0.55 * vessels[..., None] * (BLOOD - colours)
    relief = 1.5 * crease + 0.6 * noise(rng, shape, height / 10) + 0.06 * noise(rng, shape, height / 40)
    down, right = (slope * height / 10 for slope in np.gradient(relief))
    colours *= np.clip(1 - 0.10 * (down + right), 0.6, 1.3)[..., None]
    wet = np.clip(noise(rng, shape, height / 6) - 1.0 + 0.5 * noise(rng, shape, height / 60), 0, 1)
    glint = wet * np.exp(-((down - 0.5) ** 2 + (right - 0.4) ** 2) / 0.12)
    return np.clip(colours + 190 * glint[..., None], 0, 255).astype(np.uint8)


def organs(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours (height, width, 3) of organs that meet in wavy lines, and a map that falls from 1 to 0 at those lines."""
    y, x = np.mgrid[:height, :width] / height
    y, x = (line + 0.07 * noise(rng, y.shape, height / 4) + 0.012 * noise(rng, y.shape, height / 16) for line in (y, x))
    kinds = np.concatenate([rng.permutation(len(ORGANS)), rng.integers(0, len(ORGANS), 3)])
    centres = rng.uniform(0, 1, (len(kinds), 2)) * (1, width / height)
    radii = rng.uniform(0.2, 0.45, len(kinds))
    depths = np.stack([r - np.hypot(y - cy, x - cx) for r, (cy, cx) in zip(radii, centres, strict=True)])
    front = depths.max(0)
    behind = np.where(depths == front, -np.inf, depths).max(0)
    share = np.exp((depths - front) / 0.006)
    tints = ORGANS[kinds] * rng.normal(1, 0.05, (len(kinds), 1)) * rng.normal(1, 0.02, (len(kinds), 3))
    colours = np.einsum("kyx,kc->yxc", share / share.sum(0), tints)
    return colours, np.sqrt(np.clip((front - behind) / 0.10, 0.03, 1))
