"""How long attacks take beside other libraries and beside the bare loop, on the same network, batch and settings.

The floor is the loop that everybody writes: forward pass, cross-entropy, backward pass to the images, sign step, clamp;
for SimBA it is the published batch algorithm (see `plain_simba`), whose own code is no package. Ours runs on the frozen
copy of the network that evaluations attack, the others on the network itself. In each round every way of a row runs
once, one after the other; medians count, and beside each time stands what the way found, since speed is worth nothing
where the examples are worse. Networks are trained on scikit-learn's digits, enlarged, so nothing is downloaded.

A way that takes too long for all images has its first few; ours is then judged on the same ones besides. AutoAttack is
timed beside its authors' code, which `pyautoattack` packages. Of JSMA, torchattacks alone searches all pairs of
features, image by image; ART takes the two features of largest derivative of the target, and so is no exact pairwise
peer.

Goals: PGD-40 and MIM-40 at most 0.75 of the floor's time, for success only 0.3 on a plain and 0.5 on an adversarially
trained network; against the fastest peer C&W 1.6, DeepFool 1.7 (and 5 against foolbox), JSMA 20, SPSA 1.4 and
AutoAttack 1.5 times as fast; SimBA 3 times as fast as the published algorithm.

    python tests/benchmarks/attacks.py --only pgd mim
"""

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "tests")]

from attack_rows import Row, network, rows  # noqa: E402
from attack_ways import frozen  # noqa: E402

from robustloss import files  # noqa: E402
from robustloss.progress import track  # noqa: E402
from robustloss.provenance import Stopwatch  # noqa: E402

FILES = {"cpu": "attacks.json", "cuda": "attacks-cuda.json"}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def found(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, adversarial: torch.Tensor) -> dict:
    """What a way found: the share of images still right, and of the others the median L2 and L0 norm."""
    with torch.no_grad():
        wrong = frozen(model)(adversarial).argmax(1) != labels
    change = (adversarial - images).flatten(1)[wrong]
    norms = {"median_l2": change.norm(dim=1), "median_l0": (change != 0).sum(1).float()}
    medians = {name: values.median().item() if len(values) else None for name, values in norms.items()}
    return {"robust_accuracy": 1 - wrong.double().mean().item()} | medians


def once(row: Row, way: str, device: str, clock: Callable[[], float]) -> dict:
    """Seconds per image, and what was found; of ours also on the first images alone that others are given."""
    model, images, labels = network(row.network, device)
    count = min(row.few.get(way, row.count), len(images))
    images, labels = images[:count], labels[:count]
    before = clock()
    adversarial = row.ways[way](model, images.clone(), labels.clone())
    seconds = clock() - before
    results = {"images": count, "seconds_per_image": seconds / count} | found(model, images, labels, adversarial)
    if way == "ours" and row.few:
        parts = {few: (part[:few] for part in (images, labels, adversarial)) for few in sorted({*row.few.values()})}
        results["first"] = {str(few): found(model, *part) for few, part in parts.items()}
    return results


def measure(row: Row, rounds: int, device: str, clock: Callable[[], float]) -> dict:
    """The medians of all rounds, way by way, and the ratio that has a goal."""
    runs: dict[str, list[dict]] = {way: [] for way in row.ways if installed(way)}
    network(row.network, device)  # is trained before the clock runs
    for _ in track(range(rounds), f"{row.attack}, {row.network}"):
        for way, results in runs.items():
            results.append(once(row, way, device, clock))
    table = {}
    for way, results in runs.items():
        table[way] = results[0] | {"seconds_per_image": statistics.median(run["seconds_per_image"] for run in results)}
    seconds = {way: result["seconds_per_image"] for way, result in table.items()}
    mine = seconds.pop("ours")
    if row.share:
        ratio = mine / seconds["floor"]
    else:
        ratio = seconds["floor" if "floor" in seconds else min(seconds, key=seconds.get)] / mine
    met = ratio <= row.goal if row.share else ratio >= row.goal
    kind = "share of the floor's time" if row.share else "times as fast"
    about = {"attack": row.attack, "network": row.network, "ratio": ratio, "kind": kind, "goal": row.goal, "met": met}
    others = {way: {"ratio": seconds[way] / mine, "goal": goal} for way, goal in row.besides.items() if way in seconds}
    return about | {"besides": others, "ways": table}


def installed(way: str) -> bool:
    return way in ("ours", "floor") or importlib.util.find_spec(way) is not None


def show(result: dict) -> None:
    met = "met" if result["met"] else "missed"
    print(f"{result['attack']}, {result['network']}: {result['ratio']:.2f} {result['kind']}", end=" ")
    print(f"(goal {result['goal']:g}, {met})")
    for way, run in result["ways"].items():
        speed, accuracy = 1 / run["seconds_per_image"], run["robust_accuracy"]
        norms = "".join(f"   {name} {run[name]:.3g}" for name in ("median_l2", "median_l0") if run[name] is not None)
        print(f"    {way:14} {speed:10.1f} images/s   still right {accuracy:.3f}{norms}", flush=True)
        for few, part in run.get("first", {}).items():
            print(f"    {'':14} of the first {few} images still right {part['robust_accuracy']:.3f}")
    for way, part in result["besides"].items():
        met = "met" if part["ratio"] >= part["goal"] else "missed"
        print(f"    {part['ratio']:.2f} times as fast as {way} (goal {part['goal']:g}, {met})")


def clock_of(name: str, device: str) -> Callable[[], float]:
    """Seconds so far, once the device has done what it was told."""

    def clock():
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        return CLOCKS[name]()

    return clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the median counts (3)")
    parser.add_argument("--only", nargs="*", help="attacks, or networks, to measure (all); the others' results stay")
    parser.add_argument("--threads", type=int, help="threads (all cores)")
    parser.add_argument("--device", choices=FILES, default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="wall, or cpu where other work runs (wall)")
    parser.add_argument("--output", type=Path, help="results/benchmarks/attacks.json, or attacks-cuda.json")
    options = parser.parse_args()
    options.output = options.output or ROOT / "results" / "benchmarks" / FILES[options.device]
    if options.threads:
        torch.set_num_threads(options.threads)
    watch = Stopwatch()
    record = files.read_json(options.output)["rows"] if options.output.exists() else []
    results = {(row["attack"], row["network"]): row for row in record}
    for row in rows():
        if not options.only or row.attack in options.only or row.network in options.only:
            result = measure(row, options.rounds, options.device, clock_of(options.clock, options.device))
            show(result)
            environment = watch.environment(torch.device(options.device))
            results[row.attack, row.network] = result | {
                "rounds": options.rounds,
                "clock": options.clock,
                "environment": environment,
            }
            files.write_json(options.output, {"rows": list(results.values())})


if __name__ == "__main__":
    main()
