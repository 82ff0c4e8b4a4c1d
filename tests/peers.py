"""Attacks of other libraries in one shape: (model, images, labels, name, ...) -> adversarial images.

`images` (N, C, H, W) lie in [0, 1]; `labels` (N,) are the classes to leave or, with `targeted=True`, to reach. `name`
and settings are the library's own. A library is imported when its attack runs.
"""

import importlib

import torch
from torch import nn


def foolbox(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    name: str,
    *,
    epsilon: float | None = None,
    targeted: bool = False,
    **settings,
) -> torch.Tensor:
    """`epsilon` is the radius of an attack that stays within one; without, the attack looks for the nearest image."""
    from foolbox import PyTorchModel, attacks, criteria

    goal = criteria.TargetedMisclassification(labels) if targeted else labels
    wrapped = PyTorchModel(model, bounds=(0, 1), device=images.device)
    found = getattr(attacks, name)(**settings)(wrapped, images, goal, epsilons=epsilon)[1]
    # Its C&W returns a black image where it finds none.
    return torch.where((found == 0).flatten(1).all(1).view(-1, 1, 1, 1), images, found)


def torchattacks(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, name: str, *, targeted: bool = False, **settings
) -> torch.Tensor:
    attack = getattr(importlib.import_module("torchattacks"), name)(model, **settings)
    if targeted:
        attack.set_mode_targeted_by_label(quiet=True)
    return attack(images, labels)


def art(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    name: str,
    *,
    classes: int = 10,
    probabilities: bool = False,
    **settings,
) -> torch.Tensor:
    """`probabilities` are what an attack such as SimBA asks for, instead of logits; random numbers are NumPy's."""
    from art.attacks import evasion
    from art.estimators.classification import PyTorchClassifier

    body = nn.Sequential(model, nn.Softmax(1)).eval() if probabilities else model
    kind = "gpu" if images.is_cuda else "cpu"
    shape = tuple(images.shape[1:])
    wrapped = PyTorchClassifier(body, nn.CrossEntropyLoss(), shape, classes, clip_values=(0, 1), device_type=kind)
    ends = nn.functional.one_hot(labels, classes).float().cpu().numpy()
    found = getattr(evasion, name)(wrapped, **settings).generate(images.cpu().numpy().copy(), ends)
    return torch.from_numpy(found).to(images.device)


def adv_lib(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, name: str, **settings) -> torch.Tensor:
    from adv_lib import attacks

    return getattr(attacks, name)(model, images, labels, **settings).detach()


def cleverhans(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, name: str, **settings) -> torch.Tensor:
    attack = getattr(importlib.import_module(f"cleverhans.torch.attacks.{name}"), name)
    return attack(model, images, y=labels, clip_min=0, clip_max=1, **settings).detach()


def pyautoattack(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, name: str, **settings) -> torch.Tensor:
    """`name` is the version of AutoAttack: standard, plus or rand."""
    from pyautoattack import AutoAttack

    attack = AutoAttack(model, version=name, device=images.device, **settings)
    return attack.run_standard_evaluation(images, labels, batch_size=len(images))[0]
