"""How far a sample is from its label, and which wrong classes come next, by its logits."""

import torch

from robustloss.attacks import gradients
from robustloss.errors import Problem


def excess(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """max_{j != y} z_j - z_y per sample (N,), and in a tie a little above 0 if the prediction is another class than y.

    So it is above 0 just where a sample is misclassified.
    """
    margin = gradients.margin_value(logits, labels)
    return margin + (logits.argmax(1) != labels) * torch.finfo(margin.dtype).tiny


def likeliest(logits: torch.Tensor, labels: torch.Tensor, count: int) -> torch.Tensor:
    """The `count` most likely wrong classes (N, count), the most likely first; more than there are raises Problem."""
    wrong = logits.shape[1] - 1
    if not 1 <= count <= wrong:
        raise Problem(f"attack: targets is from 1 to {wrong}, as many as there are wrong classes, not {count}")
    return logits.scatter(1, labels[:, None], -torch.inf).topk(count, 1).indices
