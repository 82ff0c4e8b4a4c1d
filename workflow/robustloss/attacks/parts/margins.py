"""How far a sample is from its label, and which wrong classes come next, by its logits."""

import torch

from robustloss.attacks.parts import gradients
from robustloss.errors import Problem


def excess(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """max_{j != y} z_j - z_y per sample (N,), and in a tie a little above 0 if the prediction is another class than y.

    So it is above 0 just where a sample is misclassified.
    """
    margin = gradients.margin_value(logits, labels)
    return margin + (logits.argmax(1) != labels) * torch.finfo(margin.dtype).tiny


def likeliest(logits: torch.Tensor, labels: torch.Tensor, count: int | None, setting: str = "targets") -> torch.Tensor:
    """The `count` most likely wrong classes (N, count), the most likely first; None is all of them.

    More than there are raises Problem, which names the `setting`.
    """
    wrong = logits.shape[1] - 1
    if count is not None and not 1 <= count <= wrong:
        raise Problem(f"attack: {setting} is from 1 to {wrong}, as many as there are wrong classes, not {count}")
    return logits.scatter(1, labels[:, None], -torch.inf).topk(count or wrong, 1).indices


def rounding(logits: torch.Tensor) -> torch.Tensor:
    """The margin (N,) that rounding can turn, in float32 or finer: 16 units in the last place of the largest logit.

    Nearer to the boundary than that, a batch of another size may be predicted otherwise.
    """
    unit = torch.finfo(logits.dtype).eps
    return 16 * unit * logits.to(torch.promote_types(logits.dtype, torch.float32)).abs().amax(1)
