"""Attacking a trained network: each sample's outcome at each epoch, and what they sum up to."""

import math
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from robustloss import attacks, batch_sizes, batchwise, checkpoints, defences, devices, models, naming, outcomes
from robustloss.attacks.parts import gradients
from robustloss.attacks.parts.perturbed import Perturbed, fixed
from robustloss.code import settings_of, sources_of
from robustloss.data.prepared import Prepared
from robustloss.errors import Problem
from robustloss.files import write_csv
from robustloss.images import Images, spread
from robustloss.progress import say, track
from robustloss.provenance import Stopwatch


def attack(run: Path, data: Prepared, spec: dict, directory: Path, device: str = "auto") -> None:
    """Attack the networks of a run as `spec` says and write the outcomes into `directory`.

    Leaves samples/epoch-NNN.npz (see `outcomes`), epochs.csv, and, last, attack.json. A sample that is misclassified
    when clean counts as not robust. Epochs whose outcomes are there already are not attacked again, nor the batches of
    an epoch that was not finished. Raises Problem for logits that are NaN or infinite, and as the attack does, naming
    run, attack, epoch and batch.
    """
    record = checkpoints.open_run(run, data)
    watch = Stopwatch(naming.attack_modules(spec, record["spec"]["model"]))
    where = devices.choose(device)
    kept = checkpoints.epochs(record)
    epochs = kept if spec["epochs"] == "all" else kept[-1:]
    images = Images(data, spec["split"], where, _chosen(data, spec))
    _check_target(spec, images)
    attacked = _resolved(spec, run.parent, data, where)
    for epoch in track(epochs, directory.name):
        path = outcomes.outcomes_path(directory, epoch)
        if not path.exists():
            model = models.evaluation_copy(checkpoints.network(run, record, data, epoch), where)
            try:
                _attack_epoch(model, images, attacked, epoch, path)
            except Problem as problem:
                raise Problem(f"{run.name}, {directory.name}, epoch {epoch}, {problem}") from None
    summary = _summarise(directory, epochs, spec)
    about = {"name": directory.name, **checkpoints.origin(run, record, sources_of(spec)), "spec": spec}
    samples = [outcomes.outcomes_path(directory, epoch) for epoch in epochs]
    vouched = [directory / "epochs.csv", *samples]
    watch.write(directory / "attack.json", about | {"summary": summary}, vouched, where)


def _chosen(data: Prepared, spec: dict) -> torch.Tensor:
    """The attacked images: all, or `count` of them."""
    available = len(data.labels(spec["split"]))
    return spread(available, spec["count"] or available)


def _check_target(spec: dict, images: Images) -> None:
    if isinstance(spec.get("target"), int) and bool((images.labels[images.indices] == spec["target"]).all()):
        raise Problem(
            f"attack {spec['name']}: all images to attack are of the class {spec['target']}, which is its target, so "
            "there is nothing to reach: name another class"
        )


def _resolved(spec: dict, runs: Path, data: Prepared, where: torch.device) -> dict:
    """`spec` with the networks, after the last epochs kept, of the runs that it or its parts name as sources."""
    found = dict(spec)
    if "source" in spec:
        record = checkpoints.open_run(runs / spec["source"], data)
        last = checkpoints.epochs(record)[-1]
        found["source"] = models.evaluation_copy(checkpoints.network(runs / spec["source"], record, data, last), where)
    if "attack" in spec:
        found["attack"] = _resolved(spec["attack"], runs, data, where)
    if "attacks" in spec:
        found["attacks"] = [_resolved(member, runs, data, where) for member in spec["attacks"]]
    return found


def _attack_epoch(model: torch.nn.Module, images: Images, spec: dict, epoch: int, path: Path) -> None:
    """Attack one epoch's network, in smaller batches where the GPU has no room for the ones that were chosen."""
    generators = [torch.Generator(images.device) for _ in range(2)]
    attacked = defences.build(spec["defence"], model, generators[1]) if "defence" in spec else model

    def compute(number, inputs, labels):
        # Each batch has random numbers of its own, so that one that was attacked before a kill changes no other.
        for generator in generators:
            generator.manual_seed(epoch * 1_000_003 + number)
        try:
            found = _outcomes(attacked, inputs, labels, spec, generators[0])
        except Problem as problem:
            raise Problem(f"batch {number + 1} of {math.ceil(len(images) / size)}: {problem}") from None
        return {**found, "batch": np.full(len(labels), number, np.int32)}

    size = batch_sizes.choose(spec, model, images)
    while True:
        try:
            return batchwise.save(images, size, path, compute, _tally)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
        size //= 2
        say(f"{path.stem}: the GPU's memory is too small, so batches are of {size} images")


def _outcomes(model, inputs, labels, spec: dict, generator: torch.Generator) -> dict[str, np.ndarray]:
    clean = _predict(model, inputs, labels, "clean")
    perturbed = _perturbed(model, inputs, labels, spec, generator)
    adversarial = _predict(model, perturbed.images, labels, "adversarial")
    difference = (perturbed.images - inputs).flatten(1)
    found = {
        "labels": labels,
        **clean,
        **adversarial,
        "success": _success(adversarial["adversarial_predictions"], labels, perturbed.targets),
        "linf": difference.abs().amax(1),
        "l2": difference.norm(dim=1),
        "l0": (difference != 0).sum(1),
        "iterations": perturbed.iterations,
        "queries": perturbed.queries,
    }
    if perturbed.broken_by is not None:
        found["broken_by"] = perturbed.broken_by
    if perturbed.targets is not None:
        found["targets"] = perturbed.targets.to(torch.int16)
    return {name: values.cpu().numpy() for name, values in found.items()}


def _perturbed(model, inputs, labels, spec: dict, generator: torch.Generator) -> Perturbed:
    """What the attack makes of a batch; a given target's own images stay as they are.

    An attack refuses images that all are of its target, and neighbours in a split may well be.
    """
    settings = settings_of("attacks", spec)
    perturb, target = attacks.load(spec["name"]), settings.get("target")
    if not isinstance(target, int):
        return perturb(model, inputs, labels, generator, **settings)
    found = fixed(inputs.clone(), 0, 0)._replace(targets=torch.full_like(labels, target))
    away = (labels != target).nonzero()[:, 0]
    if len(away):
        part = perturb(model, inputs[away], labels[away], generator, **settings)
        for whole, values in zip(found[:3], part[:3], strict=True):
            whole[away] = values
    return found


def _success(predictions, labels, targets) -> torch.Tensor:
    """Whether an attack did what it was to (N,): predicted as its target, or, without one, as another class."""
    return predictions != labels if targets is None else (predictions == targets) & (targets != labels)


def _robust(found: dict[str, np.ndarray]) -> np.ndarray:
    """Right when clean and when attacked (samples,)."""
    return (found["clean_predictions"] == found["labels"]) & (found["adversarial_predictions"] == found["labels"])


def _tally(found: dict[str, np.ndarray]) -> tuple[int, int]:
    """How many images are robust, and how many there are."""
    return int(_robust(found).sum()), len(found["labels"])


@torch.no_grad()
def _predict(model, inputs, labels, kind: str) -> dict[str, torch.Tensor]:
    logits = model(inputs).float()
    if unsound := int((~logits.isfinite()).any(1).sum()):
        raise Problem(f"the network's logits are NaN or infinite for {unsound} {kind} images: train it again")
    return {
        f"{kind}_predictions": logits.argmax(1).to(torch.int16),
        f"{kind}_cross_entropy": F.cross_entropy(logits, labels, reduction="none"),
        f"{kind}_margin": gradients.margin_value(logits, labels),
    }


def _summarise(directory: Path, epochs, spec: dict) -> dict:
    rows, clean, robust = [], [], []
    for epoch in epochs:
        found = outcomes.load(outcomes.outcomes_path(directory, epoch))
        labels = found["labels"]
        clean.append(found["clean_predictions"] == labels)
        robust.append(_robust(found))
        rows.append(
            {
                "epoch": epoch,
                "split": spec["split"],
                "count": len(labels),
                "clean_correct": int(clean[-1].sum()),
                "clean_accuracy": float(clean[-1].mean()),
                "robust_correct": int(robust[-1].sum()),
                **outcomes.share(robust[-1], "robust_accuracy", "robust"),
                "balanced_robust_accuracy": outcomes.balanced(robust[-1], labels),
                "majority": outcomes.majority(labels),
                "mean_linf": float(found["linf"].mean()),
                "max_linf": float(found["linf"].max()),
                "mean_l2": float(found["l2"].mean()),
                "mean_queries": float(found["queries"].mean()),
            }
        )
    write_csv(directory / "epochs.csv", rows)
    balanced = [row["balanced_robust_accuracy"] for row in rows]
    return {
        "robust_accuracy": outcomes.over_epochs(np.stack(robust)),
        "balanced_robust_accuracy": {"mean": float(np.mean(balanced)), "last": balanced[-1]},
        "clean_accuracy": outcomes.over_epochs(np.stack(clean)),
        "majority": rows[-1]["majority"],
        "count": rows[-1]["count"],
    }
