"""Square attack in an Linf ball: random search by squares of pixels, from logits alone (Andriushchenko et al. 2020)."""

import itertools
import math
from collections.abc import Iterator

import torch

from robustloss.attacks.parts import balls, checks, gradients, margins, network
from robustloss.attacks.parts.batches import Rows
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.errors import Problem

# Of 10,000 queries, those after which the squares' share of the pixels is halved, as in the authors' code.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
# Queries that are made ready at a time. After them samples may leave, for which the device has to be waited for.
TOGETHER = 10


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    epsilon: float,
    queries: int = 5000,
    p_init: float = 0.8,
) -> Perturbed:
    """Adversarial images: stripes at the edge of the ball of `epsilon`, then squares in them that raise the margin.

    Every pixel is at the edge of the ball or of [0, 1], first in vertical stripes of random sign, one per column and
    channel. Each of the `queries` that follow puts random signs, one per channel, into a square at a random place, and
    keeps them if max_{j != y} z_j - z_y rises. The squares cover a share of the pixels that starts at `p_init` and is
    halved after fixed shares of the queries. Where a square would change nothing it gets the opposite signs.

    A sample leaves when it is misclassified, so at once when it is already. Its random numbers do not depend on the
    others, nor, on a CPU, on the size of the batch. `epsilon` is a fraction of the pixel range; the network needs no
    gradient. `iterations` counts squares. Raises Problem for settings or inputs out of range, and for logits that are
    not finite.
    """
    _check_settings(epsilon, queries, p_init)
    ball = balls.choose("linf", epsilon).around(images, epsilon)
    highest = checks.check_inputs(model, images, labels)
    excess = margins.excess(network.clean(model, images, highest), labels)
    withstands = excess <= 0
    stripes, squares = _draw(images, queries, generator)
    state = Rows(torch.arange(len(images), device=images.device), images.contiguous(), excess, labels=labels, ball=ball)
    state.moving, results = withstands, state.results()
    state.shrink(results)
    if len(state.row):
        _stripe(model, state, stripes[state.row], highest)
    for block, side in blocks(queries, p_init, images.shape[2:]):
        state.shrink(results)
        if not len(state.row):
            break
        _try(model, state, squares[state.row, block.start : block.stop], side, highest)
    state.store(results)
    checks.check_finite(results.merit.isfinite().all())
    return Perturbed(results.images, results.iterations, results.iterations + 1 + withstands)


def blocks(queries: int, p_init: float, size: tuple[int, int]) -> Iterator[tuple[range, int]]:
    """Consecutive queries and the side of their squares, in images of `size` (height, width).

    Those of a block are of one side and no larger together than an image, so that to make them ready takes little room.
    """

    def side(query: int) -> int:
        share = p_init / 2 ** sum(10000 * query > halving * queries for halving in HALVINGS)
        return min(max(round(math.sqrt(share * math.prod(size))), 1), *size)

    for edge, members in itertools.groupby(range(queries), side):
        numbers = [*members]
        length = max(1, min(TOGETHER, math.prod(size) // edge**2))
        for first in range(numbers[0], numbers[-1] + 1, length):
            yield range(first, min(first + length, numbers[-1] + 1)), edge


def _draw(images, queries, generator) -> tuple[torch.Tensor, torch.Tensor]:
    """For stripes (N, channels, 1, width), and for squares (N, queries, 2 + channels): a place and signs.

    Numbers are uniform in [0, 1); as a sign one is up below 1/2. A sample's are drawn together.
    """
    count, channels, _, width = images.shape
    sizes = channels * width, queries * (2 + channels)
    numbers = torch.rand(count, sum(sizes), generator=generator, device=generator.device).to(images.device)
    stripes, squares = numbers.split(sizes, 1)
    return stripes.view(count, channels, 1, width), squares.view(count, queries, 2 + channels)


def _stripe(model, state, numbers, highest) -> None:
    """The start, which is kept even where it is worse than the image."""
    striped = torch.where(numbers < 0.5, state.ball.high, state.ball.low)
    state.found = torch.where(state.moving.view(-1, 1, 1, 1), striped, state.found)
    margin = gradients.margin_value(network.predict(model, state.found, highest), state.labels)
    state.merit = torch.where(state.moving, margin, state.merit)
    state.moving = state.moving & (margin <= 0)


def _try(model, state, numbers, side, highest) -> None:
    """Put one square after another into each image, in place, and take it back where it does not help."""
    pixels = state.found.flatten(2)
    squares = _pixels(numbers[..., :2], side, state.found.shape)
    low, high = (_pick(bound, squares) for bound in (state.ball.low, state.ball.high))
    up = numbers[..., 2:, None] < 0.5
    signs, opposite = torch.where(up, high, low), torch.where(up, low, high)
    for number, square in enumerate(squares.unbind(1)):
        square = square[:, None].expand(-1, pixels.shape[1], -1)
        before, after = pixels.gather(2, square), signs[:, number]
        idle = (after == before).flatten(1).all(1).view(-1, 1, 1)
        after = torch.where(idle, opposite[:, number], after)
        pixels.scatter_(2, square, after)
        margin = gradients.margin_value(network.predict(model, state.found, highest), state.labels)
        helps = state.moving & (margin > state.merit)
        pixels.scatter_(2, square, torch.where(helps.view(-1, 1, 1), after, before))
        state.iterations = state.iterations + state.moving
        state.merit = torch.where(helps, margin, state.merit)
        state.moving = state.moving & (state.merit <= 0)


def _pixels(places, side, shape) -> torch.Tensor:
    """The pixels (n, m, side²) of squares at places (n, m, 2) in [0, 1), counted row after row of the image."""
    height, width = shape[2:]
    corners = (places * places.new_tensor([height - side + 1, width - side + 1])).long()
    offsets = torch.arange(side, device=places.device)
    rows, columns = (corners[..., axis, None] + offsets for axis in (0, 1))
    return (rows[..., :, None] * width + columns[..., None, :]).flatten(2)


def _pick(images, squares) -> torch.Tensor:
    """The values (n, m, channels, side²) at pixels (n, m, side²)."""
    pixels = images.flatten(2)
    count, channels, _ = pixels.shape
    several = squares.flatten(1)[:, None].expand(-1, channels, -1)
    return pixels.gather(2, several).view(count, channels, *squares.shape[1:]).transpose(1, 2)


def _check_settings(epsilon, queries, p_init) -> None:
    checks.check_whole(queries=queries)
    checks.check_numbers(epsilon=epsilon, p_init=p_init)
    if not 0 < p_init <= 1:
        raise Problem(f"attack: p_init is a share of the pixels, above 0 and at most 1, not {p_init}")
