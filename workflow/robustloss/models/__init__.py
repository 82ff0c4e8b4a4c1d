"""Networks, each a module of this folder that is found by its name.

A module `models/<name>.py` defines `network(classes, shape, *, settings...)`: an nn.Module from normalised images
(N, channels, height, width) to logits (N, classes), for images of `shape` (height, width, channels). Under a head (see
`robustloss.heads`) it is built with the head's dimension in place of `classes`, and its outputs are features.
"""

import importlib
import math
from pathlib import Path

import torch
from torch import fx, nn

from robustloss import heads
from robustloss.code import check_settings, plugin, settings_of
from robustloss.errors import Problem
from robustloss.images import Images
from robustloss.models.frozen import Frozen as Frozen
from robustloss.models.frozen import evaluation_copy as evaluation_copy
from robustloss.models.quick import memory_format as memory_format
from robustloss.models.quick import quicken as quicken

# Bytes that are summed up at a time for the mean per pixel; no sum over so many leaves int32, twice as fast as int64.
BLOCK = 2**23


class Network(nn.Module):
    """A network on images in [0, 1]: normalises (x - mean) / std, then computes the body and the head.

    `mean` is (1, channels, 1, 1), or (1, channels, height, width) for a mean per pixel, which is learned from the
    training images (`set_pixel_mean`); `std` is (1, channels, 1, 1). With `standardise`, each normalised image is
    brought to mean 0 and variance 1 besides. Without a head the body's output are the logits.
    """

    def __init__(
        self,
        body: nn.Module,
        mean: torch.Tensor,
        std: torch.Tensor,
        head: nn.Module | None = None,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Identity() if head is None else head
        self.standardise = standardise
        # In the state dict is what was learned; numbers per channel belong to the specification.
        self.register_buffer("mean", mean, persistent=mean.shape[2:] != (1, 1))
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """What the head is given (N, dimension); the logits where there is no head."""
        return self.body(normalise(images, self.mean, self.std, self.standardise))


# A leaf to tracing, which cannot follow a decision on the images' size.
@fx.wrap
def normalise(images: torch.Tensor, mean: torch.Tensor, std: torch.Tensor, standardise: bool) -> torch.Tensor:
    """(images - mean) / std, and with `standardise` each image minus its mean, over its standard deviation.

    The deviation counts as 1 / sqrt(number of values) where it is less, as in tf.image.per_image_standardization.
    Raises Problem for images of another size than a mean per pixel has.
    """
    if mean.shape[2:] != (1, 1):
        _check_size(mean, images.shape[1:])
    inputs = (images - mean) / std
    if not standardise:
        return inputs
    inputs = inputs - inputs.mean((1, 2, 3), keepdim=True)
    variance = inputs.square().mean((1, 2, 3), keepdim=True)
    # The bound goes under the root, whose slope at 0 would make the gradient of a constant image NaN.
    return inputs / variance.clamp(min=1 / inputs.shape[1:].numel()).sqrt()


@torch.no_grad()
def set_pixel_mean(network: Network, images: Images) -> None:
    """Set the mean per pixel of `network`, built with `mean: pixels`, to that of the split `images`; it is exact."""
    height, width, channels = images.pixels.shape[1:]
    if network.mean.shape[2:] == (1, 1):
        raise Problem("network: this one was built with a mean per channel: write `mean: pixels` to learn it")
    _check_size(network.mean, (channels, height, width))
    blocks = images.indices.split(max(1, BLOCK // (height * width * channels)))
    total = sum(images.pixels[rows].sum(0, dtype=torch.int32).long() for rows in blocks)
    network.mean.copy_((total.double() / (255 * len(images))).permute(2, 0, 1)[None])


def _check_size(mean: torch.Tensor, shape: tuple[int, ...]) -> None:
    if mean.shape[1:] != shape:
        expected, found = (" x ".join(map(str, sizes)) for sizes in (mean.shape[1:], shape))
        raise Problem(
            f"network: its mean per pixel is for images of {expected} (channels, height, width), not {found}: give it "
            "images of that size, or write a mean per channel"
        )


def build(spec: dict, classes: int, shape: tuple[int, int, int], pretrained: Path | None = None) -> Network:
    """The network of `spec` for `classes` classes and images of `shape` (height, width, channels).

    `spec` holds the module's name, `mean` and `std` per channel (a number serves all channels; `mean` "pixels" is the
    mean of each pixel and channel of the training images, 0 until `set_pixel_mean`, as pang2020 and song2022 subtract
    it), `standardise` (true: each image to mean 0 and variance 1, as song2022's code does), `pretrained` ("none" or
    "imagenet"), the module's own settings, and `head` (see `robustloss.heads`) where the body is to end in one.
    Weights are drawn from torch's global generator, which the caller seeds; with `pretrained`, a file of torchvision's
    ImageNet weights, all but the body's last layer come from there. Raises Problem for an unknown name or setting, and
    for weights that do not fit.
    """
    for key in ("name", "mean", "std"):
        if key not in spec:
            raise Problem(f"network: the key '{key}' is missing")
    if classes < 2:
        raise Problem(f"network {spec['name']}: a classifier needs two classes at least, not {classes}")
    standardise = spec.get("standardise", False)
    if not isinstance(standardise, bool):
        raise Problem(f"network {spec['name']}: standardise must be true or false, not {standardise!r}")
    settings = settings_of("models", spec)
    module = plugin("models", spec["name"])
    check_settings(f"network {spec['name']}", module, "network", settings)
    outputs = heads.dimension(spec["head"]) if "head" in spec else classes
    body = importlib.import_module(module).network(outputs, tuple(shape), **settings)
    if pretrained is not None:
        load_pretrained(body, pretrained)
    # After the body, so that networks of one seed have the same body under every head.
    head = heads.build(spec["head"], classes) if "head" in spec else None
    return Network(body, _mean(spec, shape), _per_channel(spec, "std", shape[2]), head, standardise)


def _mean(spec: dict, shape: tuple[int, int, int]) -> torch.Tensor:
    height, width, channels = shape
    return torch.zeros(1, channels, height, width) if spec["mean"] == "pixels" else _per_channel(spec, "mean", channels)


def _per_channel(spec: dict, key: str, channels: int) -> torch.Tensor:
    values = spec[key] if isinstance(spec[key], list | tuple) else [spec[key]] * channels
    if not all(isinstance(value, int | float) for value in values):
        raise Problem(
            f"network {spec['name']}: {key} must be a number, or a list of one for each channel"
            f"{', or pixels' * (key == 'mean')}, not {spec[key]!r}"
        )
    if len(values) != channels:
        raise Problem(
            f"network {spec['name']}: {key} has {len(values)} values, but the images have {channels} channels: "
            "write one value for each channel"
        )
    if not all(math.isfinite(value) and (key == "mean" or value > 0) for value in values):
        raise Problem(f"network {spec['name']}: {key} must be finite{', and above 0' * (key == 'std')}, not {values}")
    # One value broadcasts twice as fast as three equal ones, which matters to a small network.
    values = values[:1] if len(set(values)) == 1 else values
    return torch.tensor([float(value) for value in values]).view(1, -1, 1, 1)


def load_pretrained(body: nn.Module, path: Path) -> None:
    """Load a file of torchvision's ImageNet weights into `body`, except for its last fully connected layer."""
    try:
        weights = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise Problem(f"the pretrained weights {path} are missing: download them, or set `pretrained: none`") from None
    except Exception as error:  # a damaged file fails in as many ways as there are bytes
        reason = str(error).split(". ")[0].splitlines()[0] if str(error) else type(error).__name__
        raise Problem(f"the pretrained weights {path} are damaged ({reason}): delete them and download again") from None
    if not isinstance(weights, dict) or not all(isinstance(value, torch.Tensor) for value in weights.values()):
        raise Problem(f"the pretrained weights {path} are no state dict: download torchvision's own file")
    head = [name for name, module in body.named_modules() if isinstance(module, nn.Linear)][-1] + "."
    kept = {name: value for name, value in weights.items() if not name.startswith(head)}
    own = body.state_dict()
    wrong = [name for name, value in kept.items() if name not in own or own[name].shape != value.shape]
    if not wrong:
        missing = body.load_state_dict(kept, strict=False).missing_keys
        wrong = [name for name in missing if not name.startswith(head)]
    if wrong:
        raise Problem(f"the pretrained weights {path} do not fit this network ({wrong[0]}): they are another network's")
