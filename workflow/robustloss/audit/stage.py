"""Auditing a trained network: its signs of gradient masking in one record."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from robustloss import batchwise, checkpoints, defences, devices, models, naming, outcomes
from robustloss.audit import measurements
from robustloss.audit.judgement import Sign, judge
from robustloss.audit.verdict import accuracies, verdict, withstanding
from robustloss.code import check_settings, nearest, sources_of
from robustloss.data.prepared import SPLITS, Prepared
from robustloss.errors import Problem
from robustloss.images import Images, spread
from robustloss.progress import say
from robustloss.provenance import Stopwatch

# Small, since an image is attacked for long: progress shows, and little is lost by a kill.
BATCH = 64
COUNT = 200
# The keys of a specification that say what is audited; the others are settings of `measurements.measure`.
SCOPE = ("split", "count", "defence", "source")


def audit(run: Path, data: Prepared, spec: dict, directory: Path, device: str = "auto") -> None:
    """Audit the last network of a run for signs of gradient masking, as `spec` says, into `directory`.

    `spec` holds `split` and `epsilon` and may hold `count` (200 images, spread evenly), `defence`, `source` (the name
    of a run beside this one whose adversarial examples are tried) and the other settings of `measurements.measure`.
    Leaves samples/epoch-NNN.npz (index, label, whether it is classified correctly, and, of the images that are, what
    was measured) and, last, audit.json: the verdict, the robust accuracies and the signs. Batches that were measured
    before a kill are not measured again. Raises Problem for a specification that is none, and as `measure` does.
    """
    settings = _settings(spec)
    record = checkpoints.open_run(run, data)
    watch = Stopwatch(naming.audit_modules(spec, record["spec"]["model"]))
    where = devices.choose(device)
    epoch = checkpoints.epochs(record)[-1]
    images = Images(data, spec["split"], where, _chosen(data, spec))
    path = outcomes.outcomes_path(directory, epoch)
    if not path.exists():
        _measure(_network(run, data, where), _source(run, data, spec, where), images, spec, settings, path)
    summary, signs = _judged(outcomes.load(path))
    about = {"name": directory.name, **checkpoints.origin(run, record, sources_of(spec)), "epoch": epoch, "spec": spec}
    found = {"summary": summary, "signs": [asdict(sign) for sign in signs]}
    watch.write(directory / "audit.json", about | found, [path], where)
    say(f"{directory.name}: {summary['verdict']}")


def _settings(spec: dict) -> dict:
    for key in ("split", "epsilon"):
        if key not in spec:
            raise Problem(f"audit: the key '{key}' is missing")
    if spec["split"] not in SPLITS:
        raise Problem(f"audit: there is no split '{spec['split']}'{nearest(spec['split'], SPLITS)}")
    count = spec.get("count")
    if count is not None and (type(count) is not int or count < 1):
        raise Problem(f"audit: count is a whole number from 1, not {count!r}")
    settings = {key: value for key, value in spec.items() if key not in SCOPE}
    check_settings("audit", measurements.__name__, "measure", settings)
    return settings


def _chosen(data: Prepared, spec: dict) -> torch.Tensor:
    return spread(len(data.labels(spec["split"])), spec.get("count") or COUNT)


def _network(run: Path, data: Prepared, where: torch.device) -> nn.Module:
    """The last network of a run."""
    record = checkpoints.open_run(run, data)
    model = checkpoints.network(run, record, data, checkpoints.epochs(record)[-1])
    return models.evaluation_copy(model, where)


def _source(run: Path, data: Prepared, spec: dict, where: torch.device) -> nn.Module | None:
    return _network(run.parent / spec["source"], data, where) if spec.get("source") else None


def _measure(model, source, images: Images, spec: dict, settings: dict, path: Path) -> None:
    generators = [torch.Generator(images.device) for _ in range(2)]
    if "defence" in spec:
        model = defences.build(spec["defence"], model, generators[1])

    def compute(number, inputs, labels):
        # Each batch has random numbers of its own, so that one that was measured before a kill changes no other.
        for generator in generators:
            generator.manual_seed(number)
        return _measured(model, inputs, labels, generators[0], source, settings)

    batchwise.save(images, BATCH, path, compute, _tally)


def _measured(model, inputs, labels, generator, source, settings: dict) -> dict[str, np.ndarray]:
    right = measurements.right(model, inputs, labels)
    found = {"labels": labels, "right": right}
    if right.any():
        found |= measurements.measure(model, inputs[right], labels[right], generator, source, **settings)
    return {name: values.cpu().numpy() for name, values in found.items()}


def _tally(found: dict[str, np.ndarray]) -> tuple[int, int]:
    """How many images withstand all that was tried, and how many there are."""
    return withstanding(found, "worst_case", int(found["right"].sum())), len(found["labels"])


def _judged(found: dict[str, np.ndarray]) -> tuple[dict, list[Sign]]:
    labels, right = found["labels"], found["right"]
    measured = {name: values for name, values in found.items() if name not in ("index", "labels", "right")}
    signs, robust = judge(measured, labels), accuracies(measured, len(labels), int(right.sum()))
    summary = {
        "verdict": verdict(signs, robust),
        "flagged": [sign.name for sign in signs if sign.flagged],
        "robust_accuracy": robust,
        "count": len(labels),
    }
    return summary, signs
