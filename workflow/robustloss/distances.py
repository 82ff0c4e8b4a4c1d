"""How far apart the features of a network lie, within classes and between them."""

import torch
from torch.nn import functional as F

from robustloss.errors import Problem


def class_distances(features: torch.Tensor, labels: torch.Tensor, classes: int) -> tuple[float, float]:
    """(D_ic, D_cc) of features (N, d) with labels (N,) in [0, classes): ding2025, Eq. 6, in the features' own unit.

    D_ic is the mean over classes of a class's mean Euclidean distance to its centre, the mean of its features. D_cc is
    the mean Euclidean distance between the centres of two different classes. The paper prints both for one class; the
    mean over classes is implied, and the norm is not squared, as its text says "Euclidean distance". Classes without
    samples are left out. Computed in float64. Raises Problem for features that are not finite or of wrong shape,
    labels out of range, and samples of fewer than two classes.
    """
    features = torch.as_tensor(features).to("cpu", torch.float64)
    labels = torch.as_tensor(labels).to("cpu", torch.int64)
    _check(features, labels, classes)
    present, labels, counts = labels.unique(return_inverse=True, return_counts=True)
    if len(present) < 2:
        raise Problem(f"distances between classes need samples of two classes at least, but there are {len(present)}")
    sums = features.new_zeros(len(present), features.shape[1]).index_add_(0, labels, features)
    centres = sums / counts[:, None]
    to_centre = (features - centres[labels]).norm(dim=1)
    within = to_centre.new_zeros(len(present)).index_add_(0, labels, to_centre) / counts
    # Each unordered pair once: the mean over ordered pairs is the same.
    return within.mean().item(), F.pdist(centres).mean().item()


def _check(features: torch.Tensor, labels: torch.Tensor, classes: int) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise Problem(
            f"distances need features (N, d) and labels (N,), not {tuple(features.shape)} and {tuple(labels.shape)}"
        )
    if not features.isfinite().all():
        raise Problem("the features contain NaN or infinite values: the training diverged; lower its rate or weights")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise Problem(f"labels must lie from 0 to {classes - 1}, not from {labels.min()} to {labels.max()}")
