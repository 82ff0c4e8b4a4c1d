"""Directions in the space of logits in which an attack climbs, in closed form, so that no loss graph is needed.

Each takes logits (N, K) and labels (N,) and returns the direction (N, K) in float32 or finer; `forward` and `backward`
carry it to the images.
"""

from collections.abc import Callable

import torch

from robustloss.attacks import checks
from robustloss.code import nearest
from robustloss.errors import Problem

Direction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The gradient of cross-entropy as every library computes it: softmax(z) - onehot(y).

    Its factor 1 - p_y rounds to 0 in float32 where z_y exceeds the other logits by about 17, and takes the direction
    with it.
    """
    direction = _fine(logits).softmax(1)
    return direction.scatter_add_(1, labels[:, None], direction.new_full((len(labels), 1), -1))


def exact_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The same gradient without its factor 1 - p_y: softmax over the other classes, and -1 at y.

    It is the gradient of log sum_{j != y} exp(z_j) - z_y, of which cross-entropy is an increasing function; a sign step
    needs no more, and nothing underflows.
    """
    others = _fine(logits).scatter(1, labels[:, None], -torch.inf)
    return others.softmax(1).scatter_(1, labels[:, None], -1)


def to_class(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Down the cross-entropy of `labels`, here the class to reach (ding2025, Eq. 5): up log p_t - log(1 - p_t)."""
    return exact_cross_entropy(logits, labels).neg_()


def all_one(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Down the cross-entropy to the target that is one for all K classes: 1 - K softmax(z); the label has no part."""
    return 1 - logits.shape[1] * _fine(logits).softmax(1)


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


def wrong_log_odds(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """log((1 - p_y) / p_y) per sample (N,): grows with cross-entropy, and does not saturate."""
    logits = _fine(logits)
    truth = labels[:, None]
    return logits.scatter(1, truth, -torch.inf).logsumexp(1) - logits.gather(1, truth)[:, 0]


def choose(name: str) -> Direction:
    """The direction that an attack's setting `loss` names."""
    choices = {"cross_entropy": cross_entropy, "exact_cross_entropy": exact_cross_entropy}
    if name not in choices:
        raise Problem(f"attack: there is no loss '{name}'{nearest(name, choices)}")
    return choices[name]


def forward(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, highest: int):
    """The images as a leaf that takes a gradient, and their logits; a network that cannot be attacked raises Problem.

    `highest` is the highest class that the attack asks for.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = model(images)
    checks.check_logits(logits, len(labels), highest)
    return images, logits


def backward(logits: torch.Tensor, images: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """The gradient with respect to the images of the logits' component along `direction`."""
    (gradient,) = torch.autograd.grad(logits, images, direction.to(logits.dtype))
    return gradient


def _fine(logits: torch.Tensor) -> torch.Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
