"""Exact L2 distances to class boundaries, and the networks of which they are known, that attacks are held against."""

import itertools

import torch
from small_networks import Function, predictions, seeded


def lengths(found, images):
    return (found - images).flatten(1).norm(dim=1)


def linear(classes=4, count=30, spread=0.1, dtype=torch.float64):
    """A linear network, images well inside [0, 1], their predictions, and the distances (N, K) to each class's plane.

    The distance to a sample's own class is inf.
    """
    weight = torch.randn(classes, 27, generator=seeded(), dtype=dtype)
    weight *= torch.linspace(1, 3, classes, dtype=dtype)[:, None]
    images = 0.5 + spread * torch.randn(count, 3, 3, 3, generator=seeded(1), dtype=dtype).clamp(-2, 2)
    model = Function(lambda x: (x - 0.5).flatten(1) @ weight.T)
    labels = predictions(model, images)
    logits = model(images)
    gaps = logits.gather(1, labels[:, None]) - logits
    distances = gaps / (weight[labels][:, None] - weight[None]).norm(dim=2)
    return model, images, labels, distances.scatter(1, labels[:, None], torch.inf)


def boxed(weight, bias, images, steps=200):
    """The distance (N,) from images to the nearest point of [0, 1] where <weight, x> + bias = 0; there must be one.

    That point is x + t weight cut to [0, 1] for one t: the Lagrange condition, solved by bisection.
    """
    flat, weight = images.flatten(1), weight.flatten()
    sign = -(flat @ weight + bias).sign()[:, None]
    low = torch.zeros(len(flat), 1, dtype=flat.dtype)
    high = torch.full_like(low, 1e6)
    for _ in range(steps):
        middle = (low + high) / 2
        past = ((flat + middle * sign * weight).clamp(0, 1) @ weight + bias)[:, None] * sign > 0
        low, high = torch.where(past, low, middle), torch.where(past, middle, high)
    return ((flat + high * sign * weight).clamp(0, 1) - flat).norm(dim=1)


def rectified(hidden=6, classes=3, count=30):
    """A network of one ReLU layer on images of two pixels, with its predictions and exact distances (N,).

    In each polygon of the plane where the same units are active the logits are linear, so the nearest misclassified
    point is the projection onto one edge or a corner, of all polygons and wrong classes.
    """
    draw = torch.randn(hidden * 3 + classes * (hidden + 1), generator=seeded(8), dtype=torch.float64)
    first, shift, second, offset = draw.split([2 * hidden, hidden, classes * hidden, classes])
    first, second = first.view(hidden, 2), second.view(classes, hidden)
    shift = shift / 2 - first @ torch.full((2,), 0.5, dtype=torch.float64)
    model = Function(lambda x: (x.flatten(1) @ first.T + shift).relu() @ second.T + offset / 4)
    images = 0.1 + 0.8 * torch.rand(count, 1, 1, 2, generator=seeded(1), dtype=torch.float64)
    labels = predictions(model, images)
    box = torch.tensor([[1, 0, 0], [0, 1, 0], [-1, 0, 1], [0, -1, 1]], dtype=torch.float64)
    exact = []
    for image, label in zip(images.flatten(1), labels.tolist(), strict=True):
        distances = []
        for active in itertools.product((0.0, 1.0), repeat=hidden):
            active = torch.tensor(active, dtype=torch.float64)
            units = torch.cat([first, shift[:, None]], 1)
            polygon = torch.cat([units * (2 * active - 1)[:, None], box])
            logits = (second * active) @ units
            logits[:, 2] += offset / 4
            for k in set(range(classes)) - {label}:
                distances.append(_to_polygon(image, torch.cat([polygon, (logits[k] - logits[label])[None]])))
        exact.append(min(distances))
    return model, images, labels, torch.tensor(exact, dtype=torch.float64)


def _to_polygon(point, edges):
    """The distance from a point to where <edge[:2], x> + edge[2] >= 0 for all edges, inf where there is no such x."""
    normals, offsets = edges[:, :2], edges[:, 2]
    size = normals.square().sum(1).clamp(min=1e-30)
    feet = point - ((normals @ point + offsets) / size)[:, None] * normals
    pairs = torch.combinations(torch.arange(len(edges)))
    systems = normals[pairs]
    solvable = torch.linalg.det(systems).abs() > 1e-12
    corners = torch.linalg.solve(systems[solvable], -offsets[pairs][solvable][..., None])[..., 0]
    candidates = torch.cat([point[None], feet, corners])
    inside = (candidates @ normals.T + offsets >= -1e-9).all(1)
    return (candidates[inside] - point).norm(dim=1).min().item() if inside.any() else torch.inf


def centres(dtype=torch.float32, scale=1.0, count=40):
    """Logits -|x - mu_k|², all below 0, images nearest to each centre, and exact distances (N,) within the whole space.

    The boundaries are planes, since |x|² cancels.
    """
    mu = torch.rand(6, 16, generator=seeded(3), dtype=dtype)
    images = (0.5 + 0.25 * (torch.rand(count, 1, 4, 4, generator=seeded(1), dtype=dtype) - 0.5)).clamp(0, 1)
    model = Function(lambda x: -scale * (x.flatten(1)[:, None] - mu).square().sum(2))
    labels = predictions(model, images)
    squares = (images.flatten(1)[:, None] - mu).square().sum(2)
    gaps = squares - squares.gather(1, labels[:, None])
    distances = gaps / (2 * (mu[labels][:, None] - mu[None]).norm(dim=2))
    return model, images, labels, distances.scatter(1, labels[:, None], torch.inf).amin(1)
