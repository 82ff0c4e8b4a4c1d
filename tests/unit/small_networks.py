"""Small networks on which attacks are tested, and the settings of a test that several files share."""

import functools

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from robustloss.errors import Problem


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def stir(model, seed=0):
    """Give batch normalisation statistics, scales and shifts as if it had learned."""
    generator = seeded(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.2, generator=generator)
    return model


class Scaled(nn.Module):
    def __init__(self, body, scale):
        super().__init__()
        self.body, self.scale = body, scale
        self.eval()

    def forward(self, images):
        return self.scale * self.body(images)


class Linear(nn.Module):
    """Logits W x + b of images x, whose distances to the boundaries are known."""

    def __init__(self, weight, bias=0.0):
        super().__init__()
        self.weight, self.bias = weight, bias
        self.eval()

    def forward(self, images):
        return images.flatten(1) @ self.weight.T + self.bias


class Function(nn.Module):
    """Logits as a function of the images; counts the images that it was given."""

    def __init__(self, function):
        super().__init__()
        self.function, self.asked = function, 0
        self.eval()

    def forward(self, images):
        self.asked += len(images)
        return self.function(images)


def two_classes(weight, bias=0.0):
    """The margin of class 1 over class 0 is <weight, image> + bias."""

    def logits(images):
        margin = images.flatten(1) @ weight.flatten() + bias
        return torch.stack([-margin / 2, margin / 2], 1)

    return Function(logits)


def smooth(classes=5, shape=(1, 5, 5), gap=2.0, dtype=torch.float64, count=12):
    """A smooth random network whose median gap between the top logits is `gap`, images, and its predictions."""
    torch.manual_seed(0)
    size = shape[0] * shape[1] * shape[2]
    body = nn.Sequential(nn.Flatten(), nn.Linear(size, 24), nn.GELU(), nn.Linear(24, classes)).to(dtype).eval()
    images = 0.2 + 0.6 * torch.rand(count, *shape, generator=seeded(1), dtype=dtype)
    with torch.no_grad():
        top = body(images).topk(2, 1).values
        scale = gap / (top[:, 0] - top[:, 1]).median()
    model = Function(lambda images: scale * body(images))
    return model, images, predictions(model, images)


@functools.cache
def all_digits():
    """scikit-learn's 1,797 images in [0, 1] and their labels."""
    data = load_digits()
    return torch.tensor(data.images / 16, dtype=torch.float32)[:, None], torch.tensor(data.target)


@functools.cache
def digits(count=100):
    """An MLP trained on 8 x 8 digits, and test images that it gets right."""
    images, labels = all_digits()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(model(images[:1200]), labels[:1200]).backward()
        optimizer.step()
    model.eval().requires_grad_(False)
    images, labels = images[1200:], labels[1200:]
    right = predictions(model, images) == labels
    return model, images[right][:count], labels[right][:count]


@torch.no_grad()
def predictions(model, images):
    return model(images).argmax(1)


def success(model, images, labels):
    return (predictions(model, images) != labels).double().mean().item()


def problem(function, *arguments, **settings):
    """The sentence of the Problem that a call raises."""
    try:
        function(*arguments, **settings)
    except Problem as error:
        return str(error)
    raise AssertionError("no Problem was raised")
