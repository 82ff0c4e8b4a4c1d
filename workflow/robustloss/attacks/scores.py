"""What an attack by queries learns about a sample: its logits, and from them one number that says how wrong it is."""

from collections.abc import Callable

import torch

from robustloss.attacks import gradients
from robustloss.code import nearest
from robustloss.errors import Problem

Score = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def choose(name: str) -> Score:
    """From logits (N, K) and labels (N,) to the score (N,) of a setting, which grows as the label is given up.

    "log_odds" puts any two logits in the order in which "probability" does, but does not saturate; "margin" is above 0
    where the prediction is another class.
    """
    choices = {
        "log_odds": gradients.wrong_log_odds,
        "probability": lost_probability,
        "margin": gradients.margin_value,
    }
    if name not in choices:
        raise Problem(f"attack: there is no score '{name}'{nearest(name, choices)}")
    return choices[name]


def lost_probability(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """-p_y per sample (N,), which in float32 stands still at -1 where z_y exceeds the other logits by about 17."""
    probabilities = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)
    return -probabilities.gather(1, labels[:, None])[:, 0]


@torch.no_grad()
def predict(model: torch.nn.Module, images: torch.Tensor, highest: int) -> torch.Tensor:
    """Logits (N, K) without a gradient; what are not logits, or lack the class `highest`, raises Problem."""
    logits = model(images)
    if logits.ndim != 2 or len(logits) != len(images):
        raise Problem(f"attack: the model must return logits ({len(images)}, classes), not {tuple(logits.shape)}")
    if highest >= logits.shape[1]:
        raise Problem(f"attack: class {highest} is not one of the network's {logits.shape[1]} classes, from 0")
    return logits
