"""Networks for scikit-learn's 8 x 8 digits, one trained as usual and one against PGD."""

import functools

import torch
from small_networks import all_digits, predictions
from torch import nn
from torch.nn import functional as F

TRAINING = 1297
# At these radii the two networks' robust accuracies are far from 0 and from 1.
EPSILON = {"plain": 0.05, "robust": 0.17}
EPSILON_L2 = {"plain": 0.3, "robust": 0.8}


class Counted(nn.Module):
    """Keeps the size of every batch that the network was asked about."""

    def __init__(self, body):
        super().__init__()
        self.body, self.sizes = body, []
        self.eval()

    def forward(self, images):
        self.sizes.append(len(images))
        return self.body(images)


def held_out(count=200):
    images, labels = all_digits()
    return images[TRAINING : TRAINING + count], labels[TRAINING : TRAINING + count]


@functools.cache
def network(kind):
    """ "plain", or "robust": trained on the last iterate of five naive steps of PGD at epsilon 0.15."""
    images, labels = (part[:TRAINING] for part in all_digits())
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), 0.004)
    for _ in range(12):
        for batch in torch.randperm(TRAINING).split(64):
            inputs = images[batch] if kind == "plain" else climb(model, images[batch], labels[batch], 0.15)
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels[batch]).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


def climb(model, images, labels, epsilon, steps=5):
    found = images + epsilon * (2 * torch.rand_like(images) - 1)
    for _ in range(steps):
        found = found.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(F.cross_entropy(model(found), labels), found)
        found = torch.clamp(found + epsilon / 2 * gradient.sign(), images - epsilon, images + epsilon).clamp(0, 1)
    return found.detach()


def accuracy(model, images, labels):
    return (predictions(model, images) == labels).double().mean().item()


def robust_accuracy(kind, found):
    """On the first of the held-out images, of which `found` are the adversarial versions."""
    return accuracy(network(kind), found, held_out(len(found))[1])
