"""Means per pixel and standardised images inside the network, against NumPy in float64 and TensorFlow's own example."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from small_networks import stir
from torch import nn

from robustloss import models
from robustloss.data import prepared
from robustloss.errors import Problem
from robustloss.images import Images

CPU = torch.device("cpu")
SHAPE = (10, 12, 3)
VARIANTS = [{"mean": "pixels"}, {"standardise": True}, {"mean": "pixels", "standardise": True}]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """50 of 60 images, in another order than the stored one, with a mean that differs from pixel to pixel."""
    rng = np.random.default_rng(0)
    stored = rng.integers(0, rng.integers(2, 256, SHAPE), (60, *SHAPE)).astype(np.uint8)
    rows = [{"image": number, "class": number % 2} for number in range(60)]
    splits = {split: ([stored], stored.shape, rows) for split in prepared.SPLITS}
    data = prepared.write(tmp_path_factory.mktemp("noise"), {"name": "noise"}, ["a", "b"], splits, {})
    return Images(data, "train", CPU, torch.randperm(60, generator=torch.Generator().manual_seed(0))[:50])


def build(shape=SHAPE, **spec):
    torch.manual_seed(0)
    return models.build({"name": "small", "mean": 0.4, "std": [0.2, 0.25, 0.3], **spec}, 5, shape)


def learned(images, **spec):
    """A network that has its mean per pixel and batch normalisations that are no identity."""
    network = build(**spec)
    if network.mean.shape[2:] != (1, 1):
        models.set_pixel_mean(network, images)
    return stir(network, seed=1).eval()


def numpy_mean(images):
    return images.pixels.numpy()[images.indices.numpy()].astype(np.float64).mean(0).transpose(2, 0, 1) / 255


def numpy_standardised(values):
    """Over all values of each image, with the deviation no less than 1 / sqrt(number of values)."""
    flat = values.reshape(len(values), -1)
    deviation = np.maximum(flat.std(1), flat.shape[1] ** -0.5)
    return ((flat - flat.mean(1, keepdims=True)) / deviation[:, None]).reshape(values.shape)


def seen(network, inputs):
    """What the body is given."""
    found = []
    with network.body.register_forward_pre_hook(lambda _, arguments: found.append(arguments[0])):
        network(inputs)
    return found[0]


@pytest.mark.parametrize("block", [1, 360 * 7, 2**23])
def test_pixel_mean_is_that_of_the_split(images, block, monkeypatch):
    monkeypatch.setattr(models, "BLOCK", block)
    network = build(mean="pixels")
    assert not network.mean.any()
    models.set_pixel_mean(network, images)
    assert network.mean.shape == (1, 3, 10, 12)
    np.testing.assert_array_equal(network.mean[0].numpy(), numpy_mean(images).astype(np.float32))
    assert len(network.mean.unique()) > 300


@pytest.mark.parametrize("spec", VARIANTS, ids=str)
def test_body_is_given_what_numpy_computes(images, spec):
    network = learned(images, **spec)
    inputs, _ = images.batch(torch.arange(8))
    mean = numpy_mean(images) if spec.get("mean") else 0.4
    expected = (inputs.double().numpy() - mean) / np.array([0.2, 0.25, 0.3])[:, None, None]
    if spec.get("standardise"):
        expected = numpy_standardised(expected)
    np.testing.assert_allclose(seen(network, inputs).numpy(), expected, rtol=0, atol=1e-5)


def test_standardising_gives_the_values_of_tensorflows_documentation():
    """tf.image.per_image_standardization's page: 1 to 12 as a 2 x 2 x 3 image gives -1.593255, -1.3035723, ..."""
    image = torch.arange(1, 13).view(1, 2, 2, 3).permute(0, 3, 1, 2).float()
    zero, one = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    found = models.normalise(image, zero, one, True).permute(0, 2, 3, 1).flatten()
    published = [-1.593255, -1.3035723, -1.0138896, -0.7242068, -0.4345241, -0.14484136]
    np.testing.assert_allclose(found[:6].numpy(), published, rtol=1e-6)
    np.testing.assert_allclose(found[6:].numpy(), [-value for value in reversed(published)], rtol=1e-6)


def test_standardised_images_do_not_depend_on_brightness_and_contrast():
    network = build(std=1, standardise=True).double().eval()
    inputs = torch.rand(4, 3, 10, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(network(0.3 * inputs + 0.2), network(inputs), rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", VARIANTS, ids=str)
def test_evaluation_copy_folds_every_batch_normalisation(images, spec, capsys):
    network = learned(images, **spec)
    copy = models.evaluation_copy(network, "cpu")
    inputs, _ = images.batch(torch.arange(8))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network.modules()) == 3
    assert not any(isinstance(module, nn.BatchNorm2d) for module in copy.modules())
    assert "not folded" not in capsys.readouterr().err
    torch.testing.assert_close(copy(inputs), network(inputs), rtol=0, atol=1e-5)


def test_pixel_mean_travels_with_the_weights(images):
    network = learned(images, mean="pixels", standardise=True)
    state = load(save({name: value.contiguous() for name, value in network.state_dict().items()}))
    assert set(state) - set(build().state_dict()) == {"mean"}
    other = build(mean="pixels", standardise=True)
    other.load_state_dict(state)
    inputs, _ = images.batch(torch.arange(8))
    assert torch.equal(other.eval()(inputs), network(inputs))


@pytest.mark.parametrize(
    "spec", [{}, {"standardise": True}, {"mean": [0.1, 0.2, 0.3]}, {"standardise": False}], ids=str
)
def test_means_per_channel_are_not_among_the_weights(spec):
    names = set(build(**spec).state_dict())
    assert not {"mean", "std"} & names
    assert names == {"body." + name for name in build(**spec).body.state_dict()}


@pytest.mark.parametrize("mean", [0.4, "pixels"])
def test_gradient_through_standardising_is_right(images, mean):
    network = learned(images, mean=mean, standardise=True).double()
    # Not the network: its ReLUs have kinks.
    inputs = torch.rand(2, 3, 10, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    buffers = network.mean, network.std
    assert torch.autograd.gradcheck(
        lambda x: models.normalise(x, *buffers, True), inputs.requires_grad_(), fast_mode=True, atol=1e-7
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_constant_images_become_zeros_and_have_a_finite_gradient(value, dtype):
    inputs = torch.full((1, 3, 32, 32), value, dtype=dtype, requires_grad=True)
    one = torch.ones(1, 1, 1, 1, dtype=dtype)
    found = models.normalise(inputs, 0.4 * one, 0.25 * one, True)
    assert found.abs().max() < 1e-4
    weights = torch.rand(found.shape, generator=torch.Generator().manual_seed(0), dtype=dtype)
    (gradient,) = torch.autograd.grad((weights * found).sum(), inputs)
    # Below the least deviation of 1 / sqrt(3072) only the mean is subtracted.
    torch.testing.assert_close(gradient, (weights - weights.mean()) / 0.25 * 3072**0.5, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(3, 9, 9), (3, 1, 1), (1, 10, 12)])
def test_images_of_another_size_than_the_mean_are_refused_in_one_sentence(images, shape):
    network = learned(images, mean="pixels")
    found = " x ".join(map(str, shape))
    with pytest.raises(Problem, match=rf"for images of 3 x 10 x 12 \(.*\), not {found}: give it") as raised:
        network(torch.rand(2, *shape))
    assert "\n" not in str(raised.value)
    with pytest.raises(Problem, match=r"for images of 3 x 8 x 12 \(.*\), not 3 x 10 x 12"):
        models.set_pixel_mean(build((8, 12, 3), mean="pixels"), images)
    with pytest.raises(Problem, match="was built with a mean per channel"):
        models.set_pixel_mean(build(), images)


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"mean": "pixel"}, "mean must be a number, or a list of one for each channel, or pixels, not 'pixel'"),
        ({"mean": ["pixels"] * 3}, "mean must be a number"),
        ({"std": "pixels"}, "std must be a number, or a list of one for each channel, not 'pixels'"),
        ({"standardise": 1}, "network small: standardise must be true or false, not 1"),
        ({"standardize": True}, "unknown key 'standardize'"),
    ],
)
def test_bad_normalisations_are_refused_in_one_sentence(spec, sentence):
    with pytest.raises(Problem, match=sentence):
        build(**spec)
