"""Auto-PGD, whose step size follows from its own progress, within an Linf or L2 ball (Croce and Hein 2020b)."""

import torch

from robustloss.attacks.parts import balls, checks, gradients, margins, network
from robustloss.attacks.parts.batches import Results, Rows, rounds
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.errors import Problem

MOMENTUM = 0.75


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    epsilon: float,
    steps: int = 100,
    restarts: int = 1,
    loss: str | list = "exact_cross_entropy",
    targets: int | None = None,
    norm: str = "linf",
    rho: float = 0.75,
    stop: bool = True,
) -> Perturbed:
    """Adversarial images: of the clean image and all iterates, the one whose largest wrong logit exceeds z_y most.

    `restarts` climbs of `steps` steps from random points of the surface of the ball, which is of radius `epsilon` in
    `norm`: "linf", a fraction of the pixel range, or "l2". The steps are with momentum, at first 2 epsilon long, and
    halved at a checkpoint if since the last one no more than the share `rho` of the steps raised the loss, or if
    neither the best loss rose nor, at the last one, the step size fell; the climb then goes on from its best point.
    Starts, checkpoints, "no more" where the paper has "fewer", and that the second rule spares the first checkpoint are
    as in the authors' code. (There the first step always counts as a rise, or with "dlr" mostly not; here as it is.)

    `loss` is "exact_cross_entropy" (which does not underflow, see `gradients`), "cross_entropy", "dlr" or "margin".
    `targets` n makes of each restart n climbs, one towards each of the n wrong classes that are most likely for the
    clean image. With `stop` a sample leaves when it is misclassified, so at once when it is already. Raises Problem for
    settings or inputs out of range, for more targets than wrong classes, for "dlr" with fewer than 3 classes (with
    targets: 4), and for logits or gradients that are not finite.
    """
    _check_settings(epsilon, steps, restarts, targets, rho)
    ball, climbed = balls.choose(norm, epsilon), gradients.choose(loss, targets)
    highest = checks.check_inputs(model, images, labels)
    if norm == "l2":
        checks.check_l2_sizes(epsilon, epsilon, images)
    clean = network.forward(model, images, labels, highest)[1].detach()
    checks.check_clean(clean)
    aims = None if targets is None else margins.likeliest(clean, labels, targets)
    merit, zero = margins.excess(clean, labels), torch.zeros_like(labels)
    best = Results(images.clone(), merit, zero, zero + 1)
    around, drawn = ball.around(images, epsilon), balls.draw(ball, images, restarts, generator)
    withstands, several = (merit <= 0) | (not stop), targets or 1
    for samples, numbers in rounds(withstands, restarts * several):
        inside = around[samples]
        climbers = Rows(
            samples,
            inside.start(_outermost(drawn[samples, numbers // several], norm)),
            torch.full_like(merit[samples], -torch.inf),
            labels=labels[samples],
            aims=None if aims is None else aims[samples, numbers % several],
            ball=inside,
        )
        best.take(samples, _climb(model, climbers, len(images), climbed, epsilon, steps, rho, stop, highest))
        if stop:
            withstands &= best.merit <= 0
    return Perturbed(best.images, best.iterations, best.queries)


def checkpoints(steps: int) -> list[int]:
    """After which steps the step size is looked at: 22 % of them, then intervals 3 % shorter each, of 6 % at least.

    All of these are rounded down to whole steps, and at least one, as in the authors' code; the paper rounds the sums.
    """
    interval, shorter, shortest = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    at, found = interval, []
    while at <= steps:
        found.append(at)
        interval = max(interval - shorter, shortest)
        at += interval
    return found


def _outermost(numbers: torch.Tensor, norm: str) -> torch.Tensor:
    """Uniform numbers (n, numbers) such that `start` makes points of the ball's surface, less what [0, 1] cuts off."""
    if norm == "l2":
        return torch.cat([torch.ones_like(numbers[:, :1]), numbers[:, 1:]], 1)
    centred = numbers - 0.5
    return centred.div_(2 * centred.abs().amax(1, keepdim=True)).add_(0.5)


def _climb(model, state, samples, loss, epsilon, steps, rho, stop, highest) -> Results:
    """Of each climb from `state.found` the iterate of the largest excess."""
    _begin(state, epsilon)
    results, marks, last = state.results(), checkpoints(steps), 0
    finite = torch.ones((), dtype=torch.bool, device=state.row.device)
    for step in range(steps + 1):
        inputs, logits = network.forward(model, state.images, state.labels, highest)
        known = logits.detach(), state.labels, state.aims
        state.offer(state.images, margins.excess(*known[:2]))
        if stop:
            state.leave(state.merit > 0, samples)
        if step == steps:
            finite &= known[0].sum().isfinite()
            break
        gradient = network.backward(logits, inputs, loss.direction(*known))
        finite &= (known[0].sum() + gradient.sum()).isfinite()
        _compare(state, loss.value(*known), gradient)
        if step in marks:
            _halve(state, rho * (step - last))
            last = step
        _move(state, MOMENTUM if step else 1)
        if stop:
            state.shrink(results)
            if not len(state.row):
                break
    state.store(results)
    checks.check_finite(finite)
    return results


def _begin(state, epsilon) -> None:
    """Set what changes in the course of a climb."""
    images, nothing = state.found, state.merit
    state.images = state.previous = state.best_images = images
    state.best_gradient = torch.zeros_like(images)
    state.value, state.best_value, state.value_before = -nothing, nothing, nothing
    state.rises, state.halved = torch.zeros_like(state.row), torch.zeros_like(state.moving)
    state.step_size = images.new_full((len(images), 1, 1, 1), 2 * epsilon)


def _compare(state, value, gradient) -> None:
    """Hold the iterate against the last one and against the best one."""
    state.rises += value > state.value
    better = value > state.best_value
    state.best_images = _where(better, state.images, state.best_images)
    state.best_gradient = _where(better, gradient, state.best_gradient)
    state.best_value = torch.where(better, value, state.best_value)
    state.value, state.gradient = value, gradient


def _halve(state, enough: float) -> None:
    """The two conditions at a checkpoint, after which the climb goes on from its best point."""
    stuck = ~state.halved & (state.best_value == state.value_before)
    state.halved = (state.rises <= enough) | stuck
    state.value_before, state.rises = state.best_value, torch.zeros_like(state.rises)
    state.step_size = torch.where(state.halved.view(-1, 1, 1, 1), state.step_size / 2, state.step_size)
    state.images = _where(state.halved, state.best_images, state.images)
    state.gradient = _where(state.halved, state.best_gradient, state.gradient)


def _move(state, momentum: float) -> None:
    images, ball = state.images, state.ball
    ahead = ball.step(images, state.gradient, state.step_size)
    onward = torch.lerp(images, ahead, momentum).add_(images - state.previous, alpha=1 - momentum)
    state.previous, state.images = images, ball.project_(onward)
    state.iterations += state.moving


def _where(condition, images, others) -> torch.Tensor:
    return torch.where(condition.view(-1, 1, 1, 1), images, others)


def _check_settings(epsilon, steps, restarts, targets, rho) -> None:
    checks.check_whole(steps=steps, restarts=restarts, **({} if targets is None else {"targets": targets}))
    checks.check_numbers(epsilon=epsilon, rho=rho)
    if not 0 < rho <= 1:
        raise Problem(f"attack: rho is a share of the steps, above 0 and at most 1, not {rho}")
