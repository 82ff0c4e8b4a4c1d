"""The simple black-box attack: one coordinate at a time, kept where it helps (Guo et al. 2019, Algorithm 1)."""

import math
from collections.abc import Callable

import torch

from robustloss.attacks.parts import checks, gradients, network
from robustloss.attacks.parts.batches import Rows
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

    A sample stops when it is misclassified, so when clean already, or after `queries`: one for the clean image, which
    the published code does not count, and as there one for a coordinate whose negative step helps and two for any
    other. That includes the negative step of a pixel at 0, which changes nothing and is not put to the network.
    `iterations` counts coordinates. Raises Problem for settings or inputs out of range, and for logits that are not
    finite.
    """
    _check_settings(step, queries, basis)
    rises = _choose_score(score)
    highest = checks.check_inputs(model, images, labels)
    columns, lines = (vectors.to(images) for vectors in bases(*images.shape[2:], basis, low_frequencies))
    order = _orders(generator, len(images), images.shape[1] * len(columns) * len(lines), queries).to(labels.device)
    logits = network.clean(model, images, highest)
    state = Rows(
        torch.arange(len(images), device=images.device),
        images.clone(memory_format=torch.contiguous_format),
        rises(logits, labels),
        labels=labels,
        order=order,
        negative=torch.ones_like(labels, dtype=torch.bool),
    )
    state.moving, state.queries = logits.argmax(1) == labels, torch.ones_like(labels)
    results, total = state.results(), logits.sum()

    def helps(shown: torch.Tensor) -> torch.Tensor:
        """Ask the question (n, channels, height, width) of each sample, and tell whose step helps (n,)."""
        logits = network.predict(model, shown, highest)
        total.add_(logits.sum())
        return _answer(state, logits.argmax(1) != state.labels, rises(logits, state.labels), queries)

    # Each pass asks one question for every sample that goes on, wherever it stands, so that none is asked in vain.
    for _ in range(queries - 1):
        state.shrink(results)
        if not len(state.row):
            break
        coordinates = state.order.gather(1, state.iterations[:, None])
        if basis == "pixel":
            _try_pixels(state, coordinates, step, queries, helps)
        else:
            _try_waves(state, coordinates[:, 0], step, columns, lines, helps)
    state.store(results)
    checks.check_finite(total.isfinite())
    return Perturbed(results.images.clamp_(0, 1), results.iterations, results.queries)


def _try_pixels(state, pixels, step, queries, helps) -> None:
    """Move a pixel (n, 1) of each sample, and back again where that does not help."""
    # In place, since copies of the images would take as long as a small network.
    values = state.found.flatten(1)
    before = values.gather(1, pixels)
    _skip_idle(state, before[:, 0] == 0, queries)
    after = torch.where(state.negative[:, None], before - step, before + step).clamp_(0, 1)
    values.scatter_(1, pixels, after)
    values.scatter_(1, pixels, torch.where(helps(state.found)[:, None], after, before))


def _skip_idle(state, black, queries) -> None:
    """Count the negative step of a pixel at 0, and turn to the positive one."""
    idle = state.moving & state.negative & black
    state.queries += idle
    state.negative &= ~idle
    state.moving &= state.queries < queries


def _try_waves(state, coordinates, step, columns, lines, helps) -> None:
    """Add a wave to a channel of each sample, where that helps."""
    channel, place = coordinates // (len(columns) * len(lines)), coordinates % (len(columns) * len(lines))
    waves = columns[place // len(lines), :, None] * lines[place % len(lines), None]
    moved = state.found.clone()
    amounts = step * torch.where(state.negative, -1, 1).to(moved)
    moved[torch.arange(len(moved), device=moved.device), channel] += amounts[:, None, None] * waves
    better = helps(moved.clamp(0, 1))
    state.found = torch.where(better.view(-1, 1, 1, 1), moved, state.found)


def _answer(state, wrong, value, queries) -> torch.Tensor:
    """Count the question, tell whose step helps (n,), and go to the next question."""
    better = state.moving & (wrong | (value > state.merit))
    state.merit = torch.where(better, value, state.merit)
    done = state.moving & (better | ~state.negative)
    state.queries += state.moving
    state.iterations += done
    state.negative = done
    state.moving &= ~wrong & (state.queries < queries)
    return better


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
