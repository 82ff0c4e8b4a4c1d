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
import functools
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow"))

from robustloss import attacks, files, models  # noqa: E402
from robustloss.progress import track  # noqa: E402
from robustloss.provenance import Stopwatch  # noqa: E402

TRAINING = 1297
LENET = {"name": "lenet5", "mean": 0.1307, "std": 0.3081, "pretrained": "none"}
RESNET = {"name": "resnet_cifar", "depth": 20, "mean": 0.5, "std": 0.25, "pretrained": "none"}
# Specification, shape, epochs, and the radius of the PGD that it is trained on.
NETWORKS = {
    "lenet5": (LENET, (28, 28, 1), 12, None),
    "lenet5, adversarial": (LENET, (28, 28, 1), 12, 0.15),
    "resnet20": (RESNET, (32, 32, 3), 2, None),
}
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
# (network, images, labels) -> adversarial images.
Way = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


class Row(NamedTuple):
    """One line of the table: `ways` by name, "ours" and "floor" among them, on `count` images.

    With `share`, the goal is a share of the floor's time, at most; else it is how many times faster than the fastest of
    the others, at least, and of each of `besides` that many. What takes a way too long it does for its first `few`
    images only.
    """

    attack: str
    network: str
    count: int
    goal: float
    ways: dict[str, Way]
    share: bool = False
    few: Mapping[str, int] = MappingProxyType({})
    besides: Mapping[str, float] = MappingProxyType({})


def ours(name: str, **settings) -> Way:
    def run(model, images, labels):
        generator = torch.Generator(images.device).manual_seed(0)
        return attacks.load(name)(frozen(model), images, labels, generator, **settings).images

    return run


@functools.lru_cache
def frozen(model: nn.Module) -> nn.Module:
    return models.evaluation_copy(model, next(model.parameters()).device)


def torchattack(name: str, targeted: Callable | None = None, **settings) -> Way:
    def run(model, images, labels):
        import torchattacks

        attack = getattr(torchattacks, name)(model, **settings)
        if targeted:
            attack.set_mode_targeted_by_function(targeted)
        return attack(images, labels)

    return run


def foolbox_attack(name: str, epsilon: float | None = None, **settings) -> Way:
    def run(model, images, labels):
        import foolbox

        wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
        return getattr(foolbox.attacks, name)(**settings)(wrapped, images, labels, epsilons=epsilon)[1]

    return run


def art_attack(module: str, name: str, **settings) -> Way:
    def run(model, images, labels):
        from art.estimators.classification import PyTorchClassifier

        shape = tuple(images.shape[1:])
        # Its SimBA asks for probabilities, and no other attack of it is timed.
        model = nn.Sequential(model, nn.Softmax(1))
        kind = "gpu" if images.is_cuda else "cpu"
        wrapped = PyTorchClassifier(model, nn.CrossEntropyLoss(), shape, 10, clip_values=(0, 1), device_type=kind)
        attack = getattr(importlib.import_module(f"art.attacks.evasion.{module}"), name)(wrapped, **settings)
        return torch.from_numpy(attack.generate(images.cpu().numpy())).to(images.device)

    return run


def adv_lib_attack(name: str, **settings) -> Way:
    def run(model, images, labels):
        import adv_lib.attacks

        return getattr(adv_lib.attacks, name)(model, images, labels, **settings)

    return run


def cleverhans_attack(name: str, **settings) -> Way:
    def run(model, images, labels):
        attack = getattr(importlib.import_module(f"cleverhans.torch.attacks.{name}"), name)
        bounds = {"norm": float("inf"), "clip_min": 0.0, "clip_max": 1.0}
        return attack(model, images, y=labels, sanity_checks=False, **bounds, **settings).detach()

    return run


def official_autoattack(epsilon: float) -> Way:
    def run(model, images, labels):
        import pyautoattack

        attack = pyautoattack.AutoAttack(model, eps=epsilon, device=images.device, seed=0)
        return attack.run_standard_evaluation(images, labels, batch_size=len(images))[0]

    return run


def floor(epsilon: float, step_size: float, steps: int, decay: float | None = None) -> Way:
    """Sign steps on cross-entropy; with `decay` along the sum of the normalised gradients, as MIM."""

    def run(model, images, labels):
        found, momentum = images.clone(), torch.zeros_like(images)
        for _ in range(steps):
            found.requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(found), labels), found)
            if decay is not None:
                gradient = decay * momentum + gradient / gradient.abs().mean((1, 2, 3), keepdim=True)
                momentum = gradient
            found = found.detach() + step_size * gradient.sign()
            found = torch.clamp(torch.clamp(found, images - epsilon, images + epsilon), 0, 1)
        return found

    return run


def plain_simba(step: float, queries: int) -> Way:
    """Algorithm 1 of Guo et al. (2019) on a batch, pixel by pixel in an order that all images share.

    As in the authors' code each coordinate takes three passes of the images that are still right: one to see whether
    they are, one with the negative and one with the positive step; a query is counted as there, but an image that has
    spent `queries` leaves.
    """

    @torch.no_grad()
    def run(model, images, labels):
        found, asked = images.clone(), torch.ones_like(labels)
        best = model(images).softmax(1).gather(1, labels[:, None])[:, 0]
        for pixel in torch.randperm(images[0].numel(), generator=torch.Generator().manual_seed(0)).tolist():
            left = ((model(found).argmax(1) == labels) & (asked < queries)).nonzero()[:, 0]
            if not len(left):
                break
            probability, start = best[left], found[left]
            for way in (-step, step):
                tried = start.clone()
                tried.flatten(1)[:, pixel] += way
                tried.clamp_(0, 1)
                value = model(tried).softmax(1).gather(1, labels[left, None])[:, 0]
                better = value < best[left]
                found[left[better]], best[left] = tried[better], torch.where(better, value, best[left])
                asked[left] += 1 if way < 0 else (best[left] == probability) | better
        return found

    return run


def to_class_0(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(labels)


def bounded(network: str, count: int, epsilon: float) -> list[Row]:
    size, steps = epsilon / 10, 40
    ball = {"epsilon": epsilon, "step_size": size, "steps": steps}
    theirs = {"eps": epsilon, "alpha": size, "steps": steps}
    relative = {"abs_stepsize": size, "steps": steps, "random_start": False, "epsilon": epsilon}
    peers = {
        "torchattacks": torchattack("PGD", random_start=False, **theirs),
        "foolbox": foolbox_attack("LinfPGD", **relative),
        "adv_lib": adv_lib_attack("pgd_linf", ε=epsilon, steps=steps, random_init=False, absolute_step_size=size),
        "cleverhans": cleverhans_attack(
            "projected_gradient_descent", eps=epsilon, eps_iter=size, nb_iter=steps, rand_init=False
        ),
    }
    mim = {"floor": floor(epsilon, size, steps, 1.0), "torchattacks": torchattack("MIFGSM", decay=1.0, **theirs)}
    plain = {"floor": floor(epsilon, size, steps)}
    return [
        Row("pgd", network, count, 0.75, plain | peers | {"ours": ours("pgd", **ball)}, share=True),
        Row("mim", network, count, 0.75, mim | {"ours": ours("mim", **ball)}, share=True),
    ]


def success_only(network: str, count: int, epsilon: float, goal: float) -> Row:
    size, steps = epsilon / 10, 40
    settings = {"epsilon": epsilon, "step_size": size, "steps": steps, "stop_at_success": True}
    ways = {"floor": floor(epsilon, size, steps), "ours": ours("pgd", **settings)}
    return Row("pgd, success only", network, count, goal, ways, share=True)


def carlini_wagner(network: str, count: int) -> Row:
    steps, search, first = 100, 6, 0.01
    theirs = {"binary_search_steps": search, "initial_const": first}
    ways = {
        "ours": ours("carlini_wagner", steps=steps, search_steps=search, first_constant=first),
        "foolbox": foolbox_attack("L2CarliniWagnerAttack", steps=steps, stepsize=0.01, **theirs),
        "adv_lib": adv_lib_attack("carlini_wagner_l2", max_iterations=steps, learning_rate=0.01, **theirs),
    }
    return Row("carlini_wagner", network, count, 1.6, ways)


def deepfool(network: str, count: int) -> Row:
    settings = {"steps": 50, "overshoot": 0.02}
    ways = {
        "ours": ours("deepfool", **settings),
        "foolbox": foolbox_attack("L2DeepFoolAttack", candidates=10, **settings),
        "torchattacks": torchattack("DeepFool", **settings),
        "adv_lib": adv_lib_attack("df", **settings),
    }
    return Row("deepfool", network, count, 1.7, ways, few={"torchattacks": 2}, besides={"foolbox": 5})


def by_queries(network: str, count: int, epsilon: float) -> list[Row]:
    size, steps = epsilon / 4, 10
    spsa = {"epsilon": epsilon, "step_size": size, "steps": steps, "samples": 128}
    peer = {"eps": epsilon, "delta": 0.01, "lr": size, "nb_iter": steps, "nb_sample": 128}
    theirs = {"eps": epsilon, "delta": 0.01, "learning_rate": size, "nb_iter": steps, "spsa_samples": 128}
    simba = {
        "ours": ours("simba", step=0.2, queries=600),
        "floor": plain_simba(0.2, 600),
        "art": art_attack("simba", "SimBA", attack="px", max_iter=400, epsilon=0.2, verbose=False),
    }
    ways = {
        "ours": ours("spsa", **spsa),
        "torchattacks": torchattack("SPSA", **peer),
        "cleverhans": cleverhans_attack("spsa", **theirs),
    }
    return [
        Row("simba", network, count, 3, simba, few={"art": 2}),
        Row("spsa", network, count // 4, 1.4, ways),
    ]


def saliency(network: str, count: int, gamma: float) -> Row:
    """Towards class 0; its own images cost nobody anything."""
    settings = {"gamma": gamma, "theta": 1.0}
    ways = {
        "ours": ours("jsma", target=0, **settings),
        "torchattacks": torchattack("JSMA", to_class_0, **settings),
    }
    return Row("jsma", network, count, 20, ways, few={"torchattacks": 4})


def ensemble(network: str, count: int, epsilon: float) -> Row:
    ways = {
        "ours": ours("autoattack", epsilon=epsilon),
        "pyautoattack": official_autoattack(epsilon),
    }
    return Row("autoattack", network, count, 1.5, ways)


def rows() -> list[Row]:
    lenet, robust, resnet = NETWORKS
    return [
        *bounded(lenet, 256, 0.1),
        *bounded(resnet, 32, 8 / 255),
        success_only(lenet, 256, 0.15, 0.3),
        success_only(robust, 256, 0.15, 0.5),
        carlini_wagner(lenet, 64),
        deepfool(lenet, 256),
        deepfool(resnet, 32),
        saliency(lenet, 64, 0.1),
        saliency(resnet, 16, 0.02),
        *by_queries(lenet, 128, 0.15),
        *by_queries(resnet, 32, 8 / 255),
        ensemble(robust, 128, 0.15),
    ]


def digits(shape: tuple[int, int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """All 1,797 images, enlarged to `shape` (height, width, channels)."""
    bunch = load_digits()
    images = torch.tensor(bunch.images / 16, dtype=torch.float32)[:, None]
    images = F.interpolate(images, shape[:2], mode="bilinear").clamp_(0, 1)
    return images.expand(-1, shape[2], -1, -1).contiguous(), torch.tensor(bunch.target)


@functools.cache
def network(name: str, device: str = "cpu") -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A trained network, and the held-out images that it gets right, on `device`; it is trained on the CPU."""
    spec, shape, epochs, epsilon = NETWORKS[name]
    images, labels = digits(shape)
    torch.manual_seed(0)
    model = models.build(spec, 10, shape).train()
    optimizer = torch.optim.Adam(model.parameters(), 0.002)
    for epoch in range(epochs):
        for batch in torch.randperm(TRAINING).split(32):
            inputs = images[batch]
            if epsilon is not None:
                radius = epsilon * min(1, (epoch + 1) / 6)
                inputs = floor(radius, radius / 2, 4)(model, inputs, labels[batch])
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels[batch]).backward()
            optimizer.step()
    model.eval()
    images, labels = images[TRAINING:], labels[TRAINING:]
    with torch.no_grad():
        right = model(images).argmax(1) == labels
    return model.to(device), images[right].to(device), labels[right].to(device)


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
    parser.add_argument("--device", default="cpu", help="device, as torch names it (cpu)")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="wall, or cpu where other work runs (wall)")
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "benchmarks" / "attacks.json")
    options = parser.parse_args()
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
