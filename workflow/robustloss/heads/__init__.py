"""What a network ends in when its specification names a head, each a module of this folder that is found by its name.

A module `heads/<name>.py` defines `head(classes, dimension, *, settings...)`: an nn.Module from features (N, dimension)
to logits (N, classes) of which the largest is the prediction. What a loss keeps for prediction time, such as the
centres of classes, belongs to the head, so that attacks and measurements need to know nothing of the loss.
"""

import importlib

from torch import nn

from robustloss.code import FRAMES, check_settings, plugin, settings_of
from robustloss.errors import Problem


def build(spec: dict, classes: int) -> nn.Module:
    """The head of `spec`, which holds the module's name, the features' `dimension` and the module's own settings.

    Weights are drawn from torch's global generator. Raises Problem for an unknown name or setting, and for a value
    that is out of range.
    """
    name = spec["name"]
    settings = settings_of("heads", spec)
    module = plugin("heads", name)
    check_settings(f"head {name}", module, "head", settings)
    return importlib.import_module(module).head(classes, dimension(spec), **settings)


def dimension(spec: dict) -> int:
    """How many outputs the body under a head has; Problem where the specification does not say."""
    for key in FRAMES["heads"]:
        if key not in spec:
            raise Problem(f"head: the key '{key}' is missing")
    found = spec["dimension"]
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise Problem(f"head {spec['name']}: dimension must be a whole number from 1, not {found!r}")
    return found
