"""Convolutions and poolings that a processor computes faster than torch does, with the same results.

Two operations take most of a small network's time on a CPU, neither for its arithmetic. Pooling by twos with indices
runs number by number; four maxima of slices run vector by vector. The gradient to an image of one or three channels is
a convolution with so few outputs that a vector of 16 lanes is nearly empty; computed for squares of pixels at a time it
is a convolution with up to 16 outputs. On one core (AVX-512, float32, 64 images, LeNet-5's layers) pooling goes from
1.2 to 0.1 ms, and the gradient to the images from 5.3 to 0.3 ms.
"""

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Numbers that a vector register holds, which are the outputs of a convolution that are computed side by side.
LANES = 16


def quicken(model: nn.Module) -> nn.Module:
    """Replace, in place, the layers of `model` that have a faster form; weights and their names stay. Returns it.

    What is exact stays so: outputs and gradients of poolings and gradients of weights are torch's own, gradients to
    images are equal up to rounding. Elsewhere than on a CPU the layers are torch's. They have no second derivatives.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and _side(module) > 1:
            module.__class__ = Convolution
        elif type(module) is nn.MaxPool2d and _by_twos(module):
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
    """A convolution of few input channels without stride, whose gradient to its input is computed square by square."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        divides = all(size % _side(self) == 0 for size in images.shape[2:])
        if images.device.type != "cpu" or not images.requires_grad or not divides or torch.is_autocast_enabled("cpu"):
            return super().forward(images)
        return _Convolution.apply(images, self.weight, self.bias, self.padding)


class Pooling(nn.MaxPool2d):
    """Maxima over squares of two by two."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if images.device.type != "cpu":
            return super().forward(images)
        return _Pooling.apply(images)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, weight, bias, padding):
        ctx.save_for_backward(images, weight)
        ctx.padding = padding
        return F.conv2d(images, weight, bias, padding=padding)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        images, weight = ctx.saved_tensors
        to_images, *to_weights = ctx.needs_input_grad[:3]
        found = [None, None]
        if any(to_weights):
            sizes, ones = [weight.shape[0]] if to_weights[1] else None, [1, 1]
            _, *found = torch.ops.aten.convolution_backward(
                gradient, images, weight, sizes, ones, [*ctx.padding], ones, False, [0, 0], 1, [False, *to_weights]
            )
        return _to_images(gradient, weight, ctx.padding) if to_images else None, *found, None


def _to_images(gradient: torch.Tensor, weight: torch.Tensor, padding: tuple[int, int]) -> torch.Tensor:
    """The gradient (N, channels, height, width) to the input, from that to the output (N, outputs, ...).

    It is the convolution of `gradient` with the transposed and turned kernel. Its outputs for a square of pixels see
    windows that overlap: one larger kernel, laid out once for each pixel of the square, and a stride as long as it.
    """
    outputs, channels, height, width = weight.shape
    side = _square(channels)
    turned = weight.flip(2, 3).transpose(0, 1)
    kernels = weight.new_zeros(channels, side, side, outputs, height + side - 1, width + side - 1)
    for row in range(side):
        for column in range(side):
            kernels[:, row, column, :, row : row + height, column : column + width] = turned
    kernels = kernels.flatten(0, 2)
    if gradient.is_contiguous(memory_format=torch.channels_last) and not gradient.is_contiguous():
        kernels = kernels.contiguous(memory_format=torch.channels_last)
    around = height - 1 - padding[0], width - 1 - padding[1]
    return F.pixel_shuffle(F.conv2d(gradient, kernels, stride=side, padding=around), side)


class _Pooling(torch.autograd.Function):
    """As torch does, the first of equal maxima gets the gradient, row by row."""

    @staticmethod
    def forward(ctx, images):
        ctx.shape = images.shape
        rows, columns = (size // 2 * 2 for size in images.shape[2:])
        left, right = images[:, :, :rows, 0:columns:2], images[:, :, :rows, 1:columns:2]
        of_pairs = torch.maximum(left, right)
        upper, lower = of_pairs[:, :, 0::2], of_pairs[:, :, 1::2]
        if images.requires_grad:
            ctx.save_for_backward(left >= right, upper >= lower)
        return torch.maximum(upper, lower)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        in_left, in_upper = ctx.saved_tensors
        # What is not cut off at an odd edge.
        rows, columns = (size // 2 * 2 for size in ctx.shape[2:])
        whole = (rows, columns) == ctx.shape[2:]
        found = torch.empty(ctx.shape, dtype=gradient.dtype) if whole else torch.zeros(ctx.shape, dtype=gradient.dtype)
        upper = gradient * in_upper
        for first, part in ((0, upper), (1, gradient - upper)):
            left = part * in_left[:, :, first::2]
            found[:, :, first:rows:2, 0:columns:2] = left
            found[:, :, first:rows:2, 1:columns:2] = part - left
        return found


def _side(module: nn.Conv2d) -> int:
    """How many pixels the square has at its side that are computed together; 1 where nothing is gained."""
    plain = module.stride == module.dilation == (1, 1) and module.groups == 1 and module.padding_mode == "zeros"
    # A pointwise convolution has no windows; padding by its name is worked out by torch alone.
    fits = min(module.kernel_size) > 1 and isinstance(module.padding, tuple)
    inside = fits and all(around < size for around, size in zip(module.padding, module.kernel_size, strict=True))
    return _square(module.in_channels) if plain and inside else 1


def _square(channels: int) -> int:
    return next((side for side in (4, 2) if channels * side**2 <= LANES), 1)


def _by_twos(module: nn.MaxPool2d) -> bool:
    settings = [module.kernel_size, module.stride, module.padding, module.dilation]
    pairs = [setting if isinstance(setting, tuple) else (setting, setting) for setting in settings]
    plain = not (module.return_indices or module.ceil_mode)
    return plain and pairs == [(2, 2), (2, 2), (0, 0), (1, 1)]
