"""Attacks, each a module of this folder that is found by its name.

A module `attacks/<name>.py` defines `perturb(model, images, labels, generator, *, settings...)`: from images
(N, channels, height, width) in [0, 1] and labels (N,) int64 to `Perturbed`: adversarial images of the same
shape in [0, 1], and what each sample cost.
"""

import importlib
from collections.abc import Callable

from robustloss.attacks.perturbed import Perturbed
from robustloss.code import parameters, plugin


def load(name: str) -> Callable[..., Perturbed]:
    """The `perturb` of an attack; an unknown name, or a module that is no attack, raises Problem."""
    module = plugin("attacks", name)
    parameters(module, "perturb")
    return importlib.import_module(module).perturb
