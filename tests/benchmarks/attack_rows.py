"""Which ways to attack are timed side by side: on which network, at which settings, with which goal."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import NamedTuple

import peers
import torch
from attack_ways import floor, ours, plain_simba
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from robustloss import models

TRAINING = 1297
LENET = {"name": "lenet5", "mean": 0.1307, "std": 0.3081, "pretrained": "none"}
RESNET = {"name": "resnet_cifar", "depth": 20, "mean": 0.5, "std": 0.25, "pretrained": "none"}
# Specification, shape, epochs, and the radius of the PGD that it is trained on.
NETWORKS = {
    "lenet5": (LENET, (28, 28, 1), 12, None),
    "lenet5, adversarial": (LENET, (28, 28, 1), 12, 0.15),
    "resnet20": (RESNET, (32, 32, 3), 2, None),
}
# The ball as cleverhans is told it, and none of its checks of the images, which take time.
LINF = {"norm": float("inf"), "sanity_checks": False}
# (network, images, labels) -> adversarial images.
Way = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


class Row(NamedTuple):
    """One line of the table: `ways` by name, "ours" and "floor" among them, on `count` images.

    With `share`, the goal is a share of the floor's time, at most; else it is how many times faster than the fastest of
    the others, at least, and of each of `besides` that many. What takes a way too long it does for its first `few`
    images only.
    """

    attack: str
    network: str
    count: int
    goal: float
    ways: dict[str, Way]
    share: bool = False
    few: Mapping[str, int] = MappingProxyType({})
    besides: Mapping[str, float] = MappingProxyType({})


def to_class_0(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, **settings) -> torch.Tensor:
    return peers.torchattacks(model, images, torch.zeros_like(labels), targeted=True, **settings)


def bounded(network: str, count: int, epsilon: float) -> list[Row]:
    size, steps = epsilon / 10, 40
    ball = {"epsilon": epsilon, "step_size": size, "steps": steps}
    theirs = {"eps": epsilon, "alpha": size, "steps": steps}
    relative = {"epsilon": epsilon, "abs_stepsize": size, "steps": steps}
    absolute = {"ε": epsilon, "absolute_step_size": size, "steps": steps}
    iterations = {"eps": epsilon, "eps_iter": size, "nb_iter": steps} | LINF
    others = {
        "torchattacks": partial(peers.torchattacks, name="PGD", random_start=False, **theirs),
        "foolbox": partial(peers.foolbox, name="LinfPGD", random_start=False, **relative),
        "adv_lib": partial(peers.adv_lib, name="pgd_linf", random_init=False, **absolute),
        "cleverhans": partial(peers.cleverhans, name="projected_gradient_descent", rand_init=False, **iterations),
    }
    plain = {"floor": partial(floor, **ball)}
    mim = {
        "floor": partial(floor, decay=1.0, **ball),
        "torchattacks": partial(peers.torchattacks, name="MIFGSM", decay=1.0, **theirs),
    }
    return [
        Row("pgd", network, count, 0.75, plain | others | {"ours": partial(ours, name="pgd", **ball)}, share=True),
        Row("mim", network, count, 0.75, mim | {"ours": partial(ours, name="mim", **ball)}, share=True),
    ]


def success_only(network: str, count: int, epsilon: float, goal: float) -> Row:
    ball = {"epsilon": epsilon, "step_size": epsilon / 10, "steps": 40}
    ways = {"floor": partial(floor, **ball), "ours": partial(ours, name="pgd", stop_at_success=True, **ball)}
    return Row("pgd, success only", network, count, goal, ways, share=True)


def carlini_wagner(network: str, count: int) -> Row:
    steps, search, first = 100, 6, 0.01
    theirs = {"binary_search_steps": search, "initial_const": first}
    ways = {
        "ours": partial(ours, name="carlini_wagner", steps=steps, search_steps=search, first_constant=first),
        "foolbox": partial(peers.foolbox, name="L2CarliniWagnerAttack", steps=steps, stepsize=0.01, **theirs),
        "adv_lib": partial(peers.adv_lib, name="carlini_wagner_l2", max_iterations=steps, learning_rate=0.01, **theirs),
    }
    return Row("carlini_wagner", network, count, 1.6, ways)


def deepfool(network: str, count: int) -> Row:
    settings = {"steps": 50, "overshoot": 0.02}
    ways = {
        "ours": partial(ours, name="deepfool", **settings),
        "foolbox": partial(peers.foolbox, name="L2DeepFoolAttack", candidates=10, **settings),
        "torchattacks": partial(peers.torchattacks, name="DeepFool", **settings),
        "adv_lib": partial(peers.adv_lib, name="df", **settings),
    }
    return Row("deepfool", network, count, 1.7, ways, few={"torchattacks": 2}, besides={"foolbox": 5})


def ddn(network: str, count: int) -> Row:
    ways = {
        "ours": partial(ours, name="ddn", steps=100),
        "foolbox": partial(peers.foolbox, name="DDNAttack", steps=100),
        "adv_lib": partial(peers.adv_lib, name="ddn", steps=100, levels=None),
    }
    return Row("ddn", network, count, 1.3, ways)


def by_queries(network: str, count: int, epsilon: float) -> list[Row]:
    size, steps = epsilon / 4, 10
    spsa = {"epsilon": epsilon, "step_size": size, "steps": steps, "samples": 128}
    peer = {"eps": epsilon, "delta": 0.01, "lr": size, "nb_iter": steps, "nb_sample": 128}
    theirs = {"eps": epsilon, "delta": 0.01, "learning_rate": size, "nb_iter": steps, "spsa_samples": 128}
    pixels = {"attack": "px", "max_iter": 400, "epsilon": 0.2, "verbose": False}
    simba = {
        "ours": partial(ours, name="simba", step=0.2, queries=600),
        "floor": partial(plain_simba, step=0.2, queries=600),
        "art": partial(peers.art, name="SimBA", probabilities=True, **pixels),
    }
    ways = {
        "ours": partial(ours, name="spsa", **spsa),
        "torchattacks": partial(peers.torchattacks, name="SPSA", **peer),
        "cleverhans": partial(peers.cleverhans, name="spsa", **theirs, **LINF),
    }
    return [
        Row("simba", network, count, 3, simba, few={"art": 2}),
        Row("spsa", network, count // 4, 1.4, ways),
    ]


def saliency(network: str, count: int, gamma: float) -> Row:
    """Towards class 0; its own images cost nobody anything."""
    settings = {"gamma": gamma, "theta": 1.0}
    ways = {
        "ours": partial(ours, name="jsma", target=0, **settings),
        "torchattacks": partial(to_class_0, name="JSMA", **settings),
    }
    return Row("jsma", network, count, 20, ways, few={"torchattacks": 4})


def ensemble(network: str, count: int, epsilon: float) -> Row:
    ways = {
        "ours": partial(ours, name="autoattack", epsilon=epsilon),
        "pyautoattack": partial(peers.pyautoattack, name="standard", eps=epsilon, seed=0),
    }
    return Row("autoattack", network, count, 1.5, ways)


def rows() -> list[Row]:
    lenet, robust, resnet = NETWORKS
    return [
        *bounded(lenet, 256, 0.1),
        # Half of what the stages give at a time.
        *bounded(resnet, 128, 8 / 255),
        success_only(lenet, 256, 0.15, 0.3),
        success_only(robust, 256, 0.15, 0.5),
        carlini_wagner(lenet, 64),
        deepfool(lenet, 256),
        deepfool(resnet, 32),
        ddn(lenet, 256),
        ddn(resnet, 32),
        saliency(lenet, 64, 0.1),
        saliency(resnet, 16, 0.02),
        *by_queries(lenet, 128, 0.15),
        *by_queries(resnet, 32, 8 / 255),
        ensemble(robust, 128, 0.15),
    ]


def digits(shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """All 1,797 images, enlarged to `shape` (height, width, channels)."""
    bunch = load_digits()
    images = torch.tensor(bunch.images / 16, dtype=torch.float32)[:, None]
    images = F.interpolate(images, shape[:2], mode="bilinear").clamp_(0, 1)
    return images.expand(-1, shape[2], -1, -1).contiguous(), torch.tensor(bunch.target)


@cache
def network(name: str, device: str = "cpu") -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A trained network, and the held-out images that it gets right, on `device`; it is trained on the CPU."""
    spec, shape, epochs, epsilon = NETWORKS[name]
    images, labels = digits(shape)
    torch.manual_seed(0)
    model = models.build(spec, 10, shape).train()
    optimizer = torch.optim.Adam(model.parameters(), 0.002)
    for epoch in range(epochs):
        for batch in torch.randperm(TRAINING).split(32):
            inputs = images[batch]
            if epsilon is not None:
                radius = epsilon * min(1, (epoch + 1) / 6)
                inputs = floor(model, inputs, labels[batch], radius, radius / 2, 4)
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels[batch]).backward()
            optimizer.step()
    model.eval()
    images, labels = images[TRAINING:], labels[TRAINING:]
    with torch.no_grad():
        right = model(images).argmax(1) == labels
    return model.to(device), images[right].to(device), labels[right].to(device)
