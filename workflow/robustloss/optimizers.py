"""Optimisers from their specification, and their state as plain tensors."""

import torch
from torch import nn

from robustloss.errors import Problem

KINDS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}


def build(spec: dict, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    """The optimiser of `spec` for all of a network's weights: its name, sgd or adam, and torch's settings for it.

    `decayed` says which weights `weight_decay` pulls towards zero: "all", or "convolutions", as where an author's
    network has a penalty in its convolutions alone. Centres of a head with a `centre_rate` take, after each step of the
    optimiser, a step of plain gradient descent at this rate. Raises Problem for an unknown name.
    """
    settings = {key: value for key, value in spec.items() if key not in ("name", "decayed")}
    if spec["name"] not in KINDS:
        raise Problem(f"optimizer: there is no '{spec['name']}': the choices are {', '.join(sorted(KINDS))}")
    rates = _own_rates(model)
    others = [parameter for parameter in model.parameters() if parameter not in rates]
    optimizer = KINDS[spec["name"]](_groups(spec, model, others), lr=rate, fused=True, **settings)
    if rates:
        optimizer.register_step_post_hook(lambda *_: _descend(rates))
    return optimizer


def _own_rates(model: nn.Module) -> dict[nn.Parameter, float]:
    """The parameters that have a rate of their own, whatever the optimiser."""
    heads = (module for module in model.modules() if getattr(module, "centre_rate", None) is not None)
    return {head.centres: head.centre_rate for head in heads}


@torch.no_grad()
def _descend(rates: dict[nn.Parameter, float]) -> None:
    for parameter, rate in rates.items():
        if parameter.grad is not None:
            parameter.sub_(parameter.grad, alpha=rate)
            # The optimiser, which does not know this one, clears the others' gradients.
            parameter.grad = None


def _groups(spec: dict, model: nn.Module, parameters: list[nn.Parameter]) -> list[dict]:
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
