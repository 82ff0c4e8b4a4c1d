"""The losses that attacks climb: directions in the space of logits, in closed form, and values per sample.

A direction takes logits (N, K) and labels (N,) to (N, K) in float32 or finer, so that no loss graph is needed;
`network.backward` carries it to the images. It is its loss's gradient up to a positive factor per sample, which a
step by the sign or of a given length does not see. `choose` finds the direction and the value that a setting names.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F

from robustloss.attacks.parts import objectives
from robustloss.code import nearest
from robustloss.errors import Problem

Function = Callable[..., torch.Tensor]


class Loss(NamedTuple):
    """What an attack climbs: functions (logits, labels, targets=None) to a direction (N, K) and to a value (N,).

    With targets (N,), the classes to reach, both are those of minus the loss of the target; `margin` and `dlr` set the
    target against the label instead.
    """

    direction: Function
    value: Function


# Losses that know no class, and so no target either.
WITHOUT_CLASSES = ("all_one", "negative_entropy")


def choose(loss: str | list[dict], target: str | int | None = None) -> Loss:
    """The loss of a setting: a name, or the terms of a training objective (see `objectives`).

    "cross_entropy" is the library's, as published, "exact_cross_entropy" and "scaled_cross_entropy" do not underflow;
    "margin" and "dlr" set the label against the strongest other class; "true_logit" is -z_y, on the head
    `max_mahalanobis` the adaptive objective ||z - mu_y||² of pang2020, whose pairwise form is "margin". "all_one" and
    "negative_entropy" (ding2025) are descended, towards the uniform prediction, whatever the label: what is climbed is
    sum_i log f_i, and -sum_i f_i log f_i. Raises Problem for anything else, and for these two with a `target`.
    """
    if isinstance(loss, list | tuple):
        value, direction = objectives.from_terms(loss)
        return Loss(_of_one_class(direction), _of_one_class(value))
    choices = {
        "cross_entropy": Loss(_of_one_class(cross_entropy), _of_one_class(cross_entropy_value)),
        "exact_cross_entropy": Loss(_of_one_class(exact_cross_entropy), _of_one_class(wrong_log_odds)),
        "scaled_cross_entropy": Loss(_of_one_class(scaled_cross_entropy), _of_one_class(scaled_log_odds)),
        "true_logit": Loss(_of_one_class(true_logit), _of_one_class(true_logit_value)),
        "margin": Loss(margin, margin_value),
        "dlr": Loss(dlr, dlr_value),
        "all_one": Loss(_of_no_class(all_one), _of_no_class(all_one_value)),
        "negative_entropy": Loss(_of_no_class(entropy), _of_no_class(entropy_value)),
    }
    if not isinstance(loss, str) or loss not in choices:
        raise Problem(f"attack: there is no loss '{loss}'{nearest(loss, [*choices, 'a list of terms'])}")
    if target is not None and loss in WITHOUT_CLASSES:
        raise Problem(f"attack: the loss {loss} leads to no class: leave the target out, or set loss: cross_entropy")
    return choices[loss]


def _of_one_class(function: Function) -> Function:
    """Up the loss of the label, or down that of the target."""
    return lambda logits, labels, targets=None: (
        function(logits, labels) if targets is None else -function(logits, targets)
    )


def _of_no_class(function: Function) -> Function:
    return lambda logits, labels, targets=None: function(logits, labels)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The gradient of cross-entropy as every library computes it: softmax(z) - onehot(y).

    Its factor 1 - p_y rounds to 0 in float32 where z_y exceeds the other logits by about 17, and takes the direction
    with it.
    """
    direction = _fine(logits).softmax(1)
    return direction.scatter_add_(1, labels[:, None], direction.new_full((len(labels), 1), -1))


def cross_entropy_value(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-log p_y per sample (N,), which does not round to 0 as 1 - p_y does."""
    return F.softplus(wrong_log_odds(logits, labels))


def exact_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The same gradient without its factor 1 - p_y: softmax over the other classes, and -1 at y.

    It is the gradient of log sum_{j != y} exp(z_j) - z_y, of which cross-entropy is an increasing function; a sign step
    needs no more, and nothing underflows.
    """
    others = _fine(logits).scatter(1, labels[:, None], -torch.inf)
    return others.softmax(1).scatter_(1, labels[:, None], -1)


def wrong_log_odds(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """log((1 - p_y) / p_y) per sample (N,): grows with cross-entropy, and does not saturate."""
    logits = _fine(logits)
    truth = labels[:, None]
    return logits.scatter(1, truth, -torch.inf).logsumexp(1) - logits.gather(1, truth)[:, 0]


def scaled_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """`exact_cross_entropy` of the logits divided by the gap between the sample's two largest, taken as a constant.

    So the direction is the same at every scale of the logits (the idea of the MIFPE attacks).
    """
    shifted, gap = _in_gaps(logits)
    return exact_cross_entropy(shifted / gap, labels)


def scaled_log_odds(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """gap × `wrong_log_odds` of the logits divided by the gap, per sample (N,): its gradient is the scaled direction.

    That is the margin with a maximum as soft as the gap is wide.
    """
    shifted, gap = _in_gaps(logits)
    truth = labels[:, None]
    others = (shifted / gap).scatter(1, truth, -torch.inf).logsumexp(1, keepdim=True)
    return (gap * others - shifted.gather(1, truth))[:, 0]


def true_logit(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Down the label's logit, whatever the others do."""
    return torch.zeros_like(_fine(logits)).scatter_(1, labels[:, None], -1)


def true_logit_value(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-z_y per sample (N,)."""
    return -_fine(logits).gather(1, labels[:, None])[:, 0]


def margin(logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
    """Up z_t - z_y, t the target, else the wrong class of the largest logit."""
    logits = _fine(logits)
    direction = torch.zeros_like(logits).scatter_(1, _rival(logits, labels, targets), 1)
    # Added, so that it is 0 where the target is the label.
    return direction.scatter_add_(1, labels[:, None], direction.new_full((len(labels), 1), -1))


def margin_value(logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
    """z_t - z_y per sample (N,), t the target, else the wrong class of the largest logit."""
    logits = _fine(logits)
    return (logits.gather(1, _rival(logits, labels, targets)) - logits.gather(1, labels[:, None]))[:, 0]


def dlr(logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
    """The gradient of `dlr_value` times its denominator: that of the margin, less dlr × that of the denominator."""
    largest, spread = _spread(logits, targets)
    value = torch.where(spread > 0, dlr_value(logits, labels, targets), 0)[:, None]
    first, others = largest[:, :1], largest[:, 2:]
    direction = margin(logits, labels, targets).scatter_add_(1, first, -value)
    return direction.scatter_add_(1, others, (value / others.shape[1]).expand(others.shape))


def dlr_value(logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
    """The difference of logits ratio per sample (N,), z_(k) being the k-th largest logit (Croce and Hein 2020).

    The margin over z_(1) - z_(3), or over z_(1) - (z_(3) + z_(4)) / 2 for targets. Raises Problem for fewer than three,
    or four, classes.
    """
    spread = _spread(logits, targets)[1]
    return margin_value(logits, labels, targets) / spread.clamp(min=torch.finfo(spread.dtype).tiny)


def to_class(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Down the cross-entropy of `labels`, here the class to reach (ding2025, Eq. 5): up log p_t - log(1 - p_t)."""
    return exact_cross_entropy(logits, labels).neg_()


def all_one(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Down the cross-entropy to the target that is one for all K classes: 1 - K softmax(z); the label has no part."""
    return 1 - logits.shape[1] * _fine(logits).softmax(1)


def all_one_value(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Minus that cross-entropy: sum_i log f_i per sample (N,), at most -K log K, where the prediction is uniform."""
    return _fine(logits).log_softmax(1).sum(1)


def entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Down sum_i f_i log f_i, so towards the uniform prediction; the label has no part.

    The gradient is -f_i (log f_i + H), H the entropy of f. Here it is divided by 1 - f_p, p the prediction, which
    leaves a sign step as it is: softmax over the other classes replaces f_i, and their sum with opposite sign stands at
    p, so that nothing underflows.
    """
    logits = _fine(logits)
    log_f = logits.log_softmax(1)
    negative_entropy = (log_f.exp() * log_f).sum(1, keepdim=True)
    predicted = logits.argmax(1, keepdim=True)
    direction = logits.scatter(1, predicted, -torch.inf).softmax(1) * (negative_entropy - log_f)
    return direction.scatter_(1, predicted, -direction.sum(1, keepdim=True))


def entropy_value(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Minus the negative entropy: -sum_i f_i log f_i per sample (N,), at most log K, where f is uniform."""
    log_f = _fine(logits).log_softmax(1)
    return -(log_f.exp() * log_f).sum(1)


def _rival(logits, labels, targets) -> torch.Tensor:
    """The class (N, 1) set against the label."""
    if targets is not None:
        return targets[:, None]
    return logits.scatter(1, labels[:, None], -torch.inf).argmax(1, keepdim=True)


def _spread(logits, targets):
    """The classes of the largest logits (N, 3), or (N, 4) for targets, and the denominator of DLR (N,)."""
    needed = 3 if targets is None else 4
    if logits.shape[1] < needed:
        raise Problem(
            f"attack: the loss dlr needs {needed} classes{' for a target' * (needed > 3)}, but the network has "
            f"{logits.shape[1]}: set loss: margin"
        )
    values, classes = _fine(logits).topk(needed, 1)
    return classes, values[:, 0] - values[:, 2:].mean(1)


def _in_gaps(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits (N, K) less their largest, so that a gap of 0 overflows nothing, and the gap to the second (N, 1)."""
    logits = _fine(logits)
    first, second = logits.topk(2, 1).values.split(1, 1)
    return logits - first, (first - second).clamp(min=torch.finfo(logits.dtype).tiny)


def _fine(logits: torch.Tensor) -> torch.Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
