"""Simultaneous perturbation stochastic approximation in the Linf ball (Uesato et al. 2018).

Adam on estimated gradients, for networks whose own are missing or misleading: it only asks for logits.
"""

from collections.abc import Callable

import torch

from robustloss.attacks.parts import batches, checks, gradients, network, targets
from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.errors import Problem

# Numbers in the images of one forward pass: more fall out of a CPU's cache, fewer leave a GPU idle.
AT_ONCE = {"cpu": 2**18, "cuda": 2**23}
# Adam's usual decay of the two moments (Kingma and Ba 2015).
DECAY = 0.9, 0.999


def perturb(
    model: torch.nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    *,
    epsilon: float,
    step_size: float,
    steps: int,
    delta: float = 0.01,
    samples: int = 128,
    loss: str | list[dict] = "margin",
    target: str | int | None = None,
) -> Perturbed:
    """Adversarial images: at most `steps` times x <- P(x + Adam(g)), g the gradient of the loss as `estimate` finds it.

    Adam's learning rate is `step_size`, and P projects onto the ball of `epsilon` and onto [0, 1]. These and `delta`
    are fractions of the pixel range. Each step takes `samples` random directions, the same for the whole batch; each
    costs two queries, at points that may lie up to `delta` outside of [0, 1]. The new iterate costs one more: a sample
    stops at its first one that is misclassified, so one that is when clean stays as it is.

    `loss` "margin" is the largest other logit less the label's, as published; the others are those of `gradients`,
    which here need no gradient. With a `target` ("random", "second" or "least_likely", see `targets`, or a class from
    0) the loss of that class falls instead, a sample stops when it is predicted so, and images of that class stay as
    they are. Raises Problem for settings or inputs out of range, and for logits that are not finite.
    """
    _check_settings(epsilon, step_size, steps, delta, samples)
    targets.check(target)
    objective = gradients.choose(loss, target).value
    highest = targets.highest(target, checks.check_inputs(model, images, labels))
    logits = network.clean(model, images, highest)
    aims = labels if target is None else targets.choose(target, logits, labels, generator)
    low, high = (images - epsilon).clamp(min=0), (images + epsilon).clamp(max=1)
    adversarial = images.clone()
    mean, square = (torch.zeros_like(images, dtype=torch.float64) for _ in range(2))
    iterations, queries = torch.zeros_like(labels), torch.ones_like(labels)
    moving = logits.argmax(1) == labels
    if target is not None:
        moving &= aims != labels
    sign = 1 if target is None else -1
    finite, rows = logits.sum().isfinite(), torch.arange(len(images), device=images.device)
    for step in range(1, steps + 1):
        kept = batches.still_needed(moving, len(images))
        rows, moving = rows[kept], moving[kept]
        if not len(rows):
            break
        current, aim = adversarial[rows], aims[rows]

        def value(probes, aim=aim):
            found = network.predict(model, probes, highest)
            return sign * objective(found, aim.repeat(len(probes) // len(aim)))

        gradient = estimate(value, current, samples, delta, generator)
        mean[rows], square[rows], change = _adam(gradient, mean[rows], square[rows], step)
        moved = change.to(images).mul_(step_size).add_(current).clamp_(low[rows], high[rows])
        adversarial[rows] = torch.where(moving.view(-1, 1, 1, 1), moved, current)
        iterations[rows] += moving
        queries[rows] += (2 * samples + 1) * moving
        logits = network.predict(model, adversarial[rows], highest)
        finite &= (logits.sum() + gradient.sum()).isfinite()
        moving &= (logits.argmax(1) == aim) == (target is None)
    checks.check_finite(finite)
    return Perturbed(adversarial, iterations, queries, targets=None if target is None else aims)


def estimate(
    value: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    samples: int,
    delta: float,
    generator: torch.Generator,
) -> torch.Tensor:
    """An estimate of each image's gradient of `value`, which maps images (n N, ...), n times the batch, to (n N,).

    The mean of (value(x + delta v) - value(x - delta v)) / (2 delta) × v over `samples` directions v of independent
    signs, the same for all images. It is unbiased where `value` is at most quadratic; there component i of gradient g
    has the variance (|g|^2 - g_i^2) / samples.
    """
    at_once = max(1, AT_ONCE.get(images.device.type, AT_ONCE["cuda"]) // images.numel())
    total = torch.zeros_like(images).flatten(1)
    for count in (min(at_once, samples - start) for start in range(0, samples, at_once)):
        shape = (count, 1, *images.shape[1:])
        signs = torch.randint(2, shape, generator=generator, device=generator.device)
        directions = signs.to(images).mul_(2).sub_(1)
        above, below = (
            value(images.add(directions, alpha=way).flatten(0, 1)).view(count, -1).to(total) for way in (delta, -delta)
        )
        total.addmm_((above - below).T, directions.flatten(1))
    return total.div_(2 * delta * samples).view_as(images)


def _adam(gradient, mean, square, step):
    """The new moments, and the direction of the step.

    In float64 and without a smallest denominator, so that the scale of the logits has no part.
    """
    gradient = gradient.double()
    mean, square = torch.lerp(gradient, mean, DECAY[0]), torch.lerp(gradient.square(), square, DECAY[1])
    size = (square / (1 - DECAY[1] ** step)).sqrt_().clamp_(min=torch.finfo(square.dtype).tiny)
    return mean, square, mean / (1 - DECAY[0] ** step) / size


def _check_settings(epsilon, step_size, steps, delta, samples) -> None:
    checks.check_sizes(epsilon, step_size)
    checks.check_steps(steps)
    checks.check_numbers(delta=delta)
    if not 0 < delta <= 1:
        raise Problem(f"attack: delta is a fraction of the pixel range, above 0 and at most 1, not {delta}")
    checks.check_whole(samples=samples)
