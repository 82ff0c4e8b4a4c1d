"""The loss on a plane: a linear network's is known by hand, and a saturated one still has a direction."""

import json

import numpy as np
import pytest
import torch
from small_networks import smooth, two_classes
from torch.nn import functional as F

from robustloss import checkpoints, landscape, outcomes, training
from robustloss.errors import Problem
from robustloss.files import read_json

SPEC = {"name": "landscape", "split": "evaluation", "count": 2, "radius": 0.1, "points": 5}


def grey(count=1):
    return torch.full((count, 1, 2, 2), 0.5), torch.zeros(count, dtype=torch.int64)


def test_the_margin_of_a_linear_network_is_a_plane():
    weight = torch.tensor([[0.5, -2.0], [1.0, 0.25]])
    model = two_classes(weight, bias=-1)
    images, labels = grey()
    along, across = landscape.directions(model, images, labels)
    assert torch.equal(along[0, 0], weight.sign())
    at = torch.linspace(-0.2, 0.2, 5)
    cross_entropy, margin = landscape.plane(model, images[0], labels[0], along[0], across[0], at)
    clean = -(0.5 * float(weight.sum()) - 1)
    slope = float((weight * across[0, 0]).sum())
    expected = clean - at[:, None] * float(weight.abs().sum()) - at[None] * slope
    torch.testing.assert_close(margin, expected)
    torch.testing.assert_close(cross_entropy, F.softplus(-expected))


def test_images_are_clipped_to_the_pixel_range():
    images, labels = grey()
    model = two_classes(torch.ones(2, 2))
    along = across = torch.ones(1, 1, 2, 2)
    _, margin = landscape.plane(model, images[0], labels[0], along[0], across[0], torch.tensor([-1.0, 0.0, 1.0]))
    # All black or all white, at most.
    assert margin[0].tolist() == [0, 0, -2]
    assert margin[2].tolist() == [-2, -4, -4]


def test_a_network_whose_cross_entropy_has_no_gradient_left_has_the_direction_of_its_margin():
    model, images, labels = smooth(dtype=torch.float32)
    scaled, across = landscape.directions(lambda inputs: 200 * model(inputs), images, labels)
    inputs = images.clone().requires_grad_()
    F.cross_entropy(200 * model(inputs), labels, reduction="sum").backward()
    assert (inputs.grad == 0).flatten(1).all(1).any()
    inputs = images.clone().requires_grad_()
    logits = model(inputs)
    rivals = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    (rivals - logits.gather(1, labels[:, None])[:, 0]).sum().backward()
    assert (scaled == inputs.grad.sign()).float().mean() > 0.99
    _, again = landscape.directions(model, images, labels)
    assert torch.equal(across, again)
    assert set(across.unique().tolist()) == {-1, 1}


def test_the_middle_is_the_clean_image(tmp_path, bars, spec):
    spec["epochs"] = 1
    training.train(spec, bars, tmp_path / "run", "cpu")
    landscape.measure(tmp_path / "run", bars, SPEC, tmp_path / "measured", "cpu")
    arrays = outcomes.load(tmp_path / "measured" / "arrays.npz")
    assert arrays["cross_entropy"].shape == arrays["margin"].shape == (2, 5, 5)
    assert arrays["along"].dtype == arrays["across"].dtype == np.int8
    assert arrays["coordinates"].tolist() == pytest.approx([-0.1, -0.05, 0, 0.05, 0.1])
    model = checkpoints.network(tmp_path / "run", read_json(tmp_path / "run" / "run.json"), bars, 1).eval()
    inputs = torch.from_numpy(bars.images("evaluation")[arrays["index"]]).permute(0, 3, 1, 2) / 255
    labels = torch.from_numpy(bars.labels("evaluation")[arrays["index"]].copy())
    with torch.no_grad():
        expected = F.cross_entropy(model(inputs), labels, reduction="none")
    np.testing.assert_allclose(arrays["cross_entropy"][:, 2, 2], expected, rtol=1e-3, atol=1e-5)
    record = json.loads((tmp_path / "measured" / "measurement.json").read_text())
    assert record["summary"]["count"] == 2


@pytest.mark.parametrize("change", [{"points": 4}, {"points": 1}, {"radius": 0}, {"radius": 1.5}])
def test_settings_out_of_range_are_one_sentence(tmp_path, bars, change):
    with pytest.raises(Problem, match="points must be an odd number from 3, and radius a fraction"):
        landscape.measure(tmp_path / "run", bars, SPEC | change, tmp_path / "measured", "cpu")
