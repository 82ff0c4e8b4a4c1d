"""Quick layers beside the ones of torch that they stand for."""

import copy

import pytest
import torch
from torch import nn

from robustloss import models
from robustloss.models import squares
from robustloss.models.quick import Convolution, Pooled, PooledConvolution, Pooling, quicken
from robustloss.parallel import Team, WholeBatchNorm


def both(layer, images):
    """Outputs, and gradients to the images and the weights, of the quick layer and of torch's."""
    found = []
    for module in (quicken(nn.Sequential(copy.deepcopy(layer))), layer):
        inputs = images.clone().requires_grad_()
        outputs = module(inputs)
        weights = torch.linspace(-1, 1, outputs.numel(), dtype=outputs.dtype).view_as(outputs)
        found.append((outputs, *torch.autograd.grad((outputs * weights).sum(), [inputs, *layer_weights(module)])))
    return module, zip(*found, strict=True)


def layer_weights(module):
    return list(module.parameters())


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("padding", [0, 1, 2, (2, 0)], ids=str)
@pytest.mark.parametrize(("channels", "side"), [(1, 4), (2, 2), (3, 2), (4, 2)])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
@pytest.mark.parametrize("count", [3, 17], ids=["squares", "batch"])
def test_the_gradient_of_a_convolution_is_torchs(channels, side, padding, order, bias, count, monkeypatch):
    monkeypatch.setattr(squares, "WIDE", True)
    torch.manual_seed(0)
    layer = nn.Conv2d(channels, 5, (3, 5) if padding == (2, 0) else 5, padding=padding, bias=bias).double()
    images = torch.rand(count, channels, 12, 4 * side, dtype=torch.float64).contiguous(memory_format=order)
    assert isinstance(quicken(nn.Sequential(copy.deepcopy(layer)))[0], Convolution)
    for ours, theirs in both(layer.to(memory_format=order), images)[1]:
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize("size", [(8, 6), (7, 9), (2, 3)], ids=str)
def test_a_pooling_is_torchs_to_the_last_bit_also_where_maxima_are_equal(size, order):
    # Few values, so that most squares have several maxima; the first of them, row by row, has the gradient.
    images = torch.randint(0, 3, (50, 3, *size), generator=torch.Generator().manual_seed(0)).float()
    for ours, theirs in both(nn.MaxPool2d(2), images.contiguous(memory_format=order))[1]:
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 8, 3, stride=2),
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(3, 6, 3, groups=3),
        nn.Conv2d(3, 8, 3, dilation=2),
        nn.Conv2d(3, 8, 3, padding="same"),
        nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(3, 8, 3, padding=3),
        nn.Conv2d(16, 8, 3),
        nn.MaxPool2d(3, 2),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, padding=1),
    ],
    ids=str,
)
def test_other_layers_stay_torchs(layer):
    assert type(quicken(nn.Sequential(copy.deepcopy(layer)))[0]) is type(layer)


def test_images_that_squares_do_not_fill_have_torchs_gradient():
    images = torch.rand(2, 1, 10, 9, dtype=torch.float64)
    for ours, theirs in both(nn.Conv2d(1, 4, 3, padding=1).double(), images)[1]:
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels_last"])
@pytest.mark.parametrize(("channels", "outputs"), [(1, 6), (3, 5), (6, 7), (6, 16)])
@pytest.mark.parametrize("kernel", [((5, 5), (2, 2)), ((3, 4), (0, 1))], ids=str)
@pytest.mark.parametrize("size", [(12, 16), (11, 13)], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
def test_a_convolution_that_is_pooled_is_torchs(channels, outputs, kernel, size, bias, order):
    torch.manual_seed(0)
    window, padding = kernel
    convolution = nn.Conv2d(channels, outputs, window, padding=padding, bias=bias).double()
    layers = nn.Sequential(convolution, nn.MaxPool2d(2)).to(memory_format=order)
    # Whole numbers, which both add up exactly: without noise many maxima are equal, and the first has the gradient.
    convolution.weight.data = torch.randint(-1, 2, convolution.weight.shape).double()
    images = torch.randint(0, 3, (3, channels, *size)).double().contiguous(memory_format=order)
    assert [type(layer) for layer in quicken(copy.deepcopy(layers))] == [PooledConvolution, Pooled]
    for ours, theirs in both(layers, images)[1]:
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_a_convolution_is_pooled_only_where_nothing_else_sees_it():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.pooling = nn.Conv2d(1, 4, 3), nn.MaxPool2d(2)

        def forward(self, images):
            found = self.convolution(images)
            return self.pooling(found), found

    quick = quicken(Both())
    assert [type(layer) for layer in quick.children()] == [Convolution, Pooling]
    between = quicken(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2)))
    assert [type(layer) for layer in between] == [Convolution, nn.ReLU, Pooling]


def test_in_lower_precision_layers_are_torchs():
    layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    images = torch.rand(2, 1, 14, 14)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(quicken(copy.deepcopy(layers))(images), layers(images))


def test_a_quick_network_has_the_weights_and_names_of_the_network():
    torch.manual_seed(0)
    spec = {"name": "lenet5", "mean": 0.1, "std": 0.3, "pretrained": "none"}
    model = models.build(spec, 10, (28, 28, 1))
    quick = quicken(copy.deepcopy(model))
    kinds = [type(layer) for layer in quick.body if type(layer).__module__ == "robustloss.models.quick"]
    assert kinds == 2 * [PooledConvolution, Pooled]
    assert quick.state_dict().keys() == model.state_dict().keys()
    images = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(quick(images), model(images))


def test_a_frozen_network_follows_the_one_that_is_trained():
    torch.manual_seed(0)
    spec = {"name": "resnet_cifar", "depth": 8, "mean": 0.5, "std": 0.25, "pretrained": "none"}
    model = quicken(models.build(spec, 10, (32, 32, 3)))
    frozen = models.Frozen(model, "cpu")
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = frozen.network(images)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    after = frozen.refresh()(images)
    assert (after - before).abs().max() > 0.1
    torch.testing.assert_close(after, model.eval()(images), rtol=1e-4, atol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.network.modules())
    assert not any(parameter.requires_grad for parameter in frozen.network.parameters())


def test_a_normalisation_over_processes_is_folded_as_well():
    torch.manual_seed(0)
    spec = {"name": "resnet_cifar", "depth": 8, "mean": 0.5, "std": 0.25, "pretrained": "none"}
    model = models.build(spec, 10, (32, 32, 3))
    whole = Team(size=2).together(copy.deepcopy(model), torch.device("cpu"))
    assert any(isinstance(module, WholeBatchNorm) for module in whole.modules())
    frozen = models.Frozen(whole, "cpu").network
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())
    images = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(frozen(images), model.eval()(images), rtol=1e-4, atol=1e-4)
