"""Networks, each a module of this folder that is found by its name.

A module `models/<name>.py` defines `network(classes, shape, *, settings...)`: an nn.Module from normalised images
(N, channels, height, width) to logits (N, classes), for images of `shape` (height, width, channels). Under a head (see
`robustloss.heads`) it is built with the head's dimension in place of `classes`, and its outputs are features.
"""

import copy
import importlib
import math
from collections import Counter
from pathlib import Path

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from robustloss import heads
from robustloss.code import check_settings, plugin
from robustloss.errors import Problem
from robustloss.progress import say

# The keys of a network's specification that are not settings of its module.
GENERAL = ("name", "mean", "std", "pretrained", "head")


class Network(nn.Module):
    """A network on images in [0, 1]: normalises (x - mean) / std per channel, then computes the body and the head.

    Without a head the body's output are the logits.
    """

    def __init__(self, body: nn.Module, mean: list[float], std: list[float], head: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Identity() if head is None else head
        # Not in the state dict: they belong to the specification, and the weights' file holds what was learned.
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the head is given (N, dimension); the logits where there is no head."""
        return self.body((images - self.mean) / self.std)


def build(spec: dict, classes: int, shape: tuple[int, int, int], pretrained: Path | None = None) -> Network:
    """The network of `spec` for `classes` classes and images of `shape` (height, width, channels).

    `spec` holds the module's name, `mean` and `std` per channel (a number serves all channels), `pretrained` ("none"
    or "imagenet"), the module's own settings, and `head` (see `robustloss.heads`) where the body is to end in one.
    Weights are drawn from torch's global generator, which the caller seeds; with `pretrained`, a file of torchvision's
    ImageNet weights, all but the body's last layer come from there. Raises Problem for an unknown name or setting, and
    for weights that do not fit.
    """
    for key in ("name", "mean", "std"):
        if key not in spec:
            raise Problem(f"network: the key '{key}' is missing")
    if classes < 2:
        raise Problem(f"network {spec['name']}: a classifier needs two classes at least, not {classes}")
    settings = {key: value for key, value in spec.items() if key not in GENERAL}
    module = plugin("models", spec["name"])
    check_settings(f"network {spec['name']}", module, "network", settings)
    outputs = heads.dimension(spec["head"]) if "head" in spec else classes
    body = importlib.import_module(module).network(outputs, tuple(shape), **settings)
    if pretrained is not None:
        load_pretrained(body, pretrained)
    # After the body, so that networks of one seed have the same body under every head.
    head = heads.build(spec["head"], classes) if "head" in spec else None
    return Network(body, *(_per_channel(spec, key, shape[2]) for key in ("mean", "std")), head)


def _per_channel(spec: dict, key: str, channels: int) -> list[float]:
    values = spec[key] if isinstance(spec[key], list | tuple) else [spec[key]] * channels
    if len(values) != channels:
        raise Problem(
            f"network {spec['name']}: {key} has {len(values)} values, but the images have {channels} channels: "
            "write one value for each channel"
        )
    if not all(math.isfinite(value) and (key == "mean" or value > 0) for value in values):
        raise Problem(f"network {spec['name']}: {key} must be finite{', and above 0' * (key == 'std')}, not {values}")
    # One value broadcasts twice as fast as three equal ones, which matters to a small network.
    return [float(value) for value in (values[:1] if len(set(values)) == 1 else values)]


def load_pretrained(body: nn.Module, path: Path) -> None:
    """Load a file of torchvision's ImageNet weights into `body`, except for its last fully connected layer."""
    try:
        weights = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise Problem(f"the pretrained weights {path} are missing: download them, or set `pretrained: none`") from None
    except Exception as error:  # a damaged file fails in as many ways as there are bytes
        reason = str(error).split(". ")[0].splitlines()[0] if str(error) else type(error).__name__
        raise Problem(f"the pretrained weights {path} are damaged ({reason}): delete them and download again") from None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise Problem(f"the pretrained weights {path} are no state dict: download torchvision's own file")
    head = [name for name, module in body.named_modules() if isinstance(module, nn.Linear)][-1] + "."
    kept = {name: value for name, value in weights.items() if not name.startswith(head)}
    own = body.state_dict()
    wrong = [name for name, value in kept.items() if name not in own or own[name].shape != value.shape]
    if not wrong:
        missing = body.load_state_dict(kept, strict=False).missing_keys
        wrong = [name for name in missing if not name.startswith(head)]
    if wrong:
        raise Problem(f"the pretrained weights {path} do not fit this network ({wrong[0]}): they are another network's")


def evaluation_copy(model: nn.Module, device: torch.device | str) -> nn.Module:
    """A copy for evaluation only, on `device`: the same logits up to rounding, less work.

    In evaluation mode, without gradients of weights, batch normalisation folded into the convolutions before it, and
    with channels last in memory where the first convolution has more than one input channel.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    _fold_batch_norms(model)
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    wide = first is not None and first.in_channels > 1
    return model.to(device, memory_format=torch.channels_last if wide else torch.preserve_format)


def _fold_batch_norms(model: nn.Module) -> None:
    """Fold each batch normalisation into the convolution that alone feeds it, in place.

    Only the order of calls is read from the trace; the model's own forward goes on being what runs.
    """
    try:
        nodes = list(fx.symbolic_trace(model).graph.nodes)
    except Exception as error:  # tracing runs the network's own code on stand-ins for numbers
        say(f"batch normalisation is not folded, so attacks are slower: {type(error).__name__}: {error}")
        return
    calls = Counter(node.target for node in nodes if node.op == "call_module")
    for node in nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        norm, convolution = model.get_submodule(node.target), model.get_submodule(before.target)
        alone = calls[node.target] == calls[before.target] == len(before.users) == 1
        if alone and isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats and type(convolution) is nn.Conv2d:
            model.set_submodule(before.target, fuse_conv_bn_eval(convolution, norm))
            model.set_submodule(node.target, nn.Identity())
