"""How far past a class boundary a sample must be for its prediction to hold."""

import torch


def rounding(logits: torch.Tensor) -> torch.Tensor:
    """The margin (N,) that rounding can turn, in float32 or finer: 16 units in the last place of the largest logit.

    Nearer to the boundary than that, a batch of another size may be predicted otherwise.
    """
    unit = torch.finfo(logits.dtype).eps
    return 16 * unit * logits.to(torch.promote_types(logits.dtype, torch.float32)).abs().amax(1)
