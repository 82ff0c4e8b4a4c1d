"""What takes long for each image, done and saved batch by batch, so that a kill costs no more than one batch."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from robustloss import outcomes
from robustloss.images import Images
from robustloss.progress import Standing, track

# The arrays of a batch, from its number, its images (n, channels, height, width) in [0, 1] and its labels (n,).
Compute = Callable[[int, torch.Tensor, torch.Tensor], dict[str, np.ndarray]]
# How many images of a batch are robust, and how many it has.
Tally = Callable[[dict[str, np.ndarray]], tuple[int, int]]


def save(images: Images, size: int, path: Path, compute: Compute, tally: Tally) -> None:
    """Compute `images` in batches of `size` and write all their arrays, and `index`, to `path`.

    Each batch has a file beside `path` until the whole is written; batches that have theirs are not computed again, as
    after a kill. Arrays that only some batches have hold those batches' rows alone.
    """
    rows = torch.arange(len(images)).split(size)
    # Of another size, a batch is another: its random numbers differ.
    parts = [path.with_name(f"{path.stem}-batch-{size}-{number:05d}.npz") for number in range(len(rows))]
    left = [number for number, part in enumerate(parts) if not part.exists()]
    standing = Standing()
    for part in parts:
        if part.exists():
            standing.known(*tally(outcomes.load(part)))
    for number in track(left, "batches", note=standing.note):
        found = compute(number, *images.batch(rows[number]))
        outcomes.save(parts[number], found)
        standing.count(*tally(found))
    found = [outcomes.load(part) for part in parts]
    names = dict.fromkeys(name for part in found for name in part)
    arrays = {name: np.concatenate([part[name] for part in found if name in part]) for name in names}
    outcomes.save(path, {"index": images.indices.cpu().numpy(), **arrays})
    for part in path.parent.glob(f"{path.stem}-batch-*.npz"):
        part.unlink()
