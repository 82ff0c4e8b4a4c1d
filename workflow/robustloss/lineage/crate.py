"""A finished results folder as a Provenance Run Crate: each result a file with its digest, each record an action.

The profile is https://w3id.org/ro/wfrun/provenance/0.5, which builds on Workflow Run Crate and RO-Crate 1.1.
"""

import mimetypes
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from robustloss.errors import Problem
from robustloss.files import canonical, read_json, sha256, write_json
from robustloss.lineage import collected, stored
from robustloss.lineage.stored import Stored

METADATA = "ro-crate-metadata.json"
CONTEXT = ["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
# The workflow itself, below the folder that it is run in.
WORKFLOW = ("Snakefile", "config.yaml", "workflow", "LICENSE")
LICENSE = "https://spdx.org/licenses/BSD-3-Clause"
# The stages in their order, and the command of each.
STEPS = {"data": "prepare", "run": "train", "features": "features", "attack": "attack", "audit": "audit"} | {
    "measurement": "measure",
    "paper": "paper",
}
_SECOND, _BYTE = "https://qudt.org/vocab/unit/SEC", "https://qudt.org/vocab/unit/BYTE"
# What the workflow takes and what it gives, by the name of the file.
PARAMETERS = {"config.yaml": "#configuration", "manifest.json": "#manifest"}
UNITS = {"seconds": _SECOND, "peak_memory_bytes": _BYTE, "peak_device_memory_bytes": _BYTE}


def write_crate(results: Path, prepared: Path, out: Path) -> Path:
    """Copy a finished results folder, the workflow and the data's records into `out`; describe them in its metadata.

    `out` must not exist yet. Returns the metadata's path. Raises Problem where there is no finished result.
    """
    if out.exists():
        raise Problem(f"{out} exists: name a folder that does not, or remove it")
    items = [item for item in [*stored.data_sets(prepared), *stored.everything(results)] if item.finished]
    papers = sorted(stored.manifests(results))
    if not papers or not any(item.stage == "run" for item in items):
        raise Problem(f"{results} holds no finished run and paper: run the workflow first")
    here = results.parent
    files = list(dict.fromkeys(_files(here, results, items)))
    try:
        for path in files:
            (out / path.relative_to(here)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, out / path.relative_to(here))
        actions = list(_actions(results, items, papers, here))
        graph = [*_crate(papers, files, here, actions), *_workflow(items, papers), *actions]
        write_json(out / METADATA, {"@context": CONTEXT, "@graph": graph})
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return out / METADATA


def _files(here: Path, results: Path, items: list[Stored]) -> Iterator[Path]:
    """What is exported; of prepared data the records alone, since their publishers may not allow more."""
    for name in WORKFLOW:
        found = [here / name] if (here / name).is_file() else sorted((here / name).rglob("*"))
        yield from (path for path in found if path.is_file() and "__pycache__" not in path.parts)
    for item in items:
        yield item.path
        vouched = {} if item.stage == "data" else item.record()["files"]
        yield from (item.folder / name for name in vouched if (item.folder / name).is_file())
    yield from (path for path in sorted((results / "papers").rglob("*")) if path.is_file() and path.name[0] != ".")


def _crate(papers: list[str], files: list[Path], here: Path, actions: list[dict]) -> Iterator[dict]:
    """The description of the crate and of every file."""
    names = [_id(path, here) for path in files]
    yield {
        "@id": METADATA,
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": _refer("https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"),
    }
    yield {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Results of robustloss for {', '.join(papers)}",
        "description": "Trained networks, attacks on them, audits of them, and the tables and figures made from them.",
        "datePublished": datetime.now(UTC).isoformat(timespec="seconds"),
        "license": {"@id": LICENSE},
        "conformsTo": _refer(*PROFILES),
        "mainEntity": {"@id": "Snakefile"},
        "hasPart": _refer(*names),
        "mentions": _refer(*(entity["@id"] for entity in actions if entity["@type"].endswith("Action"))),
    }
    yield {"@id": LICENSE, "@type": "CreativeWork", "name": "BSD 3-Clause", "url": LICENSE}
    for profile, name in PROFILES.items():
        number = profile.rpartition("/")[2]
        yield {"@id": profile, "@type": "CreativeWork", "name": f"{name} {number}", "version": number}
    for path, name in zip(files, names, strict=True):
        if name != "Snakefile":
            example = {"exampleOfWork": {"@id": PARAMETERS[path.name]}} if path.name in PARAMETERS else {}
            yield {"@id": name, "@type": "File", **_about_file(path, here), **example}


def _about_file(path: Path, here: Path) -> dict:
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    about = {"name": path.relative_to(here).as_posix(), "contentSize": str(path.stat().st_size), "sha256": sha256(path)}
    return about | {"encodingFormat": kind, "dateModified": changed}


def _workflow(items: list[Stored], papers: list[str]) -> Iterator[dict]:
    """The workflow, its engine, its steps and the command of each."""
    stages = [stage for stage in STEPS if stage == "paper" or any(item.stage == stage for item in items)]
    yield {
        "@id": "Snakefile",
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "name": "robustloss",
        "encodingFormat": "text/x-snakemake",
        "programmingLanguage": {"@id": "#snakemake"},
        "hasPart": _refer(*(f"#{STEPS[stage]}" for stage in stages)),
        "step": _refer(*(f"#step-{STEPS[stage]}" for stage in stages)),
        "input": _refer(PARAMETERS["config.yaml"]),
        "output": _refer(PARAMETERS["manifest.json"]),
    }
    snakemake = {"name": "Snakemake", "url": "https://snakemake.github.io", "version": version("snakemake")}
    yield {"@id": "#snakemake", "@type": "ComputerLanguage", **snakemake}
    yield {"@id": "#engine", "@type": "SoftwareApplication", **snakemake}
    manifests = [f"results/papers/{paper}/manifest.json" for paper in papers]
    for name, examples in (("config.yaml", ["config.yaml"]), ("manifest.json", manifests)):
        about = {"name": name, "additionalType": "File", "workExample": _refer(*examples)}
        yield {"@id": PARAMETERS[name], "@type": "FormalParameter", **about}
    for position, stage in enumerate(stages, 1):
        command = STEPS[stage]
        about = {"name": f"python -m robustloss {command}"}
        yield {"@id": f"#{command}", "@type": "SoftwareApplication", **about}
        step = {"position": str(position), "workExample": {"@id": f"#{command}"}}
        yield {"@id": f"#step-{command}", "@type": "HowToStep", **step}


def _actions(results: Path, items: list[Stored], papers: list[str], here: Path) -> Iterator[dict]:
    """What was done: the run of the workflow, and one action for each record and paper."""
    made = [action for item in items for action in _action(item, results, here)]
    made += [action for paper in papers for action in _paper(results, paper, here)]
    actions = [entity for entity in made if entity["@type"] == "CreateAction"]
    times = [entity[key] for entity in actions for key in ("startTime", "endTime")]
    yield from made
    for entity in actions:
        about = {"instrument": {"@id": f"#step-{entity['instrument']['@id'][1:]}"}, "object": {"@id": entity["@id"]}}
        yield {"@id": f"{entity['@id']}-job", "@type": "ControlAction", "name": f"job: {entity['name']}", **about}
    yield {
        "@id": "#organize",
        "@type": "OrganizeAction",
        "name": "Snakemake's run",
        "instrument": {"@id": "#engine"},
        "object": _refer(*(f"{entity['@id']}-job" for entity in actions)),
        "result": {"@id": "#run"},
    }
    yield {
        "@id": "#run",
        "@type": "CreateAction",
        "name": "Run of the workflow",
        "instrument": {"@id": "Snakefile"},
        "startTime": min(times),
        "endTime": max(times),
        "object": _refer("config.yaml"),
        "result": _refer(*(_id(results / "papers" / paper / "manifest.json", here) for paper in papers)),
    }


def _action(item: Stored, results: Path, here: Path) -> Iterator[dict]:
    """One job, from its record."""
    record = item.record()
    vouched = [] if item.stage == "data" else record["files"]
    inputs = [here / record["data"] / "record.json"] if item.stage == "run" else []
    inputs += [results / "runs" / run / "run.json" for run in (item.run, *record.get("source_digests", {})) if run]
    outputs = [item.folder / path for path in (item.path.name, *vouched)]
    about = {"specification": stored.named_by(item.stage, record), "environment": record["environment"]}
    yield from _job(item.folder, item.stage, about, inputs, outputs, here)


def _paper(results: Path, paper: str, here: Path) -> Iterator[dict]:
    """The rendering of a paper, from its record."""
    folder = results / "papers" / paper
    record = read_json(folder / collected.RECORD)
    about = {key: record[key] for key in ("scale", "results_digest", "read", "environment")}
    outputs = [folder / collected.RECORD, *collected.vouched(folder)]
    yield from _job(folder, "paper", about, [folder / "manifest.json"], outputs, here)


def _job(folder: Path, stage: str, about: dict, inputs: list[Path], outputs: list[Path], here: Path) -> Iterator[dict]:
    """The action that made `folder`, with its time and memory."""
    name, environment = f"#made-{_id(folder, here)}", about["environment"]
    used = {key: environment[key] for key in UNITS if key in environment}
    start = datetime.fromisoformat(environment["date"])
    yield {
        "@id": name,
        "@type": "CreateAction",
        "name": folder.relative_to(here).as_posix(),
        "description": canonical(about),
        "instrument": {"@id": f"#{STEPS[stage]}"},
        "startTime": start.isoformat(timespec="seconds"),
        "endTime": (start + timedelta(seconds=environment["seconds"])).isoformat(timespec="seconds"),
        "object": _refer(*(_id(path, here) for path in inputs if path.is_file())),
        # What was not pulled is not in the crate; its digest is in the record.
        "result": _refer(*(_id(path, here) for path in outputs if path.is_file())),
        "resourceUsage": _refer(*(f"{name}-{key}" for key in used)),
    }
    for key, value in used.items():
        about = {"name": key, "propertyID": key, "value": str(value), "unitCode": UNITS[key]}
        yield {"@id": f"{name}-{key}", "@type": "PropertyValue", **about}


def _id(path: Path, here: Path) -> str:
    return quote(path.relative_to(here).as_posix())


def _refer(*names: str) -> list[dict] | dict:
    """References; one alone stands by itself, as the profile wants it."""
    found = [{"@id": name} for name in names]
    return found[0] if len(found) == 1 else found
