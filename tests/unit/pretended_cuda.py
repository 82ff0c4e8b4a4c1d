"""A GPU where there is none: its tensors compute on the CPU and refuse what tensors on CUDA refuse.

While `gpu()` is open torch believes in one card. What is moved to it or made on it says so, and what torch's CUDA does
not take raises: tensors of both devices in one operation, a generator of the other device, an index that is on the card
for a tensor that is not, numpy. So where no card is, code is still known to keep its devices apart. CUDA's arithmetic,
memory and speed stay untested; its graphs are those of `pretended_graphs`. `gpu()` gives the count of the answers for
which a program has to wait until the card has done all it was asked before; between them it runs ahead.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from unittest import mock

import pretended_graphs
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

# Whether there is a real one.
REAL = torch.cuda.is_available()
CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")
# Answers that decide what comes next or how large a result is.
ANSWERS = {Tensor.item, Tensor.tolist, Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__}
ANSWERS |= {Tensor.nonzero, Tensor.unique, Tensor.equal, torch.nonzero, torch.unique, torch.equal, torch.masked_select}
TO_NUMPY = {Tensor.numpy, Tensor.__array__}
# What takes tensors of both devices.
BOTH = {Tensor.copy_, Tensor.data.__set__, Tensor.grad.__set__, torch._has_compatible_shallow_copy_type}
INDEXED = {Tensor.__getitem__, Tensor.__setitem__}
# What does not even take a number of the other device, a tensor without dimensions.
JOINED = {torch.cat, torch.stack}
# What copies numbers of the processor to the card.
MADE_OF_NUMBERS = {torch.tensor, torch.as_tensor, Tensor.new_tensor}
# What torch.cuda says of the card.
ABOUT = {
    "is_available": True,
    "device_count": 1,
    "mem_get_info": (2**33, 2**34),
    "memory_allocated": 2**20,
    "max_memory_allocated": 2**28,
    "memory_reserved": 2**21,
    "reset_peak_memory_stats": None,
    "get_device_name": "a pretended card",
    "synchronize": None,
    "manual_seed_all": None,
}
GRAPHS = {
    "CUDAGraph": pretended_graphs.Graph,
    "graph": pretended_graphs.graph,
    "graph_pool_handle": pretended_graphs.pool,
    "current_stream": pretended_graphs.stream,
    "set_stream": pretended_graphs.set_stream,
}


class OnCard(Tensor):
    """A tensor that says that it is on the card."""

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), settings=None):
        return _call(function, arguments, settings or {})


class _Calls(TorchFunctionMode):
    """Sees the calls that name the card without taking one of its tensors."""

    def __torch_function__(self, function, types, arguments=(), settings=None):
        return _call(function, arguments, settings or {})


class _Generator(torch.Generator):
    """A generator that says where it is; everywhere it draws what the CPU's draws."""

    def __new__(cls, device="cpu"):
        made = super().__new__(cls)
        made.where = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.where


_waits: Counter[str] = Counter()


@contextlib.contextmanager
def gpu() -> Iterator[Counter[str]]:
    """torch as on a machine with one card; gives the count of what was waited for, by its name."""
    autocast = torch.autocast
    answers = {name: lambda *_, answer=answer, **__: answer for name, answer in ABOUT.items()}
    _waits.clear()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.multiple(torch.cuda, **answers))
        stack.enter_context(mock.patch.multiple(torch.cuda, **GRAPHS))
        stack.callback(pretended_graphs.set_stream, pretended_graphs.stream())
        # Optimisers ask it whether a graph is being captured.
        stack.enter_context(mock.patch.object(torch.accelerator, "current_accelerator", lambda **_: None))
        stack.enter_context(mock.patch.object(torch, "Generator", _Generator))
        stack.enter_context(mock.patch.object(torch, "autocast", lambda _, **settings: autocast("cpu", **settings)))
        stack.callback(setattr, torch.backends.cudnn, "benchmark", torch.backends.cudnn.benchmark)
        stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
        # A module's weights become tensors of the card instead of lending it their own.
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, False)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.enter_context(_Calls())
        yield _waits


def card() -> contextlib.AbstractContextManager:
    """A real card where there is one, else a pretended one."""
    return contextlib.nullcontext() if REAL else gpu()


def on_card(value) -> bool:
    return isinstance(value, OnCard)


def _call(function, arguments: tuple, settings: dict):
    """What torch's CUDA would make of a call."""
    tensors = [leaf for leaf in tree_leaves((arguments, settings)) if isinstance(leaf, Tensor)]
    there = any(map(on_card, tensors))
    if function == Tensor.device.__get__:
        return CUDA if there else CPU
    if function == Tensor.is_cuda.__get__:
        return there
    if function == Tensor.is_cpu.__get__:
        return not there
    if function in TO_NUMPY and there:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy it first.")
    if function in ANSWERS and there:
        _waits[function.__name__] += 1
    if function == Tensor.__deepcopy__:
        return _deepcopy(*arguments)
    if function in (Tensor.cpu, Tensor.cuda):
        return _moved(arguments[0], [CPU if function == Tensor.cpu else CUDA], {})
    if function == Tensor.to:
        return _moved(arguments[0], arguments[1:], settings)
    named = settings.get("device")
    target = there if named is None else torch.device(named).type == "cuda"
    if function == Tensor.copy_:  # alone of those in place it takes both
        target = on_card(arguments[0])
    _refuse_other_generator(target, [*arguments, *settings.values()])
    _refuse_both(function, arguments, tensors)
    if target and function in MADE_OF_NUMBERS:
        pretended_graphs.refuse_copies()
    found = _inside(function, *arguments, **settings | ({} if named is None else {"device": CPU}))
    return _each(_to_card if target else _to_cpu, found)


def _inside(function, *arguments, **settings):
    """The call without what is above."""
    with torch._C.DisableTorchFunctionSubclass():
        return function(*arguments, **settings)


def _to_card(tensor: Tensor) -> Tensor:
    return _inside(Tensor.as_subclass, tensor, OnCard) if type(tensor) is Tensor else tensor


def _to_cpu(tensor: Tensor) -> Tensor:
    return _inside(Tensor.as_subclass, tensor, Tensor) if on_card(tensor) else tensor


def _each(change, found):
    """`found` with `change` made to each tensor; a size, which is a tuple too, stays."""
    if isinstance(found, Tensor):
        return change(found)
    if isinstance(found, tuple | list) and not isinstance(found, torch.Size):
        return tree_map(lambda value: change(value) if isinstance(value, Tensor) else value, found)
    return found


def _moved(tensor: Tensor, where, settings: dict) -> Tensor:
    """`tensor.to(*where, **settings)`: a copy if the device is another one."""
    like = next((value for value in [*where, settings.get("other")] if isinstance(value, Tensor)), None)
    kept = {key: value for key, value in settings.items() if key != "copy"}
    device, dtype, _, layout = torch._C._nn._parse_to(*where, **kept)
    device = device if like is None else like.device
    target = on_card(tensor) if device is None else device.type == "cuda"
    _waits["to the CPU"] += on_card(tensor) and not target
    wanted = {"dtype": dtype or tensor.dtype} | ({"memory_format": layout} if layout is not None else {})
    found = _inside(Tensor.to, tensor, **wanted)
    if target != on_card(tensor):
        pretended_graphs.refuse_copies()
    if found is tensor and target != on_card(tensor):
        found = _inside(Tensor.clone, tensor)
    return (_to_card if target else _to_cpu)(found)


def _deepcopy(tensor: Tensor, memo: dict) -> Tensor:
    if id(tensor) not in memo:
        copied = (_to_card if on_card(tensor) else _to_cpu)(_inside(lambda: tensor.detach().clone()))
        made = nn.Parameter if isinstance(tensor, nn.Parameter) else Tensor.requires_grad_
        memo[id(tensor)] = made(copied, tensor.requires_grad)
    return memo[id(tensor)]


def _refuse_other_generator(target: bool, values: list) -> None:
    for value in values:
        if isinstance(value, torch.Generator) and (value.device.type == "cuda") != target:
            raise RuntimeError(f"Expected a '{CUDA if target else CPU}' device type for generator, not {value.device}")


def _refuse_both(function, arguments: tuple, tensors: list[Tensor]) -> None:
    # In a backward pass torch hands out gradients as plain tensors, wherever they are.
    if function in BOTH or torch._C._current_graph_task_id() != -1:
        return
    if function in INDEXED:
        indices = [leaf for leaf in tree_leaves(arguments[1]) if isinstance(leaf, Tensor)]
        if not on_card(arguments[0]) and any(map(on_card, indices)):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
        _waits["mask"] += on_card(arguments[0]) and any(index.dtype == torch.bool for index in indices)
        tensors = [arguments[0], *(leaf for leaf in arguments[2:] if indices and isinstance(leaf, Tensor))]
    elsewhere = [tensor for tensor in tensors if not on_card(tensor) and (tensor.dim() or function in JOINED)]
    if elsewhere and any(map(on_card, tensors)):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {function.__name__} was given one on {CUDA} and one "
            f"on {CPU}"
        )
