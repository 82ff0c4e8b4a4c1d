"""One training in several processes: each takes its part of every batch, and their gradients are added.

torch's own launcher starts them, one process a device. Each computes its part's share of the batch's objective, and
after the sum over processes all hold the gradient of the whole batch, so they take the same step. Batch normalisation
is over all processes: torch's on CUDA, which is written for that alone, and ours elsewhere. What is drawn for a part,
as dropout and an attack's starts are, each process draws for itself.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import distributed, nn

from robustloss.errors import Problem


@dataclass(frozen=True)
class Team:
    """The processes of one training: how many, and which of them this is."""

    size: int = 1
    rank: int = 0

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and speaks."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """This process's own seed, which for the leading one is the training's: parts are not to draw alike."""
        # torch's generator on the CPU takes 32 bits of it.
        return seed + self.rank * 1_000_000_007

    def part(self, count: int) -> slice:
        """This process's part of a batch of `count`, empty for none if there are as many images as processes."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def together(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The network with batch normalisation over the whole batch."""
        if self.size == 1:
            return model
        if device.type == "cuda":
            return nn.SyncBatchNorm.convert_sync_batchnorm(model)
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = WholeBatchNorm
        return model

    def add(self, *tensors: torch.Tensor) -> None:
        """Replace each tensor by its sum over the processes, all in one message."""
        if self.size == 1:
            return
        message = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(message)
        for tensor, total in zip(tensors, message.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))


class WholeBatchNorm(nn.BatchNorm2d):
    """Batch normalisation by the mean and variance of the whole batch, of which each process has its part."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(inputs)
        numbers = inputs.float()
        count = _summed(numbers.new_tensor(numbers.numel() / self.num_features))
        mean = _Sum.apply(numbers.sum((0, 2, 3))) / count
        centred = numbers - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        found = centred * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            found = found * self.weight[:, None, None] + self.bias[:, None, None]
        return found.to(inputs.dtype)

    def _follow(self, mean: torch.Tensor, variance: torch.Tensor) -> None:
        """Move the running statistics towards a batch's, as torch does."""
        if self.track_running_stats:
            self.num_batches_tracked += 1
            momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance, momentum)


class _Sum(torch.autograd.Function):
    """A tensor's sum over the processes, whose gradient is the sum of what they make of it."""

    @staticmethod
    def forward(context, tensor: torch.Tensor) -> torch.Tensor:
        return _summed(tensor)

    @staticmethod
    def backward(context, gradient: torch.Tensor) -> torch.Tensor:
        return _summed(gradient)


def _summed(tensor: torch.Tensor) -> torch.Tensor:
    total = tensor.clone()
    distributed.all_reduce(total)
    return total


@contextlib.contextmanager
def team(device: torch.device) -> Iterator[Team]:
    """The processes that torch's launcher started, each with a device of its own; alone without a launcher."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    local = int(os.environ["LOCAL_RANK"])
    if device.type == "cuda":
        if local >= torch.cuda.device_count():
            raise Problem(
                f"process {local} has no device: there are {torch.cuda.device_count()}; start as many processes"
            )
        torch.cuda.set_device(local)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(size, distributed.get_rank())
    finally:
        distributed.destroy_process_group()


def launch(processes: int, arguments: list[str]) -> None:
    """Run `python -m robustloss` with these arguments in so many processes of this machine; Problem if one fails."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    if subprocess.run([*launcher, "-m", "robustloss", *arguments]).returncode:
        raise Problem(f"one of the {processes} processes of the training failed: what it had to say stands above")
