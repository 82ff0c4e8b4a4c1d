"""Attacks, each a module of this folder that is found by its name.

A module `attacks/<name>.py` defines `perturb(model, images, labels, generator, *, settings...)`: from images
(N, channels, height, width) in [0, 1] and labels (N,) int64 to `Perturbed`: adversarial images of the same
shape in [0, 1], and what each sample cost.
"""

import importlib
from collections.abc import Callable

import torch

from robustloss.attacks.parts.perturbed import Perturbed
from robustloss.code import check_settings, nearest, parameters, plugin, plugins, settings_of
from robustloss.errors import Problem


def load(name: str) -> Callable[..., Perturbed]:
    """The `perturb` of an attack; an unknown name, or a module that is no attack, raises Problem."""
    module = plugin("attacks", name)
    parameters(module, "perturb")
    return importlib.import_module(module).perturb


def run(
    spec: dict, model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor, generator: torch.Generator
) -> Perturbed:
    """What the attack of `spec`, its name and settings, makes of the images; raises Problem for what is no attack."""
    name = spec.get("name") if isinstance(spec, dict) else spec
    if name not in plugins("attacks"):
        raise Problem(f"attack: there is no '{name}'{nearest(name, plugins('attacks'))}")
    settings = settings_of("attacks", spec)
    check_settings(f"attack {name}", plugin("attacks", name), "perturb", settings)
    return load(name)(model, images, labels, generator, **settings)
