"""What every attack refuses: settings and inputs out of range, networks in training mode, and what are no logits."""

import math
import numbers

import torch

from robustloss.errors import Problem

# By how much the sum of probabilities may miss 1, as in AutoAttack's own check.
FROM_ONE = 1e-5


def check_numbers(**settings: float) -> None:
    """Refuse settings that are no numbers, such as "8/255" with its quotes."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise Problem(f"attack: {name} is a number, such as 8/255 without quotes, not {value!r}")


def check_whole(**settings: int) -> None:
    """Refuse settings that are no whole numbers from 1."""
    for name, value in settings.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
            raise Problem(f"attack: {name} is a whole number from 1, not {value!r}")


def check_sizes(epsilon: float, step_size: float) -> None:
    """Refuse a ball or a step that is no fraction of the pixel range."""
    check_numbers(epsilon=epsilon, step_size=step_size)
    if epsilon > 1:
        raise Problem(f"attack: epsilon is a fraction of the pixel range: write 8/255, not {epsilon:g}")
    if not epsilon > 0:
        raise Problem(f"attack: epsilon must be above 0, not {epsilon}")
    if not 0 < step_size <= 1:
        raise Problem(f"attack: step_size is a fraction of the pixel range, above 0 and at most 1, not {step_size}")


def check_l2_sizes(epsilon: float, step_size: float, images: torch.Tensor) -> None:
    """Refuse a ball or a step that is longer than images (N, channels, height, width) can differ."""
    check_numbers(epsilon=epsilon, step_size=step_size)
    longest = math.sqrt(images[0].numel()) if len(images) else math.inf
    for name, size in (("epsilon", epsilon), ("step_size", step_size)):
        # A little more passes, so that the longest can be written with a few digits.
        if not 0 < size <= 1.001 * longest:
            raise Problem(
                f"attack: {name} is an L2 norm of images in [0, 1], which here differ by at most {longest:.4g}, and "
                f"above 0, not {size:g}"
            )


def check_steps(steps: int) -> None:
    check_whole(steps=steps)


def check_inputs(model: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> int:
    """The highest label, which is held against the number of logits without waiting for the device again.

    Raises Problem for images or labels that are none, and for a network of which any part is in training mode: one
    that is random by its own code can be attacked, one whose statistics each pass would change cannot.
    """
    if any(module.training for module in model.modules()):
        raise Problem(
            "attack: the model, or a part of it, is in training mode: attack a copy from models.evaluation_copy"
        )
    if images.ndim != 4 or not images.is_floating_point() or labels.shape != images.shape[:1] or not len(images):
        raise Problem(
            "attack: images must be floating-point (N, channels, height, width) and labels (N,), "
            f"not {images.dtype} {tuple(images.shape)} and {tuple(labels.shape)}"
        )
    if labels.dtype != torch.int64:
        raise Problem(f"attack: labels must be int64, not {labels.dtype}")
    # All at once, since each answer is waited for on CUDA.
    bounds = torch.stack([bound.double() for bound in (*images.aminmax(), *labels.aminmax())])
    low, high, lowest, highest = bounds.tolist()
    if not (low >= 0 and high <= 1):
        raise Problem(f"attack: images must lie in [0, 1], not in [{low:g}, {high:g}]: divide pixels by 255")
    if lowest < 0:
        raise Problem(f"attack: labels count classes from 0, but one is {lowest:g}")
    return int(highest)


def check_clean(logits: torch.Tensor) -> None:
    """Refuse a network by its logits (N, K) of clean images: numbers that are not finite, and probabilities."""
    finite, probable = torch.stack([logits.isfinite().all(), are_probabilities(logits)]).tolist()
    check_finite(finite)
    check_logits(probable)


def are_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Whether no output (N, K) is negative and those of each sample sum to 1; a tensor, which is not waited for."""
    return ((logits >= 0).all(1) & ((logits.sum(1) - 1).abs() < FROM_ONE)).all()


def check_logits(probable: torch.Tensor | bool) -> None:
    """Refuse outputs that `are_probabilities`."""
    if probable:
        raise Problem(
            "attack: the network's outputs are not negative and sum to 1, so they are probabilities, whose softmax "
            "would be taken again: attack its logits, leaving out the last softmax"
        )


def watched(loss):
    """`loss` (see `gradients.Loss`), and what refuses, after a climb, a network whose first outputs are probabilities.

    So neither a pass of the network nor a step that waits for the device is spent on it.
    """
    seen = []

    def direction(logits, labels, targets=None):
        if not seen:
            seen.append(are_probabilities(logits))
        return loss.direction(logits, labels, targets)

    return loss._replace(direction=direction), lambda: check_logits(seen[0])


def check_finite(finite: torch.Tensor | bool) -> None:
    if not finite:
        raise Problem("attack: the network's logits or their gradient are NaN or infinite: train it again")
