"""Convolutions of few channels and poolings, computed for squares of pixels at a time.

Such layers take most of a small network's time on a CPU, and not for their arithmetic. A convolution with so few
outputs leaves a vector of 16 lanes nearly empty; computed for the pixels of a square at a time it has as many outputs
more, from windows that overlap: one larger kernel, laid out once for each pixel, and a stride as long as the square.
So is the gradient to an image of one or three channels, and a convolution that is pooled by twos, whose maxima are then
taken of whole groups of channels. The images of a batch fill vectors as well where they are small: the gradient to 64
of LeNet-5's second convolution goes from 0.82 to 0.38 ms. Pooling with indices runs number by number; maxima of slices
run vector by vector. On one core (AVX-512, float32, 64 images) LeNet-5's first convolution and pooling with the
gradients of the weights go from 3.4 to 1.2 ms, with the gradient to the images from 9.1 to 2.5 ms.
"""

import functools
import itertools
import math

import torch
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.grad import conv2d_input, conv2d_weight

# Numbers that a vector register holds, which are the outputs of a convolution that are computed side by side.
LANES = 16
# Whether the processor has such registers; without, torch's convolutions of the largest kernels are slow.
WIDE = torch.backends.cpu.get_cpu_capability() == "AVX512"


class Convolution(Function):
    """(images (N, channels, height, width), weight, bias or None, padding) -> (N, outputs, height, width)."""

    @staticmethod
    def forward(ctx, images, weight, bias, padding):
        ctx.save_for_backward(images, weight)
        ctx.padding = padding
        return F.conv2d(images, weight, bias, padding=padding)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        images, weight = ctx.saved_tensors
        to_images, to_weight, to_bias, _ = ctx.needs_input_grad
        of_images = _to_images(gradient, images.shape, weight, ctx.padding) if to_images else None
        of_weight = None
        if to_weight:
            # Channels last it takes half as long.
            last = channels_last(images), weight.shape, channels_last(gradient)
            of_weight = conv2d_weight(*last, padding=ctx.padding)
        return of_images, of_weight, gradient.sum((0, 2, 3)) if to_bias else None, None


class PooledConvolution(Function):
    """(images, weight, bias or None, padding) -> the maxima over squares of two by two (N, outputs, ...).

    The four outputs of a square are four groups of channels, of the left pixels and then of the right ones.
    """

    @staticmethod
    def forward(ctx, images, weight, bias, padding):
        outputs = len(weight)
        biases = None if bias is None else torch.cat(4 * [bias])
        found = F.conv2d(images, _of_squares(weight), biases, stride=2, padding=padding)
        of_pairs, in_left = _larger(found[:, : 2 * outputs], found[:, 2 * outputs :])
        pooled, in_upper = _larger(of_pairs[:, :outputs], of_pairs[:, outputs:])
        ctx.save_for_backward(images, weight, in_left, in_upper)
        ctx.padding = padding
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        images, weight, in_left, in_upper = ctx.saved_tensors
        to_images, to_weight, to_bias, _ = ctx.needs_input_grad
        found = _to_groups(_to_groups(gradient, in_upper), in_left)
        of_images, of_weight = None, None
        if to_images:
            whole = _side_by_side(found, images.shape, weight.shape, ctx.padding)
            of_images = _to_images(whole, images.shape, weight, ctx.padding)
        if to_weight:
            outputs, channels, height, width = weight.shape
            shape = 4 * outputs, channels, height + 1, width + 1
            of_weight = _of_weight(conv2d_weight(images, shape, found, stride=2, padding=ctx.padding))
        # Each number of the gradient goes to one pixel of its square.
        return of_images, of_weight, gradient.sum((0, 2, 3)) if to_bias else None, None


class Pooling(Function):
    """images (N, channels, height, width) -> maxima; the first of equal ones, row by row, has the gradient."""

    @staticmethod
    def forward(ctx, images):
        rows, columns = (size // 2 * 2 for size in images.shape[2:])
        of_pairs, in_left = _larger(*(images[:, :, :rows, first:columns:2] for first in (0, 1)))
        pooled, in_upper = _larger(*(of_pairs[:, :, first::2] for first in (0, 1)))
        ctx.save_for_backward(in_left, in_upper)
        ctx.shape = images.shape
        ctx.order = torch.contiguous_format if images.is_contiguous() else torch.channels_last
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        in_left, in_upper = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=ctx.order)
        of_pairs = torch.empty_like(in_left)
        _to_both(gradient, in_upper, *(of_pairs[:, :, first::2] for first in (0, 1)))
        found = torch.empty(ctx.shape, dtype=gradient.dtype, memory_format=ctx.order)
        rows, columns = (size // 2 * 2 for size in ctx.shape[2:])
        # An odd edge is in no square.
        found[:, :, rows:] = 0
        found[..., columns:] = 0
        _to_both(of_pairs, in_left, *(found[:, :, :rows, first:columns:2] for first in (0, 1)))
        return found


def channels_last(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.contiguous(memory_format=torch.channels_last)


def _larger(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The maxima, and 1 where the first is one, else 0: as numbers, with which to multiply is four times as fast."""
    larger = torch.maximum(first, second)
    return larger, torch.ge(first, second, out=torch.empty_like(larger))


def _to_both(gradient: torch.Tensor, in_first: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> None:
    """Write the gradients to `first` and to `second`, of which maxima were taken, from that to the maxima."""
    torch.mul(gradient, in_first, out=first)
    torch.sub(gradient, first, out=second)


def _to_groups(gradient: torch.Tensor, in_first: torch.Tensor) -> torch.Tensor:
    """The gradient to two groups of channels, one after the other, from that to their maxima."""
    count, channels, *sizes = in_first.shape
    found = gradient.new_empty(count, 2 * channels, *sizes)
    _to_both(gradient, in_first, *found.chunk(2, 1))
    return found


def _side_by_side(gradient: torch.Tensor, shape: torch.Size, kernel: torch.Size, padding: tuple[int, int]):
    """The gradient to a convolution's outputs (N, outputs, height, width), from that to the groups of its squares."""
    count, groups, rows, columns = gradient.shape
    found = gradient.view(count, 2, 2, groups // 4, rows, columns).permute(0, 3, 4, 2, 5, 1)
    found = found.reshape(count, groups // 4, 2 * rows, 2 * columns)
    # An odd edge is in no square.
    odd = [(size - window + 1) % 2 for size, window in zip(shape[2:], kernel[2:], strict=True)]
    return F.pad(found, (0, odd[1], 0, odd[0])) if any(odd) else found


def _of_squares(weight: torch.Tensor) -> torch.Tensor:
    """The kernels (4 outputs, channels, height + 1, width + 1) of the pixels of a square of two by two."""
    return _of_pixels(weight, 2).transpose(0, 1).flatten(0, 2)


def _of_weight(gradient: torch.Tensor) -> torch.Tensor:
    """The gradient of the weight, from that of its kernels `_of_squares`."""
    groups, channels, height, width = gradient.shape
    shape = groups // 4, channels, height - 1, width - 1
    of_pixels = gradient.unflatten(0, (2, 2, -1)).transpose(0, 1).flatten()
    return of_pixels[_places(shape, 2)].sum(0).view(shape)


def _of_pixels(weight: torch.Tensor, side: int) -> torch.Tensor:
    """The kernels (side, side, outputs, channels, height + side - 1, width + side - 1) of a square's pixels.

    Each is the weight with zeros around it, as far down and to the right as the pixel is in the square.
    """
    outputs, channels, height, width = weight.shape
    kernels = weight.new_zeros(side, side, outputs, channels, height + side - 1, width + side - 1)
    kernels.view(-1)[_places(weight.shape, side)] = weight.flatten()
    return kernels


@functools.cache
def _places(shape: tuple[int, ...], side: int) -> torch.Tensor:
    """Where in `_of_pixels` of a weight of this shape each of its numbers stands (pixels, numbers)."""
    outputs, channels, height, width = shape
    whole = side, side, outputs, channels, height + side - 1, width + side - 1
    numbers = torch.arange(math.prod(whole)).view(whole)
    places = [
        numbers[row, column, :, :, row : row + height, column : column + width].flatten()
        for row, column in itertools.product(range(side), repeat=2)
    ]
    return torch.stack(places)


def _to_images(gradient: torch.Tensor, shape: torch.Size, weight: torch.Tensor, padding: tuple[int, int]):
    """The gradient to a convolution's images, which have `shape`, from that to its outputs.

    It is the convolution of `gradient` with the transposed and turned kernel. Of small images in a batch that fills a
    vector each one's gradient is the kernel of one output, and slides over the weights. Else it is computed for squares
    of as many pixels as fill a vector; by torch where that is a single one, or squares do not fill the images.
    """
    turned = weight.flip(2, 3).transpose(0, 1)
    around = [size - 1 - pad for size, pad in zip(gradient.shape[2:], padding, strict=True)]
    if WIDE and len(gradient) >= LANES and max(shape[2:]) <= LANES and min(around) >= 0:
        found = F.conv2d(turned, gradient.contiguous(), padding=around)
        return found.flip(2, 3).transpose(0, 1).contiguous()
    sides = (side for side in (4, 2) if shape[1] * side**2 <= LANES)
    side = next((side for side in sides if shape[2] % side == shape[3] % side == 0), 1)
    if side == 1:
        return conv2d_input(shape, weight, gradient.contiguous(), padding=padding)
    kernels = _of_pixels(turned, side).permute(2, 0, 1, 3, 4, 5).flatten(0, 2)
    if gradient.is_contiguous(memory_format=torch.channels_last) and not gradient.is_contiguous():
        kernels = channels_last(kernels)
    around = [size - 1 - pad for size, pad in zip(weight.shape[2:], padding, strict=True)]
    return F.pixel_shuffle(F.conv2d(gradient, kernels, stride=side, padding=around), side)
