"""Optimisers from their specification, and their state as plain tensors."""

import torch
from torch import nn

from robustloss.errors import Problem

KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


def build(spec: dict, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """The optimiser of `spec` for all of a network's weights: its name, sgd or adam, and torch's settings for it.

    `decayed` says which weights `weight_decay` pulls towards zero: "all", or "convolutions", as where an author's
    network has a penalty in its convolutions alone. Raises Problem for an unknown name.
    """
    settings = {key: value for key, value in spec.items() if key not in ("name", "decayed")}
    if spec["name"] not in KINDS:
        raise Problem(f"optimizer: there is no '{spec['name']}': the choices are {', '.join(sorted(KINDS))}")
    return KINDS[spec["name"]](_groups(spec, model), lr=rate, fused=True, **settings)


def _groups(spec: dict, model: nn.Module) -> list[dict]:
    parameters = list(model.parameters())
    if spec.get("decayed", "all") == "all":
        return [{"params": parameters}]
    convolutions = {module.weight for module in model.modules() if isinstance(module, nn.Conv2d)}
    return [
        {"params": [parameter for parameter in parameters if parameter in convolutions]},
        {"params": [parameter for parameter in parameters if parameter not in convolutions], "weight_decay": 0},
    ]


def state(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """What the optimiser remembers, as `<number of the parameter>.<name>`."""
    return {
        f"{index}.{name}": tensor
        for index, entries in optimizer.state_dict()["state"].items()
        for name, tensor in entries.items()
        if tensor is not None
    }


def restore(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Give an optimiser of the same network the `state` of another."""
    found = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, tensor in tensors.items():
        index, key = name.split(".", 1)
        like = parameters[int(index)]
        # The fused step walks parameter and momentum through memory side by side: both need the same layout.
        laid_out = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        found["state"].setdefault(int(index), {})[key] = laid_out
    optimizer.load_state_dict(found)
