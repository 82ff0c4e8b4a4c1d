"""Seven laparoscopic instruments as small pictures with transparency, in the column order of Cholec80's annotation."""

from dataclasses import dataclass

import numpy as np

# A unit is 1/90 of the frame's height at size 1; an instrument extends from its tip (0, 0) along +u to its handle.
ENDLESS = 400.0
STEEL, BLUE, BRASS, IVORY = (176, 178, 182), (52, 84, 196), (186, 160, 104), (228, 218, 196)
DARK = (40, 40, 44)


@dataclass(frozen=True)
class Rod:
    """A tapered rod from `start` to `end` (u, v) with a radius at each, a colour and the strength of its shine."""

    start: tuple[float, float]
    end: tuple[float, float]
    radii: tuple[float, float]
    colour: tuple[int, int, int]
    shine: float = 0.35
    opacity: float = 1.0


def shaft(start: float, radius: float, colour, shine: float = 0.35) -> Rod:
    return Rod((start, 0.0), (ENDLESS, 0.0), (radius, radius), colour, shine)


def jaws(joint: float, length: float, angle: float, radii, colour, bow: float = 0.0) -> list[Rod]:
    """Two mirrored jaws from the joint to the tip, each opened by `angle` (radians) and bent out by `bow` units."""
    rods = []
    for side in (-1.0, 1.0):
        middle = (joint - 0.5 * length * np.cos(angle), side * (0.5 * length * np.sin(angle) + bow))
        tip = (joint - length * np.cos(angle), side * length * np.sin(angle))
        waist = 0.5 * (radii[0] + radii[1])
        rods += [
            Rod((joint, 0.0), middle, (radii[0], waist), colour),
            Rod(middle, tip, (waist, radii[1]), colour),
        ]
    return rods


def grasper(opening: float) -> list[Rod]:
    return [
        shaft(17, 4.4, (156, 164, 186)),
        Rod((15, 0), (18, 0), (2.6, 4.0), STEEL),
        *jaws(16, 17, 0.06 + 0.32 * opening, (1.9, 1.1), STEEL, 0.6),
    ]


def bipolar(opening: float) -> list[Rod]:
    return [
        shaft(27, 4.6, (166, 158, 168)),
        Rod((14, 0), (27, 0), (3.0, 4.4), BLUE, 0.2),
        *jaws(15, 15, 0.08 + 0.35 * opening, (2.2, 1.2), (96, 120, 206), 0.9),
    ]


def hook(opening: float) -> list[Rod]:
    return [
        shaft(19, 4.8, (46, 52, 64), 0.2),
        Rod((14, 0), (20, 0), (2.0, 3.2), IVORY, 0.2),
        Rod((1, 0), (14, 0), (1.0, 1.0), BRASS),
        Rod((1, 0), (2, 3 + 3 * opening), (1.0, 0.8), BRASS),
    ]


def scissors(opening: float) -> list[Rod]:
    return [
        shaft(16, 4.7, (150, 140, 112)),
        *jaws(15, 15, 0.2 + 0.3 * opening, (3.0, 0.6), (204, 198, 176), 1.6),
        Rod((15, 0), (16, 0), (1.5, 1.5), DARK, 0.0),
    ]


def clipper(opening: float) -> list[Rod]:
    gap = 1.8 + 1.4 * opening
    return [
        shaft(19, 6.6, (172, 204, 176)),
        Rod((14, 0), (19, 0), (3.6, 4.6), (120, 150, 126)),
        *(Rod((1, side * gap), (14, side * 2.2), (1.4, 1.6), STEEL) for side in (-1.0, 1.0)),
    ]


def irrigator(opening: float) -> list[Rod]:
    holes = [Rod((u, v), (u + 1, v), (1.0, 1.0), DARK, 0.0) for u, v in ((5, 1.2), (10, -1.2), (15, 1.2))]
    return [shaft(4.4, 4.4, (160, 206, 216), 0.5), *holes]


def bag(opening: float) -> list[Rod]:
    """A pouch, crumpled because `paint` folds whatever is not opaque, on a white thread."""
    return [
        Rod((28, 0), (ENDLESS, 8 * opening), (1.2, 1.2), (236, 236, 240)),
        Rod((8, -3 * opening), (26, 0), (12 + 4 * opening, 7), (214, 212, 224), 0.1, 0.8),
    ]


INSTRUMENTS = (grasper, bipolar, hook, scissors, clipper, irrigator, bag)


def picture(index: int, opening: float, tip, angle: float, scale: float, shape) -> tuple[np.ndarray, np.ndarray]:
    """An instrument on an empty picture: colours (height, width, 3) in 0-255 and opacity (height, width) in [0, 1].

    `tip` is (y, x) in pixels, `angle` (radians) the direction from the tip to the handle, `scale` pixels per unit and
    `opening` in [0, 1] how wide the jaws stand.
    """
    colours = np.zeros((*shape, 3), np.float32)
    opacity = np.zeros(shape, np.float32)
    turn = scale * np.array([[np.sin(angle), np.cos(angle)], [np.cos(angle), -np.sin(angle)]])
    for rod in INSTRUMENTS[index](opening):
        start, end = (np.asarray(tip) + turn @ np.array(point) for point in (rod.start, rod.end))
        paint(colours, opacity, rod, start, end, scale)
    return colours, opacity


def paint(colours: np.ndarray, opacity: np.ndarray, rod: Rod, start: np.ndarray, end: np.ndarray, scale: float) -> None:
    """Lay one rod, `start` and `end` given as (y, x) pixels, over the picture; it is lit as a cylinder."""
    reach = max(rod.radii) * scale + 1
    low = np.clip(np.floor(np.minimum(start, end) - reach), 0, opacity.shape).astype(int)
    high = np.clip(np.ceil(np.maximum(start, end) + reach), 0, opacity.shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    y = np.arange(low[0], high[0], dtype=np.float32)[:, None] - np.float32(start[0])
    x = np.arange(low[1], high[1], dtype=np.float32)[None, :] - np.float32(start[1])
    length = float(np.hypot(*(end - start)))
    axis = ((end - start) / length).astype(np.float32)
    along, across = y * axis[0] + x * axis[1], x * axis[0] - y * axis[1]
    part = np.clip(along / length, 0, 1)
    radius = scale * (rod.radii[0] + part * (rod.radii[1] - rod.radii[0]))
    distance = np.hypot(across, along - part * length) - radius
    cover = np.clip(0.5 - distance, 0, 1) * rod.opacity
    side = np.clip(across / radius, -1, 1)
    light = 0.5 + 0.5 * np.sqrt(1 - side * side) + rod.shine * np.exp(-(((side + 0.3) / 0.22) ** 2))
    if rod.opacity < 1:
        u, v = along / scale, across / scale
        folds = np.sin(0.3 * u + 1.6 * np.sin(0.23 * v + 0.1 * u)) * np.sin(0.27 * v - 0.2 * u + np.sin(0.3 * u))
        light, cover = light * (1 + 0.2 * folds), cover * (1 + 0.25 * folds)
    shaded = light[..., None] * np.array(rod.colour, np.float32)
    colours[box] += cover[..., None] * (shaded - colours[box])
    opacity[box] = np.maximum(opacity[box], cover)
