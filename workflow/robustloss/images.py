"""A split's images and labels where the network is."""

import torch

from robustloss import devices
from robustloss.augmentation import check, moved
from robustloss.data.prepared import Prepared


def spread(available: int, count: int) -> torch.Tensor:
    """The ascending positions (count,) of some of `available` images, fewer where there are fewer.

    They are spread evenly, since neighbours may come from one video: the first of van der Corput's sequence in base 2,
    so that a larger count has all those of a smaller one.
    """
    bits = max(1, (available - 1).bit_length())
    numbers = torch.arange(1 << bits)
    turned = sum((numbers >> bit & 1) << (bits - 1 - bit) for bit in range(bits))
    return turned[turned < available][:count].sort().values


class Images:
    """One split as a uint8 tensor (count, height, width, channels), on the device when it fits, else memory-mapped.

    `augmentation` holds the settings of `robustloss.augmentation.moved`; Problem where they are wrong.
    """

    def __init__(
        self,
        data: Prepared,
        split: str,
        device: torch.device,
        indices: torch.Tensor | None = None,
        augmentation: dict | None = None,
    ) -> None:
        if augmentation is not None:
            check(augmentation, data.image_shape)
        self.augmentation = augmentation
        stored = data.images(split)
        # On a CPU the mapped file is the tensor: pages come in as they are used and can be dropped again.
        self.pixels = torch.from_numpy(stored)
        if device.type != "cpu" and devices.fits(stored.nbytes, device):
            self.pixels = self.pixels.to(device)
        self.device = device
        self.labels = torch.from_numpy(data.labels(split)).to(device)
        # Rows are looked up where the pixels are, so that a step on a GPU waits for nothing.
        indices = torch.arange(len(stored)) if indices is None else indices
        self.indices = indices.to(self.pixels.device)

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, rows: torch.Tensor, generator: torch.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (n, channels, height, width) in [0, 1], channels_last in memory, and labels (n,), on the device.

        `rows` (n,) are positions in this split, best given on `indices.device`. With a `generator` the images are
        augmented at random.
        """
        # For rows `index_select` takes a third of the time of brackets.
        rows = self.indices.index_select(0, rows.to(self.indices.device))
        if self.augmentation is None or generator is None:
            pixels = self.pixels.index_select(0, rows)
        else:
            pixels = moved(self.pixels, rows, generator, **self.augmentation)
        pixels = pixels.to(self.device, non_blocking=True)
        return _channels_first(pixels).float().div_(255), self.labels.index_select(0, rows.to(self.device))

    def batches(self, size: int):
        """The images in order, `size` at a time."""
        for rows in torch.arange(len(self), device=self.indices.device).split(size):
            yield self.batch(rows)


def _channels_first(pixels: torch.Tensor) -> torch.Tensor:
    """Rows (n, height, width, channels) as (n, channels, height, width), channels_last in memory, without a copy.

    Of one channel both orders are the same; its strides leave the choice to the weights that it meets.
    """
    rows, height, width, channels = pixels.shape
    return pixels.view(rows, 1, height, width) if channels == 1 else pixels.permute(0, 3, 1, 2)
