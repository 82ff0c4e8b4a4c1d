"""FGSM, PGD and MIM against other libraries at equal settings, on a small network trained on scikit-learn's digits."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from robustloss import attacks

LINF = {"epsilon": 0.1, "step_size": 0.02, "steps": 15}


@pytest.fixture(scope="module")
def digits():
    """A network that classifies most of the held-out images as their labels, and these."""
    data = load_digits()
    images, labels = torch.tensor(data.images / 16, dtype=torch.float32)[:, None], torch.tensor(data.target)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(192, 48), nn.ReLU()
    ).append(nn.Linear(48, 10))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(6):
        for batch in torch.randperm(1197).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimizer.step()
    model.eval().requires_grad_(False)
    assert accuracy(model, images[1197:], labels[1197:]) > 0.85
    return model, images[1197:], labels[1197:]


def accuracy(model, images, labels):
    with torch.no_grad():
        return (model(images).argmax(1) == labels).float().mean().item()


def ours(digits, name, **settings):
    model, images, labels = digits
    found = attacks.load(name)(model, images, labels, torch.Generator().manual_seed(0), **settings).images
    return found, accuracy(model, found, labels)


def foolboxes(digits, attack, epsilon):
    foolbox = pytest.importorskip("foolbox")
    model, images, labels = digits
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    _, found, _ = attack(foolbox.attacks)(wrapped, images, foolbox.criteria.Misclassification(labels), epsilons=epsilon)
    return found, accuracy(model, found, labels)


def torchattackss(digits, attack):
    torchattacks = pytest.importorskip("torchattacks")
    model, images, labels = digits
    found = attack(torchattacks, model)(images, labels)
    return found, accuracy(model, found, labels)


def like(ours, theirs):
    """Robust accuracies within half a point, neither trivial, and nearly all of the values equal."""
    assert 0.05 < ours[1] < 0.8
    assert abs(ours[1] - theirs[1]) <= 0.005
    assert torch.isclose(ours[0], theirs[0], rtol=0, atol=1e-5).float().mean() > 0.97


def test_fgsm(digits):
    found = ours(digits, "fgsm", epsilon=0.07)
    like(found, foolboxes(digits, lambda fb: fb.LinfFastGradientAttack(random_start=False), 0.07))
    like(found, torchattackss(digits, lambda ta, model: ta.FGSM(model, eps=0.07)))


def test_pgd_linf(digits):
    found = ours(digits, "pgd", **LINF)

    def peer(fb):
        return fb.LinfProjectedGradientDescentAttack(abs_stepsize=0.02, steps=15, random_start=False)

    like(found, foolboxes(digits, peer, 0.1))
    like(found, torchattackss(digits, lambda ta, model: ta.PGD(model, 0.1, 0.02, 15, random_start=False)))
    assert found[1] <= ours(digits, "fgsm", epsilon=0.1)[1]


def test_mim(digits):
    found = ours(digits, "mim", **LINF)
    like(found, torchattackss(digits, lambda ta, model: ta.MIFGSM(model, eps=0.1, alpha=0.02, steps=15, decay=1.0)))


class Stretched(nn.Module):
    """The same network for images squeezed to [0.4, 0.6], where the balls do not reach 0 and 1."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model((images - 0.4) / 0.2)


@pytest.mark.parametrize("inside", [True, False])
def test_pgd_l2(digits, inside):
    model, images, labels = digits
    scale = 0.2 if inside else 1
    if inside:
        digits = Stretched(model).eval(), 0.4 + 0.2 * images, labels
    epsilon, step = 0.7 * scale, 0.15 * scale

    def peer(fb):
        return fb.L2ProjectedGradientDescentAttack(abs_stepsize=step, steps=15, random_start=False)

    found = ours(digits, "pgd", norm="l2", epsilon=epsilon, step_size=step, steps=15)
    peers = [
        foolboxes(digits, peer, epsilon),
        torchattackss(digits, lambda ta, model: ta.PGDL2(model, epsilon, step, 15, random_start=False)),
    ]
    for theirs in peers:
        if inside:
            like(found, theirs)
        # They scale into the ball and cut then, which wastes what was cut; the nearest point is at least as strong.
        assert found[1] <= theirs[1] + 0.005


def test_stopping_at_success_finds_at_least_as_many_as_the_last_iterate(digits):
    for name in ("pgd", "mim"):
        last, first = ours(digits, name, **LINF), ours(digits, name, **LINF, stop_at_success=True)
        assert last[1] - 0.05 < first[1] <= last[1] + 0.002
