"""From experiments to runs: what is to be computed, each thing named by what it is.

A name is a readable slug and the first eight hex digits of a SHA-256 over the canonical JSON of the specification and
the syntax of the library modules that it uses. Equal specifications are one run, whoever asks for it; a changed
setting, or changed code of a loss, is another name; the order of a yaml, its comments and the library's docstrings
are not seen.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from robustloss import naming
from robustloss.checks import head_of
from robustloss.code import plugin, settings_of, sources_of
from robustloss.errors import Problem
from robustloss.files import canonical
from robustloss.lineage import stored
from robustloss.naming import name_of

# A second training of the same row takes seeds this far away, so that no list of seeds meets it by chance.
REPEAT_STRIDE = 1000
# Where the ImageNet weights of a network are expected, below data_root.
PRETRAINED = {"resnet50": "resnet50-11ad3fa6.pth", "efficientnet_b0": "efficientnet_b0_rwightman-7f5810bc.pth"}
# Sections of a paper whose entries a scale may change.
SCALED = ("attacks", "perturbations", "audits")


@dataclass
class Plan:
    """All that a configuration asks for. Every mapping is by name; specifications are canonical JSON texts."""

    drawn: dict[str, str] = field(default_factory=dict)  # raw data sets that a rule makes
    data: dict[str, str] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    attacks: dict[str, str] = field(default_factory=dict)
    audits: dict[str, str] = field(default_factory=dict)
    measurements: dict[str, str] = field(default_factory=dict)
    sources: dict[str, list[str]] = field(default_factory=dict)  # attack or audit -> runs whose networks it uses
    raw_of: dict[str, str] = field(default_factory=dict)  # data set -> folder of its raw files
    data_of: dict[str, str] = field(default_factory=dict)  # run -> data set
    weights_of: dict[str, str] = field(default_factory=dict)  # run -> file of pretrained weights
    counted: dict[str, str] = field(default_factory=dict)  # paper -> data set whose frames its Table 1 counts
    manifests: dict[str, dict] = field(default_factory=dict)  # paper -> what its tables rest on


class Trained(NamedTuple):
    """The run of a row: its name and specification, and the experiment, label and seed that it was planned for."""

    name: str
    spec: dict
    experiment: str
    label: str
    seed: int


def plan(settings: dict, papers: dict[str, dict]) -> Plan:
    """The raw and prepared data sets, runs, attacks and manifests of all papers at the configured scale."""
    result = Plan()
    for name in sorted(papers):
        result.manifests[name] = Planner(result, settings, papers[name]).manifest()
    return result


def videos(spec: str) -> list[int]:
    """The videos of all splits of a data set, each once; none for data sets without videos."""
    splits = json.loads(spec).get("splits", {})
    return sorted({video for split in splits.values() for video in split})


def results(manifest: dict) -> list[str]:
    """The records that a paper's tables and figures are made from."""
    entries = [entry for _, _, entry in stored.entries(manifest)]
    return sorted({f"{path}/{stored.RECORDS[stage]}" for entry in entries for stage, path in stored.places(entry)})


def plain(value):
    """Whole floats as integers, so that 1 and 1.0 in a yaml name the same thing."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Planner:
    """Plans one paper at the configured scale: what its rows need is added to a plan, its manifest lists it by row."""

    def __init__(self, plan: Plan, settings: dict, paper: dict):
        self.plan, self.settings, self.paper = plan, settings, paper
        self.scale = paper["scales"][settings["scale"]]
        used = {experiment["data"] for experiment in paper["experiments"].values()}
        self.data = {name: self._data(self.scale["data"][name]) for name in sorted(used)}
        self.scaled = {section: _scaled(paper.get(section, {}), self.scale.get(section, {})) for section in SCALED}
        # Many rows ask for the few networks that their attacks transfer from.
        self.train = cache(self._train)

    def manifest(self) -> dict:
        """What the paper's tables rest on, all of it planned."""
        paper = self.paper
        if "counts" in paper:
            self.plan.counted[paper["paper"]] = self.data[paper["counts"]]
        manifest = {
            "paper": paper["paper"],
            "title": paper["title"],
            "citation": paper["citation"],
            "doi": paper["doi"],
            "scale": self.settings["scale"],
            "reference": f"data/reference/{paper['paper']}.csv",
            **_seeds(self.settings, self.scale),
            "data": {name: f"data/prepared/{prepared}" for name, prepared in self.data.items()},
            "objectives": {name: plain(objective) for name, objective in sorted(paper["objectives"].items())},
            "figures": paper["figures"],
            "claims": paper.get("claims", {}),
            "rows": {},
            "labels": {},
        }
        for name, experiment in sorted(paper["experiments"].items()):
            wanted = self.scale.get("rows", {}).get(name, list(experiment["rows"]))
            seeds = manifest.get("seeded", {}).get(name, manifest["seeds"])
            rows = manifest["rows"][name] = {}
            labels = manifest["labels"][name] = {}
            for label, row in sorted(experiment["rows"].items()):
                labels[label] = _label(row, paper["objectives"])
                chosen = seeds if label in wanted else []
                rows[label] = [self._entry(self.train(name, label, seed), seed == seeds[0]) for seed in chosen]
        return manifest

    def _data(self, spec: dict) -> str:
        spec = plain(spec)
        name = naming.data_name(spec)
        add_data(self.plan, name, spec, self.settings["data_root"])
        return name

    def _train(self, name: str, label: str, seed: int) -> Trained:
        """The run of a row of an experiment."""
        paper, experiment = self.paper, self.paper["experiments"][name]
        row = experiment["rows"][label]
        training = self.scale["training"][experiment.get("training", "default")]
        objective = paper["objectives"][row["objective"]]
        model, weights = self._network(experiment, objective)
        data = self.data[experiment["data"]]
        terms = {"objective": objective["terms"], "then": objective.get("then")}
        if "clean" in row:
            terms["clean"] = paper["objectives"][row["clean"]]["terms"]
        spec = plain(
            {
                "data": self.scale["data"][experiment["data"]],
                "model": model,
                **{key: sorted(value, key=canonical) for key, value in terms.items() if value},
                "schedule": training["schedules"][row.get("schedule", "default")],
                "seed": seed + REPEAT_STRIDE * row.get("repeat", 0),
                **{key: value for key, value in training.items() if key not in ("schedules", "warm_up")},
            }
        )
        if "perturbation" in row:
            spec["perturbation"] = _climbing(self.scaled["perturbations"][row["perturbation"]], spec)
            spec |= {"warm_up": training["warm_up"]} if "warm_up" in training else {}
        run = name_of(_slug(spec), naming.trained(spec, data), *naming.run_modules(spec))
        self.plan.runs[run] = canonical(spec)
        self.plan.data_of[run] = data
        if weights:
            self.plan.weights_of[run] = weights
        return Trained(run, spec, name, label, seed)

    def _network(self, experiment: dict, objective: dict) -> tuple[dict, str | None]:
        """The network's specification and the file of its pretrained weights, if it starts from some."""
        network = dict(self.scale["networks"][experiment["network"]])
        if head := head_of(network, objective, experiment):
            network["head"] = head
        network["pretrained"], weights = _pretrained(network, self.settings)
        return network, weights

    def _entry(self, run: Trained, first: bool) -> dict:
        """A run and what is measured of it, as the manifest lists them.

        Figures that show one network show the row's `first`.
        """
        name, label, paper, scale = run.experiment, run.label, self.paper, self.scale
        experiment = paper["experiments"][name]
        directory = f"results/runs/{run.name}"
        features = name_of("features", {}, *naming.features_modules(run.spec["model"]))
        attacked, audited = [], []
        if label not in scale.get("unattacked", {}).get(name, []):
            attacked = scale.get("attacked", {}).get(name, experiment.get("attacks", paper["attacks"]))
            audited = scale.get("audited", {}).get(name, experiment["rows"])
        entry = {
            "seed": run.spec["seed"],
            "run": run.name,
            "directory": directory,
            "features": f"{directory}/{features}",
            "attacks": {attack: f"{directory}/attacks/{self._attack(run, attack)}" for attack in sorted(attacked)},
        }
        if "audit" in experiment and label in audited:
            entry["audit"] = f"{directory}/audits/{self._audit(run, experiment['audit'])}"
        wanted = {
            figure: self._measurement(run, plain(settings["measure"]))
            for figure, settings in paper["figures"].items()
            if first and "measure" in settings and settings["experiment"] == name and label in settings["rows"]
        }
        if wanted:
            entry["measured"] = {figure: f"{directory}/measured/{planned}" for figure, planned in wanted.items()}
        return entry

    def _attack(self, run: Trained, label: str) -> str:
        attack = self._transferred(_climbing(self.scaled["attacks"][label], run.spec), run)
        scope = {"split": "evaluation", "epochs": run.spec.get("keep", "all"), "count": None}
        spec = self._defended(scope | attack, run)
        own = settings_of("attacks", spec)
        parts = [spec["name"], *([f"eps{spec['epsilon']:.4g}"] if "epsilon" in own else [])]
        slug = "-".join([*parts, *([spec["defence"]["name"]] if "defence" in spec else [])])
        name = name_of(slug, spec, *naming.attack_modules(spec, run.spec["model"]))
        self.plan.attacks[name] = canonical(spec)
        self.plan.sources[name] = sorted(sources_of(spec))
        return name

    def _audit(self, run: Trained, label: str) -> str:
        spec = {"split": "evaluation"} | self.scaled["audits"][label]
        if "source" in spec:
            spec["source"] = self._source(spec["source"], run).name
            spec = {key: value for key, value in spec.items() if key != "source" or value != self._own(run)}
        spec = self._defended(spec, run)
        name = name_of(f"audit-eps{spec['epsilon']:.4g}", spec, *naming.audit_modules(spec, run.spec["model"]))
        self.plan.audits[name] = canonical(spec)
        self.plan.sources[name] = sorted(sources_of(spec))
        return name

    def _measurement(self, run: Trained, spec: dict) -> str:
        name = name_of(spec["name"], spec, *naming.measurement_modules(spec, run.spec["model"]))
        self.plan.measurements[name] = canonical(spec)
        return name

    def _source(self, row: str | dict, run: Trained) -> Trained:
        """The run, with the seed of `run`, of a row by its label in the same experiment or by experiment and row."""
        if isinstance(row, dict):
            return self.train(row["experiment"], row["row"], run.seed)
        return self.train(run.experiment, row, run.seed)

    def _transferred(self, attack: dict, run: Trained) -> dict:
        """`attack` on `run` with the names of the runs that it transfers from, its own left out of an ensemble."""
        if "source" in attack:
            source = self._source(attack["source"], run)
            return attack | {"source": source.name, "attack": _climbing(attack["attack"], source.spec)}
        if "attack" in attack:
            return attack | {"attack": self._transferred(attack["attack"], run)}
        if "attacks" in attack:
            members = [self._transferred(member, run) for member in attack["attacks"]]
            own = self._own(run)
            return attack | {"attacks": [each for each in members if "source" not in each or each["source"] != own]}
        return attack

    def _own(self, run: Trained) -> str | None:
        """The run whose examples are no transfer: its own, unless the row has a defence, which the run has not."""
        return None if "defence" in self._row(run) else run.name

    def _row(self, run: Trained) -> dict:
        return self.paper["experiments"][run.experiment]["rows"][run.label]

    def _defended(self, spec: dict, run: Trained) -> dict:
        """The specification of a measurement of `run`, under its row's defence if that has one."""
        row = self._row(run)
        return spec | {"defence": plain(self.paper["defences"][row["defence"]])} if "defence" in row else spec


def add_data(result: Plan, name: str, spec: dict, data_root: str) -> None:
    """Plan a data set under a name, and the clips that it is taken from if those are drawn."""
    result.data[name] = canonical(spec)
    result.raw_of[name] = data_root
    if spec["name"] == "cholec80":
        result.raw_of[name] += "/cholec80"
    if spec["name"] == "cholec80-sim":
        # Neither the splits nor the size of the images change a clip.
        drawn = {key: value for key, value in spec.items() if key not in ("splits", "image_size")}
        raw = name_of("cholec80-sim", drawn, plugin("data", spec["name"]))
        result.drawn[raw] = canonical(drawn)
        result.raw_of[name] = f"data/raw/{raw}"


def _seeds(settings: dict, scale: dict) -> dict:
    """The user's `seeds`, else the scale's, and `seeded`, the experiments that have others there."""
    if "seeds" in settings:
        return {"seeds": settings["seeds"]}
    return {key: scale[key] for key in ("seeds", "seeded") if key in scale}


def _label(row: dict, objectives: dict) -> str:
    formula = objectives[row["objective"]]["formula"]
    parts = [f"{objectives[row['clean']]['formula']} clean + {formula} perturbed" if "clean" in row else formula]
    if "schedule" in row:
        parts.append(f"{row['schedule']} rate")
    if "perturbation" in row:
        parts.append(f"{row['perturbation']} adversaries")
    if "defence" in row:
        parts.append(f"{row['defence']} defence")
    if row.get("repeat"):
        parts.append(f"run {row['repeat'] + 1}")
    return ", ".join(parts)


def _scaled(section: dict[str, dict], scale: dict[str, dict]) -> dict[str, dict]:
    """The entries of a section of the paper with what the scale says of them."""
    return {label: plain(entry | scale.get(label, {})) for label, entry in section.items()}


def _climbing(attack: dict, run: dict) -> dict:
    """`attack` on the run of a specification: the loss `training` is the run's own objective."""
    attack = attack | {"loss": run["objective"]} if attack.get("loss") == "training" else attack
    if "attack" in attack and "source" not in attack:
        return attack | {"attack": _climbing(attack["attack"], run)}
    if "attacks" in attack:
        return attack | {"attacks": [_climbing(member, run) for member in attack["attacks"]]}
    return attack


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
    adversaries = [spec["perturbation"]["name"]] if "perturbation" in spec else []
    schedule = [spec["schedule"]["name"], *(["best"] if spec.get("keep") == "best" else [])]
    return "-".join([spec["data"]["name"], *network, *updates, *adversaries, *schedule, f"s{spec['seed']}"])


def _terms(terms: list[dict]) -> str:
    return "".join(f"{term['weight']:+.3g}{term['loss']}" for term in terms).lstrip("+")
