"""How long a training epoch takes against the loop that a user would write, and what adversarial training adds.

The plain loop is torchvision's data set and transforms (for 32 x 32 images with random crop and flip), a DataLoader
with shuffling, the optimiser, and loss.item() after each step. Network, batch size and optimiser are equal. It is timed
without workers and with two, with one thread and with one for each core; ours with one thread and with one for each
core. The fastest of each side count: `epoch` is their ratio. `as it comes` compares with the loop as torch takes the
cores where nobody says otherwise.
Images are random bytes in MNIST's files, so nothing is downloaded. Each way runs in a process of its own, in turn; an
adversarial one beside the clean training that it is compared with, since two threads are not as fast in every process.
Two cores of a virtual machine may for a while be one of its host's: `cores` says how much more work as many processes
do together than one alone, before each round.
Goals: LeNet-5 on MNIST at least 3 times as fast as the plain loop on two cores (on a GPU: ResNet-56 on 32 x 32 images,
5 times); adversarial training with k steps at most 1.1 x (k + 1) clean epochs, here of the same threads.

    python tests/benchmarks/training.py
    python tests/benchmarks/training.py --device cuda
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

from robustloss import files, models, training  # noqa: E402
from robustloss.data import prepared  # noqa: E402
from robustloss.progress import track  # noqa: E402
from robustloss.provenance import Stopwatch  # noqa: E402

PGD = {"name": "pgd", "epsilon": 0.1, "step_size": 0.02, "random_start": True}
LENET = {"name": "lenet5", "mean": 0.1307, "std": 0.3081, "pretrained": "none"}
RESNET20 = {"name": "resnet_cifar", "depth": 20, "mean": 0.5, "std": 0.25, "pretrained": "none"}
RESNET56 = RESNET20 | {"depth": 56}
FILES = {"cpu": "training.json", "cuda": "training-cuda.json"}
GOALS = {"cpu": 3, "cuda": 5}
# Seconds in which a process has imported torch.
STARTED = 10


def adversarial_goal(steps: int) -> float:
    return 1.1 * (steps + 1)


class Table(NamedTuple):
    """A network, the shape and number of its images in an epoch, its training, and the ways that are timed."""

    network: dict
    shape: tuple[int, int, int]
    count: int
    training: dict
    ways: tuple[str, ...]


PLAIN = ("plain loop", "plain loop, 2 workers")
ADAM = {"optimizer": {"name": "adam"}, "rate": 0.001, "batch_size": 64}
SGD = {"optimizer": {"name": "sgd", "momentum": 0.9}, "rate": 0.1, "batch_size": 128}
MOVED = SGD | {"augmentation": {"shift": 4, "fill": "zero", "flip": True}}
STEPPED = ("ours, PGD-1", "ours, PGD-7")
TABLES = {
    "cpu": {
        "lenet5": Table(LENET, (28, 28, 1), 12_800, ADAM, (*PLAIN, "ours", *STEPPED)),
        # Forty times the passes are timed well enough on fewer images.
        "lenet5, few images": Table(LENET, (28, 28, 1), 1_280, ADAM, ("ours, PGD-40",)),
        "resnet20": Table(RESNET20, (32, 32, 3), 512, MOVED, ("ours", *STEPPED)),
    },
    "cuda": {
        "lenet5": Table(LENET, (28, 28, 1), 60_000, ADAM, (*PLAIN, "ours", "ours, PGD-7")),
        "resnet56": Table(RESNET56, (32, 32, 3), 50_000, MOVED, (*PLAIN, "ours", "ours, PGD-7")),
    },
}


def specification(table: Table, epochs: int, steps: int) -> dict:
    """A run of `epochs` epochs, adversarial with `steps` steps of PGD if there are any."""
    settings = {key: value for key, value in table.training.items() if key != "rate"}
    return settings | {
        "data": {"name": "random"},
        "model": table.network,
        "objective": [{"loss": "cross_entropy", "weight": 1}],
        "schedule": {"name": "constant", "rate": table.training["rate"]},
        "seed": 0,
        "epochs": epochs,
        "precision": "auto",
        "keep": "last",
        **({"perturbation": PGD | {"steps": steps}} if steps else {}),
    }


def ours(table: Table, data: prepared.Prepared, device: str, steps: int) -> float:
    """Seconds per epoch: three epochs less one, so that start and end do not count, after a training that warms up."""

    def seconds(epochs: int, steps: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            before = time.perf_counter()
            training.train(specification(table, epochs, steps), data, Path(folder) / "run", device)
            return time.perf_counter() - before

    seconds(1, min(steps, 1))
    once = seconds(1, steps)
    return (seconds(3, steps) - once) / 2


def torchvision_data(table: Table, pixels: np.ndarray, labels: np.ndarray):
    """torchvision's own data set over the given pixels, as a user would make it of files."""
    from torchvision import datasets, transforms

    to_tensor = [transforms.ToTensor(), transforms.Normalize(table.network["mean"], table.network["std"])]
    if table.shape[2] == 1:
        found = datasets.MNIST.__new__(datasets.MNIST)
        found.data, found.targets = torch.from_numpy(pixels[..., 0]), torch.from_numpy(labels)
    else:
        found = datasets.CIFAR10.__new__(datasets.CIFAR10)
        found.data, found.targets = pixels, labels.tolist()
        to_tensor = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), *to_tensor]
    found.transform, found.target_transform = transforms.Compose(to_tensor), None
    return found


def plain(table: Table, data: prepared.Prepared, device: str, workers: int) -> float:
    """Seconds per epoch of the loop of any tutorial, the second epoch."""
    images = torchvision_data(table, np.array(data.images("train")), data.labels("train"))
    size, rate = table.training["batch_size"], table.training["rate"]
    pinned = device != "cpu"
    loader = torch.utils.data.DataLoader(images, batch_size=size, shuffle=True, num_workers=workers, pin_memory=pinned)
    model = models.build(table.network, 10, table.shape).body.to(device).train()
    kinds = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    settings = {key: value for key, value in table.training["optimizer"].items() if key != "name"}
    optimizer = kinds[table.training["optimizer"]["name"]](model.parameters(), lr=rate, **settings)
    criterion = torch.nn.CrossEntropyLoss()
    for _ in range(2):
        before, running = time.perf_counter(), 0.0
        for inputs, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            running += loss.item()
    return time.perf_counter() - before


def one(folder: Path, name: str, way: str, device: str) -> dict:
    """One way in this process: images per second, and the peak memory of the process and of the device.

    Of an adversarial training also how many clean epochs one of its own takes.
    """
    table, data = TABLES[device][name], prepared.load(folder / name)
    compared = {}
    if way.startswith("plain"):
        seconds = plain(table, data, device, 2 if "workers" in way else 0)
    elif "PGD" in way:
        clean, seconds = (ours(table, data, device, steps) for steps in (0, int(way.rpartition("PGD-")[2])))
        compared = {"clean_epochs": seconds / clean}
    else:
        seconds = ours(table, data, device, 0)
    memory = {"peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}
    if device == "cuda":
        memory["peak_device_memory_bytes"] = torch.cuda.max_memory_allocated()
    return {"images_per_second": table.count / seconds, **compared, **memory}


def prepare(folder: Path, device: str) -> None:
    """Random images and labels of each table."""
    random = np.random.default_rng(0)
    for name, table in TABLES[device].items():

        def split(count: int, shape: tuple[int, ...] = table.shape):
            rows = [{"image": index, "class": int(label)} for index, label in enumerate(random.integers(0, 10, count))]
            return [random.integers(0, 256, (count, *shape), dtype=np.uint8)], (count, *shape), rows

        splits = {"train": split(table.count), "test": split(100), "evaluation": split(100)}
        prepared.write(folder / name, {"name": "random"}, [str(digit) for digit in range(10)], splits, {})


def busy(start: float) -> int:
    """Products of two matrices that fit the cache, by one thread in three seconds from the time `start` on."""
    torch.set_num_threads(1)
    matrix, count = torch.rand(256, 256), 0
    time.sleep(max(start - time.time(), 0))
    while time.time() < start + 3:
        matrix @ matrix
        count += 1
    return count


def worth(cores: int) -> float:
    """How much more work `cores` processes do together than one alone, before or after: as much, on idle cores."""

    def together(count: int) -> int:
        command = [sys.executable, __file__, "--busy", str(time.time() + STARTED)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        return sum(int(one.communicate()[0]) for one in [subprocess.Popen(command, **pipes) for _ in range(count)])

    before, all_together, after = together(1), together(cores), together(1)
    return all_together / max(before, after)


def measure(folder: Path, rounds: int, device: str, cores: int) -> tuple[dict[str, dict[str, dict]], list[float]]:
    """The medians of each way's rounds, and what the cores were worth before each."""
    pairs = [(name, way) for name, table in TABLES[device].items() for way in table.ways]
    found: dict[tuple, list[dict]] = {(*pair, threads): [] for pair in pairs for threads in sorted({1, cores})}
    worths = []
    for _ in track(range(rounds), "rounds"):
        worths.append(worth(cores))
        for (name, way, threads), rows in found.items():
            command = [sys.executable, __file__, "--one", str(folder), name, way, "--device", device]
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            output = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True, env=environment
            )
            rows.append(json.loads(output.stdout.splitlines()[-1]))
    table: dict[str, dict[str, dict]] = {name: {} for name in TABLES[device]}
    for (name, way, threads), rows in found.items():
        medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        table[name][f"{way}, {_threads(threads)}"] = medians
    return table, worths


def ratios(table: dict[str, dict[str, dict]], threads: str) -> dict[str, float]:
    """How many times as fast as the plain loop, and how many clean epochs adversarial ones take."""
    found = {}
    for name, ways in table.items():
        speeds = {way: row["images_per_second"] for way, row in ways.items()}
        plain_loops = {way: speed for way, speed in speeds.items() if way.startswith("plain")}
        clean = [speed for way, speed in speeds.items() if way.startswith("ours") and "PGD" not in way]
        if plain_loops:
            found[f"epoch, {name}"] = max(clean) / max(plain_loops.values())
            as_it_comes = max(speed for way, speed in plain_loops.items() if way.endswith(threads))
            found[f"epoch as it comes, {name}"] = max(clean) / as_it_comes
        for way, row in ways.items():
            if "clean_epochs" in row:
                label, number = way.removeprefix("ours, ").split(", ")
                found[f"{label}, {name}, {number}"] = row["clean_epochs"]
    return found


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median counts (3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="the larger number of threads (all cores)")
    parser.add_argument("--device", choices=FILES, default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--busy", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help="results/benchmarks/training.json, or training-cuda.json")
    options = parser.parse_args()
    if options.busy:
        print(busy(options.busy))
        return
    options.output = options.output or ROOT / "results" / "benchmarks" / FILES[options.device]
    if options.one:
        folder, network, way = options.one
        print(json.dumps(one(Path(folder), network, way, options.device)))
        return
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), options.device)
        table, worths = measure(Path(folder), options.rounds, options.device, options.threads)
    print(f"{options.threads} cores were worth {', '.join(f'{cores:.2f}' for cores in worths)}")
    found = ratios(table, _threads(options.threads))
    for name, ways in table.items():
        for way, row in ways.items():
            memory = " + ".join(f"{value / 2**20:.0f}" for key, value in row.items() if key.startswith("peak"))
            print(f"{name:10} {way:34} {row['images_per_second']:10.0f} images/s {memory:>12} MiB")
    goals = {}
    for name, ratio in found.items():
        if name.startswith("PGD"):
            goals[name] = adversarial_goal(int(name.split(",")[0].removeprefix("PGD-")))
            print(f"{name}: {ratio:.2f} clean epochs (goal {goals[name]:.1f})")
        else:
            goals[name] = GOALS[options.device]
            print(f"{name}: {ratio:.2f} times as fast as the plain loop (goal {goals[name]})")
    environment = watch.environment(torch.device(options.device)) | {"threads": options.threads, "cores": worths}
    files.write_json(options.output, {"table": table, "ratios": found, "goals": goals, "environment": environment})


if __name__ == "__main__":
    main()
