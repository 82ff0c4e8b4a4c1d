"""Random shifts and flips of training images.

A shift moves an image by whole numbers of pixels in both directions, which is the same as padding it by the largest
shift and cropping at random: with zeros He et al.'s (2016a, Section 4.2) padding of 4 pixels, with the nearest edge
what Keras's generator calls `fill_mode="nearest"`. pang2020 and song2022 shift by up to 10 % of the side with Keras,
by fractions of pixels that are interpolated; here shifts are whole, which leaves every value one of the image's own.
"""

import torch

from robustloss.code import check_settings, nearest
from robustloss.errors import Problem

FILLS = ("zero", "nearest")


def check(spec: dict, image_shape: tuple[int, int, int]) -> None:
    """Refuse settings that `moved` cannot follow for images of `image_shape` (height, width, channels)."""
    if not isinstance(spec, dict):
        raise Problem(f"augmentation: the settings are keys such as `shift: 4`, not {spec!r}")
    check_settings("augmentation", "robustloss.augmentation", "moved", spec)
    shift, fill, flip, side = spec.get("shift", 0), spec.get("fill", "zero"), spec.get("flip", False), image_shape[:2]
    if type(shift) is not int or not 0 <= shift < min(side):
        raise Problem(
            f"augmentation: shift must be a whole number of pixels from 0 to {min(side) - 1} for images of "
            f"{side[0]} x {side[1]}, not {shift!r}"
        )
    if fill not in FILLS:
        raise Problem(f"augmentation: there is no fill '{fill}'{nearest(fill, FILLS)}")
    if not isinstance(flip, bool):
        raise Problem(f"augmentation: flip must be true or false, not {flip!r}")


def moved(
    pixels: torch.Tensor,
    rows: torch.Tensor,
    generator: torch.Generator,
    *,
    shift: int = 0,
    fill: str = "zero",
    flip: bool = False,
) -> torch.Tensor:
    """The images `rows` (n,) of `pixels` (count, height, width, channels), each shifted and flipped at random.

    An image is shifted by uniform whole numbers of pixels in [-`shift`, `shift`], down and right; what comes in is 0
    (`fill` "zero") or the nearest pixel of the image ("nearest"). With `flip` it is then mirrored left to right with
    probability 1/2. Random numbers come from `generator` (on any device) alone.
    """
    count, (height, width, channels) = len(rows), pixels.shape[1:]
    down, right, mirrored = draw(count, generator, shift, flip).to(pixels.device, non_blocking=True)
    ys = torch.arange(height, device=pixels.device) - down[:, None]
    xs = torch.arange(width, device=pixels.device)
    xs = torch.where(mirrored[:, None] == 1, width - 1 - xs, xs) - right[:, None]
    inner_ys, inner_xs = ys.clamp(0, height - 1), xs.clamp(0, width - 1)
    places = ((rows[:, None] * height + inner_ys) * width)[:, :, None] + inner_xs[:, None, :]
    # A view, never a copy: a pixel with its channels is what one index stands for.
    found = pixels.view(-1, channels).index_select(0, places.flatten()).view(count, height, width, channels)
    if fill == "zero" and shift:
        inside = (xs == inner_xs).repeat_interleave(channels, 1)
        found.view(count, height, -1).mul_((ys == inner_ys)[:, :, None]).mul_(inside[:, None, :])
    return found


def draw(count: int, generator: torch.Generator, shift: int, flip: bool) -> torch.Tensor:
    """How far each of `count` images goes down and right, and whether (1) or not (0) it is mirrored: (3, count)."""
    where = {"generator": generator, "device": generator.device}
    moves = torch.randint(-shift, shift + 1, (2, count), **where)
    return torch.cat([moves, torch.randint(2, (1, count), **where) if flip else torch.zeros_like(moves[:1])])
