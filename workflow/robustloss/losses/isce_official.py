"""I-SCE as in the public code that is very probably song2022's own; on the head `unit_norm`."""

import torch
from torch.nn import functional as F


def loss(logits: torch.Tensor, labels: torch.Tensor, *, s: float = 1.0, m: float = 0.1) -> torch.Tensor:
    """Cross-entropy with clip(s (f_i + m), -1, 1) in place of the largest logit f_i, whichever class that is.

    Against song2022, Eq. 2: a misclassified sample's bonus goes to the wrong class, s multiplies m, and past
    f_i = 1 / s - m the clip takes the gradient through that logit away.
    """
    largest = logits.argmax(1, keepdim=True)
    raised = (s * (logits.gather(1, largest) + m)).clamp(-1, 1)
    return F.cross_entropy(logits.scatter(1, largest, raised), labels, reduction="none")
