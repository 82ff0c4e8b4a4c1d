"""CUDA graphs: what a pass asks of the card is recorded once, and then asked for in a single call.

A small network's pass is hundreds of short kernels, and to start one takes the processor longer than the card needs
for it. A recording starts them all at once. It holds for one shape of its arguments and for fixed places in memory, so
each shape has its own, made after a few passes that were computed as they stand: by then the libraries below have made
their choices, and no pass is spent on warming up. What cannot be recorded, as where a network's own code waits for a
number, goes on being computed. Results are those of the same kernels in the same order. A recording keeps the memory of
a pass; where that is most of a card's, kernels are long and nothing is lost by computing them one by one.
"""

import os
import weakref
from collections import Counter
from collections.abc import Callable, Hashable

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from robustloss.progress import say

# The setting that has passes computed each time, where it is "false".
SETTING = "ROBUSTLOSS_CUDA_GRAPHS"
# How often a shape is computed as it stands before it is recorded.
BEFORE = 3
# How many shapes are recorded.
MOST = 16


class Recordings:
    """Recordings by what they hold for, each made by `record(pool)` when it is time.

    They share a pool of memory, so what one replay leaves there is its own until the next one, of whichever recording:
    `turn` counts them.
    """

    def __init__(self) -> None:
        self.pool = None
        self.turn = 0
        self.seen: Counter[Hashable] = Counter()
        self.made: dict[Hashable, object] = {}
        self.refused = False

    def find(self, key: Hashable, record: Callable):
        """The recording for `key`; None as long as it is to be computed as it stands, or for good if it has to be."""
        if key not in self.made:
            self.seen[key] += 1
            if self.seen[key] <= BEFORE:
                return None
            self.made[key] = self._make(record)
        return self.made[key]

    def _make(self, record: Callable):
        if self.refused or not wanted() or len(self.made) >= MOST or not _room():
            return None
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        stream = torch.cuda.current_stream()
        try:
            return record(self.pool)
        except RuntimeError as error:  # of the card, which does not record everything, or is full
            # Up to version 2.11 torch then stays in the recording's stream, and takes its pool for one being recorded
            # to; so another shape is not tried.
            torch.cuda.set_stream(stream)
            self.refused = True
            # To end such a recording fails as well, and says less.
            reason = error.__context__ or error
            say(f"steps are not recorded as CUDA graphs, and so take longer: {str(reason).splitlines()[0]}")
            return None


def wanted() -> bool:
    """Whether passes on CUDA are recorded and replayed."""
    return os.environ.get(SETTING) != "false"


def replay_passes(network: nn.Module) -> None:
    """Have a network whose weights take no gradients replay its passes, forth and back to the images, on CUDA.

    Its weights may change in place. Its logits and gradients are nobody else's memory; they have no second derivatives.
    """
    network.forward = _Passes(network)


class _Passes:
    """The forward pass of a network, in place of its own."""

    def __init__(self, network: nn.Module) -> None:
        # Not the network, which holds this: so its memory on the card is free as soon as nobody needs it.
        self.network = weakref.ref(network)
        self.recordings = Recordings()

    def __deepcopy__(self, memo: dict) -> "_Passes":
        return _Passes(memo[id(self.network())])

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        network = self.network()

        def compute(given: torch.Tensor) -> torch.Tensor:
            return type(network).forward(network, given)

        back = images.requires_grad and torch.is_grad_enabled()
        found = self.recordings.find((_shape(images), back), lambda pool: self._record(compute, images, back, pool))
        if found is None:
            return compute(images)
        if back:
            return _Replay.apply(images, found)
        return found.forth(images)

    def _record(self, compute: Callable, images: torch.Tensor, back: bool, pool) -> "_Recorded":
        return _Recorded(compute, images, back, pool, self.recordings)


class _Recorded:
    """A network's pass forth, and `back` to the images, for images like `images`; one of `recordings`."""

    def __init__(self, compute: Callable, images: torch.Tensor, back: bool, pool, recordings: Recordings) -> None:
        self.recordings = recordings
        self.images = images.detach().clone().requires_grad_(back)
        self.graph, self.graph_back = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph() if back else None
        with torch.cuda.graph(self.graph, pool=pool):
            self.logits = compute(self.images)
        if back:
            self.along = torch.empty_like(self.logits)
            with torch.cuda.graph(self.graph_back, pool=pool):
                # Retained, since there may be several passes back after one forth.
                (self.gradient,) = torch.autograd.grad(self.logits, self.images, self.along, retain_graph=True)

    @torch.no_grad()
    def forth(self, images: torch.Tensor) -> torch.Tensor:
        """The logits, in the next turn of its recordings."""
        self.images.copy_(images)
        self.graph.replay()
        self.recordings.turn += 1
        return self.logits.clone()

    @torch.no_grad()
    def back(self, along: torch.Tensor) -> torch.Tensor:
        """The gradient of the last logits' component along `along`."""
        self.along.copy_(along)
        self.graph_back.replay()
        return self.gradient.clone()


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(context, images: torch.Tensor, recorded: _Recorded) -> torch.Tensor:
        context.save_for_backward(images)
        logits = recorded.forth(images)
        context.recorded, context.turn = recorded, recorded.recordings.turn
        return logits

    @staticmethod
    @once_differentiable
    def backward(context, along: torch.Tensor):
        recorded = context.recorded
        if context.turn != recorded.recordings.turn:  # something else has gone through since
            recorded.forth(*context.saved_tensors)
            context.turn = recorded.recordings.turn
        return recorded.back(along), None


class Updates:
    """`compute(inputs, labels, share)`, which gives a network's weights their gradients and returns a value, replayed.

    There are no gradients before a call (they are None, so that a recording makes them in memory of its own), and
    nobody writes to them, or keeps them, until the next.
    """

    def __init__(self, network: nn.Module, compute: Callable) -> None:
        self.network, self.compute = network, compute
        self.recordings = Recordings()

    def __call__(self, inputs: torch.Tensor, labels: torch.Tensor, share: float) -> torch.Tensor:
        key = (_shape(inputs), _shape(labels), share)
        found = self.recordings.find(key, lambda pool: self._record(inputs.clone(), labels.clone(), share, pool))
        return self.compute(inputs, labels, share) if found is None else found(inputs, labels)

    def _record(self, inputs: torch.Tensor, labels: torch.Tensor, share: float, pool) -> Callable:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=pool):
                value = self.compute(inputs, labels, share)
        except RuntimeError:
            # What there is of them was never computed.
            self.network.zero_grad(set_to_none=True)
            raise
        gradients = [(parameter, parameter.grad) for parameter in self.network.parameters()]

        def replay(*given: torch.Tensor) -> torch.Tensor:
            for own, other in zip((inputs, labels), given, strict=True):
                own.copy_(other)
            graph.replay()
            for parameter, gradient in gradients:
                parameter.grad = gradient
            return value.clone()

        return replay


def _room() -> bool:
    """Whether half of the card's memory is free, or held by torch for nothing."""
    free, total = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated() >= total / 2


def _shape(tensor: torch.Tensor) -> tuple:
    """What a recording holds for."""
    autocast = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda")
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device, autocast
