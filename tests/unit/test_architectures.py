"""The papers' networks: published sizes, torchvision's blocks, closed forms, and what every network owes."""

import pytest
import torch
from small_networks import stir
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from robustloss import models
from robustloss.errors import Problem
from robustloss.models.residual import Residual

CIFAR = (32, 32, 3)
PREACTIVATED = {"name": "resnet_cifar", "depth": 20, "preactivation": True}
# Each with the batch normalisations that no convolution alone feeds: those that follow a sum.
EACH = {
    "lenet5": ({"name": "lenet5"}, (28, 28, 1), 0),
    "resnet_cifar": ({"name": "resnet_cifar", "depth": 20}, (16, 16, 3), 0),
    "resnet_cifar, projection": ({"name": "resnet_cifar", "depth": 8, "shortcut": "projection"}, (9, 14, 1), 0),
    "resnet_cifar, preactivated": (PREACTIVATED, (16, 16, 3), 9),
    "resnet_cifar, both": ({**PREACTIVATED, "depth": 8, "shortcut": "projection", "width": 5}, (9, 14, 1), 3),
    "resnet_bottleneck": ({"name": "resnet_bottleneck", "depth": 20, "embedding": 256}, (16, 16, 3), 6),
    "resnet50_small": ({"name": "resnet50_small"}, (16, 16, 3), 0),
    "cnn8": ({"name": "cnn8"}, (16, 16, 3), 0),
    "cnn8, plain": ({"name": "cnn8", "batch_norm": False}, (9, 14, 1), 0),
}
each = pytest.mark.parametrize(("spec", "shape", "left"), EACH.values(), ids=EACH)


def build(spec, classes=10, shape=CIFAR, seed=0):
    torch.manual_seed(seed)
    return models.build({"mean": 0.5, "std": 0.25, **spec}, classes, shape)


def build_bottleneck(embedding=0):
    return build({"name": "resnet_bottleneck", "depth": 29, "embedding": embedding})


def draw(shape, count=2, seed=0):
    height, width, channels = shape
    images = torch.rand(count, channels, height, width, generator=torch.Generator().manual_seed(seed))
    return images.double()


def learned(model):
    """As if it had learned, in double precision."""
    return stir(model).double().eval()


def count(spec, classes=10, shape=CIFAR):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(spec, classes, shape).parameters())


def modules(model, kind):
    return [module for module in model.modules() if isinstance(module, kind)]


def calls(spec, shape):
    """The layers without children in the order in which they run, by their types' first letters, and their heights."""
    letters, heights = [], []

    def record(module, _, output):
        letters.append(type(module).__name__[0])
        heights.append(output.shape[2] if output.ndim == 4 else 0)

    height, width, channels = shape
    with torch.device("meta"):
        model = build(spec, 10, shape)
        for module in model.modules():
            if not list(module.children()) and not isinstance(module, nn.Identity):
                module.register_forward_hook(record)
        model(torch.empty(2, channels, height, width))
    return "".join(letters), heights


# What every network owes


@each
def test_outputs_have_one_row_per_image_and_gradients_reach_every_image(spec, shape, left):
    model = build(spec, 7, shape)
    images = draw(shape).float().requires_grad_()
    logits = model(images)
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(gradient.isfinite().all() and gradient.abs().max() > 0 for gradient in images.grad)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@each
def test_weights_follow_from_the_seed(spec, shape, left):
    first, again, other = (build(spec, 7, shape, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert all(not torch.equal(first[key], other[key]) for key in first if first[key].ndim > 1)


@each
def test_evaluation_copy_has_the_same_logits_and_input_gradients(spec, shape, left):
    model = learned(build(spec, 7, shape))
    copy = models.evaluation_copy(model, "cpu")
    images = draw(shape).requires_grad_()
    (logits, gradient), (copied, copied_gradient) = (
        (logits, torch.autograd.grad(logits[:, 0].sum(), images)[0]) for logits in (model(images), copy(images))
    )
    assert (copied - logits).abs().max() <= 1e-10 * logits.abs().max()
    assert (copied_gradient - gradient).abs().max() <= 1e-10 * gradient.abs().max()
    assert len(modules(copy, nn.BatchNorm2d)) == left


# Published numbers of parameters


@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize(
    ("depth", "millions", "pad", "projection"),
    [(20, 0.27, 269_722, 272_474), (32, 0.46, 464_154, 466_906), (56, 0.85, 853_018, 855_770)],
)
def test_resnet_cifar_has_the_published_size(depth, millions, pad, projection, preactivation):
    spec = {"name": "resnet_cifar", "depth": depth, "preactivation": preactivation}
    assert count(spec) == pad
    assert round(pad / 1e6, 2) == millions
    # Before activation, the projections' outputs are not normalised: 32 + 64 scales and as many shifts less.
    assert count({**spec, "shortcut": "projection"}) == projection - preactivation * 2 * (32 + 64)


@pytest.mark.parametrize(
    ("depth", "parameters", "averages"), [(29, 843_786, 5_216), (47, 1_390_154, None), (164, 4_941_546, None)]
)
def test_resnet_bottleneck_has_the_size_of_the_one_in_keras(depth, parameters, averages):
    n = (depth - 2) // 9

    def convolution(size, before, after):
        return size * size * before * after + after

    def unit(before, inner, after):
        norms = 2 * (before + inner + inner)
        return norms + convolution(1, before, inner) + convolution(3, inner, inner) + convolution(1, inner, after)

    stem, head = convolution(3, 3, 16) + 2 * 16, 2 * 256 + 256 * 10 + 10
    stages = [
        unit(before, inner, after) + convolution(1, before, after) + (n - 1) * unit(after, inner, after)
        for before, inner, after in [(16, 16, 64), (64, 64, 128), (128, 128, 256)]
    ]
    # The very first unit does not normalise its 16 channels.
    by_hand = stem + sum(stages) - 2 * 16 + head
    spec = {"name": "resnet_bottleneck", "depth": depth}
    assert count(spec) == by_hand == parameters
    assert count({**spec, "embedding": 256}) == parameters + 256 * 256 + 256
    if averages:
        norms = modules(build(spec), nn.BatchNorm2d)
        assert sum(2 * norm.num_features for norm in norms) == averages
        assert all(norm.eps == 1e-3 and norm.momentum == pytest.approx(1 - 0.99) for norm in norms)


def test_bottleneck_convolutions_are_those_of_the_summary_that_keras_prints():
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in modules(build_bottleneck(), nn.Conv2d)]
    first = [272, 2320, 1088, 1088] + 2 * [1040, 2320, 1088]
    second = [4160, 36928, 8320, 8320] + 2 * [8256, 36928, 8320]
    third = [16512, 147584, 33024, 33024] + 2 * [32896, 147584, 33024]
    assert sizes == [448, *first, *second, *third]
    letters, heights = calls({"name": "resnet_bottleneck", "depth": 29}, CIFAR)
    seen = [height for letter, height in zip(letters, heights, strict=True) if letter == "C"]
    assert seen == [32] * (1 + len(first)) + [16] * len(second) + [8] * len(third)


@pytest.mark.parametrize(("shape", "parameters"), [((28, 28, 1), 61_706), ((32, 32, 3), 83_126)])
def test_lenet5_has_the_published_size(shape, parameters):
    side = (shape[0] // 2 - 4) // 2
    linear = (16 * side * side + 1) * 120 + 121 * 84 + 85 * 10
    assert count({"name": "lenet5"}, shape=shape) == (25 * shape[2] + 1) * 6 + (25 * 6 + 1) * 16 + linear == parameters


def test_resnet50_small_has_the_size_of_the_one_in_torchvision_less_the_stem():
    torchvision, head, stem = 25_557_032, 2048 * 1000 + 1000, 3 * 64 * (7 * 7 - 3 * 3)
    expected = torchvision - head + 2048 * 200 + 200 - stem
    assert count({"name": "resnet50_small"}, 200, (64, 64, 3)) == expected == 23_910_152


@pytest.mark.parametrize(("batch_norm", "parameters"), [(True, 2_197_706), (False, 2_196_810)])
def test_cnn8_has_the_size_its_layers_add_up_to(batch_norm, parameters):
    weights = 9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256)
    per_channel = (1 + batch_norm) * 2 * (64 + 128 + 256)
    linear = 4 * 4 * 256 * 256 + 256 + 256 * 10 + 10
    assert count({"name": "cnn8", "batch_norm": batch_norm}) == weights + per_channel + linear == parameters


# Layers


@pytest.mark.parametrize(
    ("spec", "path", "projections"),
    [
        *(({"name": "resnet_cifar", "depth": depth}, depth - 1, 0) for depth in (20, 32, 56)),
        ({"name": "resnet_cifar", "depth": 32, "shortcut": "projection"}, 31, 2),
        ({"name": "resnet_bottleneck", "depth": 47}, 46, 3),
        ({"name": "resnet_bottleneck", "depth": 164}, 163, 3),
        ({"name": "resnet50_small"}, 49, 4),
        ({"name": "cnn8"}, 6, 0),
    ],
)
def test_depth_counts_the_convolutions_on_the_path_and_the_last_layer(spec, path, projections):
    with torch.device("meta"):
        model = build(spec)
    assert len(modules(model, nn.Conv2d)) == path + projections
    assert len(modules(model, nn.Linear)) == (2 if spec["name"] == "cnn8" else 1)


def test_layers_run_in_the_order_of_each_paper():
    # Convolution, BatchNorm2d, ReLU, Subsample, MaxPool2d, AdaptiveAvgPool2d, Flatten, Linear
    post, pre, bottle = "CBRCBR", "BRCBRC", "BRCBRCBRC"
    wider, narrow = "CBRCBSR", "BRCBRCS"
    expected = {
        "resnet_cifar": "CBR" + 3 * post + 2 * (wider + 2 * post) + "AFL",
        "resnet_cifar, preactivated": "CBR" + pre[2:] + 2 * pre + 2 * (narrow + 2 * pre) + "BRAFL",
        "resnet_bottleneck": "CBR" + bottle[2:] + "C" + bottle + 2 * (bottle + "C" + bottle) + "BRAFLL",
        "lenet5": "CMRCMRFLRLRL",
        "cnn8": 3 * "CBRCBRM" + "FLRL",
        "cnn8, plain": 3 * "CRCRM" + "FLRL",
    }
    for name, letters in expected.items():
        spec, shape, _ = EACH[name]
        assert calls(spec, shape)[0] == letters, name


@pytest.mark.parametrize(
    ("spec", "shape", "heights"),
    [
        ({"name": "resnet_cifar", "depth": 8}, (32, 32, 3), {32, 16, 8, 1}),
        ({"name": "resnet_cifar", "depth": 8}, (28, 28, 1), {28, 14, 7, 1}),
        ({"name": "resnet_cifar", "depth": 8}, (8, 8, 1), {8, 4, 2, 1}),
        ({"name": "resnet_bottleneck", "depth": 11}, (32, 32, 3), {32, 16, 8, 1}),
        ({"name": "resnet50_small"}, (64, 64, 3), {64, 32, 16, 8, 1}),
        ({"name": "cnn8"}, (32, 32, 3), {32, 16, 8, 4}),
        ({"name": "lenet5"}, (28, 28, 1), {28, 14, 10, 5}),
    ],
)
def test_images_shrink_stage_by_stage(spec, shape, heights):
    assert set(calls(spec, shape)[1]) - {0} == heights


@pytest.mark.parametrize("embedding", [0, 256])
def test_bottleneck_embeds_pooled_features_without_an_activation(embedding):
    model = learned(build_bottleneck(embedding))
    last = modules(model, nn.Linear)
    assert [(layer.in_features, layer.out_features) for layer in last] == (
        [(256, 256), (256, 10)] if embedding else [(256, 10)]
    )
    pooled = []
    modules(model, nn.Flatten)[0].register_forward_hook(lambda *arguments: pooled.append(arguments[2]))
    logits = model(draw(CIFAR))
    features = pooled[0]
    for layer in last:
        features = features @ layer.weight.T + layer.bias
    assert torch.allclose(logits, features, rtol=0, atol=1e-12)


# Values, by torchvision's blocks and by closed forms


class OptionA(nn.Module):
    """Option A of He et al. 2016a in other words: pooling by one pixel, and a concatenation with zeros."""

    def forward(self, images):
        images = F.avg_pool2d(images, 1, 2)
        zeros = torch.zeros_like(images[:, : images.shape[1] // 2])
        return torch.cat([zeros, images, zeros], 1)


def of_basic_blocks(units, shortcut):
    def projection(before, after):
        return nn.Sequential(nn.Conv2d(before, after, 1, 2, bias=False), nn.BatchNorm2d(after))

    blocks = []
    for before, after in [(16, 16), (16, 32), (32, 64)]:
        short = None if before == after else OptionA() if shortcut == "pad" else projection(before, after)
        blocks.append(BasicBlock(before, after, 1 if short is None else 2, short))
        blocks += [BasicBlock(after, after) for _ in range(units - 1)]
    stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).double().eval()


@pytest.mark.parametrize("shortcut", ["pad", "projection"])
def test_resnet_cifar_computes_what_basic_blocks_of_torchvision_compute(shortcut):
    model = learned(build({"name": "resnet_cifar", "depth": 20, "shortcut": shortcut}, shape=(16, 16, 3)))
    reference = of_basic_blocks(3, shortcut)
    reference.load_state_dict(dict(zip(reference.state_dict(), model.body.state_dict().values(), strict=True)))
    images = draw((16, 16, 3))
    assert torch.allclose(model.body(images), reference(images), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "spec", [PREACTIVATED, {**PREACTIVATED, "shortcut": "projection"}, EACH["resnet_bottleneck"][0]]
)
def test_preactivated_units_add_to_their_input_as_it_came(spec):
    model = learned(build(spec))
    for unit in modules(model, Residual):
        convolutions = modules(unit.branch, nn.Conv2d)
        nn.init.zeros_(convolutions[-1].weight)
        before, after = convolutions[0].in_channels, convolutions[-1].out_channels
        images = torch.randn(2, before, 6, 6, dtype=torch.double)
        if before == after:
            expected = images
        elif spec.get("shortcut", "pad") == "pad" and "embedding" not in spec:
            expected = torch.zeros(2, after, 3, 3, dtype=torch.double)
            expected[:, before // 2 : before // 2 + before] = images[:, :, ::2, ::2]
        else:
            expected = F.conv2d(images, unit.shortcut.weight, unit.shortcut.bias, 2 if after == 2 * before else 1)
        assert torch.equal(unit(images), expected)


def test_preactivated_units_add_convolutions_of_activated_inputs():
    unit = modules(learned(build(PREACTIVATED)), Residual)[-1]
    first, second = modules(unit.branch, nn.Conv2d)
    images = torch.randn(2, 64, 6, 6, dtype=torch.double)

    def activate(values, norm):
        scale = norm.weight / (norm.running_var + 1e-5).sqrt()
        return ((values - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]).clamp(0)

    one, two = modules(unit.branch, nn.BatchNorm2d)
    expected = F.conv2d(activate(images, one), first.weight, padding=1)
    expected = images + F.conv2d(activate(expected, two), second.weight, padding=1)
    assert torch.allclose(unit(images), expected, rtol=1e-10, atol=1e-10)


def test_lenet5_computes_the_steps_of_the_published_code():
    model = build({"name": "lenet5"}, shape=(28, 28, 1)).double()
    one, a, two, b, *linear = model.body.state_dict().values()
    images = draw((28, 28, 1))
    values = F.max_pool2d(F.conv2d(images, one, a, padding=2), 2).clamp(0)
    values = F.max_pool2d(F.conv2d(values, two, b), 2).clamp(0).reshape(2, 400)
    for weight, bias in zip(linear[:-2:2], linear[1:-2:2], strict=True):
        values = (values @ weight.T + bias).clamp(0)
    assert torch.allclose(model.body(images), values @ linear[-2].T + linear[-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("spec", "fan"),
    [
        ({"name": "resnet_cifar", "depth": 20}, "out"),
        ({"name": "resnet_bottleneck", "depth": 29}, "in"),
        ({"name": "resnet50_small"}, "out"),
        ({"name": "cnn8"}, "in"),
    ],
)
def test_convolutions_are_drawn_as_he_et_al_draw_them(spec, fan):
    large = [layer for layer in modules(build(spec), nn.Conv2d) if layer.weight.numel() > 1000]
    assert any(layer.in_channels != layer.out_channels for layer in large)
    for layer in large:
        neurons = layer.kernel_size[0] ** 2 * (layer.out_channels if fan == "out" else layer.in_channels)
        assert layer.weight.std().item() == pytest.approx(
            (2 / neurons) ** 0.5, rel=4 / (2 * layer.weight.numel()) ** 0.5
        )
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize(
    ("spec", "shape", "sentence"),
    [
        ({"name": "lenet5"}, (8, 8, 1), "lenet5 takes images from 12 x 12 pixels, not 8 x 8"),
        ({"name": "lenet5"}, (28, 11, 1), "from 12 x 12 pixels, not 28 x 11"),
        ({"name": "cnn8"}, (7, 8, 1), "cnn8 takes images from 8 x 8 pixels, not 7 x 8"),
        ({"name": "cnn8", "batch_norm": "no"}, CIFAR, "batch_norm must be true or false, not no"),
        ({"name": "resnet_cifar"}, CIFAR, "the key 'depth' is missing"),
        ({"name": "resnet_cifar", "depth": 51}, CIFAR, r"depth must be 6n \+ 2, such as 20, 32 or 56, not 51"),
        ({"name": "resnet_cifar", "depth": 2}, CIFAR, r"depth must be 6n \+ 2"),
        ({"name": "resnet_cifar", "depth": "20"}, CIFAR, r"depth must be 6n \+ 2"),
        ({"name": "resnet_cifar", "depth": 20, "width": 0}, CIFAR, "width must be a whole number from 1, not 0"),
        ({"name": "resnet_cifar", "depth": 20, "shortcut": "none"}, CIFAR, "must be pad or projection, not none"),
        ({**PREACTIVATED, "preactivation": "yes"}, CIFAR, "preactivation must be true or false, not yes"),
        ({"name": "resnet_bottleneck", "depth": 32}, CIFAR, r"depth must be 9n \+ 2, such as 29, 47 or 164, not 32"),
        ({"name": "resnet_bottleneck", "depth": 2}, CIFAR, r"depth must be 9n \+ 2"),
        ({"name": "resnet_bottleneck", "depth": 29, "embedding": -1}, CIFAR, "embedding must be a whole number from 0"),
        ({"name": "resnet_bottleneck", "depth": 29, "embedding": True}, CIFAR, "embedding must be a whole number"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(spec, shape, sentence):
    with pytest.raises(Problem, match=sentence):
        build(spec, shape=shape)


@pytest.mark.parametrize(("name", "least"), [("lenet5", 12), ("cnn8", 8)])
def test_the_least_size_named_is_one_that_works(name, least):
    assert build({"name": name}, shape=(least, least, 1)).double().eval()(draw((least, least, 1))).shape == (2, 10)
