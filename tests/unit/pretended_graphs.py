"""CUDA graphs where there is no card: calls are recorded, undone, and made again on the same memory when replayed.

As on a card what is recorded is not computed: memory that was there is as before, and what the recording made holds NaN
until its first replay. What decides in Python is decided once. What would wait for the card, or copy to or from it, is
refused. A card also gives memory that a recording has let go of to later ones of its pool: so a replay leaves NaN in
all that recordings made after it hold. After a recording that fails this is torch 2.11: its stream stays in use, and
its pool is taken for one that is being recorded to.
"""

import contextlib
import itertools
from collections.abc import Iterator
from weakref import WeakSet

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

REFUSAL = "operation not permitted when stream is capturing"
aten = torch.ops.aten
WAITING = {aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2, aten.equal, aten.is_nonzero}
# What batch normalisation writes to, which its signature does not say.
RUNNING = ("running_mean", "running_var")
INDEXED = {aten.index, aten.index_put, aten.index_put_}

# The recording that is being made.
_open: list["Graph"] = []
_numbers = itertools.count()
# The recordings of each pool.
_pools: dict[int, WeakSet] = {}
# Pools that a failed recording has left open.
_left_open: set[int] = set()
# The stream in use.
_stream = ["the usual stream"]


def stream() -> str:
    """In place of `torch.cuda.current_stream`."""
    return _stream[0]


def set_stream(name: str) -> None:
    """In place of `torch.cuda.set_stream`."""
    _stream[0] = name


def pool() -> int:
    """In place of `torch.cuda.graph_pool_handle`."""
    handle = next(_numbers)
    _pools[handle] = WeakSet()
    return handle


class Graph:
    """In place of `torch.cuda.CUDAGraph`."""

    def __init__(self) -> None:
        self.calls = []
        self.number, self.pool = next(_numbers), None

    @torch.no_grad()
    def replay(self) -> None:
        with torch._C.DisableTorchFunction():
            for other in _pools.get(self.pool, ()):
                if other.number > self.number:
                    other.spoil()
            for function, arguments, settings, made in self.calls:
                found = _tensors(function(*arguments, **settings))
                for before, now in zip(made, found, strict=True):
                    if before is not None:
                        _write(before, now)

    def spoil(self) -> None:
        """Lose what the last replay left."""
        for _, _, _, made in self.calls:
            for tensor in made:
                if tensor is not None and tensor.is_floating_point():
                    _write(tensor, tensor.new_tensor(torch.nan))


@contextlib.contextmanager
def graph(recorded: Graph, pool=None) -> Iterator[None]:
    """In place of `torch.cuda.graph`."""
    if pool in _left_open:
        raise RuntimeError("beginAllocateToPool: already recording to mempool_id")
    usual = stream()
    set_stream("the recording's stream")
    state = torch.get_rng_state()
    mode = _Recording(recorded)
    recorded.number, recorded.pool = next(_numbers), pool
    if pool is not None:
        _pools[pool].add(recorded)
    _open.append(recorded)
    try:
        with mode:
            yield
        set_stream(usual)
    except RuntimeError as error:
        if pool is not None:
            _left_open.add(pool)
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture") from error
    finally:
        _open.pop()
        mode.undo()
        torch.set_rng_state(state)


def refuse_copies() -> None:
    """What copies between processor and card calls this."""
    if _open:
        raise RuntimeError(REFUSAL)


class _Recording(TorchDispatchMode):
    def __init__(self, recorded: Graph) -> None:
        super().__init__()
        self.recorded, self.before, self.new = recorded, {}, {}

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        with torch._C.DisableTorchFunction():
            return self._call(function, arguments, settings or {})

    def _call(self, function, arguments: tuple, settings: dict):
        masks = function.overloadpacket in INDEXED and any(
            index is not None and index.dtype == torch.bool for index in arguments[1]
        )
        if masks or function.overloadpacket in WAITING:
            raise RuntimeError(REFUSAL)
        names = [argument.name for argument in function._schema.arguments]
        values = dict(zip(names, arguments, strict=False)) | settings
        for argument in function._schema.arguments:
            writes = argument.alias_info and argument.alias_info.is_write
            if writes or (function.overloadpacket == aten.native_batch_norm and argument.name in RUNNING):
                for tensor in _tensors(values.get(argument.name)):
                    self._keep(tensor)
        found = function(*arguments, **settings)
        known = {_place(tensor) for tensor in _tensors((arguments, settings))}
        made = [None if _place(tensor) in known else tensor for tensor in _tensors(found)]
        self.new |= {_place(tensor): tensor for tensor in made if tensor is not None}
        self.recorded.calls.append((function, arguments, settings, made))
        return found

    def _keep(self, tensor: Tensor) -> None:
        if _place(tensor) not in self.new and id(tensor) not in self.before:
            self.before[id(tensor)] = tensor, tensor.clone()

    @torch.no_grad()
    def undo(self) -> None:
        with torch._C.DisableTorchFunction():
            for tensor, copy in self.before.values():
                _write(tensor, copy)
            for tensor in self.new.values():
                if tensor.is_floating_point():
                    _write(tensor, tensor.new_tensor(torch.nan))


def _write(tensor: Tensor, values: Tensor) -> None:
    """Change memory below what autograd watches."""
    with torch.autograd._unsafe_preserve_version_counter(tensor):
        tensor.copy_(values)


def _tensors(found) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(found) if isinstance(leaf, Tensor)]


def _place(tensor: Tensor) -> int:
    """Where in memory a tensor and its views are."""
    return tensor.untyped_storage()._cdata
