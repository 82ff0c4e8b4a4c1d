"""Training one network from its specification.

The floor is one forward and one backward pass per image and epoch. Beside it stands as little as possible: the images
are one uint8 tensor on the device, a batch is an index into it, the losses of an epoch stay on the device until its
end, and nothing inside a step waits for the device.

Complement objective training (Chen et al. 2019) has a second objective, `then`: each batch is used for two updates,
each with a forward pass and an optimiser of its own.

Every epoch's order of images and random numbers follow from (seed, epoch) alone, so a training that was killed goes on
from its last whole epoch to the same weights, bit for bit on a CPU.
"""

import contextlib
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import torch

from robustloss import checkpoints, devices, losses, models, schedules
from robustloss.code import check_head
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

    Leaves weights/epoch-NNN.safetensors of every epoch, history.csv (epoch, mean of each objective, first rate), and,
    last, run.json. `perturb(model, images, labels)` replaces each batch's images before its updates (adversarial
    training). Raises Problem when an objective stops being finite, the epochs before stay; and for a loss that the
    network's head does not fit.
    """
    watch = Stopwatch()
    where = devices.choose(device)
    identity = checkpoints.identity(directory.name, spec, data)
    objectives = _objectives(spec)
    model, optimizers = _start(spec, data, where, pretrained, len(objectives))
    history = _resume(directory, identity, model, optimizers)
    images = Images(data, "train", where)
    updates = list(zip(objectives.values(), optimizers, strict=True))
    for epoch in track(range(len(history) + 1, spec["epochs"] + 1), directory.name):
        rate = schedules.rate(spec["schedule"], (epoch - 1) * _steps(spec, images), _steps(spec, images))
        values = _epoch(spec, epoch, model, updates, images, perturb)
        means = dict(zip(objectives, _means(values, epoch), strict=True))
        history.append({"epoch": epoch, **means, "rate": rate})
        found = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        say(f"{directory.name}: epoch {epoch} of {spec['epochs']}, {found}")
        checkpoints.save_tensors(
            checkpoints.weights_path(directory, epoch), model.state_dict(), identity | {"epoch": epoch}
        )
        _save_state(directory, identity, model, optimizers, history)
    columns = ("epoch", *objectives, "rate")
    write_csv(directory / "history.csv", [{name: row[name] for name in columns} for row in history])
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


def _objectives(spec: dict) -> dict[str, losses.Loss]:
    """The objectives of a batch's updates by their key in the specification, in the order of the updates."""
    terms = {key: spec[key] for key in ("objective", "then") if key in spec}
    head = spec["model"].get("head", {}).get("name")
    found = {key: losses.objective(value) for key, value in terms.items()}
    for term in itertools.chain(*terms.values()):
        check_head(f"network {spec['model'].get('name')}", term["loss"], head)
    return found


def _start(spec: dict, data: Prepared, device: torch.device, pretrained: Path | None, count: int):
    """The network and as many optimisers, all of them of all its weights."""
    torch.manual_seed(spec["seed"])
    model = models.build(spec["model"], len(data.classes), data.image_shape, pretrained)
    model = model.to(device, memory_format=torch.channels_last)
    optimizers = [
        torch.optim.SGD(
            model.parameters(),
            lr=spec["schedule"]["rate"],
            momentum=spec["momentum"],
            weight_decay=spec["weight_decay"],
            fused=True,
        )
        for _ in range(count)
    ]
    return model, optimizers


def _epoch(spec, epoch, model, updates, images: Images, perturb: Perturb | None) -> torch.Tensor:
    """One pass over the images; the objectives' values (steps, objectives)."""
    seed = spec["seed"] * 1_000_003 + epoch
    torch.manual_seed(seed)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).to(images.indices.device)
    # Batch normalisation cannot learn from a single image; a last batch of one is left out.
    batches = [batch for batch in order.split(spec["batch_size"]) if len(batch) > 1]
    steps = _steps(spec, images)
    values = torch.zeros(len(batches), len(updates), device=images.device)
    model.train()
    for step, batch in enumerate(batches):
        rate = schedules.rate(spec["schedule"], (epoch - 1) * steps + step, steps)
        inputs, labels = images.batch(batch)
        if perturb is not None:
            inputs = perturb(model, inputs, labels)
        for which, (objective, optimizer) in enumerate(updates):
            for group in optimizer.param_groups:
                group["lr"] = rate
            values[step, which] = _update(spec, model, objective, optimizer, inputs, labels)
    return values


def _update(spec, model, objective, optimizer, inputs, labels) -> torch.Tensor:
    """One step of the optimiser; the objective before it."""
    optimizer.zero_grad(set_to_none=True)
    with _precision(spec, inputs.device):
        features = model.features(inputs)
    # The head is computed in full precision: distances and angles between close points need it.
    features = losses.fine(features)
    value = objective(model.head(features), labels, features, model.head)
    value.backward()
    optimizer.step()
    return value.detach()


def _means(values: torch.Tensor, epoch: int) -> list[float]:
    """The objectives' means over the steps."""
    found = values.tolist()
    for step, row in enumerate(found, 1):
        for value in row:
            if not math.isfinite(value):
                raise Problem(
                    f"the objective became {value} in epoch {epoch}, step {step} of {len(found)}: lower the schedule's "
                    "rate or the terms' weights; the weights of the epochs before are kept"
                )
    return [sum(column) / len(found) for column in zip(*found, strict=True)]


def _steps(spec: dict, images: Images) -> int:
    return math.ceil(len(images) / spec["batch_size"])


def _precision(spec: dict, device: torch.device):
    # bfloat16 pays on CUDA's matrix units; on most CPUs it is emulated and slower.
    if spec["precision"] == "auto" and device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


def _state_path(directory: Path) -> Path:
    return directory / "state.safetensors"


def _save_state(directory: Path, identity: dict, model, optimizers, history: list[dict]) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for which, optimizer in enumerate(optimizers):
        for index, entries in optimizer.state_dict()["state"].items():
            kept = {name: tensor for name, tensor in entries.items() if tensor is not None}
            tensors |= {f"optimizer.{which}.{index}.{name}": tensor for name, tensor in kept.items()}
    checkpoints.save_tensors(_state_path(directory), tensors, identity | {"history": history})


def _resume(directory: Path, identity: dict, model, optimizers) -> list[dict]:
    """Load the state of the last whole epoch, if there is one; the history up to it."""
    path = _state_path(directory)
    if not path.exists():
        return []
    tensors, about = checkpoints.read_tensors(path, identity)
    model.load_state_dict({name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")})
    states = [optimizer.state_dict() for optimizer in optimizers]
    parameters = list(model.parameters())
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, which, index, key = name.split(".", 3)
            like = parameters[int(index)]
            # The fused step walks parameter and momentum through memory side by side: both need the same layout.
            laid_out = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
            states[int(which)]["state"].setdefault(int(index), {})[key] = laid_out
    for optimizer, state in zip(optimizers, states, strict=True):
        optimizer.load_state_dict(state)
    say(f"{directory.name}: going on after epoch {len(about['history'])}")
    return about["history"]
