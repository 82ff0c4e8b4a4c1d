"""How long a training epoch takes against the loop that a user would write, and what adversarial training adds.

The plain loop is torchvision's MNIST, ToTensor and Normalize, a DataLoader with shuffling, Adam, and loss.item() after
each step; it is timed without workers and with two, and the faster one counts. Network, batch size and optimiser are
equal. Each way is timed with one thread, as jobs of the workflow have, and with a thread for each core, as torch takes
where nobody says otherwise. The ratio `epoch` is ours with one to the loop as it comes, `epoch, one thread` to the loop
of a user who knows that a small network's operations are over before a second thread has woken.
Images are random bytes in MNIST's files, so nothing is downloaded. Each way runs in a process of its own, in turn.
Goals: LeNet-5 on MNIST at least 3 times as fast as the plain loop on two cores (on a GPU: ResNet-56 on 32 x 32 images,
5 times); adversarial training with k steps at most 1.1 x (k + 1) clean epochs.

    python tests/benchmarks/training.py
"""

import argparse
import json
import os
import resource
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

from robustloss import files, models, training  # noqa: E402
from robustloss.data import prepared  # noqa: E402
from robustloss.progress import track  # noqa: E402
from robustloss.provenance import Stopwatch  # noqa: E402

STEPS = 7
PGD = {"name": "pgd", "epsilon": 0.1, "step_size": 0.02, "steps": STEPS, "random_start": True}
LENET = {"name": "lenet5", "mean": 0.1307, "std": 0.3081, "pretrained": "none"}
RESNET20 = {"name": "resnet_cifar", "depth": 20, "mean": 0.5, "std": 0.25, "pretrained": "none"}
RESNET56 = RESNET20 | {"depth": 56}
GOALS = {"epoch": 3, "epoch_cuda": 5, "adversarial": 1.1 * (STEPS + 1)}
# Ways of one table: the network, and how many images an epoch of the benchmark has.
NETWORKS = {"lenet5": (LENET, 12_800), "resnet20": (RESNET20, 1_280)}
WAYS = {
    "lenet5": ("plain loop", "plain loop, 2 workers", "ours", "ours, adversarial"),
    "resnet20": ("ours", "ours, adversarial"),
}


def write_images(folder: Path, count: int) -> None:
    """MNIST's four files with random pixels; at most the real number of images."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for prefix, images in (("train", 60_000), ("t10k", 10_000)):
        pixels = random.integers(0, 256, (images, 28, 28), dtype=np.uint8)
        labels = random.integers(0, 10, images, dtype=np.uint8)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(
            struct.pack(">4i", 2051, images, 28, 28) + pixels.tobytes()
        )
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, images) + labels.tobytes())


def specification(network: dict, **changes) -> dict:
    return {
        "data": {"name": "mnist"},
        "model": network,
        "objective": [{"loss": "cross_entropy", "weight": 1}],
        "schedule": {"name": "constant", "rate": 0.001},
        "optimizer": {"name": "adam"},
        "seed": 0,
        "epochs": 1,
        "batch_size": 64,
        "precision": "auto",
        "keep": "last",
    } | changes


def ours(network: dict, data: prepared.Prepared, device: str, adversarial: bool) -> float:
    """Seconds per epoch: three epochs less one, so that start and end do not count, after a training that warms up."""
    changes = {"perturbation": PGD} if adversarial else {}
    first = changes | ({"perturbation": PGD | {"steps": 1}} if adversarial else {})
    with tempfile.TemporaryDirectory() as folder:
        training.train(specification(network, **first), data, Path(folder) / "run", device)
    seconds = []
    for epochs in (1, 3):
        with tempfile.TemporaryDirectory() as folder:
            before = time.perf_counter()
            training.train(specification(network, epochs=epochs, **changes), data, Path(folder) / "run", device)
            seconds.append(time.perf_counter() - before)
    return (seconds[1] - seconds[0]) / 2


def plain(network: dict, folder: Path, count: int, device: str, workers: int) -> float:
    """Seconds per epoch of the loop of any tutorial, the second epoch."""
    from torchvision import datasets, transforms

    steps = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.1307, 0.3081)])
    images = torch.utils.data.Subset(datasets.MNIST(folder, train=True, transform=steps), range(count))
    loader = torch.utils.data.DataLoader(images, batch_size=64, shuffle=True, num_workers=workers)
    model = models.build(network, 10, (28, 28, 1)).body.to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
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


def one(folder: Path, network: str, way: str, device: str) -> dict:
    """One way in this process: images per second and the process's peak memory."""
    spec, count = NETWORKS[network]
    if way.startswith("plain"):
        seconds = plain(spec, folder / "torchvision", count, device, 2 if "workers" in way else 0)
    else:
        data = prepared.load(folder / network)
        seconds = ours(spec, data, device, adversarial="adversarial" in way)
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"images_per_second": count / seconds, "peak_memory_bytes": peak}


def prepare(folder: Path) -> None:
    raw = folder / "torchvision/MNIST/raw"
    write_images(raw, 60_000)
    pixels = np.fromfile(raw / "train-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 28, 28, 1)
    labels = np.fromfile(raw / "train-labels-idx1-ubyte", np.uint8, offset=8)
    for network, (_, count) in NETWORKS.items():

        def split(number: int):
            rows = [{"image": index, "class": int(labels[index])} for index in range(number)]
            return [pixels[:number]], (number, 28, 28, 1), rows

        splits = {"train": split(count), "test": split(100), "evaluation": split(100)}
        prepared.write(folder / network, {"name": "mnist"}, [str(digit) for digit in range(10)], splits, {})


def measure(folder: Path, rounds: int, device: str, cores: int) -> dict[str, dict[str, dict]]:
    pairs = [(network, way) for network, ways in WAYS.items() for way in ways]
    found: dict[tuple, list[dict]] = {(*pair, threads): [] for pair in pairs for threads in sorted({1, cores})}
    for _ in track(range(rounds), "rounds"):
        for (network, way, threads), rows in found.items():
            command = [sys.executable, __file__, "--one", str(folder), network, way, "--device", device]
            environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
            output = subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True, env=environment
            )
            rows.append(json.loads(output.stdout.splitlines()[-1]))
    table: dict[str, dict[str, dict]] = {network: {} for network in WAYS}
    for (network, way, threads), rows in found.items():
        medians = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        table[network][f"{way}, {_threads(threads)}"] = medians
    return table


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median counts (3)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="the larger number of threads (all cores)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "benchmarks" / "training.json")
    options = parser.parse_args()
    if options.one:
        folder, network, way = options.one
        print(json.dumps(one(Path(folder), network, way, options.device)))
        return
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        table = measure(Path(folder), options.rounds, options.device, options.threads)
    speeds = {name: {way: row["images_per_second"] for way, row in ways.items()} for name, ways in table.items()}
    ratios = {}
    for name, threads in (("epoch", _threads(options.threads)), ("epoch, one thread", _threads(1))):
        plain_loops = [speed for way, speed in speeds["lenet5"].items() if way[:5] == "plain" and way.endswith(threads)]
        ratios[name] = speeds["lenet5"]["ours, 1 thread"] / max(plain_loops)
    for name, ways in speeds.items():
        ratios[f"adversarial, {name}"] = ways["ours, 1 thread"] / ways["ours, adversarial, 1 thread"]
    for name, ways in table.items():
        for way, row in ways.items():
            speed, memory = row["images_per_second"], row["peak_memory_bytes"] / 2**20
            print(f"{name:10} {way:34} {speed:10.0f} images/s {memory:8.0f} MiB")
    print(f"epoch: {ratios['epoch']:.2f} times as fast as the plain loop (goal {GOALS['epoch']})", end=", ")
    print(f"{ratios['epoch, one thread']:.2f} times with one thread for both")
    for name in NETWORKS:
        cost = ratios[f"adversarial, {name}"]
        print(f"PGD-{STEPS} epoch of {name}: {cost:.2f} clean ones (goal {GOALS['adversarial']:.1f})")
    environment = watch.environment(torch.device(options.device)) | {"threads": options.threads}
    files.write_json(options.output, {"table": table, "ratios": ratios, "goals": GOALS, "environment": environment})


if __name__ == "__main__":
    main()
