"""Layers that a processor computes faster than torch's, with the same results (see `squares` for how)."""

import itertools

import torch
from torch import nn
from torch.nn import functional as F

from robustloss.models import squares
from robustloss.models.squares import LANES


def quicken(model: nn.Module) -> nn.Module:
    """Replace, in place, the layers of `model` that have a faster form; weights and their names stay. Returns it.

    Poolings are torch's own to the last bit; convolutions that are pooled and gradients of convolutions are equal up to
    rounding. Elsewhere than on a CPU the layers are torch's. They have no second derivatives.
    """
    for module in model.modules():
        # Only here does nothing else see what a layer gives to the next.
        if isinstance(module, nn.Sequential):
            for layer, following in itertools.pairwise(module):
                if _few_channels(layer) and _by_twos(following):
                    layer.__class__, following.__class__ = PooledConvolution, Pooled
    for module in model.modules():
        if _few_channels(module):
            module.__class__ = Convolution
        elif _by_twos(module):
            module.__class__ = Pooling
    return model


def memory_format(model: nn.Module, device: torch.device | str) -> torch.memory_format:
    """The order of numbers in memory in which the convolutions of `model` are fastest on `device`.

    Channels last, but on a CPU where no convolution takes as many channels as half a vector has lanes.
    """
    widest = max((module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)), default=LANES)
    narrow = torch.device(device).type == "cpu" and widest < LANES // 2
    return torch.contiguous_format if narrow else torch.channels_last


class Convolution(nn.Conv2d):
    """A convolution of few channels without stride."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not _quick(images):
            return super().forward(images)
        return squares.Convolution.apply(images, self.weight, self.bias, self.padding)


class PooledConvolution(nn.Conv2d):
    """A convolution of few channels without stride, and the maxima of its outputs over squares of two by two."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if not _quick(images):
            return F.max_pool2d(super().forward(images), 2)
        if self.out_channels < LANES // 2:
            return squares.PooledConvolution.apply(images, self.weight, self.bias, self.padding)
        # Enough outputs to be pooled by vectors of them, which channels last are side by side.
        last = squares.channels_last(images)
        pooled = squares.Pooling.apply(squares.Convolution.apply(last, self.weight, self.bias, self.padding))
        return pooled.contiguous() if images.is_contiguous() else pooled


class Pooled(nn.MaxPool2d):
    """The place of a pooling that the convolution before it does."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


class Pooling(nn.MaxPool2d):
    """Maxima over squares of two by two."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return squares.Pooling.apply(images) if _quick(images) else super().forward(images)


def _quick(images: torch.Tensor) -> bool:
    return images.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def _few_channels(module: nn.Module) -> bool:
    """Whether it is one of torch's convolutions that takes few channels and has no setting but its size and padding."""
    if type(module) is not nn.Conv2d or module.in_channels >= LANES // 2:
        return False
    plain = module.stride == module.dilation == (1, 1) and module.groups == 1 and module.padding_mode == "zeros"
    # A pointwise convolution has no windows; padding by its name is worked out by torch alone.
    if not plain or min(module.kernel_size) == 1 or not isinstance(module.padding, tuple):
        return False
    return all(around < size for around, size in zip(module.padding, module.kernel_size, strict=True))


def _by_twos(module: nn.Module) -> bool:
    """Whether it is torch's maximum pooling over squares of two by two."""
    if type(module) is not nn.MaxPool2d:
        return False
    settings = [module.kernel_size, module.stride, module.padding, module.dilation]
    pairs = [setting if isinstance(setting, tuple) else (setting, setting) for setting in settings]
    plain = not (module.return_indices or module.ceil_mode)
    return plain and pairs == [(2, 2), (2, 2), (0, 0), (1, 1)]
