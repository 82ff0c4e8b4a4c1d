"""A small prepared data set and run specification that training and evaluation are tested on."""

import copy

import numpy as np
import pytest
from trainings import SPEC

from robustloss.data import prepared

CLASSES = ["left", "right", "none"]


@pytest.fixture(scope="session")
def bars(tmp_path_factory):
    """Noisy 8 x 8 images with a bright bar on the left, on the right, or none."""
    rng = np.random.default_rng(0)

    def split(count: int):
        labels = np.arange(count) % 3
        images = rng.integers(0, 120, (count, 8, 8, 3), dtype=np.uint8)
        images[labels == 0, :, :3] += 70
        images[labels == 1, :, 5:] += 70
        return [images], images.shape, [{"image": i, "class": int(label)} for i, label in enumerate(labels)]

    directory = tmp_path_factory.mktemp("bars")
    splits = {"train": split(96), "test": split(60), "evaluation": split(30)}
    return prepared.write(directory, {"name": "bars"}, CLASSES, splits, {})


@pytest.fixture
def spec():
    return copy.deepcopy(SPEC) | {"model": SPEC["model"] | {"width": 8}, "seed": 3, "epochs": 4}


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A small finished results folder, to be read only, and the plan that asks for it."""
    import lineage_fixture  # which takes torch with it

    root = tmp_path_factory.mktemp("finished")
    return root, lineage_fixture.write(root)
