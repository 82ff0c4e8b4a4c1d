"""Attacking a trained network: each sample's outcome at each epoch, and what they sum up to."""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from robustloss import attacks, checkpoints, defences, devices, models, outcomes
from robustloss.code import settings_of
from robustloss.data.prepared import Prepared
from robustloss.files import write_csv, write_json
from robustloss.images import Images
from robustloss.progress import track
from robustloss.provenance import Stopwatch

BATCH = 256


def attack(run: Path, data: Prepared, spec: dict, directory: Path, device: str = "auto") -> None:
    """Attack the networks of a run as `spec` says and write the outcomes into `directory`.

    Leaves samples/epoch-NNN.npz (per sample: index, label, clean and adversarial prediction, cross-entropies, the
    perturbation's Linf, L2 and L0 norm, iterations and queries), epochs.csv, and, last, attack.json. A sample that is
    misclassified when clean counts as not robust. Epochs whose outcomes are there already are not attacked again.
    """
    watch = Stopwatch()
    where = devices.choose(device)
    record = checkpoints.open_run(run, data)
    kept = checkpoints.epochs(record["spec"])
    epochs = kept if spec["epochs"] == "all" else kept[-1:]
    images = Images(data, spec["split"], where, _chosen(data, spec))
    for epoch in track(epochs, directory.name):
        path = outcomes.outcomes_path(directory, epoch)
        if not path.exists():
            model = models.evaluation_copy(checkpoints.network(run, record, data, epoch), where)
            if "defence" in spec:
                model = defences.build(spec["defence"], model, torch.Generator(where).manual_seed(epoch)).eval()
            outcomes.save(path, _outcomes(model, images, spec, epoch))
    _summarise(directory, epochs, spec, record, watch.environment(where))


def _chosen(data: Prepared, spec: dict) -> torch.Tensor:
    """The attacked images: all, or `count` spread evenly, since neighbours come from one video."""
    available = len(data.labels(spec["split"]))
    count = min(spec["count"] or available, available)
    return torch.linspace(0, available - 1, count, dtype=torch.float64).round().long()


def _outcomes(model: torch.nn.Module, images: Images, spec: dict, epoch: int) -> dict[str, np.ndarray]:
    perturb = attacks.load(spec["name"])
    settings = settings_of("attacks", spec)
    generator = torch.Generator(images.device).manual_seed(epoch)
    parts: dict[str, list[torch.Tensor]] = {}
    for inputs, labels in images.batches(BATCH):
        perturbed = perturb(model, inputs, labels, generator, **settings)
        difference = (perturbed.images - inputs).flatten(1)
        found = {
            "labels": labels,
            **_predict(model, inputs, labels, "clean"),
            **_predict(model, perturbed.images, labels, "adversarial"),
            "linf": difference.abs().amax(1),
            "l2": difference.norm(dim=1),
            "l0": (difference != 0).sum(1),
            "iterations": perturbed.iterations,
            "queries": perturbed.queries,
        }
        if perturbed.broken_by is not None:
            found["broken_by"] = perturbed.broken_by
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
    arrays = {name: torch.cat(values).cpu().numpy() for name, values in parts.items()}
    return {"index": images.indices.cpu().numpy(), **arrays}


@torch.no_grad()
def _predict(model, inputs, labels, kind: str) -> dict[str, torch.Tensor]:
    logits = model(inputs).float()
    cross_entropy = F.cross_entropy(logits, labels, reduction="none")
    return {f"{kind}_predictions": logits.argmax(1).to(torch.int16), f"{kind}_cross_entropy": cross_entropy}


def _summarise(directory: Path, epochs, spec: dict, record: dict, environment: dict) -> None:
    rows, clean, robust = [], [], []
    for epoch in epochs:
        found = outcomes.load(outcomes.outcomes_path(directory, epoch))
        labels = found["labels"]
        clean.append(found["clean_predictions"] == labels)
        robust.append(clean[-1] & (found["adversarial_predictions"] == labels))
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
    summary = {
        "robust_accuracy": outcomes.over_epochs(np.stack(robust)),
        "balanced_robust_accuracy": {"mean": float(np.mean(balanced)), "last": balanced[-1]},
        "clean_accuracy": outcomes.over_epochs(np.stack(clean)),
        "majority": rows[-1]["majority"],
        "count": rows[-1]["count"],
    }
    about = {"name": directory.name, "run": record["name"], "data_digest": record["data_digest"], "spec": spec}
    write_json(directory / "attack.json", {**about, "summary": summary, "environment": environment})
