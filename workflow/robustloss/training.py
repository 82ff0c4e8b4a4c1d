"""Training one network from its specification.

The floor is one forward and one backward pass per image and epoch. Beside it stands as little as possible: the images
are one uint8 tensor on the device, a batch is an index into it, the losses of an epoch stay on the device until its
end, and nothing inside a step waits for the device.

Complement objective training (Chen et al. 2019) has a second objective, `then`: each batch is used for two updates,
each with a forward pass and an optimiser of its own.

Which images an update sees and what it computes of them is the run's recipe (`robustloss.recipes`).

Several processes may share one training (`robustloss.parallel`): each computes its part of every batch.

Every epoch's order of images and random numbers follow from (seed, epoch) alone, so a training that was killed goes on
from its last whole epoch to the same weights, bit for bit on a CPU.
"""

import math
from collections.abc import Callable
from pathlib import Path

import torch

from robustloss import (
    checkpoints,
    devices,
    graphs,
    losses,
    models,
    naming,
    optimizers,
    parallel,
    recipes,
    schedules,
    selection,
)
from robustloss.data.prepared import Prepared
from robustloss.errors import Problem
from robustloss.files import sha256, write_csv
from robustloss.images import Images
from robustloss.progress import say, track
from robustloss.provenance import Stopwatch


def train(spec: dict, data: Prepared, directory: Path, device: str = "auto", pretrained: Path | None = None) -> None:
    """Train the network that `spec` describes on `data`'s train split into `directory`.

    Leaves weights/epoch-NNN.safetensors of every epoch (`keep: last`: of the last; `keep: best`: of the first with the
    best test accuracy), history.csv (epoch, mean of each objective, first rate and, with `keep: best`, test accuracy),
    and, last, run.json. Raises Problem when an objective stops being finite, the epochs before stay; and for a loss
    that the network's head does not fit. In each process of a launcher this is called alike.
    """
    watch = Stopwatch(naming.run_modules(spec))
    where = devices.choose(device)
    with parallel.team(where) as team:
        _train(spec, data, directory, where, pretrained, watch, team)


def _train(spec: dict, data: Prepared, directory: Path, where, pretrained: Path | None, watch: Stopwatch, team) -> None:
    identity = checkpoints.identity(directory.name, spec, data)
    objectives = recipes.objectives(spec)
    images = Images(data, "train", where, augmentation=spec.get("augmentation"))
    _check_batches(spec, images, team)
    model, steppers = _start(spec, data, images, pretrained, len(objectives), team)
    history = _resume(directory, identity, model, steppers)
    perturb = recipes.perturbation(spec, model, where)
    computes = [_computation(spec, model, objective, team) for objective in objectives.values()]
    updates = list(zip(computes, steppers, strict=True))
    test = selection.test_images(spec, data, where)
    left = range(len(history) + 1, spec["epochs"] + 1)
    for epoch in track(left, directory.name) if team.leads else left:
        rate = schedules.rate(spec["schedule"], (epoch - 1) * _steps(spec, images), _steps(spec, images))
        values = _epoch(spec, epoch, model, updates, images, perturb, team)
        means = dict(zip(objectives, _means(values, epoch), strict=True))
        history.append({"epoch": epoch, **means, "rate": rate})
        if not team.leads:
            continue
        if test is not None:
            history[-1]["test_accuracy"] = selection.accuracy(model, test)
        found = ", ".join(f"{name} {mean:.4f}" for name, mean in means.items())
        say(f"{directory.name}: epoch {epoch} of {spec['epochs']}, {found}")
        kept = checkpoints.epochs({"spec": spec, **selection.kept(spec, history)})
        if epoch in kept:
            path = checkpoints.weights_path(directory, epoch)
            checkpoints.save_tensors(path, model.state_dict(), identity | {"epoch": epoch})
        _save_state(directory, identity, model, steppers, history)
        checkpoints.drop_others(directory, kept)
    if not team.leads:
        return
    columns = ("epoch", *objectives, "rate", *(["test_accuracy"] if test is not None else []))
    write_csv(directory / "history.csv", [{name: row[name] for name in columns} for row in history])
    record = {
        "name": directory.name,
        "spec": spec,
        **selection.kept(spec, history),
        "data": str(data.directory),
        "data_digest": data.digest,
        "train_images": len(images),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "processes": team.size,
        "pretrained": {"file": pretrained.name, "sha256": sha256(pretrained)} if pretrained else None,
    }
    kept = checkpoints.epochs(record)
    checkpoints.drop_others(directory, kept)
    weights = [checkpoints.weights_path(directory, epoch) for epoch in kept]
    watch.write(directory / "run.json", record, [directory / "history.csv", *weights], where)
    _state_path(directory).unlink(missing_ok=True)


def _check_batches(spec: dict, images: Images, team: parallel.Team) -> None:
    """Refuse more processes than the last batch has images."""
    last = len(images) % spec["batch_size"]
    if 1 < last < team.size or spec["batch_size"] < team.size:
        raise Problem(f"a batch has fewer images than there are processes ({team.size}): start fewer")


def _start(spec: dict, data: Prepared, images: Images, pretrained: Path | None, count: int, team: parallel.Team):
    """The network and as many optimisers, all of them of all its weights."""
    torch.manual_seed(spec["seed"])
    model = models.build(spec["model"], len(data.classes), data.image_shape, pretrained)
    model = models.quicken(model).to(images.device, memory_format=models.memory_format(model, images.device))
    if spec["model"]["mean"] == "pixels":
        models.set_pixel_mean(model, images)
    model = team.together(model, images.device)
    return model, [optimizers.build(spec["optimizer"], model, spec["schedule"]["rate"]) for _ in range(count)]


def _epoch(spec, epoch, model, updates, images: Images, perturb, team: parallel.Team) -> torch.Tensor:
    """One pass over the images; the objectives' values (steps, objectives)."""
    seed = spec["seed"] * 1_000_003 + epoch
    own = team.seed(seed)
    torch.manual_seed(own)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).to(images.indices.device)
    # One generator moves the images, on the CPU, one draws for the perturbation, where the images are.
    moves, draws = torch.Generator().manual_seed(seed), torch.Generator(images.device).manual_seed(own)
    # Batch normalisation cannot learn from a single image; a last batch of one is left out.
    batches = [batch for batch in order.split(spec["batch_size"]) if len(batch) > 1]
    steps = _steps(spec, images)
    values = torch.zeros(len(batches), len(updates), device=images.device)
    model.train()
    for step, batch in enumerate(batches):
        before = (epoch - 1) * steps + step
        rate = schedules.rate(spec["schedule"], before, steps)
        part = team.part(len(batch))
        inputs, labels = (whole[part] for whole in images.batch(batch, moves))
        share = len(labels) / len(batch)
        if perturb is not None:
            inputs = perturb(inputs, labels, draws, recipes.share(spec, before, steps))
            labels = labels.repeat(len(inputs) // len(labels))
        for which, (compute, optimizer) in enumerate(updates):
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            values[step, which] = compute(inputs, labels, share)
            if team.size > 1:
                team.add(*(parameter.grad for parameter in model.parameters() if parameter.grad is not None))
            optimizer.step()
    team.add(values)
    return values


def _computation(spec, model, objective, team: parallel.Team) -> Callable:
    """What an update computes of (inputs, labels, share): the weights' gradients, which it leaves in them.

    It returns the objective, as much of it as these images are of the batch.
    """

    def compute(inputs: torch.Tensor, labels: torch.Tensor, share: float) -> torch.Tensor:
        with recipes.precision(spec, inputs.device):
            features = model.features(inputs)
        # The head is computed in full precision: distances and angles between close points need it.
        features = losses.fine(features)
        value = share * objective(model.head(features), labels, features, model.head)
        value.backward()
        return value.detach()

    # Of several processes each would have to record what it says to the others.
    alone = team.size == 1 and next(model.parameters()).is_cuda
    return graphs.Updates(model, compute) if alone else compute


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


def _state_path(directory: Path) -> Path:
    return directory / "state.safetensors"


def _save_state(directory: Path, identity: dict, model, steppers, history: list[dict]) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for which, optimizer in enumerate(steppers):
        tensors |= {f"optimizer.{which}.{name}": tensor for name, tensor in optimizers.state(optimizer).items()}
    checkpoints.save_tensors(_state_path(directory), tensors, identity | {"history": history})


def _resume(directory: Path, identity: dict, model, steppers) -> list[dict]:
    """Load the state of the last whole epoch, if there is one; the history up to it."""
    path = _state_path(directory)
    if not path.exists():
        return []
    tensors, about = checkpoints.read_tensors(path, identity)
    model.load_state_dict(_below("model.", tensors))
    for which, optimizer in enumerate(steppers):
        optimizers.restore(optimizer, _below(f"optimizer.{which}.", tensors))
    say(f"{directory.name}: going on after epoch {len(about['history'])}")
    return about["history"]


def _below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
