"""Defences at inference time, each a module of this folder that is found by its name.

A module `defences/<name>.py` defines `defend(model, generator, *, settings...)`: from a trained network, images
(N, channels, height, width) in [0, 1] to logits (N, K), to one that takes and gives the same and is attacked in its
place. Nothing is trained. Random numbers come from `generator` alone, so a stochastic defence answers differently
from one call to the next, and an attack that calls it sees fresh draws.
"""

import importlib

import torch
from torch import nn

from robustloss.code import check_settings, plugin, settings_of
from robustloss.errors import Problem


def build(spec: dict, model: nn.Module, generator: torch.Generator) -> nn.Module:
    """`model` under the defence of `spec`, which holds the module's name and its settings; it keeps the model's mode.

    Raises Problem for an unknown name or setting, and for a value that is out of range.
    """
    if "name" not in spec:
        raise Problem("defence: the key 'name' is missing")
    module = plugin("defences", spec["name"])
    settings = settings_of("defences", spec)
    check_settings(f"defence {spec['name']}", module, "defend", settings)
    return importlib.import_module(module).defend(model, generator, **settings).train(model.training)
