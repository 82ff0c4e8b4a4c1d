"""Moving pictures that look like a laparoscopy: tissue seen by a drifting camera, instruments coming and going."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from robustloss.data import instruments, tissue

RATE = 25  # frames per second, as in Cholec80
ENTRY = 12  # frames an instrument takes to come in or to leave: less than the second between two annotated frames
VIEW = 15  # seconds after which the camera looks at other tissue
SMOKE = 205  # its grey, 0-255
STRAY, BLACK = np.array([26, 20, 20]), np.array([12, 2, 3])  # light scattered in the scope; what is dark in a recording
LONGEST_TAKE = 4  # seconds after which an instrument is pulled back and comes in anew


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

    @property
    def stop(self) -> int:
        return self.start + len(self.offsets)

    def lay_over(self, image: np.ndarray, frame: int) -> None:
        """Composite what is seen of the instrument in `frame` onto `image` (height, width * 3) uint16, in place."""
        if not self.start <= frame < self.stop:
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
    """The appearances of instrument `index`: in place at the first frame of every second in which it is `shown`."""
    edges = np.flatnonzero(np.diff(shown.astype(int), prepend=0, append=0))
    for first, end in edges.reshape(-1, 2):
        while first < end:
            last = min(first + int(rng.integers(2, LONGEST_TAKE + 1)), end)
            yield take(rng, index, int(first), int(last), height, width)
            first = last


def take(rng: np.random.Generator, index: int, first: int, end: int, height: int, width: int) -> Take:
    """One appearance in seconds `first` to `end` (exclusive) at a random angle, place, size, light and opening."""
    margin = height // 6
    scale = height / 90 * rng.uniform(1.8, 2.4)
    angle, bearing = rng.uniform(-0.4, np.pi + 0.4), rng.uniform(0, 2 * np.pi)
    away = 0.28 * height * np.sqrt(rng.uniform())
    middle = np.array([height / 2, width / 2]) - 0.14 * height * np.array([np.sin(angle), np.cos(angle)])
    tip = middle + away * np.array([np.sin(bearing), np.cos(bearing)]) + margin
    light = rng.uniform(0.85, 1.15) * rng.normal(1, 0.02, 3)
    pictures = []
    for _ in range(first, end):
        shape = (height + 2 * margin, width + 2 * margin)
        colours, opacity = instruments.picture(index, rng.uniform(), tip, angle, scale, shape)
        pictures.append(cut(colours * light, opacity, margin))
    start = RATE * first - ENTRY
    length = RATE * (end - 1 - first) + 2 * ENTRY + 1
    sway = np.stack([tissue.path(rng, length, 30) for _ in range(2)], 1) * height / 25
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

    The first frame of a block shows exactly the instruments of its row. Tissue, camera, light and smoke depend on
    `seed` only, so that the films of two annotations differ by their instruments alone.
    """
    seconds, tools = annotation.shape
    generators = [np.random.default_rng([*seed, part]) for part in range(tools + 2)]
    cast = [
        appearance
        for index in range(tools)
        for appearance in takes(generators[index], index, annotation[:, index], height, width)
    ]
    views = camera(generators[-2], RATE * seconds, height, width)
    veil = atmosphere(generators[-1], RATE * seconds, height, width)
    light = lamp(generators[-1], RATE * seconds, height, width)
    for second in range(seconds):
        block = np.empty((RATE, height, 3 * width), np.uint16)
        start, stop = RATE * second, RATE * second + RATE
        present = [appearance for appearance in cast if appearance.start < stop and appearance.stop > start]
        for frame, image in enumerate(block, start):
            image[:] = next(views)
            for appearance in present:
                appearance.lay_over(image, frame)
            veil(image, frame)
        light(block, start)
        yield block.astype(np.uint8).reshape(RATE, height, width, 3)


def camera(rng: np.random.Generator, frames: int, height: int, width: int) -> Iterator[np.ndarray]:
    """Yield for each frame what the camera sees, uint8 (height, width * 3), as it pans, zooms and, now and then, cuts.

    The magnifications are drawn beforehand: a frame then costs no more than a crop.
    """
    for start in range(0, frames, RATE * VIEW):
        length = min(RATE * VIEW, frames - start)
        still = tissue.picture(rng, int(1.75 * height), int(1.75 * width))
        zoomed = [shrink(still, scale) for scale in np.linspace(1, 1.2, 16)]
        levels = np.clip(np.rint(7.5 + 4 * tissue.path(rng, length, 150)), 0, len(zoomed) - 1).astype(int)
        places = np.clip(0.5 + 0.25 * np.stack([tissue.path(rng, length, 80) for _ in range(2)], 1), 0, 1)
        for level, (down, right) in zip(levels, places, strict=True):
            picture = zoomed[level]
            top = int(down * (picture.shape[0] - height))
            left = 3 * int(right * (picture.shape[1] // 3 - width))
            yield picture[top : top + height, left : left + 3 * width]


def shrink(picture: np.ndarray, scale: float) -> np.ndarray:
    """A picture (height, width, 3) made `scale` times smaller by leaving out pixels, as (height, width * 3)."""
    rows, columns = (np.linspace(0, size - 1, int(size / scale)).astype(int) for size in picture.shape[:2])
    return picture.take(rows, 0).take(columns, 1).reshape(len(rows), -1)


def lamp(rng: np.random.Generator, frames: int, height: int, width: int) -> Callable[[np.ndarray, int], None]:
    """A function that lights a block (25, height, width * 3) uint16 in place, given its first frame.

    The scope's round field is dimmer outwards and nearly black around; its colour cast and size are the video's own,
    and its brightness drifts.
    """
    y, x = np.mgrid[:height, :width]
    centre = np.array([height, width]) / 2 + rng.normal(0, 0.02, 2) * height
    radius = rng.uniform(0.86, 0.98) * height
    distance = np.hypot(y - centre[0], x - centre[1]) / radius
    field = np.clip((1 - distance) * radius / 2, 0, 1) * (1 - rng.uniform(0.2, 0.35) * np.clip(distance, 0, 1) ** 2)
    cast = rng.uniform(0.52, 0.6) * rng.uniform(0.95, 1.05, 3)
    brightness = (field[..., None] * cast).reshape(height, -1)
    stray = np.rint(STRAY * field[..., None] + BLACK).astype(np.uint16).reshape(height, -1)
    drift = 0.92 + 0.06 * tissue.path(rng, frames, 200)

    def light(block: np.ndarray, frame: int) -> None:
        block *= np.rint(256 * np.clip(brightness * drift[frame], 0, 1)).astype(np.uint16)
        block >>= 8
        block += stray

    return light


def atmosphere(rng: np.random.Generator, frames: int, height: int, width: int) -> Callable[[np.ndarray, int], None]:
    """A function that, in some frames, veils an image (height, width * 3) uint16 in place with smoke or blurs it."""
    strength = 45 * np.clip(tissue.path(rng, frames, 90) - 0.9, 0, 1)
    cloud = np.clip(1 + 0.5 * tissue.noise(rng, (height, 2 * width), height / 3), 0, 2).repeat(3, 1)
    blurred = tissue.path(rng, frames, 60) > 1.7

    def veil(image: np.ndarray, frame: int) -> None:
        if strength[frame] >= 1:
            left = 3 * abs(frame % (2 * width) - width)
            thickness = (strength[frame] * cloud[:, left : left + 3 * width]).astype(np.uint16)
            image *= 128 - thickness
            image += SMOKE * thickness
            image >>= 7
        if blurred[frame]:
            defocus(image)

    return veil


def defocus(image: np.ndarray) -> None:
    """Blur an image (height, width * 3) uint16 in place with the binomial filter 1 2 1 at every second pixel."""
    image[2:-2] = (image[:-4] + 2 * image[2:-2] + image[4:]) >> 2
    image[:, 6:-6] = (image[:, :-12] + 2 * image[:, 6:-6] + image[:, 12:]) >> 2
