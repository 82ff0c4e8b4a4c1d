"""EfficientNet-B0 (Tan and Le 2019), torchvision's. ding2025, Table 4, names no variant: B0 is an inference."""

from torch import nn
from torchvision.models import efficientnet_b0

from robustloss.errors import Problem


def network(classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """torchvision's EfficientNet-B0 with a last layer of `classes`, freshly drawn; for images of three channels."""
    if shape[2] != 3:
        raise Problem(f"network efficientnet_b0 takes images of 3 channels, not {shape[2]}: choose another network")
    return efficientnet_b0(weights=None, num_classes=classes)
