"""Signs of gradient masking: whether an attack by gradients that fails says anything about a network.

The attack under suspicion is projected gradient descent up cross-entropy, as most papers run it. A sign is flagged
where something shows that this attack misleads: something weaker succeeds where it fails, it misses what must exist, or
its gradients are rounded, random or absent. That nothing is flagged proves no robustness. docs/audit.md has the list.
"""

import torch
from torch import nn

from robustloss.audit import measurements
from robustloss.audit.judgement import Sign, judge
from robustloss.audit.stage import audit

__all__ = ["Sign", "audit", "signs"]


def signs(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator | None = None,
    source: nn.Module | None = None,
    **settings,
) -> list[Sign]:
    """The signs of gradient masking of a network from images (N, C, height, width) in [0, 1] to logits (N, K).

    `labels` (N,) are int64. Attacked are the images that the network, in evaluation mode, classifies correctly, with
    the `settings` of `measurements.measure`: `epsilon`, and, where the defaults do not suit, `steps`, `restarts`,
    `queries` and `draws`. `generator`, on the images' device, is the only source of randomness, by default seeded with
    0. With a `source`, a network on the same images, its adversarial examples are tried too. Raises Problem for inputs
    and settings out of range, and for logits or gradients that are not finite.
    """
    generator = generator or torch.Generator(images.device).manual_seed(0)
    right = measurements.right(model, images, labels)
    found = {}
    if right.any():
        measured = measurements.measure(model, images[right], labels[right], generator, source, **settings)
        found = {name: values.cpu().numpy() for name, values in measured.items()}
    return judge(found, labels.cpu().numpy())
