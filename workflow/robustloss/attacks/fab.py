"""Targeted fast adaptive boundary attack: small perturbations by way of linearised boundaries (Croce and Hein 2020)."""

import torch

from robustloss.attacks.parts import balls, checks, gradients, hyperplanes, margins, network
from robustloss.attacks.parts.batches import Results, Rows, rounds
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.errors import Problem

MOST_TARGETS = 9


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    epsilon: float | None = None,
    steps: int = 100,
    restarts: int = 1,
    targets: int | None = None,
    norm: str = "linf",
    alpha_max: float = 0.1,
    eta: float = 1.05,
    beta: float = 0.9,
    stop: bool = False,
) -> Perturbed:
    """The smallest perturbation found that is misclassified, where it is within `epsilon`; else the image unchanged.

    A step linearises z_t - z_y at the iterate, t the target, and goes to the points of that hyperplane, within [0, 1],
    that are nearest to the iterate and to the image: `eta` times the way to each, weighted by 1 - a and a, where a <=
    `alpha_max` is the larger the nearer the hyperplane is to the image. An iterate that is misclassified is a result,
    and is drawn back to `beta` of its distance from the image.

    `norm` "linf" or "l2" says what is small; `epsilon` is its largest size, and None is no limit. `targets` n: `steps`
    steps towards each of the n wrong classes that are most likely for the image; None is nine, or all if they are
    fewer. Of `restarts` the first starts at the image, others at random points within half the smaller of `epsilon` and
    the perturbation found so far. A sample that is misclassified when clean stays as it is; with `stop` one leaves at
    its first perturbation within `epsilon`. Raises Problem for settings or inputs out of range, for more targets than
    wrong classes, and for logits or gradients that are not finite.
    """
    _check_settings(epsilon, steps, restarts, targets, alpha_max, eta, beta, stop)
    ball = balls.choose(norm, epsilon)
    highest = checks.check_inputs(model, images, labels)
    if norm == "l2" and epsilon is not None:
        checks.check_l2_sizes(epsilon, epsilon, images)
    clean = network.clean(model, images, highest)
    targets = min(MOST_TARGETS, clean.shape[1] - 1) if targets is None else targets
    aims = margins.likeliest(clean, labels, targets)
    limit = ball.size(torch.ones_like(images[:1])).item() if epsilon is None else epsilon
    nothing, zero = images.new_full(labels.shape, -torch.inf), torch.zeros_like(labels)
    best = Results(images.clone(), nothing, zero, zero + 1)
    drawn = balls.draw(ball, images, restarts, generator)
    withstands = clean.argmax(1) == labels
    for samples, numbers in rounds(withstands, restarts * targets):
        centre = images[samples]
        near = ball.around(centre, (-best.merit[samples]).clamp(max=limit).view(-1, 1, 1, 1) / 2)
        again = (numbers >= targets).view(-1, 1, 1, 1)
        state = Rows(
            samples,
            centre,
            nothing[samples],
            images=torch.where(again, near.start(drawn[samples, numbers // targets]), centre),
            centre=centre,
            labels=labels[samples],
            aims=aims[samples, numbers % targets],
        )
        pull, enough = (alpha_max, eta, beta), limit if stop else 0
        best.take(samples, _approach(model, state, len(images), norm, steps, pull, enough, highest))
        if stop:
            withstands &= -best.merit > limit
    within = (-best.merit <= limit).view(-1, 1, 1, 1)
    return Perturbed(torch.where(within, best.images, images), best.iterations, best.queries)


def _approach(model, state, samples, norm, steps, pull, enough, highest) -> Results:
    """The smallest perturbation of each, of merit minus its size; a sample leaves at one of size `enough` or less."""
    results, size, (alpha_max, eta, beta) = state.results(), balls.BALLS[norm].size, pull
    finite = torch.ones((), dtype=torch.bool, device=state.row.device)
    for _ in range(steps):
        inputs, logits = network.forward(model, state.images, state.labels, highest)
        known = logits.detach(), state.labels, state.aims
        _offer(state, known[0], size)
        gap, gradient = gradients.margin_value(*known), network.backward(logits, inputs, gradients.margin(*known))
        finite &= (gap.sum() + gradient.sum()).isfinite()
        state.images = _onward(state, gap, gradient, norm, alpha_max, eta)
        wrong = _offer(state, network.predict(model, state.images, highest), size)
        back = torch.lerp(state.centre, state.images, beta)
        state.images = torch.where(wrong.view(-1, 1, 1, 1), back, state.images)
        state.iterations = state.iterations + state.moving
        state.leave(-state.merit <= enough, samples)
        state.shrink(results)
        if not len(state.row):
            break
    state.store(results)
    checks.check_finite(finite)
    return results


def _offer(state, logits, size) -> torch.Tensor:
    """Keep the iterates that are misclassified and smaller than any before; which are misclassified (n,)."""
    wrong = logits.argmax(1) != state.labels
    state.offer(state.images, torch.where(wrong, -size(state.images - state.centre), -torch.inf))
    return wrong


def _onward(state, gap, gradient, norm, alpha_max, eta) -> torch.Tensor:
    """The next iterate; `gap` (n,) is z_t - z_y at the last one, which lies on the hyperplane where it is 0."""
    points = torch.stack([state.images, state.centre]).flatten(2)
    normals = gradient.flatten(1)
    lower = (normals * (points[0] - points[1])).sum(1)
    rises = torch.stack([-gap, lower - gap]).to(points.dtype)
    moves = hyperplanes.displacement(points, normals, rises, norm)
    sizes = torch.stack([balls.BALLS[norm].size(move) for move in moves])
    shares = sizes[0] / sizes.sum(0).clamp(min=torch.finfo(sizes.dtype).tiny)
    aims = points.add_(moves, alpha=eta)
    onward = torch.lerp(*aims, shares.clamp(max=alpha_max)[:, None])
    return onward.clamp_(0, 1).view_as(state.images)


def _check_settings(epsilon, steps, restarts, targets, alpha_max, eta, beta, stop) -> None:
    checks.check_whole(steps=steps, restarts=restarts, **({} if targets is None else {"targets": targets}))
    checks.check_numbers(alpha_max=alpha_max, eta=eta, beta=beta)
    if not (0 <= alpha_max <= 1 and 0 < beta < 1):
        raise Problem(f"attack: alpha_max lies in [0, 1] and beta between 0 and 1, not {alpha_max} and {beta}")
    if not eta >= 1:
        raise Problem(f"attack: eta goes to the hyperplane or beyond it, so is at least 1, not {eta}")
    if stop and epsilon is None:
        raise Problem("attack: stop leaves a sample at a perturbation within epsilon, so set epsilon or stop: false")
