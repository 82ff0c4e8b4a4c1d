"""What every attack by gradients refuses: settings and inputs out of range, and networks that give no gradient."""

import math

import torch

from robustloss.errors import Problem


def check_sizes(epsilon: float, step_size: float) -> None:
    """Refuse a ball or a step that is no fraction of the pixel range."""
    if epsilon > 1:
        raise Problem(f"attack: epsilon is a fraction of the pixel range: write 8/255, not {epsilon:g}")
    if not epsilon > 0:
        raise Problem(f"attack: epsilon must be above 0, not {epsilon}")
    if not 0 < step_size <= 1:
        raise Problem(f"attack: step_size is a fraction of the pixel range, above 0 and at most 1, not {step_size}")


def check_l2_sizes(epsilon: float, step_size: float, images: torch.Tensor) -> None:
    """Refuse a ball or a step that is longer than images (N, channels, height, width) can differ."""
    longest = math.sqrt(images[0].numel())
    for name, size in (("epsilon", epsilon), ("step_size", step_size)):
        # A little more passes, so that the longest can be written with a few digits.
        if not 0 < size <= 1.001 * longest:
            raise Problem(
                f"attack: {name} is an L2 norm of images in [0, 1], which here differ by at most {longest:.4g}, and "
                f"above 0, not {size:g}"
            )


def check_steps(steps: int) -> None:
    if steps < 1:
        raise Problem(f"attack: steps is a whole number from 1, not {steps}")


def check_inputs(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> int:
    """The highest label, which is held against the number of logits without waiting for the device again."""
    if model.training:
        raise Problem("attack: the model is in training mode: attack a copy from models.evaluation_copy")
    if images.ndim != 4 or not images.is_floating_point() or labels.shape != images.shape[:1] or not len(images):
        raise Problem(
            "attack: images must be floating-point (N, channels, height, width) and labels (N,), "
            f"not {images.dtype} {tuple(images.shape)} and {tuple(labels.shape)}"
        )
    low, high = (bound.item() for bound in images.aminmax())
    if not (low >= 0 and high <= 1):
        raise Problem(f"attack: images must lie in [0, 1], not in [{low:g}, {high:g}]: divide pixels by 255")
    if labels.dtype != torch.int64:
        raise Problem(f"attack: labels must be int64, not {labels.dtype}")
    lowest, highest = (bound.item() for bound in labels.aminmax())
    if lowest < 0:
        raise Problem(f"attack: labels count classes from 0, but one is {lowest}")
    return highest


def check_finite(finite: torch.Tensor) -> None:
    if not finite:
        raise Problem("attack: the network's logits or their gradient are NaN or infinite: train it again")
