"""The loss of a trained network on a plane through an image: along the adversarial direction, and across it."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from robustloss import measurements
from robustloss.data.prepared import Prepared
from robustloss.errors import Problem
from robustloss.losses import fine

BATCH = 512


def measure(run: Path, data: Prepared, spec: dict, directory: Path, device: str = "auto") -> None:
    """Measure the plane of each of `spec["count"]` images of `spec["split"]`.

    `spec["radius"]` is how far the plane reaches, as a fraction of the pixel range, in `spec["points"]` (an odd number)
    points a side. Writes arrays.npz with `index`, `labels` (images,), `coordinates` (points,), `along` and `across`
    (images, channels, height, width) int8, `cross_entropy` and `margin` (images, points, points), the first of these
    axes being that of `along`; and measurement.json. Raises Problem for settings out of range.
    """
    if spec["points"] % 2 == 0 or spec["points"] < 3 or not 0 < spec["radius"] <= 1:
        raise Problem("landscape: points must be an odd number from 3, and radius a fraction of the pixel range")
    subject = measurements.subject(run, data, spec, device)
    images, labels = subject.all()
    along, across = directions(subject.model, images, labels)
    coordinates = torch.linspace(-spec["radius"], spec["radius"], spec["points"], device=images.device)
    values = [plane(subject.model, *each, coordinates) for each in zip(images, labels, along, across, strict=True)]
    cross_entropy, margin = (torch.stack(found).cpu().numpy() for found in zip(*values, strict=True))
    arrays = {
        "index": subject.index,
        "labels": labels.to(torch.int16).cpu().numpy(),
        "coordinates": coordinates.cpu().numpy(),
        "along": along.to(torch.int8).cpu().numpy(),
        "across": across.to(torch.int8).cpu().numpy(),
        "cross_entropy": cross_entropy,
        "margin": margin,
    }
    middle = spec["points"] // 2
    right = float(np.mean(margin[:, middle, middle] > 0))
    subject.write(directory, spec, arrays, {"count": len(labels), "right_when_clean": right})


def directions(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two directions of each image (images, channels, height, width), every entry of which is -1, 0 or 1.

    `along` is the sign of the gradient of log((1 - p_y) / p_y): the step of FGSM, but where cross-entropy underflows.
    `across` is drawn at random, the same for all networks. A coordinate is an Linf distance.
    """
    inputs = images.detach().requires_grad_()
    with torch.enable_grad():
        logits = fine(model(inputs))
        truth = labels[:, None]
        odds = logits.scatter(1, truth, -torch.inf).logsumexp(1) - logits.gather(1, truth)[:, 0]
        (gradient,) = torch.autograd.grad(odds.sum(), inputs)
    generator = torch.Generator().manual_seed(0)
    across = torch.randint(2, images.shape, generator=generator).mul_(2).sub_(1)
    return gradient.sign(), across.to(images)


@torch.no_grad()
def plane(
    model: nn.Module,
    image: torch.Tensor,
    label: torch.Tensor,
    along: torch.Tensor,
    across: torch.Tensor,
    coordinates: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy and margin z_y - max_j z_j (points, points) at image + a × along + b × across.

    a runs along the first axis, b along the second; images are clipped to [0, 1], as a network is given them.
    """
    steps = torch.cartesian_prod(coordinates, coordinates)
    found = []
    for part in steps.split(BATCH):
        moved = image + part[:, 0].view(-1, 1, 1, 1) * along + part[:, 1].view(-1, 1, 1, 1) * across
        logits = fine(model(moved.clamp(0, 1)))
        labels = label.expand(len(part))
        others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        margin = logits.gather(1, labels[:, None])[:, 0] - others
        found.append(torch.stack([F.cross_entropy(logits, labels, reduction="none"), margin]))
    values = torch.cat(found, 1).view(2, len(coordinates), len(coordinates))
    return values[0], values[1]
