"""The random resizing and padding defence against torch's resize and pad image by image, and what is drawn."""

import pytest
import torch
from scipy.stats import chisquare
from small_networks import seeded
from torch import nn
from torch.nn import functional as F

from robustloss import defences, models
from robustloss.defences import random_padding
from robustloss.errors import Problem

SETTINGS = {"smallest": 32, "size": 35, "passes": 10}


def network(name="small", shape=(32, 32, 3), dtype=torch.float32, **spec):
    torch.manual_seed(0)
    spec = {"name": name, "mean": 0.5, "std": 0.25, **spec}
    return models.evaluation_copy(models.build(spec, 5, shape).to(dtype), "cpu")


def draw(count=6, channels=3, side=32, dtype=torch.float32):
    return torch.rand(count, channels, side, side, generator=seeded(1), dtype=dtype)


def defended(model, seed=0, **settings):
    return defences.build({"name": "random_padding", **SETTINGS, **settings}, model, seeded(seed))


def by_hand(images, places, size, fill):
    """Each image mirrored, resized and padded on its own, with torch's functions."""
    found = []
    for image, (side, top, left, mirrored) in zip(images, places.T.tolist(), strict=True):
        image = image.flip(2) if mirrored else image
        resized = F.interpolate(image[None], size=(side, side), mode="nearest")
        found.append(F.pad(resized, (left, size - side - left, top, size - side - top), value=fill))
    return torch.cat(found)


class Seen(nn.Module):
    """Keeps what it is given; its logits are large and different from call to call."""

    def __init__(self):
        super().__init__()
        self.inputs = []

    def forward(self, images):
        self.inputs.append(images)
        return 40 * images.flatten(1)[:, :7] - 20


@pytest.mark.parametrize("fill", [0.0, 0.5])
@pytest.mark.parametrize(
    ("side", "smallest", "size"), [(32, 32, 35), (32, 40, 60), (28, 20, 28), (299, 310, 331), (5, 1, 9)]
)
def test_images_are_resized_and_padded_as_torch_does_it(side, smallest, size, fill):
    images = draw(24 if side < 100 else 4, 3, side)
    places = random_padding.draw(len(images), seeded(), smallest, size, True)
    found = random_padding.place(images, places, size, fill)
    assert torch.equal(found, by_hand(images, places, size, fill))
    assert set(places[3].tolist()) == {0, 1}


@pytest.mark.parametrize("size", range(1, 40))
def test_every_size_rounds_to_torchs_nearest_pixel(size):
    images = draw(1, 1, 23, torch.float64)
    places = torch.tensor([[size], [0], [0], [0]])
    found = random_padding.place(images, places, size, 0)
    assert torch.equal(found, F.interpolate(images, size=(size, size), mode="nearest"))


def test_gradient_of_placing_is_that_of_torchs_resize_and_pad():
    images = draw(dtype=torch.float64).requires_grad_()
    places = random_padding.draw(6, seeded(), 28, 40, True)
    weights = torch.rand(6, 3, 40, 40, generator=seeded(2), dtype=torch.float64)
    gradients = [
        torch.autograd.grad((weights * put(images, places, 40, 0.5)).sum(), images)[0]
        for put in (random_padding.place, by_hand)
    ]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


def test_sides_and_offsets_are_uniform():
    """Every side from smallest to below size, and for each side every offset that fits, as often as any other."""
    sides, top, left, mirrored = random_padding.draw(60_000, seeded(), 32, 35, True)
    assert set(sides.tolist()) == {32, 33, 34}
    for side in (32, 33, 34):
        here = sides == side
        cells = torch.stack([top, left, mirrored])[:, here].unique(dim=1, return_counts=True)[1]
        assert len(cells) == 2 * (36 - side) ** 2
        assert chisquare(cells.numpy()).pvalue > 0.01
    assert chisquare(sides.bincount()[32:].numpy()).pvalue > 0.01
    assert not random_padding.draw(100, seeded(), 32, 35, False)[3].any()


@pytest.mark.parametrize("flip", [False, True])
def test_predictions_are_averaged_over_the_passes(flip):
    model, images = network(dtype=torch.float64), draw(dtype=torch.float64)
    logits = defended(model, flip=flip)(images)
    generator, total = seeded(), 0
    for _ in range(10):
        places = random_padding.draw(6, generator, 32, 35, flip)
        total = total + model(by_hand(images, places, 35, 0.0)).softmax(1)
    assert logits.shape == (6, 5)
    torch.testing.assert_close(logits.exp(), total / 10, rtol=0, atol=1e-12)
    assert torch.equal(logits.argmax(1), total.argmax(1))


def test_images_have_draws_of_their_own_in_every_pass():
    model = Seen()
    defended(model, passes=4, smallest=20, size=32)(draw(1).expand(30, -1, -1, -1))
    versions = torch.cat(model.inputs).flatten(1)
    assert versions.shape == (120, 3 * 32 * 32)
    assert len(versions.unique(dim=0)) > 100


def test_small_probabilities_do_not_underflow():
    """Where float32 probabilities are 0, the logits are still those of float64."""
    models_, images = (Seen(), Seen()), draw(20) * 10
    single, double = (
        defended(model, passes=3)(images.to(dtype))
        for model, dtype in zip(models_, (torch.float32, torch.float64), strict=True)
    )
    assert (single.exp() == 0).any()
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-4)


def test_gradient_reaches_the_images_through_all_passes():
    model = network(dtype=torch.float64)
    images = draw(2, dtype=torch.float64).requires_grad_()
    (gradient,) = torch.autograd.grad(defended(model, passes=4)(images)[:, 1].sum(), images)
    direction = torch.randn(images.shape, generator=seeded(3), dtype=torch.float64)
    with torch.no_grad():
        ahead, behind = (defended(model, passes=4)(images + step * direction)[:, 1].sum() for step in (1e-6, -1e-6))
    assert gradient.abs().amax((1, 2, 3)).min() > 0
    torch.testing.assert_close((gradient * direction).sum(), (ahead - behind) / 2e-6, rtol=1e-4, atol=0)


def test_answers_follow_from_the_generator_alone():
    model, images = network(), draw()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    one, same, other = defended(model, 1), defended(model, 1), defended(model, 2)
    first = one(images)
    assert torch.equal(first, same(images))
    assert not torch.equal(first, one(images))
    assert not torch.equal(first, other(images))
    assert torch.equal(state, torch.get_rng_state())


def test_lenet_is_defended_within_the_size_of_its_images():
    model, images = network("lenet5", (28, 28, 1)), draw(channels=1, side=28)
    assert defended(model, smallest=24, size=28)(images).shape == (6, 5)
    # 31 pixels leave as many numbers to its linear layer as 28 do.
    assert defended(model, smallest=28, size=31)(images).shape == (6, 5)
    with pytest.raises(Problem, match=r"cannot take side 32 .*: set size to 28 and smallest below it") as raised:
        defended(model, smallest=28, size=32)(images)
    assert "\n" not in str(raised.value)


def test_a_mean_per_pixel_is_defended_within_the_size_of_its_images():
    model, images = network(mean="pixels", standardise=True), draw()
    assert defended(model, smallest=28, size=32)(images).shape == (6, 5)
    with pytest.raises(Problem, match=r"cannot take side 35 .*: set size to 32 and smallest below it"):
        defended(model)(images)


class Fails(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, images):
        raise self.error


@pytest.mark.parametrize(
    ("size", "error"), [(32, RuntimeError("own fault")), (35, torch.OutOfMemoryError("no memory")), (35, KeyError("k"))]
)
def test_errors_of_the_network_that_size_did_not_cause_pass_through(size, error):
    with pytest.raises(type(error), match=str(error)):
        defended(Fails(error), smallest=30, size=size)(draw())


def test_defended_network_keeps_the_mode_and_the_weights():
    model = network()
    defence = defended(model)
    assert not defence.training
    assert defended(model.train()).training
    assert [id(own) for own in defence.parameters()] == [id(own) for own in model.parameters()]


def test_images_that_are_not_square_are_refused():
    with pytest.raises(Problem, match="takes square images, not 32 x 30"):
        defended(network())(draw()[:, :, :, :30])


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"name": "random_pading"}, "defences: there is no 'random_pading'; did you mean 'random_padding'"),
        ({"name": "random_padding", **SETTINGS, "pases": 3}, "unknown key 'pases'; did you mean 'passes'"),
        ({"name": "random_padding", "smallest": 3, "size": 5}, "defence random_padding: the key 'passes' is missing"),
        (SETTINGS, "defence: the key 'name' is missing"),
        ({"name": "random-padding", **SETTINGS, "passes": 0}, "passes must be a whole number from 1, not 0"),
        ({"name": "random_padding", **SETTINGS, "size": 35.5}, "size must be a whole number from 1, not 35.5"),
        ({"name": "random_padding", **SETTINGS, "smallest": True}, "smallest must be a whole number"),
        ({"name": "random_padding", **SETTINGS, "smallest": 35}, "smallest must be below size, which is 35, not 35"),
        ({"name": "random_padding", **SETTINGS, "flip": 1}, "flip must be true or false, not 1"),
        ({"name": "random_padding", **SETTINGS, "fill": 127}, r"fill is a pixel's value in \[0, 1\], not 127"),
        ({"name": "random_padding", **SETTINGS, "fill": "zero"}, "fill is a pixel's value"),
        ({"name": "random_padding", **SETTINGS, "fill": float("nan")}, "fill is a pixel's value"),
    ],
)
def test_bad_defences_are_refused_in_one_sentence(spec, sentence):
    with pytest.raises(Problem, match=sentence) as raised:
        defences.build(spec, network(), seeded())
    assert "\n" not in str(raised.value)
