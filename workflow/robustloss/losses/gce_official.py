"""Guided complement entropy as its authors' released code computes it, faults included (henry8527/GCE)."""

import math

import torch


def loss(logits: torch.Tensor, labels: torch.Tensor, *, alpha: float) -> torch.Tensor:
    """(f_y + 1e-7)^alpha × sum_{j != y} q_j log(q_j + 1e-10) / log(K), q_j = f_j / (1 - f_y + 1e-7).

    Against chen2019, Eq. 3: log(K) for log(K - 1), so the least value for ten classes is -0.954, and stabilisers. In
    float32 these and the rounding of 1 - f_y make the loss rise once z_y exceeds the other logits by about 12, and jump
    from about 15, by amounts that depend on the order in which softmax adds up: a cap on confidence that nobody meant,
    and a poor objective for an attack.
    """
    f = logits.softmax(1)
    f_y = f.gather(1, labels[:, None])
    q = f / (1 - f_y + 1e-7)
    terms = (q * (q + 1e-10).log()).scatter(1, labels[:, None], 0)
    return (f_y[:, 0] + 1e-7) ** alpha * terms.sum(1) / math.log(logits.shape[1])
