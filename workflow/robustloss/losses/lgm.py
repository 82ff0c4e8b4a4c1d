"""Large-margin Gaussian mixture loss (Wan et al. 2018)."""

import torch
from torch.nn import functional as F

HEADS = ("gaussian",)


def loss(logits: torch.Tensor, labels: torch.Tensor, *, margin: float, likelihood: float) -> torch.Tensor:
    """Cross-entropy with the true logit times 1 + `margin`, plus `likelihood` × 1/2 ||z - mu_y||².

    The logits are the head's -1/2 ||z - mu_k||², so the margin makes the true class look farther away. The authors'
    settings: 0.1 and 0.01 in their demo, 0.1 to 0.3 and 0.1 for CIFAR-100, up to 1 and 0.001 for MNIST.
    """
    truth = labels[:, None]
    own = logits.gather(1, truth)
    classification = F.cross_entropy(logits.scatter(1, truth, (1 + margin) * own), labels, reduction="none")
    return classification - likelihood * own[:, 0]
