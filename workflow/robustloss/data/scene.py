"""Moving pictures that look like a laparoscopy: lit tissue seen by a drifting camera, with instruments coming and going."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from robustloss.data import instruments

RATE = 25  # frames per second, as in Cholec80
ENTRY = 12  # frames an instrument takes to come in or to leave: less than the second between two annotated frames
VIEW = 15  # seconds after which the camera looks at other tissue
LONGEST_TAKE = 4  # seconds after which an instrument is pulled back and comes in anew

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


def spline(length: int, cells: float) -> np.ndarray:
    """Uniform cubic B-spline weights (length, knots) that blend one knot per cell into `length` values."""
    place = np.arange(length) * (cells / length)
    knot = place.astype(int)
    t = place - knot
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1) / 6
    matrix = np.zeros((length, int(np.ceil(cells)) + 3))
    for k in range(4):
        matrix[np.arange(length), knot + k] = weights[:, k]
    return matrix


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Smooth noise of about unit variance whose bumps are about `cell` pixels wide."""
    down, right = (spline(n, n / cell) for n in shape)
    return 2.1 * down @ rng.standard_normal((down.shape[1], right.shape[1])) @ right.T


def path(rng: np.random.Generator, length: int, step: float) -> np.ndarray:
    """A smooth random walk-about of `length` frames with unit variance, turning about every `step` frames."""
    blend = spline(length, length / step)
    return 1.45 * blend @ rng.standard_normal(blend.shape[1])


def tissue(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A lit abdominal still (height, width, 3) in 0-255: overlapping organs with vessels, mottling and wet highlights."""
    shape = (height, width)
    y, x = np.mgrid[:height, :width] / height
    y, x = (axis + 0.07 * noise(rng, shape, height / 4) + 0.012 * noise(rng, shape, height / 16) for axis in (y, x))
    kinds = np.concatenate([rng.permutation(len(ORGANS)), rng.integers(0, len(ORGANS), 3)])
    centres = rng.uniform(0, 1, (len(kinds), 2)) * (1, width / height)
    fields = np.stack([rng.uniform(0.2, 0.45) - np.hypot(y - cy, x - cx) for cy, cx in centres])
    order = np.sort(fields, 0)
    crease = np.clip((order[-1] - order[-2]) / 0.10, 0.03, 1)
    tints = ORGANS[kinds] * rng.normal(1, 0.05, (len(kinds), 1)) * rng.normal(1, 0.02, (len(kinds), 3))
    share = np.exp((fields - order[-1]) / 0.006)
    colours = np.einsum("kyx,kc->yxc", share / share.sum(0), tints)
    mottle = 0.06 * noise(rng, shape, height / 12) + 0.05 * noise(rng, shape, height / 50)
    vessels = np.exp(-((noise(rng, shape, height / 7) / 0.06) ** 2)) * (noise(rng, shape, height / 5) > 0.4)
    colours *= (0.7 + 0.3 * np.sqrt(crease) + mottle)[..., None]
    colours += 0.55 * vessels[..., None] * (np.array([120, 22, 22]) - colours)
    relief = 1.5 * np.sqrt(crease) + 0.6 * noise(rng, shape, height / 10) + 0.06 * noise(rng, shape, height / 40)
    slope_y, slope_x = (slope * height / 10 for slope in np.gradient(relief))
    colours *= np.clip(1 - 0.10 * (slope_x + slope_y), 0.6, 1.3)[..., None]
    facing = np.exp(-((slope_y - 0.5) ** 2 + (slope_x - 0.4) ** 2) / 0.12)
    glint = facing * np.clip(noise(rng, shape, height / 6) - 1.0 + 0.5 * noise(rng, shape, height / 60), 0, 1)
    return np.clip(colours + 190 * glint[..., None], 0, 255)


@dataclass
class Take:
    """One appearance of one instrument, annotated from second `first`: a picture per second and an offset per frame.

    A picture is (top, left, ink, clear): colours x opacity and 128 - opacity as uint16 (height, width * 3), opacity in
    128ths. `offsets` (frames, 2) count from frame `start`; before and after them the instrument is away.
    """

    first: int
    start: int
    pictures: list[tuple[int, int, np.ndarray, np.ndarray]]
    offsets: np.ndarray

    def lay_over(self, image: np.ndarray, frame: int) -> None:
        """Composite what is seen of the instrument in `frame` onto `image` (height, width * 3) uint16, in place."""
        if not 0 <= frame - self.start < len(self.offsets):
            return
        top, left, ink, clear = self.pictures[min(max(frame // RATE - self.first, 0), len(self.pictures) - 1)]
        top, left = self.offsets[frame - self.start] + (top, left)
        up, low = max(top, 0), min(top + ink.shape[0], image.shape[0])
        west, east = max(3 * left, 0), min(3 * left + ink.shape[1], image.shape[1])
        if up < low and west < east:
            part = image[up:low, west:east]
            seen = (slice(up - top, low - top), slice(west - 3 * left, east - 3 * left))
            part *= clear[seen]
            part += ink[seen]
            part >>= 7


def takes(rng: np.random.Generator, index: int, shown: np.ndarray, height: int, width: int) -> Iterator[Take]:
    """The appearances of instrument `index`, fully in place at the first frame of every second in which it is `shown`."""
    edges = np.flatnonzero(np.diff(shown.astype(int), prepend=0, append=0))
    for first, end in edges.reshape(-1, 2):
        while first < end:
            last = min(first + int(rng.integers(2, LONGEST_TAKE + 1)), end)
            yield take(rng, index, int(first), int(last), height, width)
            first = last


def take(rng: np.random.Generator, index: int, first: int, end: int, height: int, width: int) -> Take:
    """One appearance in seconds `first` to `end` (exclusive) from a random side, to a random place, at a random size."""
    margin = height // 6
    scale = height / 90 * rng.uniform(1.8, 2.4)
    angle, bearing = rng.uniform(-0.4, np.pi + 0.4), rng.uniform(0, 2 * np.pi)
    away = 0.3 * height * np.sqrt(rng.uniform())
    tip = (height / 2 + away * np.sin(bearing) + margin, width / 2 + away * np.cos(bearing) + margin)
    light = rng.uniform(0.85, 1.15) * rng.normal(1, 0.02, 3)
    pictures = []
    for _ in range(first, end):
        shape = (height + 2 * margin, width + 2 * margin)
        colours, opacity = instruments.picture(index, rng.uniform(), tip, angle, scale, shape)
        pictures.append(cut(colours * light, opacity, margin))
    start = RATE * first - ENTRY
    length = RATE * (end - 1 - first) + 2 * ENTRY + 1
    sway = np.stack([path(rng, length, 30) for _ in range(2)], 1) * height / 25
    frames = np.arange(length)
    gone = np.clip(1 - np.minimum(frames, frames[::-1]) / ENTRY, 0, 1) ** 2
    retreat = np.hypot(height, width) * gone[:, None] * (np.sin(angle), np.cos(angle))
    offsets = np.rint(np.clip(sway, -margin, margin) + retreat).astype(int)
    return Take(first, start, pictures, offsets)


def cut(colours: np.ndarray, opacity: np.ndarray, margin: int) -> tuple[int, int, np.ndarray, np.ndarray]:
    """Cut a picture to the box that is not empty and fit it for integer compositing (see `Take`)."""
    rows, columns = (np.flatnonzero(opacity.any(axis)) for axis in (1, 0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    cover = np.rint(128 * opacity[box])[..., None].repeat(3, 2)
    ink = np.rint(cover * np.clip(colours[box], 0, 255))
    flat = (len(cover), -1)
    return (
        rows[0] - margin,
        columns[0] - margin,
        ink.reshape(flat).astype(np.uint16),
        (128 - cover).reshape(flat).astype(np.uint16),
    )


def film(seed: list[int], annotation: np.ndarray, height: int, width: int) -> Iterator[np.ndarray]:
    """Yield one block of frames (25, height, width, 3) uint8 for each row of `annotation` (seconds, 7).

    The first frame of a block shows exactly the instruments of its row. The tissue, the camera and the light depend on
    `seed` only, so that films of two annotations differ by their instruments alone.
    """
    rng = np.random.default_rng([*seed, len(instruments.INSTRUMENTS)])
    cast = [
        appearance
        for index in range(annotation.shape[1])
        for appearance in takes(np.random.default_rng([*seed, index]), index, annotation[:, index], height, width)
    ]
    frames = RATE * len(annotation)
    crops = camera(rng, frames, height, width)
    light, smoke, blur = lamp(rng, height, width), haze(rng, frames, height, width), path(rng, frames, 60) > 1.7
    black = np.tile(np.array([rng.integers(8, 16), 2, 3], np.uint16), width)
    drift = 0.92 + 0.06 * path(rng, frames, 200)
    for second in range(len(annotation)):
        block = np.empty((RATE, height, 3 * width), np.uint16)
        for image, frame in zip(block, range(RATE * second, RATE * second + RATE), strict=True):
            image[:] = next(crops)
            for appearance in cast:
                appearance.lay_over(image, frame)
            smoke(image, frame)
            if blur[frame]:
                defocus(image)
        block *= np.rint(256 * np.clip(light * drift[RATE * second], 0, 1)).astype(np.uint16)
        block >>= 8
        np.maximum(block, black, out=block)
        yield block.astype(np.uint8).reshape(RATE, height, width, 3)


def camera(rng: np.random.Generator, frames: int, height: int, width: int) -> Iterator[np.ndarray]:
    """Yield (height, width * 3) uint8 windows on tissue as a camera pans and zooms slowly, looking elsewhere after a while."""
    for start in range(0, frames, RATE * VIEW):
        length = min(RATE * VIEW, frames - start)
        still = tissue(rng, int(1.75 * height), int(1.75 * width)).astype(np.uint8)
        sizes = [[int(n / scale) for n in still.shape[:2]] for scale in np.linspace(1, 1.2, 16)]
        zoomed = [still[np.linspace(0, len(still) - 1, h, dtype=int)][:, np.linspace(0, still.shape[1] - 1, w, dtype=int)] for h, w in sizes]
        level = np.clip(np.rint(7.5 + 4 * path(rng, length, 150)), 0, 15).astype(int)
        places = 0.5 + 0.25 * np.stack([path(rng, length, 80) for _ in range(2)], 1)
        for place, picture in zip(np.clip(places, 0, 1), map(zoomed.__getitem__, level), strict=True):
            top, left = (place * (picture.shape[0] - height, picture.shape[1] - width)).astype(int)
            yield picture[top : top + height, left : left + width].reshape(height, -1)


def lamp(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Brightness (height, width * 3) in [0, 1]: the round field of the scope, dimmer outwards, and the video's colour cast."""
    y, x = np.mgrid[:height, :width]
    centre = np.array([height, width]) / 2 + rng.normal(0, 0.02, 2) * height
    radius = rng.uniform(0.86, 0.98) * height
    distance = np.hypot(y - centre[0], x - centre[1]) / radius
    field = np.clip((1 - distance) * radius / 2, 0, 1) * (1 - rng.uniform(0.2, 0.35) * np.clip(distance, 0, 1) ** 2)
    cast = rng.uniform(0.64, 0.74) * rng.uniform(0.95, 1.05, 3)
    return (field[..., None] * cast).reshape(height, -1)


def haze(rng: np.random.Generator, frames: int, height: int, width: int):
    """A function that veils an image (height, width * 3) uint16 in place with drifting smoke, now and then."""
    strength = 45 * np.clip(path(rng, frames, 90) - 0.9, 0, 1)
    cloud = np.clip(1 + 0.5 * noise(rng, (height, 2 * width), height / 3), 0, 2).repeat(3, 1)

    def veil(image: np.ndarray, frame: int) -> None:
        if strength[frame] >= 1:
            left = 3 * (frame % width)
            thick = (strength[frame] * cloud[:, left : left + 3 * width]).astype(np.uint16)
            image *= 128 - thick
            image += 205 * thick
            image >>= 7

    return veil


def defocus(image: np.ndarray) -> None:
    """Blur an image (height, width * 3) uint16 in place with a 3 x 3 binomial filter, twice as wide as its pixels."""
    image[2:-2] = (image[:-4] + 2 * image[2:-2] + image[4:]) >> 2
    image[:, 6:-6] = (image[:, :-12] + 2 * image[:, 6:-6] + image[:, 12:]) >> 2
