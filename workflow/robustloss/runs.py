"""From experiments to runs: what is to be computed, each thing named by what it is.

A name is a readable slug and the first eight hex digits of a SHA-256 over the canonical JSON of the specification and
the syntax of the library modules that it uses. Equal specifications are one run, whoever asks for it; a changed
setting, or changed code of a loss, is another name; the order of a yaml, its comments and the library's docstrings
are not seen.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from robustloss.code import code_digest, plugin
from robustloss.config import ATTACK_SCOPE
from robustloss.errors import Problem
from robustloss.files import canonical, digest

# A second training of the same row takes seeds this far away, so that no list of seeds meets it by chance.
REPEAT_STRIDE = 1000
# Where the ImageNet weights of a network are expected, below data_root.
PRETRAINED = {"resnet50": "resnet50-11ad3fa6.pth", "efficientnet_b0": "efficientnet_b0_rwightman-7f5810bc.pth"}


@dataclass
class Plan:
    """All that a configuration asks for. Every mapping is by name; specifications are canonical JSON texts."""

    drawn: dict[str, str] = field(default_factory=dict)  # raw data sets that a rule makes
    data: dict[str, str] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    attacks: dict[str, str] = field(default_factory=dict)
    raw_of: dict[str, str] = field(default_factory=dict)  # data set -> folder of its raw files
    data_of: dict[str, str] = field(default_factory=dict)  # run -> data set
    weights_of: dict[str, str] = field(default_factory=dict)  # run -> file of pretrained weights
    paper_data: dict[str, str] = field(default_factory=dict)  # paper -> data set
    manifests: dict[str, dict] = field(default_factory=dict)  # paper -> what its tables rest on


def plan(settings: dict, papers: dict[str, dict]) -> Plan:
    """The raw and prepared data sets, runs, attacks and manifests of all papers at the configured scale."""
    result = Plan()
    for name in sorted(papers):
        result.manifests[name] = _plan_paper(result, settings, papers[name])
    return result


def videos(spec: str) -> list[int]:
    """The videos of all splits of a data set, each once; none for data sets without videos."""
    splits = json.loads(spec).get("splits", {})
    return sorted({video for split in splits.values() for video in split})


def results(manifest: dict) -> list[str]:
    """The records that a paper's tables and figures are made from."""
    chosen = [run for rows in manifest["rows"].values() for row in rows.values() for run in row]
    files = {f"{run['features']}/features.json" for run in chosen}
    return sorted(files | {f"{attack}/attack.json" for run in chosen for attack in run["attacks"].values()})


def plain(value):
    """Whole floats as integers, so that 1 and 1.0 in a yaml name the same thing."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def name_of(slug: str, spec: dict, *modules: str) -> str:
    """The name of what `spec` and the code of `modules` make."""
    slug = re.sub(r"[^A-Za-z0-9._+-]+", "_", slug)
    return f"{slug}-{digest(canonical(spec), code_digest(*modules))[:8]}"


def _plan_paper(result: Plan, settings: dict, paper: dict) -> dict:
    scale = paper["scales"][settings["scale"]]
    data = result.paper_data[paper["paper"]] = _plan_data(result, settings, scale["data"])
    seeds = settings.get("seeds", scale["seeds"])
    manifest = {
        "paper": paper["paper"],
        "title": paper["title"],
        "citation": paper["citation"],
        "doi": paper["doi"],
        "scale": settings["scale"],
        "reference": f"data/reference/{paper['paper']}.csv",
        "seeds": seeds,
        "data": {"name": scale["data"]["name"], "directory": f"data/prepared/{data}"},
        "objectives": {name: plain(objective) for name, objective in sorted(paper["objectives"].items())},
        "figures": paper["figures"],
        "rows": {},
        "labels": {},
    }
    for table, experiment in sorted(paper["experiments"].items()):
        wanted = scale.get("rows", {}).get(table, list(experiment["rows"]))
        rows = manifest["rows"][table] = {}
        labels = manifest["labels"][table] = {}
        for label, row in sorted(experiment["rows"].items()):
            labels[label] = _label(row, paper["objectives"])
            chosen = seeds if label in wanted else []
            rows[label] = [_plan_run(result, settings, paper, scale, data, experiment, row, seed) for seed in chosen]
    return manifest


def _label(row: dict, objectives: dict) -> str:
    parts = [objectives[row["objective"]]["formula"]]
    if "schedule" in row:
        parts.append(f"{row['schedule']} rate")
    if row.get("repeat"):
        parts.append(f"run {row['repeat'] + 1}")
    return ", ".join(parts)


def _plan_data(result: Plan, settings: dict, spec: dict) -> str:
    spec = plain(spec)
    modules = [plugin("data", spec["name"])]
    if spec["name"] == "cholec80-sim":
        modules.append(plugin("data", "cholec80"))
    name = name_of(f"{spec['name']}-{spec.get('image_size', 'native')}", spec, *modules)
    result.data[name] = canonical(spec)
    result.raw_of[name] = settings["data_root"]
    if spec["name"] == "cholec80":
        result.raw_of[name] += "/cholec80"
    if spec["name"] == "cholec80-sim":
        # Neither the splits nor the size of the images change a clip.
        drawn = {key: value for key, value in spec.items() if key not in ("splits", "image_size")}
        raw = name_of("cholec80-sim", drawn, modules[0])
        result.drawn[raw] = canonical(drawn)
        result.raw_of[name] = f"data/raw/{raw}"
    return name


def _plan_run(result, settings, paper, scale, data, experiment, row, seed) -> dict:
    training = scale["training"]
    model = dict(scale["networks"][experiment["network"]])
    model["pretrained"], weights = _pretrained(model, settings)
    objective = paper["objectives"][row["objective"]]
    spec = plain(
        {
            "data": scale["data"],
            "model": model,
            "objective": sorted(objective["terms"], key=canonical),
            **({"then": sorted(objective["then"], key=canonical)} if "then" in objective else {}),
            "schedule": training["schedules"][row.get("schedule", "default")],
            "seed": seed + REPEAT_STRIDE * row.get("repeat", 0),
            **{key: training[key] for key in ("epochs", "batch_size", "momentum", "weight_decay", "precision")},
        }
    )
    modules = [
        "robustloss.training",
        *_network_modules(model),
        *(plugin("losses", term["loss"]) for term in spec["objective"] + spec.get("then", [])),
    ]
    # The data's own name stands for the code that prepared it.
    name = name_of(_slug(spec), {"spec": spec, "data": data}, *modules)
    result.runs[name] = canonical(spec)
    result.data_of[name] = data
    if weights:
        result.weights_of[name] = weights
    directory = f"results/runs/{name}"
    features = name_of("features", {}, "robustloss.features", *_network_modules(model))
    attacks = {
        label: _plan_attack(result, attack | scale.get("attacks", {}).get(label, {}), model)
        for label, attack in sorted(paper["attacks"].items())
    }
    return {
        "seed": spec["seed"],
        "run": name,
        "directory": directory,
        "features": f"{directory}/{features}",
        "attacks": {label: f"{directory}/attacks/{attack}" for label, attack in attacks.items()},
    }


def _plan_attack(result: Plan, spec: dict, model: dict) -> str:
    spec = plain({"split": "evaluation", "epochs": "all", "count": None} | spec)
    own = {key: value for key, value in spec.items() if key not in ATTACK_SCOPE}
    slug = "-".join([spec["name"], *([f"eps{spec['epsilon']:.4g}"] if "epsilon" in own else [])])
    modules = ("robustloss.evaluation", plugin("attacks", spec["name"]), *_network_modules(model))
    name = name_of(slug, spec, *modules)
    result.attacks[name] = canonical(spec)
    return name


def _network_modules(model: dict) -> list[str]:
    """The modules that a network's body and head come from."""
    head = [plugin("heads", model["head"]["name"])] if "head" in model else []
    return [plugin("models", model["name"]), *head]


def _pretrained(model: dict, settings: dict) -> tuple[str, str | None]:
    """(`imagenet` or `none`, the weights' file): `auto` is decided here, so that a run's name says which it was."""
    wanted = model.get("pretrained", "none")
    if wanted == "none":
        return "none", None
    if model["name"] not in PRETRAINED:
        raise Problem(f"network {model['name']}: no ImageNet weights are known for it: set `pretrained: none`")
    path = f"{settings['data_root']}/weights/{PRETRAINED[model['name']]}"
    if wanted == "auto" and not settings["download"] and not Path(path).is_file():
        return "none", None
    return "imagenet", path


def _slug(spec: dict) -> str:
    model = spec["model"]
    network = [model["name"], *([f"{model['head']['name']}{model['head']['dimension']}"] if "head" in model else [])]
    updates = [_terms(spec["objective"]), *(["then", _terms(spec["then"])] if "then" in spec else [])]
    return "-".join([spec["data"]["name"], *network, *updates, spec["schedule"]["name"], f"s{spec['seed']}"])


def _terms(terms: list[dict]) -> str:
    return "".join(f"{term['weight']:+.3g}{term['loss']}" for term in terms).lstrip("+")
