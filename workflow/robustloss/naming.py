"""What names a result: its specification and the library's modules that it rests on.

The plan names what is to be made and each job records what it was made by; both ask here, so that they agree.
"""

import re

from robustloss.code import code_digest, parts_of, plugin, plugins
from robustloss.files import canonical, digest

# What writes a data set that none of the library's modules made.
WRITER = "robustloss.data.prepared"


def name_of(slug: str, spec: dict, *modules: str) -> str:
    """The name of what `spec` and the code of `modules` make."""
    slug = re.sub(r"[^A-Za-z0-9._+-]+", "_", slug)
    return f"{slug}-{ending(spec, code_digest(*modules))}"


def ending(spec: dict, code: str) -> str:
    """How the name of what `spec` and code with the digest `code` make ends: eight hex digits of a SHA-256."""
    return digest(canonical(spec), code)[:8]


def trained(spec: dict, data: str) -> dict:
    """What stands for a run in its name: its specification, and the name of its data for the code that made them."""
    return {"spec": spec, "data": data}


def data_modules(spec: dict) -> list[str]:
    """The modules that a data set is made by."""
    name = spec.get("name", "").replace("-", "_")
    if name not in plugins("data"):
        return [WRITER]
    return [plugin("data", name), *([plugin("data", "cholec80")] if name == "cholec80_sim" else [])]


def data_name(spec: dict) -> str:
    """The name of the data set that `spec` describes, prepared."""
    return name_of(f"{spec['name']}-{spec.get('image_size', 'native')}", spec, *data_modules(spec))


def run_modules(spec: dict) -> list[str]:
    """The modules that a training rests on."""
    perturbation = _attack_modules(spec["perturbation"]) if "perturbation" in spec else []
    return ["robustloss.training", *_network_modules(spec["model"]), *_loss_modules(spec), *perturbation]


def features_modules(model: dict) -> list[str]:
    """The modules that the features of a network rest on."""
    return ["robustloss.features", *_network_modules(model)]


def attack_modules(spec: dict, model: dict) -> list[str]:
    """The modules that an attack on a network rests on."""
    return ["robustloss.evaluation", *_attack_modules(spec), *_network_modules(model), *_defence_modules(spec)]


def audit_modules(spec: dict, model: dict) -> list[str]:
    """The modules that the audit of a network rests on."""
    return ["robustloss.audit", *_network_modules(model), *_defence_modules(spec)]


def measurement_modules(spec: dict, model: dict) -> list[str]:
    """The modules that what a figure needs to know of a network rests on."""
    attack = _attack_modules(spec["attack"]) if "attack" in spec else []
    return [f"robustloss.{spec['name']}", *_network_modules(model), *attack]


def _loss_modules(spec: dict) -> list[str]:
    terms = [term for key in ("objective", "then", "clean") for term in spec.get(key, [])]
    return [plugin("losses", term["loss"]) for term in terms]


def _attack_modules(spec: dict) -> list[str]:
    """The modules that an attack, the objective that it climbs and the attacks of an ensemble come from."""
    terms = spec["loss"] if isinstance(spec.get("loss"), list) else []
    losses = [plugin("losses", term["loss"]) for term in terms]
    members = [module for member in parts_of(spec) for module in _attack_modules(member)]
    return [plugin("attacks", spec["name"]), *losses, *members]


def _network_modules(model: dict) -> list[str]:
    """The modules that a network's body and head come from."""
    head = [plugin("heads", model["head"]["name"])] if "head" in model else []
    return [plugin("models", model["name"]), *head]


def _defence_modules(spec: dict) -> list[str]:
    return [plugin("defences", spec["defence"]["name"])] if "defence" in spec else []
