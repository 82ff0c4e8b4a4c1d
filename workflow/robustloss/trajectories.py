"""The iterates of an attack on a few images of one class: losses and probabilities along the way (ding2025, App. A)."""

from pathlib import Path

import torch
from torch import nn

from robustloss import attacks, measurements
from robustloss.code import settings_of
from robustloss.data.prepared import Prepared
from robustloss.errors import Problem


def measure(run: Path, data: Prepared, spec: dict, directory: Path, device: str = "auto") -> None:
    """Run the attack `spec["attack"]` once for each of `spec["targets"]`, keeping every iterate's logits.

    `spec` also names the `split`, the `class` (counted from 0) and the `count` of its images. Writes arrays.npz with
    `index` and `labels` (images,) and `log_probabilities` (targets, iterates, images, classes), the clean images being
    the first iterate; and measurement.json. Raises Problem for a class that the data lack.
    """
    subject = measurements.subject(run, data, spec, device, label=spec["class"])
    images, labels = subject.all()
    found = []
    for target in spec["targets"]:
        if isinstance(target, int) and target >= len(data.classes):
            raise Problem(f"trajectories: there is no class {target}: {data.directory} has {len(data.classes)} classes")
        found.append(iterates(subject.model, images, labels, spec["attack"] | {"target": target}))
    logits = torch.stack(found)
    arrays = {
        "index": subject.index,
        "labels": labels.to(torch.int16).cpu().numpy(),
        "log_probabilities": logits.log_softmax(-1).cpu().numpy(),
    }
    subject.write(directory, spec, arrays, _summary(spec, logits, labels))


def iterates(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, attack: dict) -> torch.Tensor:
    """The logits (steps + 1, images, classes), in float32, of each iterate of `attack`, the clean images first.

    An attack passes the network each of its iterates but the last: those passes are listened to. Raises Problem for one
    that passes more or fewer, such as one that lets images go.
    """
    heard = []
    generator = torch.Generator(images.device).manual_seed(0)
    listener = model.register_forward_hook(lambda module, inputs, logits: heard.append(logits.detach().float()))
    try:
        perturbed = attacks.load(attack["name"])(model, images, labels, generator, **settings_of("attacks", attack))
        with torch.no_grad():
            model(perturbed.images)
    finally:
        listener.remove()
    if len(heard) != attack["steps"] + 1 or any(len(logits) != len(images) for logits in heard):
        raise Problem(f"trajectories: {attack['name']} does not pass every image once a step: name another attack")
    return torch.stack(heard)


def _summary(spec: dict, logits: torch.Tensor, labels: torch.Tensor) -> dict:
    """How many images there are, how many are right when clean, and how many of these are wrong at some iterate."""
    right = logits.argmax(-1) == labels
    left = (right[:, 0] & ~right[:, 1:].all(1)).sum(1)
    return {
        "count": len(labels),
        "right_when_clean": int(right[0, 0].sum()),
        "changed": dict(zip(map(str, spec["targets"]), left.tolist(), strict=True)),
    }
