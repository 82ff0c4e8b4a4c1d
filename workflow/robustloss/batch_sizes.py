"""How many images an attack is given at once: many where that is fast, fewer where a batch takes long or fills a GPU.

Random numbers are drawn batch by batch, so an attack that draws some depends on the size; others do not, but for the
last places of floating point. On a CPU the size follows from the attack alone. On a GPU, whose random numbers are
others anyway, it follows from its free memory too. `batch` of the outcomes says which batch an image was in.
"""

import math
from itertools import takewhile

import torch

from robustloss.code import defaults, parts_of, plugin, settings_of
from robustloss.images import Images

LARGEST = {"cpu": 256, "cuda": 4096}
# Of attacks that ask the network more often for an image a batch is a quarter as large: less is lost by a kill.
MANY = 2000
# The settings whose product says about how often a network is asked, beside `queries`.
FACTORS = ("steps", "search_steps", "restarts", "targets", "samples", "draws")
# The images by which a network's need of memory is measured.
MEASURED = 16


def choose(spec: dict, model: torch.nn.Module, images: Images) -> int:
    """The size of the batches in which the attack of `spec` is given `images`."""
    device = images.device
    largest = LARGEST[device.type] // (4 if passes(spec) > MANY else 1)
    return largest if device.type == "cpu" else fitting(_need(model, images), _free(device), largest)


def passes(spec: dict) -> int:
    """About how often an attack asks the network for each image, from its settings and their defaults."""
    parts = sum(map(passes, parts_of(spec)))
    if "attacks" in spec:  # an ensemble, whose draws are for judging its members
        return parts
    settings = defaults(plugin("attacks", spec["name"]), "perturb") | settings_of("attacks", spec)
    found = math.prod(settings.get(name) or 1 for name in FACTORS)
    return found * (parts or 1) + (settings.get("queries") or 0)


def fitting(need: int, free: int, largest: int) -> int:
    """The largest power of two, at most `largest`, of images of `need` bytes each that half of `free` bytes holds.

    The other half is for what an attack keeps beside a pass. At least 1.
    """
    sizes = (2**power for power in range(largest.bit_length()))
    return max(takewhile(lambda size: size * need <= free // 2, sizes), default=1)


def _need(model: torch.nn.Module, images: Images) -> int:
    """The bytes on the GPU that a pass forth and back takes for one image."""
    inputs, _ = images.batch(torch.arange(min(MEASURED, len(images))))
    torch.cuda.reset_peak_memory_stats(images.device)
    before = torch.cuda.memory_allocated(images.device)
    with torch.enable_grad():
        inputs = inputs.requires_grad_()
        logits = model(inputs)
        if logits.requires_grad:
            torch.autograd.grad(logits.sum(), inputs, allow_unused=True)
    return -(-(torch.cuda.max_memory_allocated(images.device) - before) // len(inputs))


def _free(device: torch.device) -> int:
    """Free bytes of the GPU, with those that torch holds and does not use."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
