"""The simple black-box attack: one coordinate at a time, kept where it helps (Guo et al. 2019, Algorithm 1)."""

import math
from collections.abc import Callable

import torch

from robustloss.attacks.parts import batches, checks, gradients, network
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.code import nearest
from robustloss.errors import Problem

BASES = ("pixel", "dct")


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    step: float,
    queries: int,
    basis: str = "pixel",
    low_frequencies: int | None = None,
    score: str = "log_odds",
) -> Perturbed:
    """Adversarial images: coordinates in random order, each moved by -`step`, else by +`step`, if the score rises.

    A coordinate is a pixel's value in one channel, or with `basis` "dct" a frequency of one channel's orthonormal 2-d
    discrete cosine transform, of which `low_frequencies` keeps the block of that side at the low end. Each sample has
    its own order, in which every coordinate comes once before any comes again. `step` is the change of a coefficient,
    for a pixel a fraction of its range. Images are cut to [0, 1], where coefficients of the transform keep what the cut
    hides, as in the published code; nothing else bounds them.

    `score` "log_odds" rises when the probability of the label falls, which is the paper's rule, also where that
    probability in float32 stands still at 1; "probability" takes the latter, as published; "margin" is the largest
    other logit less the label's.

    A sample stops when it is misclassified, so when clean already, or after `queries`, counted as in the published
    code: one for the clean image, then one for a coordinate whose negative step helps and two for any other. That
    includes the negative step of a pixel at 0, which changes nothing and is therefore not put to the network.
    `iterations` counts coordinates. Raises Problem for settings or inputs out of range, and for logits that are not
    finite.
    """
    _check_settings(step, queries, basis)
    rises = _choose_score(score)
    highest = checks.check_inputs(model, images, labels)
    columns, lines = (vectors.to(images) for vectors in bases(*images.shape[2:], basis, low_frequencies))
    order = _orders(generator, len(images), images.shape[1] * len(columns) * len(lines), queries).to(labels.device)
    logits = network.predict(model, images, highest)
    finite, best, moving = logits.sum().isfinite(), rises(logits, labels), logits.argmax(1) == labels
    adversarial, visited, asked = images.clone(), torch.zeros_like(labels), torch.ones_like(labels)
    negative = torch.ones_like(moving)
    rows = torch.arange(len(images), device=images.device)
    # Each pass asks one question for every sample that goes on, wherever it stands, so that none is asked in vain.
    for _ in range(queries - 1):
        kept = batches.still_needed(moving, len(images))
        rows, moving = rows[kept], moving[kept]
        if not len(rows):
            break
        current, truth, coordinates = adversarial[rows], labels[rows], order[rows, visited[rows]]
        if basis == "pixel":
            known = moving & negative[rows] & (current.flatten(1).gather(1, coordinates[:, None])[:, 0] == 0)
            asked[rows] += known
            negative[rows] &= ~known
            moving &= asked[rows] < queries
        amounts = step * torch.where(negative[rows], -1, 1).to(images)
        moved = _moved(current, coordinates, amounts, columns, lines)
        shown = moved.clamp(0, 1)
        logits = network.predict(model, shown, highest)
        finite &= logits.sum().isfinite()
        wrong, value = logits.argmax(1) != truth, rises(logits, truth)
        better = moving & (wrong | (value > best[rows]))
        adversarial[rows] = torch.where(better.view(-1, 1, 1, 1), shown if basis == "pixel" else moved, current)
        best[rows] = torch.where(better, value, best[rows])
        done = moving & (better | ~negative[rows])
        asked[rows] += moving
        visited[rows] += done
        negative[rows] = done
        moving &= ~wrong & (asked[rows] < queries)
    checks.check_finite(finite)
    return Perturbed(adversarial.clamp_(0, 1), visited, asked)


def bases(height: int, width: int, basis: str, low_frequencies: int | None = None):
    """Vectors along a column, the rows of (n, height), and along a line, the rows of (m, width), in float64.

    Coordinate (u, v) of a channel is the outer product of vector u of the first and v of the second: a pixel, or a wave
    of the orthonormal DCT-II, from the lowest frequency on.
    """
    if basis == "pixel":
        if low_frequencies is not None:
            raise Problem("attack: low_frequencies is for basis: dct; pixels have no frequencies, so leave it out")
        return tuple(torch.eye(side, dtype=torch.float64) for side in (height, width))
    if low_frequencies is not None and not 1 <= low_frequencies <= min(height, width):
        raise Problem(
            f"attack: low_frequencies is a whole number from 1 to {min(height, width)}, not {low_frequencies}"
        )
    return tuple(_cosines(side)[:low_frequencies] for side in (height, width))


def _cosines(side: int) -> torch.Tensor:
    """The orthonormal DCT-II (side, side), frequency by frequency."""
    frequencies, places = torch.arange(side, dtype=torch.float64)[:, None], torch.arange(side, dtype=torch.float64)
    waves = torch.cos(math.pi / side * frequencies * (places + 0.5)) * math.sqrt(2 / side)
    waves[0] /= math.sqrt(2)
    return waves


def _orders(generator, count, coordinates, length) -> torch.Tensor:
    """For each sample (count, length) random orders of the coordinates, one after another."""
    times = -(-length // coordinates)
    draw = (torch.randperm(coordinates, generator=generator, device=generator.device) for _ in range(count * times))
    rows = [torch.cat([next(draw) for _ in range(times)])[:length] for _ in range(count)]
    return torch.stack(rows)


def _moved(images, coordinates, amounts, columns, lines) -> torch.Tensor:
    """The images, each moved by its amount along its coordinate."""
    channel, place = coordinates // (len(columns) * len(lines)), coordinates % (len(columns) * len(lines))
    waves = columns[place // len(lines), :, None] * lines[place % len(lines), None]
    moved = images.clone()
    moved[torch.arange(len(images), device=images.device), channel] += amounts[:, None, None] * waves
    return moved


def _choose_score(name: str) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """From logits (N, K) and labels (N,) to the score (N,), which grows as the label is given up."""
    choices = {
        "log_odds": gradients.wrong_log_odds,
        "probability": _lost_probability,
        "margin": gradients.margin_value,
    }
    if name not in choices:
        raise Problem(f"attack: there is no score '{name}'{nearest(name, choices)}")
    return choices[name]


def _lost_probability(logits, labels) -> torch.Tensor:
    """-p_y, which in float32 stands still at -1 where z_y exceeds the other logits by about 17."""
    probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)
    return -probabilities.gather(1, labels[:, None])[:, 0]


def _check_settings(step, queries, basis) -> None:
    if basis not in BASES:
        raise Problem(f"attack: there is no basis '{basis}'{nearest(basis, BASES)}")
    if not 0 < step < math.inf or (basis == "pixel" and step > 1):
        raise Problem(f"attack: step is a number above 0, and for pixels at most 1, the whole range, not {step}")
    if queries < 2:
        raise Problem(f"attack: queries is a whole number from 2, the first being the clean image's, not {queries}")
