"""Networks: published sizes, determinism, normalisation, pretrained weights, and the evaluation copy's logits."""

import pytest
import torch
from small_networks import stir
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from robustloss import models
from robustloss.errors import Problem

SMALL = ["small", "small_separable"]
LARGE = ["resnet50", "efficientnet_b0"]


def build(name="small", classes=7, shape=(48, 48, 3), seed=0, pretrained=None, **spec):
    torch.manual_seed(seed)
    return models.build({"name": name, "mean": 0.5, "std": 0.25, **spec}, classes, shape, pretrained)


def draw(shape, count=4, seed=0):
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(("name", "published"), [("resnet50", 25_557_032), ("efficientnet_b0", 5_288_548)])
def test_number_of_parameters_is_the_published_one(name, published):
    with torch.device("meta"):
        model = models.build({"name": name, "mean": 0, "std": 1}, 1000, (224, 224, 3))
    assert sum(parameter.numel() for parameter in model.parameters()) == published


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (48, 48, 3), (64, 48, 3)])
@pytest.mark.parametrize("name", SMALL)
def test_small_networks_take_digits_and_frames(name, shape):
    model = build(name, 5, shape)
    logits = model(draw(shape))
    assert logits.shape == (4, 5)
    logits.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "millions"), [("small", 1.576), ("small_separable", 1.833)])
def test_small_networks_cost_what_they_say(name, millions):
    with FlopCounterMode(display=False) as counter:
        build(name).eval()(draw((48, 48, 3), 1))
    assert counter.get_total_flops() / 2e6 == pytest.approx(millions, abs=0.01)


@pytest.mark.parametrize("name", SMALL)
def test_weights_follow_from_the_seed(name):
    first, again, other = (build(name, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_width_scales_the_network():
    assert build(width=4).body[-1].in_features == 16
    assert build("small_separable", width=4)(draw((48, 48, 3))).shape == (4, 7)


def test_images_are_normalised_per_channel_inside_the_network():
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    model = build(mean=mean, std=std).eval()
    images = draw((48, 48, 3))
    normalised = torch.stack([(images[:, i] - mean[i]) / std[i] for i in range(3)], 1)
    assert torch.allclose(model(images), model.body(normalised), rtol=0, atol=1e-6)
    assert not {"mean", "std"} & set(model.state_dict())


def test_one_mean_serves_all_channels():
    images = draw((48, 48, 3))
    one, three = build(mean=0.5, std=0.25).eval(), build(mean=[0.5] * 3, std=[0.25] * 3).eval()
    assert torch.equal(one(images), three(images))


@pytest.mark.parametrize("name", SMALL + LARGE)
def test_evaluation_copy_has_the_same_logits_and_input_gradients_and_no_batch_normalisation(name):
    shape = (48, 48, 3) if name in SMALL else (32, 32, 3)
    model = stir(build(name, shape=shape)).eval()
    copy = models.evaluation_copy(model, "cpu")
    images = draw(shape)
    found = []
    for network in (model, copy):
        inputs = images.clone().requires_grad_()
        logits = network(inputs)
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), inputs)
        found.append((logits.detach(), gradient))
    (logits, gradient), (copied_logits, copied_gradient) = found
    assert (copied_logits - logits).abs().max() <= 1e-5 * max(1, logits.abs().max())
    assert (copied_gradient - gradient).abs().max() <= 1e-4 * gradient.abs().max()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in copy.modules())


def test_evaluation_copy_leaves_the_model_alone():
    model = stir(build()).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    copy = models.evaluation_copy(model, "cpu")
    copy(draw((48, 48, 3)))
    assert model.training
    assert not copy.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in copy.parameters())
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    assert isinstance(model.body[0][1], nn.BatchNorm2d)


class Shared(nn.Module):
    """A convolution whose output is used twice, and one that is called twice: neither may be folded."""

    def __init__(self):
        super().__init__()
        self.twice_used, self.twice_called = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.first, self.second, self.folds = nn.BatchNorm2d(3), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.alone = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        y = self.twice_used(x)
        y = y + self.first(y)
        y = self.second(self.twice_called(y)) + self.twice_called(x)
        return self.folds(self.alone(y)).mean((2, 3))


class Branching(nn.Module):
    """A forward pass that depends on numbers, which cannot be traced."""

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.norm(self.convolution(x))
        return (y if y.sum() > 0 else -y).mean((2, 3))


@pytest.mark.parametrize(("kind", "left"), [(Shared, 2), (Branching, 1)])
def test_batch_normalisation_that_cannot_be_folded_stays(kind, left, capsys):
    torch.manual_seed(0)
    model = stir(kind()).eval()
    copy = models.evaluation_copy(model, "cpu")
    images = draw((8, 8, 3))
    assert torch.allclose(copy(images), model(images), rtol=0, atol=1e-6)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in copy.modules()) == left
    assert ("not folded" in capsys.readouterr().err) == (kind is Branching)


def test_pretrained_weights_fill_all_but_the_last_layer(tmp_path):
    from torchvision.models import efficientnet_b0

    torch.manual_seed(1)
    published = stir(efficientnet_b0(weights=None)).state_dict()
    torch.save(published, tmp_path / "weights.pth")
    fresh = build("efficientnet_b0", shape=(32, 32, 3)).body.state_dict()
    loaded = build("efficientnet_b0", shape=(32, 32, 3), pretrained=tmp_path / "weights.pth").body.state_dict()
    for name, value in loaded.items():
        assert torch.equal(value, fresh[name] if name.startswith("classifier.1.") else published[name]), name


def save_small(path, change=lambda state: state):
    torch.save(change(build(classes=1000, seed=1).body.state_dict()), path)


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda path: None, "are missing: download them"),
        (lambda path: path.write_bytes(b""), "are damaged"),
        (lambda path: path.write_bytes(b"<html>404</html>"), "are damaged"),
        (lambda path: (save_small(path), path.write_bytes(path.read_bytes()[:9000])), "are damaged"),
        (lambda path: torch.save([1, 2], path), "are no state dict"),
        (lambda path: torch.save({"state_dict": {}}, path), "are no state dict"),
        (lambda path: torch.save({}, path), r"do not fit this network \(0\.0\.weight\)"),
        (lambda path: save_small(path, lambda state: {**state, "extra": torch.zeros(1)}), r"\(extra\)"),
        (lambda path: save_small(path, lambda state: {**state, "1.0.weight": torch.zeros(1)}), r"\(1\.0\.weight\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused_in_one_sentence(write, sentence, tmp_path):
    path = tmp_path / "weights.pth"
    write(path)
    with pytest.raises(Problem, match=sentence) as raised:
        build(pretrained=path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 300 + len(str(path))


class Executes:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_weights_file_cannot_run_code(tmp_path):
    torch.save({"0.0.weight": Executes(tmp_path / "ran")}, tmp_path / "weights.pth")
    with pytest.raises(Problem, match="are damaged"):
        build(pretrained=tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "smal"}, "did you mean 'small'"),
        ({"widht": 8}, "network small: unknown key 'widht'; did you mean 'width'"),
        ({"width": 0}, "width must be a whole number from 1"),
        ({"mean": [0.5, 0.5]}, "mean has 2 values, but the images have 3 channels"),
        ({"std": [1, 1, 0]}, "std must be finite, and above 0"),
        ({"mean": float("nan")}, "mean must be finite"),
        ({"classes": 1}, "two classes at least"),
        ({"name": "resnet50", "shape": (28, 28, 1)}, "resnet50 takes images of 3 channels, not 1"),
        ({"name": "efficientnet_b0", "shape": (28, 28, 1)}, "efficientnet_b0 takes images of 3 channels, not 1"),
    ],
)
def test_bad_networks_are_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(Problem, match=sentence):
        build(**arguments)


def test_a_missing_key_is_named():
    with pytest.raises(Problem, match="the key 'std' is missing"):
        models.build({"name": "small", "mean": 0}, 7, (8, 8, 1))
