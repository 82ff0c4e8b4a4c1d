"""Cross-entropy to the label that the network wrongly predicts at the moment."""

import torch
from torch.nn import functional as F


def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """L_CE^f = -log f_p for the prediction p = argmax f where p is not y, and 0 where it is (ding2025, Eq. 3).

    The prediction is a constant to the gradient. Of equal largest logits the first is the prediction.
    """
    predicted = logits.argmax(1)
    return F.cross_entropy(logits, predicted, reduction="none").masked_fill(predicted == labels, 0)
