"""Training in several processes: the same network as in one."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from robustloss import training
from robustloss.checkpoints import weights_path
from robustloss.files import canonical, read_json
from robustloss.images import Images
from robustloss.parallel import Team

LIBRARY = Path(training.__file__).parents[1]
NETWORK = {"name": "cnn8", "mean": [0.5] * 3, "std": [0.25] * 3, "pretrained": "none"}
# How far two networks may lie apart, of the way that training went: where the sums of parts are rounded otherwise.
APART = 1e-4


def launched(directory: Path, spec: dict, data, processes: int = 2) -> subprocess.CompletedProcess:
    """`train` under torch's launcher, on the CPU."""
    where = ["--data", str(data.directory), "--out", str(directory), "--device", "cpu"]
    return subprocess.run(
        [sys.executable, "-m", "robustloss", "train", "--processes", str(processes), "--spec", canonical(spec), *where],
        env=os.environ | {"PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("count", [2, 3, 7, 64])
@pytest.mark.parametrize("size", [1, 2])
def test_parts_make_up_the_batch_and_none_is_empty(count, size):
    parts = [list(range(count))[Team(size, rank).part(count)] for rank in range(size)]
    assert [*itertools.chain(*parts)] == list(range(count))
    assert all(parts)


def test_each_process_draws_for_itself_and_the_leading_one_as_if_alone():
    drawn = [torch.rand(100, generator=torch.Generator().manual_seed(Team(8, rank).seed(3))) for rank in range(8)]
    assert torch.equal(drawn[0], torch.rand(100, generator=torch.Generator().manual_seed(3)))
    assert not any(torch.equal(*pair) for pair in itertools.combinations(drawn, 2))


class Silent(Team):
    """One process of several, that hears nothing of the others."""

    def add(self, *tensors):
        pass


def test_parts_of_a_batch_are_drawn_for_apart(bars, spec):
    """An attack's starts and a network's dropout are others in each process; which images there are is not."""

    def drawn(team: Team) -> list[torch.Tensor]:
        found = []

        def perturb(inputs, labels, generator, share):
            found.append([torch.rand(4, generator=generator), torch.rand(4), labels])
            return inputs

        images = Images(bars, "train", torch.device("cpu"))
        training._epoch(spec, 1, torch.nn.Identity(), [], images, perturb, team)
        return [torch.cat(parts) for parts in zip(*found, strict=True)]

    alone, *parts = (drawn(team) for team in (Team(), Silent(2, 0), Silent(2, 1)))
    for of_alone, first, second in zip(alone[:2], *(part[:2] for part in parts), strict=True):
        assert torch.equal(of_alone, first) and not torch.equal(first, second)
    assert sorted(alone[2].tolist()) == sorted(torch.cat([part[2] for part in parts]).tolist())


@pytest.fixture
def whole(spec):
    """A specification whose last batches are odd and whose objective, optimiser and images use all that is shared."""
    # Mirrored; moved images repeat their edges, and rounding would say which of two equal patches is the maximum.
    augmentation = {"flip": True}
    optimizer = {"name": "sgd", "momentum": 0.9, "weight_decay": 0.001}
    schedule = {"name": "constant", "rate": 0.005}
    return spec | {
        "schedule": schedule,
        "model": NETWORK,
        "batch_size": 33,
        "augmentation": augmentation,
        "optimizer": optimizer,
    }


def weights(directory: Path, epoch: int) -> torch.Tensor:
    """All numbers of an epoch's network, running statistics too, in one row."""
    tensors = load_file(weights_path(directory, epoch))
    return torch.cat([tensors[name].double().flatten() for name in sorted(tensors)])


@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "batch-norm"])
def test_two_processes_train_the_network_of_one(tmp_path, bars, whole, batch_norm):
    whole["model"] = NETWORK | {"batch_norm": batch_norm}
    training.train(whole, bars, tmp_path / "one/run", "cpu")
    found = launched(tmp_path / "two/run", whole, bars)
    assert found.returncode == 0, found.stderr
    one, two = (weights(tmp_path / name / "run", whole["epochs"]) for name in ("one", "two"))
    way = one - weights(tmp_path / "one/run", 1)
    assert (two - one).norm() < APART * way.norm()
    records = [read_json(tmp_path / name / "run/run.json") for name in ("one", "two")]
    assert [record["processes"] for record in records] == [1, 2]
    histories = [(tmp_path / name / "run/history.csv").read_text().splitlines() for name in ("one", "two")]
    assert len(histories[0]) == len(histories[1]) == whole["epochs"] + 1


def test_more_processes_than_images_in_a_batch_are_refused(tmp_path, bars, whole):
    found = launched(tmp_path / "run", whole | {"batch_size": 94}, bars, processes=3)
    assert "a batch has fewer images than there are processes (3)" in found.stderr
