"""Whether a paper's yaml names what is there: plugins and their settings, experiments, rows, attacks, data."""

from robustloss import schemas
from robustloss.claims import statements
from robustloss.code import (
    FRAMES,
    FUNCTIONS,
    check_head,
    check_kinds,
    check_settings,
    members_of,
    nearest,
    plugin,
    plugins,
    settings_of,
    sources_of,
)
from robustloss.errors import Problem


def check_paper(paper: dict, where: str) -> dict:
    """Check a paper's experiments: the schema, then that every name it uses is defined somewhere."""
    schemas.check(paper, "paper", where)
    for name, objective in paper["objectives"].items():
        for term in objective["terms"] + objective.get("then", []):
            _check_plugin(f"{where}: objectives.{name}", "losses", term, "loss")
        if "head" in objective:
            _check_plugin(f"{where}: objectives.{name}.head", "heads", objective["head"])
    for name, defence in paper.get("defences", {}).items():
        _check_plugin(f"{where}: defences.{name}", "defences", defence)
    for name, experiment in paper["experiments"].items():
        _check_rows(f"{where}: experiments.{name}", experiment, paper)
    for name, figure in paper["figures"].items():
        _known(f"{where}: figures.{name}.experiment", figure["experiment"], paper["experiments"])
        for label in figure["rows"]:
            _known(f"{where}: figures.{name}.rows", label, paper["experiments"][figure["experiment"]]["rows"])
        if "attack" in figure.get("measure", {}):
            _check_attack(f"{where}: figures.{name}.measure.attack", figure["measure"]["attack"])
    for name, scale in paper["scales"].items():
        _check_scale(f"{where}: scales.{name}", scale, paper)
    for name, experiment in paper["experiments"].items():
        _check_measured(f"{where}: experiments.{name}", experiment, paper)
    for name, claim in paper.get("claims", {}).items():
        paper["claims"][name] = _checked_claim(f"{where}: claims.{name}", claim, paper)
    return paper


def _checked_claim(where: str, claim: dict, paper: dict) -> dict:
    """The claim with all its comparisons told in full, or the sentence that its page is to fail with.

    A claim that names what is not there is no reason to keep back other pages.
    """
    try:
        comparisons = statements.comparisons_of(claim)
        for comparison in comparisons:
            schemas.check(comparison, "paper", where, part="comparison")
            statements.check(where, comparison)
            _check_comparison(where, comparison, paper)
    except Problem as problem:
        return {"problem": str(problem)}
    told = [_with_originals(comparison, paper) for comparison in comparisons]
    return {"claim": claim["claim"], "source": claim["source"], "comparisons": told}


def _check_comparison(where: str, comparison: dict, paper: dict) -> None:
    named = [key for key in ("experiment", "against_experiment", "honest_experiment") if key in comparison]
    for key in named:
        _known(f"{where}.{key}", comparison[key], paper["experiments"])
    own, other, judged = (
        paper["experiments"][comparison.get(key, comparison["experiment"])]
        for key in ("experiment", "against_experiment", "honest_experiment")
    )
    if len({experiment["data"] for experiment in (own, other, judged)}) > 1:
        raise Problem(f"{where}: {', '.join(comparison[key] for key in named)} have different data: name others")
    for key, experiment in (("row", own), ("against", other)):
        for label in statements.several(comparison[key]):
            _known(f"{where}.{key}", label, experiment["rows"])
    attacks = {"attack": own, "against_attack": other, "honest": judged}
    for key, experiment in attacks.items():
        for label in statements.several(comparison.get(key, [])):
            _known(f"{where}.{key}", label, experiment.get("attacks", paper["attacks"]))


def _with_originals(comparison: dict, paper: dict) -> dict:
    """A comparison beside what the paper's own numbers are of; the other side's where it is of another experiment."""
    found = comparison | {"original": _original(comparison["experiment"], paper)}
    if "against_experiment" in comparison:
        found["against_original"] = _original(comparison["against_experiment"], paper)
    return found


def _original(name: str, paper: dict) -> dict:
    """The data set, network and epochs of an experiment at the scale `paper`, or at the last where there is none."""
    experiment = paper["experiments"][name]
    scale = paper["scales"].get("paper") or [*paper["scales"].values()][-1]
    return {
        "data": scale["data"][experiment["data"]]["name"],
        "network": scale["networks"][experiment["network"]],
        "epochs": scale["training"][experiment.get("training", "default")]["epochs"],
    }


def _check_measured(where: str, experiment: dict, paper: dict) -> None:
    """The attacks and the audit of an experiment, and the rows whose adversarial examples they take."""
    for label in experiment.get("attacks", []):
        _known(f"{where}.attacks", label, paper["attacks"])
    if "audit" in experiment:
        _known(f"{where}.audit", experiment["audit"], paper.get("audits", {}))
        _check_sources(f"{where}.audit {experiment['audit']}", paper["audits"][experiment["audit"]], experiment, paper)
    for label in experiment.get("attacks", paper["attacks"]):
        _check_sources(f"{where}.attacks: {label}", paper["attacks"][label], experiment, paper)


def _check_sources(where: str, attack: dict, experiment: dict, paper: dict) -> None:
    for source in sources_of(attack):
        other, label = experiment, source
        if isinstance(source, dict):
            _known(f"{where}, source", source["experiment"], paper["experiments"])
            other, label = paper["experiments"][source["experiment"]], source["row"]
        _known(f"{where}, source", label, other["rows"])
        if other["data"] != experiment["data"]:
            raise Problem(
                f"{where}, source: {source['experiment']} has other data, {other['data']}: name a row on the same"
            )


def _check_rows(where: str, experiment: dict, paper: dict) -> None:
    for label, row in experiment["rows"].items():
        for key in ("objective", "clean", "perturbation", "defence"):
            if key in row:
                section = "objectives" if key == "clean" else f"{key}s"
                _known(f"{where}.rows.{label}.{key}", row[key], paper.get(section, {}))
        if "clean" in row and "perturbation" not in row:
            raise Problem(f"{where}.rows.{label}: `clean` is what clean images add to a training with a `perturbation`")


def _check_scale(where: str, scale: dict, paper: dict) -> None:
    for name, network in scale["networks"].items():
        _check_plugin(f"{where}.networks.{name}", "models", network)
        if head := network.get("head"):
            _check_plugin(f"{where}.networks.{name}.head", "heads", head)
    for name in scale.get("seeded", {}):
        _known(f"{where}.seeded", name, paper["experiments"])
    for key in ("rows", "unattacked", "audited", "attacked"):
        for name, labels in scale.get(key, {}).items():
            _known(f"{where}.{key}", name, paper["experiments"])
            experiment = paper["experiments"][name]
            choices = experiment.get("attacks", paper["attacks"]) if key == "attacked" else experiment["rows"]
            for label in labels:
                _known(f"{where}.{key}.{name}", label, choices)
    for name, audit in scale.get("audits", {}).items():
        _known(f"{where}.audits", name, paper.get("audits", {}))
        schemas.check(paper["audits"][name] | audit, "paper", f"{where}.audits.{name}", part="audit")
    for section in ("attacks", "perturbations"):
        own, overlaid = paper.get(section, {}), scale.get(section, {})
        for name in overlaid:
            _known(f"{where}.{section}", name, own)
        for name, attack in own.items():
            _check_attack(f"{where}.{section}.{name}", attack | overlaid.get(name, {}))
    for name, perturbation in paper.get("perturbations", {}).items():
        for key in FRAMES["attacks"][1:]:
            if key in perturbation | scale.get("perturbations", {}).get(name, {}):
                raise Problem(
                    f"{where}.perturbations.{name}: '{key}' belongs to attacks, not to training: leave it out"
                )
        if sources_of(perturbation):
            raise Problem(f"{where}.perturbations.{name}: training knows no other network: leave transfer out")
    if "counts" in paper:
        _known(f"{where}.data, whose frames Table 1 counts,", paper["counts"], scale["data"])
    for name, experiment in paper["experiments"].items():
        _check_experiment(where, name, experiment, scale, paper)


def _check_experiment(where: str, name: str, experiment: dict, scale: dict, paper: dict) -> None:
    for key, section in (("data", "data"), ("network", "networks"), ("training", "training")):
        _known(f"{where}.{section}, which experiment {name} needs,", experiment.get(key, "default"), scale[section])
    network = f"{where}.networks.{experiment['network']}"
    schedules = scale["training"][experiment.get("training", "default")]["schedules"]
    for row in experiment["rows"].values():
        _known(f"{where}.training, schedules of experiment {name},", row.get("schedule", "default"), schedules)
        objective = paper["objectives"][row["objective"]]
        clean = paper["objectives"][row["clean"]]["terms"] if "clean" in row else []
        head = head_of(scale["networks"][experiment["network"]], objective, experiment)
        for term in objective["terms"] + objective.get("then", []) + clean:
            check_head(network, term["loss"], head and head["name"])


def head_of(network: dict, objective: dict, experiment: dict) -> dict | None:
    """The head that a row's network ends in: the objective's own before the network's; None for the body's logits.

    An experiment's `embedding` is the dimension of the features, before a linear head where there is no other.
    """
    head = objective.get("head", network.get("head"))
    if "embedding" in experiment:
        return (head or {"name": "linear"}) | {"dimension": experiment["embedding"]}
    return head


def _check_attack(where: str, attack: dict) -> None:
    schemas.check(attack, "paper", where, part="attack")
    _check_plugin(where, "attacks", attack)
    for term in attack["loss"] if isinstance(attack.get("loss"), list) else []:
        _check_plugin(f"{where}.loss", "losses", term, "loss")
    if "attack" in attack:
        _check_attack(f"{where}.attack", attack["attack"])
    for number, member in enumerate(members_of(attack) if "attacks" in attack else []):
        _check_attack(f"{where}.attacks.{number}", member)


def _check_plugin(where: str, family: str, spec: dict, key: str = "name") -> None:
    name = spec[key]
    if name not in plugins(family):
        raise Problem(f"{where}: there is no '{name}' in {family}{nearest(name, plugins(family))}")
    settings = settings_of(family, spec)
    check_settings(where, plugin(family, name), FUNCTIONS[family], settings)
    check_kinds(where, plugin(family, name), FUNCTIONS[family], settings)


def _known(where: str, name: str, choices) -> None:
    if name not in choices:
        raise Problem(f"{where}: there is no '{name}'{nearest(name, choices)}")
