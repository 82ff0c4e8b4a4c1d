"""Projected gradient descent within a ball (Madry et al. 2018; ding2025, Eq. 7)."""

import torch

from robustloss.attacks.parts import attempts, balls, checks, gradients, targets
from robustloss.attacks.parts.ascent import Ascent, reached
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.errors import Problem


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    norm: str = "linf",
    random_start: bool = False,
    restarts: int = 1,
    loss: str | list = "cross_entropy",
    target: str | int | None = None,
    stop_at_success: bool = False,
) -> Perturbed:
    """Adversarial images: `steps` times x <- P(x + step_size × sign(grad_x L(x, y))), P the projection.

    The gradient is taken at the last iterate and P projects onto the ball of `epsilon` and onto [0, 1]; as printed, the
    equation has neither. `epsilon` and `step_size` are fractions of the pixel range; with `norm` "l2" they are L2 norms
    on that scale, and the step is step_size × grad / ||grad||. `loss`: see `gradients.choose`. With `random_start` the
    first iterate is uniform in the ball; of `restarts` such starts a sample keeps the first that succeeds, else the one
    of the largest loss.

    Success is a misclassification. With a `target` it is that class's prediction, and the class's loss is descended:
    "second" or "least_likely", the most or the least likely wrong class of the clean image, "random", uniform over the
    wrong classes, or a class, counted from 0; a sample of that very class stays as it is, and there must be another.
    With `stop_at_success` a sample leaves the batch at its first iterate that succeeds, the start among them, and keeps
    it: far fewer passes for whoever asks how many samples have such an iterate, and nothing else. Raises Problem for
    settings or inputs out of range, for probabilities in place of logits, and for logits or gradients that are not
    finite.
    """
    highest = targets.highest(target, checks.check_inputs(model, images, labels))
    kind = balls.choose(norm, None)
    _check_settings(images, norm, epsilon, step_size, steps, random_start, restarts, target)
    towards = targets.query(target, model, images, labels, generator, highest)
    climbed, check_logits = checks.watched(gradients.choose(loss, target))
    ascent = Ascent(model, climbed, steps, step_size, highest, reached if stop_at_success else None)
    ball = kind.around(images, epsilon)
    starts = map(ball.start, balls.draw(kind, images, restarts, generator).unbind(1)) if random_start else [images]
    if restarts == 1:
        found = ascent.climb(ball, next(iter(starts)), labels, towards)
    else:
        tries = (ascent.attempt(ball, start, labels, towards) for start in starts)

        def judge(logits, rows):
            ends = labels[rows], None if towards is None else towards[rows]
            return reached(logits, *ends), climbed.value(logits, *ends)

        found = attempts.worst(model, images, tries, judge, highest, stop_at_success)
    check_logits()
    return targets.finish(found, images, labels, towards)


def _check_settings(images, norm, epsilon, step_size, steps, random_start, restarts, target) -> None:
    if norm == "l2":
        checks.check_l2_sizes(epsilon, step_size, images)
    else:
        checks.check_sizes(epsilon, step_size)
    checks.check_whole(steps=steps, restarts=restarts)
    if restarts > 1 and not random_start:
        raise Problem(f"attack: {restarts} restarts from the same point are all equal: set random_start: true")
    targets.check(target)
