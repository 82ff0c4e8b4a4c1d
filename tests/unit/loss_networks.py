"""Networks for scikit-learn's digits, trained with the losses that the papers propose and against PGD."""

import functools

import torch
from digit_networks import TRAINING, climb, held_out
from small_networks import all_digits
from torch import nn

from robustloss import heads, losses, models

UNITS = 64
# Terms of the objective, and the head on the features.
OBJECTIVES = {
    "plain": ([{"loss": "cross_entropy", "weight": 1}], None),
    "label smoothing": ([{"loss": "label_smoothing", "epsilon": 0.1, "weight": 1}], None),
    "mmc": ([{"loss": "mmc", "weight": 1}], {"name": "max_mahalanobis", "dimension": UNITS, "scale": 10.0}),
    "gce": ([{"loss": "gce", "alpha": 1 / 3, "weight": 1}], None),
    "isce": ([{"loss": "isce", "s": 1.0, "m": 0.1, "weight": 1}], {"name": "unit_norm", "dimension": UNITS}),
    "pgd": ([{"loss": "cross_entropy", "weight": 1}], None),
}
KINDS = tuple(OBJECTIVES)


def epsilon(kind):
    """A radius at which some images withstand and some do not."""
    return {"mmc": 0.15, "pgd": 0.17}.get(kind, 0.1)


@functools.cache
def network(kind):
    terms, head = OBJECTIVES[kind]
    images, labels = (part[:TRAINING] for part in all_digits())
    torch.manual_seed(0)
    # Features that cannot be negative do not reach the centres of MMC, and leave logits that are exactly equal.
    last = nn.Identity() if kind == "mmc" else nn.ReLU()
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, UNITS), nn.ReLU(), nn.Linear(UNITS, UNITS), last)
    head = heads.build(head or {"name": "linear", "dimension": UNITS}, 10)
    model = models.Network(body, torch.full((1, 1, 1, 1), 0.3), torch.full((1, 1, 1, 1), 0.4), head)
    objective = losses.objective(terms)
    optimizer = torch.optim.Adam(model.parameters(), 0.004)
    for _ in range(12):
        for batch in torch.randperm(TRAINING).split(64):
            inputs = images[batch] if kind != "pgd" else climb(model, images[batch], labels[batch], 0.15)
            optimizer.zero_grad()
            features = model.features(inputs)
            objective(model.head(features), labels[batch], features, model.head).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


@functools.cache
def right(kind, count):
    """The network, and the first `count` held-out images that it gets right."""
    model = network(kind)
    images, labels = held_out(500)
    with torch.no_grad():
        rows = (model(images).argmax(1) == labels).nonzero()[:count, 0]
    return model, images[rows], labels[rows]
