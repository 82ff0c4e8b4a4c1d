"""What each paper costs at each scale: jobs by rule, hours and disk, before anyone commits to a run."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from robustloss import config, runs
from robustloss.costs import rates
from robustloss.costs.jobs import Estimator, Job
from robustloss.lineage import stored

# Rules whose jobs compute on a GPU where there is one, in the table's order; all others are `data` or `papers`.
ON_GPU = ("train", "features", "attack", "audit", "measure")
RULES = ("data", *ON_GPU, "papers")
HEADER = ("paper", "scale", *RULES, "jobs", "GPU hours", "and CPU hours", "CPU hours without GPU", "disk, GB")


@dataclass(frozen=True)
class Bill:
    """Jobs by rule, seconds on a GPU and on a processor, bytes on disk."""

    jobs: Counter
    gpu: float
    cpu: float
    disk: float


def bill(plan: runs.Plan, device: str, threads: int = 1) -> Bill:
    """The sum over all jobs of a plan on `cpu` or `cuda`."""
    jobs, seconds = Counter(), Counter()
    disk = 0.0
    for rule, job in jobs_of(plan, Estimator(plan, device, threads)):
        jobs[rule] += 1
        seconds["gpu" if device == "cuda" and rule in ON_GPU else "cpu"] += job.seconds
        disk += job.disk
    return Bill(jobs, seconds["gpu"], seconds["cpu"], disk)


def jobs_of(plan: runs.Plan, expected: Estimator) -> Iterator[tuple[str, Job]]:
    """(rule, what it is expected to need) for every job of a plan, each once; those of all data as `data`."""
    for raw, spec in plan.drawn.items():
        yield from (("data", expected.simulate_video(raw)) for _ in runs.videos(spec) or _drawn(plan, raw))
    for data, spec in plan.data.items():
        yield from (("data", expected.extract_video(data)) for _ in runs.videos(spec))
        yield "data", expected.prepare(data)
    for _ in set(plan.weights_of.values()):
        yield "data", expected.light()
    for run in plan.runs:
        yield "train", expected.train(run)
    estimates = {"attack": expected.attack, "audit": expected.audit, "measure": expected.measure}
    for rule, run, name in sorted({each for manifest in plan.manifests.values() for each in _results(manifest)}):
        yield rule, expected.features(run) if rule == "features" else estimates[rule](run, name)
    for paper in plan.manifests:
        # The manifest and the page, and the count of its frames.
        yield from (("papers", expected.light()) for _ in range(3 if paper in plan.counted else 2))
    yield "papers", expected.light()


def _drawn(plan: runs.Plan, raw: str) -> set[int]:
    """The clips that are drawn: those of all data sets that are taken from them."""
    users = (data for data, folder in plan.raw_of.items() if Path(folder).name == raw)
    return {video for data in users for video in runs.videos(plan.data[data])}


def _results(manifest: dict) -> Iterator[tuple[str, str, str]]:
    """(rule, run, name) of each result that a paper rests on."""
    for _, _, entry in stored.entries(manifest):
        for stage, path in stored.places(entry):
            yield "measure" if stage == "measurement" else stage, entry["run"], Path(path).name


def rows(settings: dict, folder: Path = config.WORKFLOW) -> Iterator[tuple[str, ...]]:
    """The table's rows: each paper of `settings` at each of its scales."""
    papers = settings["papers"]
    scales = {paper: config.read_yaml(folder / "papers" / f"{paper}.yaml")["scales"] for paper in papers}
    for scale in dict.fromkeys(scale for paper in papers for scale in scales[paper]):
        having = [paper for paper in papers if scale in scales[paper]]
        loaded, experiments = config.load(settings | {"scale": scale, "papers": having}, folder)
        for paper in having:
            plan = runs.plan(loaded, {paper: experiments[paper]})
            with_gpu, without = (bill(plan, device, loaded["threads"]) for device in ("cuda", "cpu"))
            counts = [str(with_gpu.jobs[rule]) for rule in RULES]
            hours = [_hours(seconds) for seconds in (with_gpu.gpu, with_gpu.cpu, without.cpu)]
            disk = f"{with_gpu.disk / 1e9:.2g}"
            yield paper, scale, *counts, str(with_gpu.jobs.total()), *hours, disk


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2g}" if seconds < 36_000 else f"{seconds / 3600:,.0f}"


def text(settings: dict) -> str:
    """The table in Markdown, and under it where its rates come from."""
    found = [HEADER, *rows(settings)]
    widths = [max(map(len, column)) for column in zip(*found, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in found]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    sources = [f"- {device}: {source}" for device, source in rates.sources().items()]
    note = "An estimate, from the specifications and the rates in workflow/rates, with one GPU and one thread a job:"
    return "\n".join([lines[0], rule, *lines[1:], "", note, *sources])
