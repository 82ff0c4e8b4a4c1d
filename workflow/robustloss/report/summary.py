"""What was run altogether, and how the claims stand."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from robustloss.papers import wording
from robustloss.report import words
from robustloss.report.shelf import Paper, Run, Shelf


@dataclass(frozen=True)
class Effort:
    """How much was done: numbers of networks and of attacks on them, and seconds by stage."""

    networks: int
    attacks: int
    seconds: dict[str, float]

    @property
    def total(self) -> float:
        """Seconds of all stages, one after the other."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Machine:
    """A machine with the number of results that it made, and its time."""

    name: str
    results: int
    seconds: float


def runs_of(paper: Paper, shelf: Shelf) -> list[Run]:
    """The runs that a paper rests on, each once."""
    names = dict.fromkeys(entry["run"] for _, _, entries in paper.rows() for entry in entries)
    return [shelf.runs[name] for name in names]


def effort(runs: Iterable[Run]) -> Effort:
    """What the runs took, with all that was measured on them."""
    runs, seconds = list(runs), Counter()
    for run in runs:
        for stage, _, environment in run.stages():
            seconds[stage] += environment.get("seconds") or 0
    return Effort(len(runs), sum(len(run.attacks) for run in runs), dict(seconds))


def rows(paper: Paper) -> tuple[int, int]:
    """(rows that were run, all rows) of a paper's experiments."""
    counts = [bool(entries) for _, _, entries in paper.rows()]
    return sum(counts), len(counts)


def data_sets(runs: Iterable[Run]) -> str:
    """The names of the data sets."""
    return words.listed(run.spec["data"]["name"] for run in runs if "data" in run.spec)


def machines(runs: Iterable[Run]) -> list[Machine]:
    """The machines, the busiest first."""
    results, seconds = Counter(), Counter()
    for environment in environments(runs):
        if "hardware" in environment:
            name = wording.machine(environment)
            results[name] += 1
            seconds[name] += environment.get("seconds") or 0
    return [Machine(name, results[name], seconds[name]) for name, _ in seconds.most_common()]


def environments(runs: Iterable[Run]) -> Iterator[dict]:
    """The environments of all results."""
    for run in runs:
        yield from (environment for _, _, environment in run.stages())


def period(runs: Iterable[Run]) -> tuple[str, str] | None:
    """The dates of the first and the last result; None without any."""
    dates = sorted(filter(None, (environment.get("date") for environment in environments(runs))))
    return (dates[0], dates[-1]) if dates else None
