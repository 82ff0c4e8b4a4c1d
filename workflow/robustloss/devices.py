"""Which device a job computes on, and how."""

import torch

from robustloss.errors import Problem

# Bytes of the largest block for which glibc raises its thresholds.
LARGE = 2**25 - 2**16


def choose(name: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU; deterministic algorithms on the CPU, fastest ones on CUDA."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise Problem("device: cuda was asked for, but torch sees no CUDA device: set `device: auto` or `cpu`")
    if name == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    else:
        # use_deterministic_algorithms does the same and imports torch's compiler, which costs each job 1.5 s.
        torch.set_deterministic_debug_mode("error")
        # Each new tensor is written before it is read; to fill it first is a tenth of a small network's time.
        torch.utils.deterministic.fill_uninitialized_memory = False
        # To have freed one large block once makes the C library keep what is freed later, which else goes back to the
        # system and comes again, zeroed page by page, at every step.
        torch.empty(LARGE, dtype=torch.uint8)
    return torch.device(name)


def fits(bytes_needed: int, device: torch.device) -> bool:
    """Whether a tensor of that size leaves at least half of the device's free memory for the network."""
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return bytes_needed <= free // 2
