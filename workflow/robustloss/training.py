"""Training one network from its specification.

The floor is one forward and one backward pass per image and epoch. Beside it stands as little as possible: the images
are one uint8 tensor on the device, a batch is an index into it, the losses of an epoch stay on the device until its
end, and nothing inside a step waits for the device.

Every epoch's order of images and random numbers follow from (seed, epoch) alone, so a training that was killed goes on
from its last whole epoch to the same weights, bit for bit on a CPU.
"""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path

import torch

from robustloss import checkpoints, devices, losses, models, schedules
from robustloss.data.prepared import Prepared
from robustloss.errors import Problem
from robustloss.files import write_csv, write_json
from robustloss.images import Images
from robustloss.progress import say, track
from robustloss.provenance import Stopwatch

Perturb = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


def train(
    spec: dict,
    data: Prepared,
    directory: Path,
    device: str = "auto",
    pretrained: Path | None = None,
    perturb: Perturb | None = None,
) -> None:
    """Train the network that `spec` describes on `data`'s train split into `directory`.

    Leaves weights/epoch-NNN.safetensors of every epoch, history.csv (epoch, mean objective, first rate), and, last,
    run.json. `perturb(model, images, labels)` replaces each batch's images before the step (adversarial training).
    Raises Problem when the objective stops being finite; the epochs before stay.
    """
    watch = Stopwatch()
    where = devices.choose(device)
    identity = checkpoints.identity(directory.name, spec, data)
    model, optimizer = _start(spec, data, where, pretrained)
    history = _resume(directory, identity, model, optimizer)
    images = Images(data, "train", where)
    objective = losses.objective(spec["objective"])
    for epoch in track(range(len(history) + 1, spec["epochs"] + 1), directory.name):
        rate = schedules.rate(spec["schedule"], (epoch - 1) * _steps(spec, images), _steps(spec, images))
        mean = _epoch(spec, epoch, model, optimizer, images, objective, perturb)
        history.append({"epoch": epoch, "objective": mean, "rate": rate})
        say(f"{directory.name}: epoch {epoch} of {spec['epochs']}, objective {mean:.4f}")
        checkpoints.save_tensors(
            checkpoints.weights_path(directory, epoch), model.state_dict(), identity | {"epoch": epoch}
        )
        _save_state(directory, identity, model, optimizer, history)
    write_csv(directory / "history.csv", history)
    record = {
        "name": directory.name,
        "spec": spec,
        "data": str(data.directory),
        "data_digest": data.digest,
        "train_images": len(images),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "environment": watch.environment(where),
    }
    write_json(directory / "run.json", record)
    _state_path(directory).unlink(missing_ok=True)


def _start(spec: dict, data: Prepared, device: torch.device, pretrained: Path | None):
    torch.manual_seed(spec["seed"])
    model = models.build(spec["model"], len(data.classes), data.image_shape, pretrained)
    model = model.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=spec["schedule"]["rate"],
        momentum=spec["momentum"],
        weight_decay=spec["weight_decay"],
        fused=True,
    )
    return model, optimizer


def _epoch(spec, epoch, model, optimizer, images: Images, objective, perturb: Perturb | None) -> float:
    """One pass over the images; the mean of the objective over its steps."""
    seed = spec["seed"] * 1_000_003 + epoch
    torch.manual_seed(seed)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).to(images.indices.device)
    # Batch normalisation cannot learn from a single image; a last batch of one is left out.
    batches = [batch for batch in order.split(spec["batch_size"]) if len(batch) > 1]
    steps = _steps(spec, images)
    values = torch.zeros(len(batches), device=images.device)
    model.train()
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = schedules.rate(spec["schedule"], (epoch - 1) * steps + step, steps)
        inputs, labels = images.batch(batch)
        if perturb is not None:
            inputs = perturb(model, inputs, labels)
        optimizer.zero_grad(set_to_none=True)
        with _precision(spec, images.device):
            logits = model(inputs)
        value = objective(logits, labels)
        value.backward()
        optimizer.step()
        values[step] = value.detach()
    return _mean(values, epoch)


def _mean(values: torch.Tensor, epoch: int) -> float:
    found = values.tolist()
    for step, value in enumerate(found, 1):
        if not math.isfinite(value):
            raise Problem(
                f"the objective became {value} in epoch {epoch}, step {step} of {len(found)}: lower the schedule's "
                "rate or the terms' weights; the weights of the epochs before are kept"
            )
    return sum(found) / len(found)


def _steps(spec: dict, images: Images) -> int:
    return math.ceil(len(images) / spec["batch_size"])


def _precision(spec: dict, device: torch.device):
    # bfloat16 pays on CUDA's matrix units; on most CPUs it is emulated and slower.
    if spec["precision"] == "auto" and device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _state_path(directory: Path) -> Path:
    return directory / "state.safetensors"


def _save_state(directory: Path, identity: dict, model, optimizer, history: list[dict]) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, entries in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in entries.items() if tensor is not None}
    checkpoints.save_tensors(_state_path(directory), tensors, identity | {"history": history})


def _resume(directory: Path, identity: dict, model, optimizer) -> list[dict]:
    """Load the state of the last whole epoch, if there is one; the history up to it."""
    path = _state_path(directory)
    if not path.exists():
        return []
    tensors, about = checkpoints.read_tensors(path, identity)
    model.load_state_dict({name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")})
    state = optimizer.state_dict()
    parameters = list(model.parameters())
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            like = parameters[int(index)]
            # The fused step walks parameter and momentum through memory side by side: both need the same layout.
            laid_out = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
            state["state"].setdefault(int(index), {})[key] = laid_out
    optimizer.load_state_dict(state)
    say(f"{directory.name}: going on after epoch {len(about['history'])}")
    return about["history"]
