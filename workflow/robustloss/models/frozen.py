"""A network frozen for evaluation and attack: the same function, made cheaper where its weights no longer change."""

import copy
from collections import Counter

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from robustloss import graphs
from robustloss.models.quick import memory_format, quicken
from robustloss.progress import say


def evaluation_copy(model: nn.Module, device: torch.device | str) -> nn.Module:
    """A copy for evaluation only, on `device`: the same logits and gradients to the images up to rounding, less work.

    In evaluation mode, without gradients of weights, in the order of memory that suits its convolutions, with batch
    normalisation folded into the convolutions before it, on a CPU with quick layers (see `quick`), and on CUDA replayed
    (see `graphs`).
    """
    return Frozen(model, device).network


class Frozen:
    """An evaluation copy of a network that goes on being trained, brought up to date for a fraction of a new copy."""

    def __init__(self, model: nn.Module, device: torch.device | str) -> None:
        self.model = model
        self.network = copy.deepcopy(model).eval().requires_grad_(False)
        # The convolutions that a batch normalisation is folded into, with it, by name.
        self.folded = _followed(self.network) if _normalised(self.network) else []
        for convolution, norm in self.folded:
            inner = self.network.get_submodule(convolution)
            inner.bias = nn.Parameter(torch.zeros_like(inner.weight[:, 0, 0, 0]), requires_grad=False)
            self.network.set_submodule(norm, nn.Identity().eval())
        quicken(self.network).to(device, memory_format=memory_format(self.network, device))
        self.refresh()
        if torch.device(device).type == "cuda":
            graphs.replay_passes(self.network)

    @torch.no_grad()
    def refresh(self) -> nn.Module:
        """The copy, with what the model's weights and running statistics are now."""
        own = self.network.state_dict()
        now = self.model.state_dict()
        for convolution, norm in self.folded:
            inner, outer = self.model.get_submodule(convolution), self.model.get_submodule(norm)
            weight, bias = fuse_conv_bn_weights(
                inner.weight,
                inner.bias,
                outer.running_mean,
                outer.running_var,
                outer.eps,
                outer.weight,
                outer.bias,
            )
            now |= {f"{convolution}.weight": weight, f"{convolution}.bias": bias}
        for name, tensor in own.items():
            tensor.copy_(now[name])
        return self.network


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        """Layers of our own are as much a leaf as the ones they stand for."""
        return isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.BatchNorm2d) or super().is_leaf_module(module, name)


def _normalised(model: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def _followed(model: nn.Module) -> list[tuple[str, str]]:
    """The names of each convolution that feeds a batch normalisation and nothing else, and of that.

    Only the order of calls is read from the trace; the model's own forward goes on being what runs.
    """
    try:
        nodes = list(_Tracer().trace(model).nodes)
    except Exception as error:  # tracing runs the network's own code on stand-ins for numbers
        say(f"batch normalisation is not folded, so attacks are slower: {type(error).__name__}: {error}")
        return []
    calls = Counter(node.target for node in nodes if node.op == "call_module")
    found = []
    for node in nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        norm, convolution = model.get_submodule(node.target), model.get_submodule(before.target)
        alone = calls[node.target] == calls[before.target] == len(before.users) == 1
        statistics = isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats
        if alone and statistics and isinstance(convolution, nn.Conv2d):
            found.append((before.target, node.target))
    return found
