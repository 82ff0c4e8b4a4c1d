"""Choosing the epoch whose weights are kept by its accuracy on the test split, as some released codes do.

An accuracy that is then measured on that split is biased upwards: the epoch was chosen for it. The bias is small where
the accuracies of the last epochs differ little, and there is none on images outside the split.
"""

import torch

from robustloss import models
from robustloss.data.prepared import Prepared
from robustloss.images import Images

BATCH = 512


def test_images(spec: dict, data: Prepared, device: torch.device) -> Images | None:
    """The images that choose a training's epoch: the test split with `keep: best`, else None."""
    return Images(data, "test", device) if spec.get("keep") == "best" else None


@torch.no_grad()
def accuracy(model: torch.nn.Module, images: Images) -> float:
    """The share of `images` that the network gets right with running statistics, from 0 to 1."""
    frozen = models.evaluation_copy(model, images.device)
    right = sum((frozen(inputs).argmax(1) == labels).sum() for inputs, labels in images.batches(BATCH))
    return int(right) / len(images)


def kept(spec: dict, history: list[dict]) -> dict:
    """What a record says of the choice among the epochs of `history`: nothing without `keep: best`.

    Else `kept`: the `epoch` of the best test accuracy, the earliest of equals, and every epoch's accuracy.
    """
    if spec.get("keep") != "best":
        return {}
    accuracies = [row["test_accuracy"] for row in history]
    best = max(accuracies)
    return {"kept": {"epoch": accuracies.index(best) + 1, "test_accuracy": best, "test_accuracies": accuracies}}
