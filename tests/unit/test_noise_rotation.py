"""Noise and rotation against scipy, numpy, and the laws of what they draw."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import kstest
from small_networks import seeded
from torch import nn

from robustloss import attacks
from robustloss.attacks import rotation
from robustloss.errors import Problem


class Brightness(nn.Module):
    """Class 1 where the mean of an image exceeds that of a grey one, by the more the brighter."""

    def forward(self, images):
        excess = 20 * (images.mean((1, 2, 3)) - 0.5)
        return torch.stack([torch.zeros_like(excess), excess], 1)


def draw(count=40, side=8):
    return torch.rand(count, 2, side, side, generator=seeded(1), dtype=torch.float64), torch.zeros(count).long()


def calls_of(model):
    calls = []
    model.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    return calls


def test_noise_is_gaussian_and_cut_to_images():
    images, labels = torch.full((50, 1, 10, 10), 0.5, dtype=torch.float64), torch.zeros(50).long()
    model = Brightness().eval()
    calls = calls_of(model)
    found = attacks.load("noise")(model, images, labels, seeded(), sigma=0.05)
    assert kstest(((found.images - images) / 0.05).flatten().numpy(), "norm").pvalue > 0.01
    # It is asked whether it gives logits, not what to do.
    assert sum(calls) == 8
    assert (found.queries == 0).all()
    assert (found.iterations == 1).all()
    wide = attacks.load("noise")(model, images, labels, seeded(), sigma=1).images
    assert wide.min() == 0
    assert wide.max() == 1


def test_noise_in_a_ball_is_at_its_corners():
    images, labels = torch.full((50, 1, 10, 10), 0.5), torch.zeros(50).long()
    moved = attacks.load("noise")(Brightness().eval(), images, labels, seeded(), epsilon=0.1).images - images
    assert torch.allclose(moved.abs(), torch.tensor(0.1))
    # 5,000 fair coins are within four standard deviations of their mean.
    assert abs((moved > 0).float().mean() - 0.5) < 4 * 0.5 / 5000**0.5
    edge = attacks.load("noise")(Brightness().eval(), torch.ones_like(images), labels, seeded(), epsilon=0.1).images
    assert edge.unique().tolist() == pytest.approx([0.9, 1.0])


def test_noise_is_either_of_two_kinds():
    images, labels = draw()
    for settings in ({}, {"sigma": 0.1, "epsilon": 0.1}):
        with pytest.raises(Problem, match="either sigma, for Gaussian noise, or epsilon"):
            attacks.load("noise")(Brightness().eval(), images, labels, seeded(), **settings)
    with pytest.raises(Problem, match="epsilon"):
        attacks.load("noise")(Brightness().eval(), images, labels, seeded(), epsilon=8)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("noise", {"sigma": 0.3}),
        ("rotation", {"largest": 60}),
        ("rotation", {"largest": 60, "angles": "grid"}),
    ],
)
def test_keeps_the_first_draw_that_is_misclassified_else_that_of_the_largest_loss(name, settings):
    images, labels = draw()
    images = images + 0.5 - images.mean((1, 2, 3), keepdim=True)
    # Some are bright enough to be misclassified by any draw, some by none, some by luck.
    shift = torch.linspace(*((0.05, 0.1) if name == "rotation" else (-0.03, 0.03)), 40, dtype=torch.float64)
    images = (images + shift.view(-1, 1, 1, 1)).clamp(0, 1)
    generator = seeded()
    if name == "noise":
        noise = (torch.randn(images.shape, generator=generator, dtype=torch.float64) for _ in range(4))
        candidates = [(images + 0.3 * values).clamp(0, 1) for values in noise]
    elif "angles" in settings:
        candidates = [rotation.rotate(images, torch.full((40,), a, dtype=torch.float64)) for a in (-60, -20, 20, 60)]
    else:
        degrees = 60 * (2 * torch.rand(40, 4, generator=generator, dtype=torch.float64) - 1)
        candidates = [rotation.rotate(images, column) for column in degrees.unbind(1)]
    brightness = torch.stack([candidate.mean((1, 2, 3)) for candidate in candidates])
    wrong = brightness > 0.5
    best = torch.where(wrong.any(0), wrong.int().argmax(0), brightness.argmax(0))
    model = Brightness().eval()
    calls = calls_of(model)
    found = attacks.load(name)(model, images, labels, seeded(), **settings, draws=4)
    assert torch.allclose(found.images, torch.stack(candidates)[best, torch.arange(40)], rtol=0, atol=1e-12)
    tries = torch.where(wrong.any(0), best + 1, 4)
    assert torch.equal(found.iterations, tries)
    assert torch.equal(found.queries, tries)
    assert len(best.unique()) > (1 if "angles" in settings else 3)
    assert 0 < wrong.any(0).sum() < 40
    assert calls[-1] < 40


@pytest.mark.parametrize("shape", [(3, 2, 9, 9), (3, 1, 7, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rotation_is_scipys(shape, dtype):
    images = torch.rand(shape, generator=seeded(), dtype=dtype)
    degrees = torch.tensor([30.0, -17.5, 143.0], dtype=dtype)
    found = rotation.rotate(images, degrees)
    assert found.dtype == dtype
    options = {"axes": (2, 1), "reshape": False, "order": 1, "mode": "grid-constant"}
    for image, angle, turned in zip(images, degrees.tolist(), found, strict=True):
        expected = ndimage.rotate(image.double().numpy(), angle, **options)
        assert np.abs(turned.numpy() - expected).max() < (1e-5 if dtype == torch.float32 else 1e-12)


def test_rotation_by_a_right_angle_is_anticlockwise_and_by_none_changes_nothing():
    images, _ = draw(2)
    quarter = rotation.rotate(images, torch.tensor([90.0, 0.0], dtype=torch.float64))
    assert torch.allclose(quarter[0], images[0].rot90(1, (1, 2)), rtol=0, atol=1e-12)
    assert torch.allclose(quarter[1], images[1], rtol=0, atol=1e-12)


def test_random_angles_are_uniform_up_to_the_largest():
    # A single bright point on the right: where it ends up tells the angle.
    images = torch.zeros(400, 1, 41, 41, dtype=torch.float64)
    images[:, :, 19:22, 34:37] = 1
    found = attacks.load("rotation")(Brightness().eval(), images, torch.zeros(400).long(), seeded(), largest=30)
    place = torch.arange(41, dtype=torch.float64) - 20
    weights = found.images[:, 0] / found.images[:, 0].sum((1, 2), keepdim=True)
    right, down = (weights * place).sum((1, 2)), (weights * place[:, None]).sum((1, 2))
    angles = torch.atan2(-down, right).rad2deg()
    assert kstest(angles.numpy(), "uniform", args=(-30, 60)).pvalue > 0.01
    assert (found.queries == 0).all()


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("noise", {"sigma": 0}, "sigma is a fraction of the pixel range, above 0 and at most 1, not 0"),
        ("noise", {"sigma": float("nan")}, "sigma is a fraction"),
        ("noise", {"sigma": 0.05, "draws": 0}, "draws is a whole number from 1, not 0"),
        ("rotation", {"largest": 200}, "largest is an angle in degrees, above 0 and at most 180, not 200"),
        ("rotation", {"largest": 30, "draws": 0}, "draws is a whole number from 1"),
        ("rotation", {"largest": 30, "angles": "griid"}, "did you mean 'grid'"),
        ("rotation", {"largest": 30, "angles": "grid"}, "a grid has two angles at least"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(name, settings, sentence):
    with pytest.raises(Problem, match=sentence):
        attacks.load(name)(Brightness().eval(), *draw(), seeded(), **settings)


@pytest.mark.parametrize(("name", "settings"), [("noise", {"sigma": 0.1}), ("rotation", {"largest": 30})])
def test_bad_inputs_are_refused_in_one_sentence(name, settings):
    images, labels = draw()
    with pytest.raises(Problem, match="divide pixels by 255"):
        attacks.load(name)(Brightness().eval(), 255 * images, labels, seeded(), **settings)
    with pytest.raises(Problem, match="class 2 is not one of the network's 2 classes"):
        attacks.load(name)(Brightness().eval(), images, labels + 2, seeded(), **settings, draws=2)
