"""Shifts and flips of training images against torchvision's, image by image, and what is drawn."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import chisquare
from small_networks import seeded
from torchvision.transforms import functional as transforms

from robustloss import augmentation
from robustloss.data import prepared
from robustloss.errors import Problem
from robustloss.images import Images

CPU = torch.device("cpu")
PADDING = {"zero": "constant", "nearest": "edge"}


@pytest.fixture(scope="module", params=[(8, 8, 3), (9, 7, 1), (6, 10, 4)], ids=str)
def data(request, tmp_path_factory):
    """Noise of several shapes, in which no value is 0."""
    images = np.random.default_rng(0).integers(1, 256, (40, *request.param), dtype=np.uint8)
    rows = [{"image": number, "class": number % 2} for number in range(40)]
    splits = {split: ([images], images.shape, rows) for split in prepared.SPLITS}
    return prepared.write(tmp_path_factory.mktemp("noise"), {"name": "noise"}, ["a", "b"], splits, {})


def by_torchvision(images: torch.Tensor, moves: torch.Tensor, shift: int, fill: str) -> torch.Tensor:
    """Each image (channels, height, width) padded, cropped and flipped on its own."""
    height, width = images.shape[2:]
    found = []
    for image, (down, right, mirrored) in zip(images, moves.T.tolist(), strict=True):
        padded = transforms.pad(image, [shift], padding_mode=PADDING[fill])
        image = transforms.crop(padded, shift - down, shift - right, height, width)
        found.append(transforms.hflip(image) if mirrored else image)
    return torch.stack(found)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("fill", ["zero", "nearest"])
@pytest.mark.parametrize("shift", [0, 1, 4])
def test_equals_torchvision_bit_for_bit(data, shift, fill, flip):
    spec = {"shift": shift, "fill": fill, "flip": flip}
    indices = torch.arange(39, -1, -1)
    rows = torch.tensor([*range(40), 3, 3, 0])
    images, labels = Images(data, "train", CPU, indices, spec).batch(rows, seeded(5))
    originals, plain_labels = Images(data, "train", CPU, indices).batch(rows)
    moves = augmentation.draw(len(rows), seeded(5), shift, flip)
    expected = by_torchvision(originals, moves, shift, fill)
    assert torch.equal(images, expected)
    assert torch.equal(labels, plain_labels)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert bool(moves[2].any()) == flip
    assert moves[:2].abs().max() == shift


def test_edges_are_filled_and_the_store_is_left_alone(data):
    """The first and last images of the store, moved out as far as allowed, borrow nothing from their neighbours."""
    height, width, _ = data.image_shape
    shift = min(height, width) - 1
    images = Images(data, "train", CPU, augmentation={"shift": shift})
    before = images.pixels.clone()
    for seed in range(20):
        found, _ = images.batch(torch.tensor([0, 39]), seeded(seed))
        down, right, _ = augmentation.draw(2, seeded(seed), shift, False).tolist()
        for image, dy, dx in zip(found, down, right, strict=True):
            shown = torch.zeros(height, width, dtype=torch.bool)
            shown[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)] = True
            assert torch.equal((image != 0).any(0), shown)
    assert torch.equal(images.pixels, before)


def test_nearest_fill_is_what_keras_does_at_whole_pixels(data):
    """Keras shifts with SciPy's linear interpolation and mode "nearest"; SciPy's shifts are down and right as well."""
    images = Images(data, "train", CPU, augmentation={"shift": 3, "fill": "nearest"})
    found, _ = images.batch(torch.arange(40), seeded())
    stored, _ = Images(data, "train", CPU).batch(torch.arange(40))
    for image, original, move in zip(found, stored, augmentation.draw(40, seeded(), 3, False).T, strict=True):
        expected = ndimage.shift(original.numpy(), (0, *move[:2].tolist()), order=1, mode="nearest")
        np.testing.assert_allclose(image.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("spec", [None, {"shift": 2, "flip": True}])
def test_without_augmentation_or_generator_batches_are_the_stored_images(data, spec):
    images = Images(data, "train", CPU, augmentation=spec)
    rows = torch.tensor([7, 0, 39])
    stored = torch.from_numpy(data.images("train")[rows.numpy()]).permute(0, 3, 1, 2).float().div(255)
    generators = [None] if spec else [None, seeded()]
    for generator in generators:
        assert torch.equal(images.batch(rows, generator)[0], stored)
        assert generator is None or torch.equal(generator.get_state(), seeded().get_state())
    assert torch.equal(torch.cat([batch for batch, _ in images.batches(16)])[rows], stored)


def test_augmentation_follows_from_the_generator_alone(data):
    images = Images(data, "train", CPU, augmentation={"shift": 3, "fill": "nearest", "flip": True})
    rows = torch.arange(40)
    torch.manual_seed(0)
    first = images.batch(rows, seeded(1))[0]
    state = torch.get_rng_state()
    generator = seeded(1)
    assert torch.equal(first, images.batch(rows, generator)[0])
    assert not torch.equal(first, images.batch(rows, generator)[0])
    assert not torch.equal(first, images.batch(rows, seeded(2))[0])
    assert torch.equal(state, torch.get_rng_state())


def test_shifts_and_flips_are_uniform_and_independent():
    moves = augmentation.draw(50_000, seeded(), 2, True)
    counts = Counter(map(tuple, moves.T.tolist()))
    assert set(counts) == {(y, x, mirrored) for y in range(-2, 3) for x in range(-2, 3) for mirrored in (0, 1)}
    assert chisquare(list(counts.values())).pvalue > 0.01


def test_nothing_is_drawn_that_is_not_asked_for():
    assert not augmentation.draw(100, seeded(), 0, False).any()
    assert not augmentation.draw(1000, seeded(), 3, False)[2].any()


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"shfit": 4}, "augmentation: unknown key 'shfit'; did you mean 'shift'"),
        ({"shift": -1}, "whole number of pixels from 0 to 31 for images of 40 x 32, not -1"),
        ({"shift": 0.1}, "whole number of pixels from 0 to 31 for images of 40 x 32, not 0.1"),
        ({"shift": True}, "whole number of pixels"),
        ({"shift": 32}, "whole number of pixels from 0 to 31"),
        ({"fill": "reflect"}, "there is no fill 'reflect'.*zero"),
        ({"fill": ["zero"]}, "there is no fill"),
        ({"flip": "yes"}, "flip must be true or false, not 'yes'"),
        ("shift", "the settings are keys"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(spec, sentence):
    with pytest.raises(Problem, match=sentence) as raised:
        augmentation.check(spec, (40, 32, 3))
    assert "\n" not in str(raised.value)


def test_good_settings_pass_and_images_check_theirs(data):
    for spec in ({}, {"shift": 31}, {"shift": 4, "fill": "nearest", "flip": True}):
        augmentation.check(spec, (40, 32, 3))
    with pytest.raises(Problem, match="shift must be"):
        Images(data, "train", CPU, augmentation={"shift": 31})
