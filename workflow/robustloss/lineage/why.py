"""Why a job would run: nothing of the planned name exists, and how what exists differs from what is planned."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from robustloss.code import digest_of_modules, module_digests, nearest
from robustloss.errors import Problem
from robustloss.files import read_json
from robustloss.lineage import planned as planning
from robustloss.lineage import stored
from robustloss.lineage.planned import Planned
from robustloss.lineage.stored import Stored
from robustloss.runs import Plan

# Of a longer list the first are told.
TOLD = 12
DOING = {"data": "prepared", "run": "trained", "features": "measured", "attack": "attacked", "audit": "audited"}
COUNTED = {
    "data": ("data set", "data sets"),
    "run": ("run", "runs"),
    "features": ("set of features", "sets of features"),
    "attack": ("attack", "attacks"),
    "audit": ("audit", "audits"),
    "measurement": ("measurement", "measurements"),
}


@dataclass(frozen=True)
class Difference:
    """How something that exists differs from something that is planned."""

    item: Stored
    settings: list[str]
    modules: list[str]

    @property
    def size(self) -> tuple[int, int]:
        """What is nearest has least of it: first settings, then modules."""
        return len(self.settings), len(self.modules)

    def __str__(self) -> str:
        told = [", ".join(_first(self.settings))] if self.settings else ["the same specification"]
        told += [f"other code in {', '.join(_first(self.modules))}"] if self.modules else ["the same code"]
        return f"the nearest that exists is {self.item.folder}: {'; '.join(told)}"


def why(plan: Plan, results: Path, prepared: Path, target: str | None = None) -> list[str]:
    """A sentence for `target`, a folder or name or paper; without one for everything that is missing.

    What is missing of a run that is missing itself is counted in the run's own sentence. Raises Problem for a target
    that neither the plan nor the results folder knows.
    """
    planned = planning.everything(plan, results, prepared)
    existing = _existing(results, prepared)
    if target is None:
        return _missing(plan, planned, existing) or ["Everything that is planned exists."]
    wanted = target.rstrip("/").removesuffix(".json").removesuffix("/manifest")
    for record in stored.RECORDS.values():
        wanted = wanted.removesuffix(f"/{record.removesuffix('.json')}")
    name = Path(wanted).name
    if name in plan.manifests:
        return list(_paper(results, name, plan.manifests[name]))
    found = [each for folder, each in planned.items() if name == folder.name and str(folder).endswith(wanted)]
    if found:
        return [_reason(each, existing) for each in found]
    if others := [item for item in existing if item.name == name]:
        return [f"{item.folder} exists, but the configuration does not ask for it." for item in others]
    raise Problem(
        f"neither the plan nor {results} knows '{name}'{nearest(name, sorted({each.name for each in planned}))}"
    )


def _missing(plan: Plan, planned: Mapping[Path, Planned], existing: list[Stored]) -> list[str]:
    """Why each job would run, those on a new network with its training; at the end how many of each kind."""
    missing = [each for each in planned.values() if not each.item.finished]
    runs = {each.item.name for each in missing if each.item.stage == "run"}
    # Data are prepared for whoever reads them, and for nobody else.
    read = {plan.data_of[name] for name in {*runs, *(each.item.run for each in missing if each.item.run)}}
    missing = [each for each in missing if each.item.stage != "data" or each.item.name in read]
    told = []
    for each in missing:
        if each.item.run not in runs:
            own = Counter(other.item.stage for other in missing if other.item.run == each.item.name)
            told.append(_reason(each, existing) + (f" With it: {_counted(own)}." if own else ""))
    everything = Counter(each.item.stage for each in missing)
    return [*told, f"Missing in all: {_counted(everything)}."] if len(missing) > 1 else told


def _counted(stages: Counter) -> str:
    return ", ".join(f"{count} {COUNTED[stage][count > 1]}" for stage, count in stages.items())


def _reason(each: Planned, existing: list[Stored]) -> str:
    item = each.item
    if item.finished:
        made = item.record().get("environment", {}).get("date", "at an unknown date")
        return f"{item.folder} exists (made {made}): nothing would run."
    opening = f"{item.folder} would be {DOING.get(item.stage, 'measured')}: nothing finished has this name"
    if item.folder.exists():
        opening += " (a job that did not end left its parts, from which it goes on)"
    differences = [found for other in _kin(item, existing) if (found := _difference(other, each))]
    if not differences:
        return f"{opening}, and nothing else of its kind exists that says what it was made by."
    return f"{opening}; {min(differences, key=lambda difference: difference.size)}."


def _kin(item: Stored, existing: list[Stored]) -> list[Stored]:
    """What the same stage finished: of the same run if there is any, else of all."""
    everything = [other for other in existing if other.stage == item.stage and other.finished]
    return [other for other in everything if other.run == item.run] or everything


def _existing(results: Path, prepared: Path) -> list[Stored]:
    return [*stored.data_sets(prepared), *stored.everything(results)]


def _difference(other: Stored, each: Planned) -> Difference | None:
    """None where the record is damaged or of an older kind, which says less, or of another attack or measurement."""
    try:
        record = other.record()
        old, code = stored.named_by(other.stage, record), record["code"]
    except (Problem, KeyError):
        return None
    if other.stage != "data" and old.get("name") != each.named.get("name"):
        return None
    new = module_digests(*each.modules)
    same = code["digest"] == digest_of_modules(new)
    return Difference(other, list(_changes(old, each.named)), [] if same else sorted(_changed(code["modules"], new)))


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> set[str]:
    return {module for module in old.keys() | new.keys() if old.get(module) != new.get(module)}


def _changes(old, new) -> Iterator[str]:
    """`key old -> new` of each setting that differs."""
    before, after = dict(_flat(old)), dict(_flat(new))
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield f"{key} {before.get(key, 'absent')} -> {after.get(key, 'absent')}"


def _flat(value, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value, 1)
        for name, item in items:
            yield from _flat(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _paper(results: Path, name: str, manifest: dict) -> Iterator[str]:
    """How a paper's manifest on disk differs from the planned one."""
    path = results / "papers" / name / "manifest.json"
    if not path.is_file():
        yield f"{path} would be written: it does not exist."
        return
    changes = list(_changes(read_json(path), manifest))
    yield f"{path} would be written anew:" if changes else f"{path} is what the configuration asks for."
    yield from _first(changes)


def _first(texts: list[str]) -> list[str]:
    more = len(texts) - TOLD
    return [*islice(texts, TOLD), *([f"and {more} more"] if more > 0 else [])]
