"""A network frozen for evaluation and attack: the same function, made cheaper where its weights no longer change."""

import copy
from collections import Counter

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from robustloss.progress import say


def evaluation_copy(model: nn.Module, device: torch.device | str) -> nn.Module:
    """A copy for evaluation only, on `device`: the same logits and gradients to the images up to rounding, less work.

    In evaluation mode, without gradients of weights, with channels last in memory, and batch normalisation folded into
    the convolutions before it.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        _fold_batch_norms(model)
    return model.to(device, memory_format=torch.channels_last)


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
            model.set_submodule(node.target, nn.Identity().eval())
