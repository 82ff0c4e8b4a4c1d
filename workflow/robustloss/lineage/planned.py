"""What a configuration asks for, each thing as a folder with the specification and the modules that name it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustloss import config, naming, runs
from robustloss.code import sources_of
from robustloss.lineage import stored
from robustloss.lineage.stored import Stored
from robustloss.runs import Plan


@dataclass(frozen=True)
class Planned:
    """Something to be made: where it will be, what names it, and the runs whose networks it takes besides its own."""

    item: Stored
    named: dict
    modules: Sequence[str]
    sources: tuple[str, ...] = ()


def plan(files: Sequence[Path], **overrides) -> Plan:
    """The plan of configuration files, each laid over those before it, and of single settings."""
    return runs.plan(*config.load(_settings(files) | overrides))


def all_plans(files: Sequence[Path]) -> Iterator[Plan]:
    """The plan of every paper at every scale that it has."""
    settings, folder = _settings(files), config.WORKFLOW / "papers"
    # A scale of one paper may be unknown to another, so each is planned by itself.
    for path in sorted(folder.glob("*.yaml")):
        paper = config.merge(config.read_yaml(path), settings.get(path.stem, {}))
        yield from (plan(files, papers=[path.stem], scale=scale) for scale in paper["scales"])


def _settings(files: Sequence[Path]) -> dict:
    settings: dict = {}
    for path in files:
        settings = config.merge(settings, config.read_yaml(path) or {})
    return settings


def everything(plan: Plan, results: Path, prepared: Path) -> dict[Path, Planned]:
    """All that a plan asks for, by folder."""
    found = [_data(prepared, name, json.loads(text)) for name, text in plan.data.items()]
    found += [_run(results, plan, name) for name in plan.runs]
    for manifest in plan.manifests.values():
        found += [part for _, _, entry in stored.entries(manifest) for part in _parts(results, plan, entry)]
    return {planned.item.folder: planned for planned in found}


def _data(prepared: Path, name: str, spec: dict) -> Planned:
    return Planned(Stored("data", prepared / name), spec, naming.data_modules(spec))


def _run(results: Path, plan: Plan, name: str) -> Planned:
    spec = json.loads(plan.runs[name])
    named = naming.trained(spec, plan.data_of[name])
    return Planned(Stored("run", results / "runs" / name), named, naming.run_modules(spec))


def _parts(results: Path, plan: Plan, entry: dict) -> Iterator[Planned]:
    """What is computed of one run, as the manifest lists it."""
    model = json.loads(plan.runs[entry["run"]])["model"]
    kinds = {
        "attack": (plan.attacks, naming.attack_modules),
        "audit": (plan.audits, naming.audit_modules),
        "measurement": (plan.measurements, naming.measurement_modules),
    }
    for stage, path in stored.places(entry):
        item = Stored(stage, stored.below(results, path), entry["run"])
        if stage == "features":
            yield Planned(item, {}, naming.features_modules(model))
            continue
        specs, modules = kinds[stage]
        spec = json.loads(specs[item.name])
        sources = tuple(sources_of(spec)) if stage != "measurement" else ()
        yield Planned(item, spec, modules(spec, model), sources)
