"""What the signs of gradient masking are judged by: for each image, what breaks it and what its gradient is like."""

import copy
from dataclasses import replace

import torch
from torch import nn

from robustloss.attacks import multi_targeted
from robustloss.attacks.parts import checks, gradients, network
from robustloss.audit import availability, weaker
from robustloss.audit.white_box import WhiteBox
from robustloss.errors import Problem

# Radii of the ordinary attack, in epsilons, beside epsilon itself; none reaches beyond 1.
RADII = (0.25, 0.5, 2.0, 4.0)
# Factors of the logits, beside 1.
SCALES = (0.01, 0.1, 10.0, 100.0)
PASSES = 5
# How far from an image the points are at which its margin is looked at: half of 8/255, as in Pintor et al. 2022's code.
AROUND = 4 / 255

Outcomes = dict[str, torch.Tensor]


def right(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Which images (N,) are classified correctly; inputs or logits that cannot be audited raise Problem."""
    logits = network.predict(model, images, checks.check_inputs(model, images, labels))
    checks.check_finite(logits.isfinite().all())
    return logits.argmax(1) == labels


def measure(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    source: nn.Module | None = None,
    *,
    epsilon: float,
    steps: int = 40,
    restarts: int = 10,
    queries: int = 300,
    draws: int = 50,
) -> Outcomes:
    """For each image (N,), all classified correctly, what breaks it and what its gradient is like.

    The ordinary attack climbs cross-entropy, `steps` steps from a random point of the Linf ball of `epsilon` (see
    `WhiteBox`). bool (N,), whether

    - pgd_last, pgd, pgd_restarts, pgd_twice_restarts: it breaks the image with its last iterate; with any; with any
      from one of `restarts` points; from one of twice as many
    - pgd_float64, pgd_exact: it does, from the first of these points, in float64 (missing if the network has none); up
      the same loss without underflow
    - pgd_scale_S, scaled: it does where the logits are multiplied by S; up a cross-entropy that has no scale
    - pgd_radius_R, pgd_half, pgd_unbounded: it does in the ball of R epsilons; of 0.5; of 1
    - pgd_twice_steps, pgd_step_sizes, one_step, noise, square, decisions, transfer: it fails from all `restarts`
      points, but twice the steps, steps of another size, one step, one of `draws` corners of the ball, Square or RayS
      with `queries` queries, or an example of `source` does not
    - strong: `scaled`, the margin, or the margin to one wrong class after the other breaks the image
    - unavailable, inner_gradients: the network gives no gradient, and is attacked as one that is 0; it computes
      gradients itself, when it is asked for logits
    - zero_gradient, saturated: cross-entropy's gradient is 0 at the image; 1 - p_y rounds to 0 there
    - no_rise: the loss is no higher after the last step than at the start
    - probabilities: the logits could be probabilities.

    Numbers (N,): movement, the share of its rise that the best loss makes in the last quarter of the steps; variation,
    how far the normalised logits of five passes are apart; instability, by how much of itself the margin changes at
    points around the image, on average and at most 1. Raises Problem for settings or inputs out of range, and for
    logits or gradients that are not finite.
    """
    _check_settings(epsilon, steps, restarts, queries, draws)
    highest = checks.check_inputs(model, images, labels)
    ordinary = WhiteBox(images, labels, _uniform(images, generator), highest, epsilon, steps)
    found, model = _availability(ordinary, model)
    found |= _gradient(ordinary, model) | _output(ordinary, model) | _climb(ordinary, model)
    found["instability"] = _instability(ordinary, model, generator, draws)
    # Attacks refuse probabilities, which are to be audited all the same: twice as large, they are none.
    attacked = Scaled(model, 2.0) if found["probabilities"].all() else model
    found |= _variants(ordinary, model) | _strong(ordinary, attacked, generator)
    found |= _restarts(ordinary, model, found["pgd"], restarts, generator)
    withstands = ~found["pgd_restarts"]
    found |= weaker.others(ordinary, attacked, withstands, generator, queries, draws)
    if source is not None:
        transferred = ordinary.last(source, gradients.choose("scaled_cross_entropy"))
        found["transfer"] = ordinary.wrong(model, transferred) & withstands
    return found


def _availability(ordinary: WhiteBox, model) -> tuple[Outcomes, nn.Module]:
    """Whether there are gradients to be had, and the network to attack."""
    none, inner = (test(model, ordinary.images) for test in (availability.unavailable, availability.inside))
    every = torch.ones_like(ordinary.labels, dtype=torch.bool)
    found = {"unavailable": every & none, "inner_gradients": every & inner}
    return found, availability.Gradientless(model) if none else model


def _gradient(ordinary: WhiteBox, model) -> Outcomes:
    """What the library's cross-entropy gives at the images themselves."""
    images, labels = ordinary.images, ordinary.labels
    inputs, logits = network.forward(model, images, labels, ordinary.highest)
    direction = gradients.cross_entropy(logits.detach(), labels)
    gradient = network.backward(logits, inputs, direction)
    checks.check_finite(gradient.isfinite().all())
    return {
        "zero_gradient": (gradient == 0).flatten(1).all(1),
        "saturated": direction.gather(1, labels[:, None])[:, 0] == 0,
    }


@torch.no_grad()
def _output(ordinary: WhiteBox, model) -> Outcomes:
    passes = torch.stack([model(ordinary.images) for _ in range(PASSES)])
    unit = passes / passes.norm(dim=2, keepdim=True).clamp(min=torch.finfo(passes.dtype).tiny)
    apart = (unit[:, None] - unit[None]).norm(dim=3).amax((0, 1))
    logits = passes[0]
    return {"variation": apart, "probabilities": (logits >= 0).all(1) & ((logits.sum(1) - 1).abs() < 1e-5)}


def _climb(ordinary: WhiteBox, model) -> Outcomes:
    """The ordinary attack, watched at each iterate."""
    values, wrong = [], []

    def watch(logits, labels):
        # They grow with cross-entropy, which itself makes nearly all of a rise at its end.
        values.append(gradients.wrong_log_odds(logits, labels))
        wrong.append(logits.argmax(1) != labels)

    def direction(logits, labels, targets=None):
        watch(logits, labels)
        return gradients.cross_entropy(logits, labels)

    last = ordinary.last(model, gradients.Loss(direction, gradients.cross_entropy_value))
    watch(network.predict(model, last, ordinary.highest), ordinary.labels)
    found = {"pgd_last": wrong[-1], "pgd": torch.stack(wrong).any(0), "movement": _movement(torch.stack(values))}
    return found | {"no_rise": values[-1] <= values[0]}


def _movement(values: torch.Tensor) -> torch.Tensor:
    """From losses (iterates, N) the best one's rise in the last quarter over its whole rise; 0 if it never rises."""
    best = values.cummax(0).values
    late = best[-1] - best[-1 - max(1, (len(best) - 1) // 4)]
    return late / (best[-1] - best[0]).clamp(min=torch.finfo(best.dtype).tiny)


def _instability(ordinary: WhiteBox, model, generator, draws: int) -> torch.Tensor:
    """The mean over 2 `draws` points x + d and x - d of |m(x + d) - m(x)| / |m(x)|, m the margin; at most 1 (N,)."""
    images, labels = ordinary.images, ordinary.labels

    def margin(points):
        return gradients.margin_value(network.predict(model, points, ordinary.highest), labels)

    here, change = margin(images), 0
    for _ in range(draws):
        move = AROUND * (2 * _uniform(images, generator).view_as(images) - 1)
        for point in (images + move, images - move):
            change = change + (margin(point.clamp_(0, 1)) - here).abs()
    return (change / (2 * draws) / here.abs().clamp(min=torch.finfo(here.dtype).tiny)).clamp(max=1)


def _variants(ordinary: WhiteBox, model) -> Outcomes:
    """The ordinary attack from the same points, with one thing changed."""
    found = {"pgd_exact": ordinary.breaks(model, "exact_cross_entropy")}
    if (fine := _in_float64(model, ordinary.images)) is not None:
        found["pgd_float64"] = ordinary.in_float64().breaks(fine)
    radii = {f"radius_{factor:g}": min(1.0, factor * ordinary.epsilon) for factor in RADII}
    for name, radius in (radii | {"half": 0.5, "unbounded": 1.0}).items():
        found[f"pgd_{name}"] = replace(ordinary, epsilon=radius).breaks(model)
    for scale in SCALES:
        found[f"pgd_scale_{scale:g}"] = ordinary.breaks(Scaled(model, scale))
    return found


class Scaled(nn.Module):
    """The same predictions from logits that are multiplied by a number above 0."""

    def __init__(self, model: nn.Module, factor: float) -> None:
        super().__init__()
        self.model, self.factor = model, factor
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.model(images) * self.factor


def _in_float64(model, images) -> nn.Module | None:
    """The network in float64; None if it cannot, such as one that holds numbers that are no buffers."""
    fine = copy.deepcopy(model).double()
    try:
        with torch.no_grad():
            fine(images[:1].double())
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        return None
    return fine


def _strong(ordinary: WhiteBox, model, generator) -> Outcomes:
    def each_class(few):
        settings = {"epsilon": few.epsilon, "step_size": few.step_size, "steps": few.steps}
        return few.wrong(model, multi_targeted.perturb(model, few.images, few.labels, generator, **settings).images)

    strong = scaled = ordinary.breaks(model, "scaled_cross_entropy")
    for attack in (lambda few: few.breaks(model, "margin"), each_class):
        strong = strong | ordinary.among(~strong, attack)
    return {"scaled": scaled, "strong": strong}


def _restarts(ordinary: WhiteBox, model, broken, restarts, generator) -> Outcomes:
    """The ordinary attack from more points; what its first one breaks is given."""
    after = [broken]
    for _ in range(2 * restarts - 1):
        again = replace(ordinary, numbers=_uniform(ordinary.images, generator))
        after.append(after[-1] | again.among(~after[-1], lambda few: few.breaks(model)))
    return {"pgd_restarts": after[restarts - 1], "pgd_twice_restarts": after[-1]}


def _uniform(images, generator) -> torch.Tensor:
    shape = len(images), images[0].numel()
    return torch.rand(shape, generator=generator, dtype=images.dtype, device=generator.device).to(images.device)


def _check_settings(epsilon, steps, restarts, queries, draws) -> None:
    checks.check_sizes(epsilon, epsilon)
    for name, value in {"steps": steps, "restarts": restarts, "queries": queries, "draws": draws}.items():
        if type(value) is not int or value < 1:
            raise Problem(f"audit: {name} is a whole number from 1, not {value!r}")
