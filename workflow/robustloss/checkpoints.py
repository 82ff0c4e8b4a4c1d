"""Weights and training state on disk: safetensors only, whole or absent, refused when they belong to something else."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from robustloss import models
from robustloss.data.prepared import Prepared
from robustloss.errors import Problem
from robustloss.files import canonical, read_json, replacing
from robustloss.provenance import weights_digest

# Where what a file says of itself (`about`) keeps the checksum of its tensors. The file's header has no other key than
# `about`: safetensors writes the keys in any order, and equal tensors shall have equal files.
CHECKSUM = "tensors_sha256"


def weights_path(run: Path, epoch: int) -> Path:
    """Where the weights after an epoch (counted from 1) lie."""
    return run / "weights" / f"epoch-{epoch:03d}.safetensors"


def epochs(record: dict) -> range:
    """The epochs of a run, counted from 1, whose weights are kept, from the run's record.

    All; with `keep: last` the last; with `keep: best` the one that the record says was best on the test split.
    """
    last, keep = record["spec"]["epochs"], record["spec"].get("keep", "all")
    if keep == "all":
        return range(1, last + 1)
    only = record["kept"]["epoch"] if keep == "best" else last
    return range(only, only + 1)


def drop_others(run: Path, kept: range) -> None:
    """Delete the weights of a run's epochs that are not among those to be kept."""
    wanted = {weights_path(run, epoch) for epoch in kept}
    for path in (run / "weights").glob("epoch-*.safetensors"):
        if path not in wanted:
            path.unlink()


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], about: dict) -> None:
    """Write tensors with what they are (`about`, JSON) in the file's own header."""
    # safetensors stores the logical order; a channels_last tensor has to be laid out anew.
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replacing(path, "wb") as stream:
        stream.write(save(whole, metadata={"about": canonical(about | {CHECKSUM: _checksum(whole)})}))


def read_tensors(path: Path, expected: dict | None = None) -> tuple[dict[str, torch.Tensor], dict]:
    """Read (tensors, about); a damaged file, or one whose `about` disagrees with `expected`, is refused by name."""
    try:
        with safe_open(path, framework="pt") as stored:
            about = json.loads((stored.metadata() or {}).get("about", "{}"))
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise Problem(f"{path} is missing: delete {path.parents[1] / 'run.json'} and train this run again") from None
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise Problem(f"{path} is damaged ({error}): delete it, and run.json beside it, and train again") from None
    if about.pop(CHECKSUM, None) != _checksum(tensors):
        raise Problem(
            f"{path} is damaged (its tensors do not have its checksum): delete it, and run.json beside it, "
            "and train again"
        )
    for key, value in (expected or {}).items():
        if about.get(key) != value:
            raise Problem(
                f"{path} was made with other settings ({key} is {about.get(key)!r}, expected {value!r}): "
                "delete this run's folder and train it again"
            )
    return tensors, about


def _checksum(tensors: dict[str, torch.Tensor]) -> str:
    """SHA-256 (hex) of tensors with their names, types and shapes: safetensors itself has no checksum."""
    state = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return state.hexdigest()


def identity(run: str, spec: dict, data: Prepared) -> dict:
    """What every file of a run must agree with."""
    return {"run": run, "spec": canonical(spec), "data": data.digest}


def open_run(directory: Path, data: Prepared) -> dict:
    """The record of a finished run, refused when it was trained on other data than `data`."""
    record = read_json(directory / "run.json")
    if record["data_digest"] != data.digest:
        raise Problem(
            f"{directory} was trained on data with digest {record['data_digest'][:12]}, but {data.directory} now has "
            f"{data.digest[:12]}: restore those data, or delete this run's folder and train it again"
        )
    return record


def origin(run: Path, record: dict, sources: Iterable[str] = ()) -> dict:
    """What the record of a result says of what it was measured on, so that it can be compared with it later.

    The run, the digests of its data and of its weights, and those of the weights of the `sources` beside it.
    """
    others = {source: weights_digest(read_json(run.parent / source / "run.json")) for source in sources}
    digests = {"data_digest": record["data_digest"], "weights_digest": weights_digest(record)}
    return {"run": record["name"], **digests, "source_digests": others}


def network(directory: Path, record: dict, data: Prepared, epoch: int) -> torch.nn.Module:
    """The run's network with its weights after `epoch`, on the CPU."""
    expected = identity(record["name"], record["spec"], data) | {"epoch": epoch}
    tensors, _ = read_tensors(weights_path(directory, epoch), expected)
    model = models.build(record["spec"]["model"], len(data.classes), data.image_shape)
    model.load_state_dict(tensors)
    return model
