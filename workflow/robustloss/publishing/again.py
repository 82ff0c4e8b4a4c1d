"""A plan made from what was published, not from config.yaml: papers as they were, attacks once more."""

from dataclasses import dataclass, field
from pathlib import Path

from robustloss import naming, runs
from robustloss.errors import Problem
from robustloss.files import canonical, read_json
from robustloss.lineage import stored
from robustloss.progress import say
from robustloss.publishing import named
from robustloss.runs import Plan


@dataclass
class Again(Plan):
    """No training, audit or measurement of it is ever planned: only attacks on weights that are here.

    `again` has the names of the attacks on each run: names of today's code, so that changed code attacks anew.
    """

    again: dict[str, list[str]] = field(default_factory=dict)


def plan(settings: dict, results: Path = Path("results")) -> Again:
    """The published manifests of the configured papers, and every attack of theirs on a network that is here.

    With `images` in the settings an attack takes no more images than that, spread evenly over those it took.
    """
    papers = []
    for paper in settings["papers"]:
        if (path := results / "published" / paper / "manifest.json").is_file():
            papers.append(paper)
        else:
            say(f"{paper} is left out, since it is not published: {path} is not there")
    if not papers:
        raise Problem(f"{results}/published has none of these papers: publish one first, or name others with papers=")
    found = named.read(results / "published", papers)
    planned = Again(manifests=found.manifests)
    for name, spec in found.data().items():
        runs.add_data(planned, name, spec, settings["data_root"])
    for run, parts in found.runs.items():
        if (run / "weights").is_dir():
            _add_run(planned, run, parts, settings.get("images"))
    return planned


def slug(attack: str) -> str:
    """The readable part of an attack's name."""
    return attack.rpartition("-")[0]


def _add_run(planned: Again, run: Path, parts: list[Path], images: int | None) -> None:
    record = read_json(run / "run.json")
    planned.runs[run.name] = canonical(record["spec"])
    planned.data_of[run.name] = Path(record["data"]).name
    for part in parts:
        sources = named.sources(part)
        here = all((run.with_name(source) / "weights").is_dir() for source in sources)
        if part.parent.name == "attacks" and stored.record_of(part).is_file() and here:
            spec = _fewer(read_json(stored.record_of(part))["spec"], images)
            name = naming.name_of(slug(part.name), spec, *naming.attack_modules(spec, record["spec"]["model"]))
            planned.attacks[name] = canonical(spec)
            planned.sources[name] = sources
            planned.again.setdefault(run.name, []).append(name)


def _fewer(spec: dict, images: int | None) -> dict:
    return spec if images is None else spec | {"count": min(images, spec["count"] or images)}
