"""Seconds, memory and disk of each job of a plan, estimated from the specifications and the committed rates."""

import json
import math
from dataclasses import dataclass
from functools import cache, cached_property

from robustloss.costs import rates, work
from robustloss.runs import Plan, videos

# Images that one pass takes, as in `evaluation`, `audit.stage` and `features`.
ATTACKED, AUDITED, MEASURED = 256, 64, 512
FLOAT = 4
# Copies of the layers' numbers that are held at a time: fewer where batch normalisation is folded into convolutions. A
# pass that nothing comes back from holds a few layers' only.
TRAINED, EVALUATED, LAYERS_PASSING = 3, 2, 10
# Seconds of a Cholec80 video on average, frames in each, and how many are decoded a second at 854 x 480 by one thread
# (results/benchmarks/extraction.json).
VIDEO_SECONDS, FRAMES_PER_SECOND, DECODED = 2000, 25, 1200
# Pixels that are drawn a second by one thread, and bytes of video that one becomes: one clip of the demo.
DRAWN, PIXEL_BYTES = 2e7, 0.04
# t-SNE of up to ten thousand points, on the processor.
SECONDS_PER_POINT = 0.01
# An attack's outcomes of one image, all compressed; and of a clean pass.
OUTCOME_BYTES, CLEAN_BYTES = 40, 9
# No limit is shorter: nodes differ, and file systems are slow at times.
LEAST_MINUTES, LEAST_MEGABYTES = 10, 500
# How much more than the estimate a limit is, for what estimates do not see.
TIME_MARGIN, MEMORY_MARGIN = 3.0, 1.25


@dataclass(frozen=True)
class Job:
    """What one job is expected to need: seconds, bytes of memory, bytes that it leaves on disk."""

    seconds: float
    memory: float
    disk: float = 0.0


def minutes(job: Job, attempt: int = 1) -> int:
    """The time limit of a job, which grows with each attempt."""
    return math.ceil(attempt * max(LEAST_MINUTES, TIME_MARGIN * job.seconds / 60))


def megabytes(job: Job, attempt: int = 1) -> int:
    """The memory limit of a job in whole hundreds, which grows with each attempt."""
    return 100 * math.ceil(attempt * max(LEAST_MEGABYTES, MEMORY_MARGIN * job.memory / 2**20) / 100)


@dataclass(frozen=True)
class Estimator:
    """Estimates the jobs of `plan` on `device` (`cpu` or `cuda`) with `threads` of a processor."""

    plan: Plan
    device: str = "cpu"
    threads: int = 1

    @cached_property
    def speed(self) -> rates.Device:
        return rates.device(self.device)

    def train(self, run: str) -> Job:
        spec, data, network = self._run(run)
        images, launches = work.updates(spec, data)
        batch = spec["batch_size"] * (2 if "clean" in spec else 1)
        return Job(
            self._seconds(images, launches, network, self.speed.training_rate),
            self._memory(network, TRAINED * batch, data.bytes("train")),
            FLOAT * network.parameters * kept(spec),
        )

    def attack(self, run: str, attack: str) -> Job:
        trained, data, network = self._run(run)
        spec = _read(self.plan.attacks[attack])
        epochs = kept(trained) if spec["epochs"] == "all" else 1
        passes = self._passes(attack, data.classes, data.side, data.channels)
        job = self._evaluation(network, data, spec["split"], spec["count"], passes, epochs, ATTACKED)
        return Job(job.seconds, job.memory, OUTCOME_BYTES * _chosen(spec, data) * epochs)

    def audit(self, run: str, audit: str) -> Job:
        _, data, network = self._run(run)
        spec = _read(self.plan.audits[audit])
        count = spec.get("count") or 200
        return self._evaluation(network, data, spec["split"], count, work.audit_passes(spec, data), 1, AUDITED)

    def features(self, run: str) -> Job:
        trained, data, network = self._run(run)
        epochs = kept(trained)
        images = sum(data.counts.values())
        launches = math.ceil(images / MEASURED) * epochs
        seconds = self._seconds(images * epochs, launches, network, self.speed.evaluation_rate)
        memory = self._memory(network, _passing(network) * MEASURED, data.bytes(*data.counts))
        return Job(seconds, memory, CLEAN_BYTES * images * epochs)

    def measure(self, run: str, measured: str) -> Job:
        _, data, network = self._run(run)
        spec = _read(self.plan.measurements[measured])
        passes = work.measured_passes(spec, data)
        job = self._evaluation(network, data, spec["split"], spec.get("count"), passes, 1, MEASURED)
        held = EVALUATED * _chosen(spec, data) if "attack" in spec else _passing(network) * MEASURED
        memory = self._memory(network, held, data.bytes(spec["split"]))
        points = _chosen(spec, data) * SECONDS_PER_POINT if "perplexity" in spec else 0
        return Job(job.seconds + points, memory, FLOAT * _chosen(spec, data) * data.classes)

    def simulate_video(self, raw: str) -> Job:
        spec = _read(self.plan.drawn[raw])
        pixels = spec["seconds"] * FRAMES_PER_SECOND * spec["width"] * spec["height"]
        return Job(self._own(pixels / DRAWN), self._alone(), PIXEL_BYTES * pixels)

    def extract_video(self, data: str) -> Job:
        spec = _read(self.plan.data[data])
        found = rates.data_set(spec)
        each = found.bytes(*found.counts) / max(1, sum(map(len, spec["splits"].values())))
        seconds = spec.get("seconds", VIDEO_SECONDS) * FRAMES_PER_SECOND / DECODED
        return Job(self._own(seconds), self._alone(each))

    def prepare(self, data: str) -> Job:
        """Joining extracted videos into splits, or reading an image data set."""
        found = rates.data_set(_read(self.plan.data[data]))
        size = found.bytes(*found.counts)
        # Videos are joined piece by piece; images are read at once. Written, read and digested at 50 MB/s.
        held = 0 if videos(self.plan.data[data]) else 2 * found.bytes("train")
        return Job(self._own(size / 5e7), self._alone(held), size)

    def light(self) -> Job:
        """Collecting and drawing: minutes on any processor."""
        return Job(self._own(60), self._alone(1e9))

    def _run(self, run: str) -> tuple[dict, rates.DataSet, rates.Network]:
        spec = _read(self.plan.runs[run])
        data = rates.data_set(spec["data"])
        return spec, data, rates.network(spec["model"], data)

    def _passes(self, attack: str, *shape: int) -> float:
        return _attack_passes(self.plan.attacks[attack], *shape)

    def _evaluation(self, network, data, split, count, passes, epochs, batch) -> Job:
        images = min(count or data.counts[split], data.counts[split])
        launches = passes * epochs * math.ceil(images / batch)
        seconds = self._seconds(passes * epochs * images, launches, network, self.speed.evaluation_rate)
        return Job(seconds, self._memory(network, EVALUATED * batch, data.bytes(split)))

    def _seconds(self, images: float, launches: float, network: rates.Network, rate: float) -> float:
        each = network.multiply_adds / rate + network.activations / self.speed.activation_rate
        workers = self.threads if self.device == "cpu" else 1
        return self.speed.start_seconds + images * each / workers + launches * network.layers * self.speed.layer_seconds

    def _memory(self, network: rates.Network, copies: float, images: float) -> float:
        # On a GPU the layers' numbers are in its own memory. Mapped images count for the process that touches them.
        layers = FLOAT * network.activations * copies if self.device == "cpu" else 0
        return self.speed.memory + layers + TRAINED * FLOAT * network.parameters + images

    def _own(self, seconds: float) -> float:
        return rates.device("cpu").start_seconds + seconds

    def _alone(self, size: float = 0) -> float:
        return rates.device("cpu").memory + size


def _passing(network: rates.Network) -> float:
    """The share of the layers' numbers that is held by a pass that nothing comes back from."""
    return min(1.0, LAYERS_PASSING / network.layers)


def kept(trained: dict) -> int:
    """How many epochs' networks of a run are kept."""
    return trained["epochs"] if trained.get("keep", "all") == "all" else 1


def _chosen(spec: dict, data: rates.DataSet) -> int:
    available = data.counts[spec["split"]]
    return min(spec.get("count") or available, available)


# A plan asks for the same few hundred specifications thousands of times.
@cache
def _read(text: str) -> dict:
    return json.loads(text)


@cache
def _attack_passes(text: str, classes: int, side: int, channels: int) -> float:
    return work.passes_of(_read(text), rates.DataSet(classes, side, channels, {}))
