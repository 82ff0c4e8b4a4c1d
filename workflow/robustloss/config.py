"""Configuration: config.yaml and the papers' yaml, merged, made of plain numbers, and checked against their schemas."""

import copy
import re
from fractions import Fraction
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from robustloss.code import check_head, check_settings, nearest, plugin, plugins
from robustloss.errors import Problem

WORKFLOW = Path(__file__).parents[1]
PAPER_NAME = re.compile(r"[a-z]+[0-9]{4}")
# Keys of an attack that say what is attacked, and of a network that frame it; the others are its module's own settings.
ATTACK_SCOPE = ("name", "split", "epochs", "count")
NETWORK_FRAME = ("name", "mean", "std", "pretrained", "head")
HEAD_FRAME = ("name", "dimension")
# Snakemake hands these on as texts when they come from the command line.
TYPED = ("papers", "seeds", "threads", "download")

_DECIMAL = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_FRACTION = re.compile(rf"({_DECIMAL})\s*/\s*({_DECIMAL})")
_EXPONENT = re.compile(rf"{_DECIMAL}[eE][+-]?\d+")
_RANGES = re.compile(r"\d+(?:-\d+)?(?:\s*,\s*\d+(?:-\d+)?)*")


def load(settings: dict, folder: Path = WORKFLOW) -> tuple[dict, dict[str, dict]]:
    """Check `settings` (config.yaml with what the command line overrode) and the yaml of each paper that it names.

    Returns (settings, {paper: experiments}); raises Problem with the key, what is wrong, and the nearest valid key.
    """
    settings = {key: typed(value) if key in TYPED else value for key, value in numbers(settings).items()}
    check(settings, "config", "config.yaml", folder)
    papers = {}
    known = sorted(path.stem for path in (folder / "papers").glob("*.yaml"))
    for name in [*settings["papers"], *(key for key in settings if PAPER_NAME.fullmatch(key))]:
        if name not in known:
            raise Problem(f"config.yaml: there is no paper '{name}'{nearest(name, known)}")
    for name in settings["papers"]:
        path = folder / "papers" / f"{name}.yaml"
        paper = merge(read_yaml(path), settings.get(name, {}))
        where = f"{path.name} with config.yaml's section '{name}'" if name in settings else path.name
        papers[name] = check_paper(expand_videos(numbers(paper)), where, folder)
        if settings["scale"] not in paper["scales"]:
            raise Problem(
                f"config.yaml: {name} has no scale '{settings['scale']}'{nearest(settings['scale'], paper['scales'])}"
            )
    return settings, papers


def read_yaml(path: Path) -> dict:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Problem(f"{path} is missing") from None
    except yaml.YAMLError as error:
        raise Problem(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None


def merge(below: dict, above: dict) -> dict:
    """`above` laid over `below`: mappings deeply, everything else replaced. Neither argument is changed."""
    merged = copy.deepcopy(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


def numbers(value):
    """Texts such as 8/255 and 1e-3, which YAML leaves as texts, as the numbers they mean."""
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    if isinstance(value, str):
        if parts := _FRACTION.fullmatch(value):
            below = Fraction(parts[2])
            return float(Fraction(parts[1]) / below) if below else value
        if _EXPONENT.fullmatch(value):
            return float(value)
    return value


def typed(value):
    """`false`, `2` and `[0, 1]` written on a command line, as YAML would read them."""
    if isinstance(value, list):
        return [typed(item) for item in value]
    return yaml.safe_load(value) if isinstance(value, str) else value


def expand_videos(paper: dict) -> dict:
    """Splits written as `1-40` or `1-3, 68` become lists of video numbers."""
    for scale in (paper.get("scales") or {}).values():
        splits = scale.get("data", {}).get("splits") if isinstance(scale, dict) else None
        for split, videos in (splits or {}).items():
            if isinstance(videos, str) and _RANGES.fullmatch(videos):
                bounds = [[int(end) for end in part.split("-")] for part in videos.split(",")]
                splits[split] = [video for pair in bounds for video in range(pair[0], pair[-1] + 1)]
    return paper


def check(value, schema: str, where: str, folder: Path = WORKFLOW, part: str | None = None) -> None:
    """Refuse a value that does not fit workflow/schemas/<schema>.schema.yaml, or one of its $defs."""
    definition = read_yaml(folder / "schemas" / f"{schema}.schema.yaml")
    if part:
        definition = {"$ref": f"#/$defs/{part}", "$defs": definition["$defs"]}
    error = best_match(Draft202012Validator(definition).iter_errors(value))
    if error is not None:
        raise Problem(f"{where}: {_sentence(error)}")


def check_paper(paper: dict, where: str, folder: Path = WORKFLOW) -> dict:
    """Check a paper's experiments: the schema, then that every name it uses is defined somewhere."""
    check(paper, "paper", where, folder)
    for name, objective in paper["objectives"].items():
        for term in objective["terms"] + objective.get("then", []):
            _check_plugin(f"{where}: objectives.{name}", "losses", term["loss"], "loss", term, ("loss", "weight"))
    for name, experiment in paper["experiments"].items():
        for label, row in experiment["rows"].items():
            _known(f"{where}: experiments.{name}.rows.{label}.objective", row["objective"], paper["objectives"])
    for name, figure in paper["figures"].items():
        _known(f"{where}: figures.{name}.experiment", figure["experiment"], paper["experiments"])
        for label in figure["rows"]:
            _known(f"{where}: figures.{name}.rows", label, paper["experiments"][figure["experiment"]]["rows"])
    for name, scale in paper["scales"].items():
        _check_scale(f"{where}: scales.{name}", scale, paper, folder)
    return paper


def _check_scale(where: str, scale: dict, paper: dict, folder: Path) -> None:
    for name, network in scale["networks"].items():
        _check_plugin(f"{where}.networks.{name}", "models", network["name"], "network", network, NETWORK_FRAME)
        if head := network.get("head"):
            _check_plugin(f"{where}.networks.{name}.head", "heads", head["name"], "head", head, HEAD_FRAME)
    for name, labels in scale.get("rows", {}).items():
        _known(f"{where}.rows", name, paper["experiments"])
        for label in labels:
            _known(f"{where}.rows.{name}", label, paper["experiments"][name]["rows"])
    for name in scale.get("attacks", {}):
        _known(f"{where}.attacks", name, paper["attacks"])
    for name, attack in paper["attacks"].items():
        attack = attack | scale.get("attacks", {}).get(name, {})
        check(attack, "paper", f"{where}.attacks.{name}", folder, part="attack")
        _check_plugin(f"{where}.attacks.{name}", "attacks", attack["name"], "perturb", attack, ATTACK_SCOPE)
    for name, experiment in paper["experiments"].items():
        _known(f"{where}.networks, which experiment {name} needs,", experiment["network"], scale["networks"])
        head = scale["networks"][experiment["network"]].get("head", {}).get("name")
        for row in experiment["rows"].values():
            _known(f"{where}.training.schedules", row.get("schedule", "default"), scale["training"]["schedules"])
            objective = paper["objectives"][row["objective"]]
            for term in objective["terms"] + objective.get("then", []):
                check_head(f"{where}.networks.{experiment['network']}", term["loss"], head)


def _check_plugin(where: str, family: str, name: str, function: str, settings: dict, frame: tuple) -> None:
    if name not in plugins(family):
        raise Problem(f"{where}: there is no '{name}' in {family}{nearest(name, plugins(family))}")
    check_settings(where, plugin(family, name), function, [key for key in settings if key not in frame])


def _known(where: str, name: str, choices) -> None:
    if name not in choices:
        raise Problem(f"{where}: there is no '{name}'{nearest(name, choices)}")


def _sentence(error) -> str:
    """What a schema's error means to the person who wrote the value: where, what, and what is valid."""
    where = ".".join(str(step) for step in error.absolute_path)
    at = f"{where}: " if where else ""
    if error.validator == "additionalProperties" and error.validator_value is False:
        valid = [*error.schema.get("properties", {})]
        patterns = [re.compile(pattern) for pattern in error.schema.get("patternProperties", {})]
        unknown = [key for key in error.instance if key not in valid and not any(p.search(str(key)) for p in patterns)]
        return f"{at}unknown key '{unknown[0]}'{nearest(unknown[0], valid)}"
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{at}the key '{missing[0]}' is missing"
    wanted = error.schema.get("description")
    return f"{at}{error.instance!r} is not {wanted}" if wanted else f"{at}{error.message}"
