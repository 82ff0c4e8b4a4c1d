"""A split's images and labels where the network is."""

import torch

from robustloss import devices
from robustloss.data.prepared import Prepared


class Images:
    """One split as a uint8 tensor (count, height, width, channels), on the device when it fits, else memory-mapped."""

    def __init__(self, data: Prepared, split: str, device: torch.device, indices: torch.Tensor | None = None) -> None:
        stored = data.images(split)
        labels = torch.from_numpy(data.labels(split))
        self.device = device
        self.indices = torch.arange(len(stored)) if indices is None else indices
        self.resident = devices.fits(stored.nbytes, device)
        self.labels = labels.to(device)
        # On a CPU the mapped file is the tensor: pages come in as they are used and can be dropped again.
        self.pixels = torch.from_numpy(stored)
        if self.resident and device.type != "cpu":
            self.pixels = self.pixels.to(device)

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (n, channels, height, width) in [0, 1], channels_last in memory, and labels (n,), on the device."""
        rows = self.indices[rows]
        pixels = self.pixels[rows.to(self.pixels.device, non_blocking=True)]
        pixels = pixels.to(self.device, non_blocking=True)
        # Stored rows are (height, width, channels): the permuted view is channels_last without a copy.
        return pixels.permute(0, 3, 1, 2).float().div_(255), self.labels[rows.to(self.device, non_blocking=True)]

    def batches(self, size: int):
        """The images in order, `size` at a time."""
        for rows in torch.arange(len(self)).split(size):
            yield self.batch(rows)
