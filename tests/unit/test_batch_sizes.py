"""How many images an attack is given at once: by what it costs, and on a GPU by what there is room for."""

import pytest
import torch

from robustloss import batch_sizes
from robustloss.images import Images

GIB = 2**30


@pytest.mark.parametrize(
    ("need", "free", "size"),
    [
        # 4096 images of 1 MiB need 4 GiB, and as much again is left to the attack.
        (2**20, 80 * GIB, 4096),
        (2**20, 8 * GIB, 4096),
        (2**20, 8 * GIB - 1, 2048),
        # A ResNet-50 on frames needs about 100 MiB an image.
        (100 * 2**20, 80 * GIB, 256),
        (100 * 2**20, 16 * GIB, 64),
        (100 * 2**20, 150 * 2**20, 1),
        (0, 0, 4096),
    ],
)
def test_half_of_the_free_memory_is_filled(need, free, size):
    assert batch_sizes.fitting(need, free, 4096) == size


@pytest.mark.parametrize(
    ("spec", "passes"),
    [
        ({"name": "fgsm", "epsilon": 0.1}, 1),
        ({"name": "pgd", "epsilon": 0.1, "steps": 40, "restarts": 5}, 200),
        ({"name": "carlini_wagner", "steps": 1000, "search_steps": 9}, 9000),
        # Its defaults: 100 steps towards each of 9 classes, and 5000 queries.
        ({"name": "autoattack", "epsilon": 0.1}, 5900),
        ({"name": "expectation", "draws": 10, "attack": {"name": "bim", "steps": 20}}, 200),
        ({"name": "worst_case", "attacks": [{"name": "noise", "draws": 50}, {"name": "pgd", "steps": 50}]}, 100),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else None,
)
def test_passes_are_counted_from_settings_and_defaults(spec, passes):
    assert batch_sizes.passes(spec) == passes


def test_what_takes_long_is_saved_more_often(bars):
    images = Images(bars, "evaluation", torch.device("cpu"))
    pgd = {"name": "pgd", "epsilon": 0.1, "step_size": 0.1}
    assert batch_sizes.choose(pgd | {"steps": 2000}, None, images) == 256
    assert batch_sizes.choose(pgd | {"steps": 2001}, None, images) == 64
