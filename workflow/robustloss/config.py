"""Configuration: config.yaml and the papers' yaml, merged, made of plain numbers, and checked."""

import copy
import math
import re
from fractions import Fraction
from pathlib import Path

import yaml

from robustloss import schemas
from robustloss.checks import check_paper
from robustloss.code import nearest
from robustloss.errors import Problem
from robustloss.schemas import read_yaml

WORKFLOW = Path(__file__).parents[1]
PAPER_NAME = re.compile(r"[a-z]+[0-9]{4}")
# Snakemake hands these on as texts when they come from the command line.
TYPED = ("papers", "published", "images", "seeds", "threads", "processes", "jobs_per_gpu", "download")

_DECIMAL = r"[+-]?(?:\d+\.?\d*|\.\d+)"
_FRACTION = re.compile(rf"({_DECIMAL})\s*/\s*({_DECIMAL})")
_EXPONENT = re.compile(rf"{_DECIMAL}[eE][+-]?\d+")
_RANGES = re.compile(r"\d+(?:-\d+)?(?:\s*,\s*\d+(?:-\d+)?)*")


def load(settings: dict, folder: Path = WORKFLOW) -> tuple[dict, dict[str, dict]]:
    """Check `settings` (config.yaml with what the command line overrode) and the yaml of each paper that it names.

    Returns (settings, {paper: experiments}); raises Problem with the key, what is wrong, and the nearest valid key.
    """
    settings = {key: typed(value) if key in TYPED else value for key, value in numbers(settings).items()}
    schemas.check(settings, "config", "config.yaml")
    if "images" in settings and not settings["published"]:
        raise Problem("config.yaml: images is for attacks that are made again: set published: true, or leave it out")
    papers = {}
    known = sorted(path.stem for path in (folder / "papers").glob("*.yaml"))
    for name in [*settings["papers"], *(key for key in settings if PAPER_NAME.fullmatch(key))]:
        if name not in known:
            raise Problem(f"config.yaml: there is no paper '{name}'{nearest(name, known)}")
    for name in settings["papers"]:
        path = folder / "papers" / f"{name}.yaml"
        paper = merge(read_yaml(path), settings.get(name, {}))
        where = f"{path.name} with the configuration's section '{name}'" if name in settings else path.name
        papers[name] = check_paper(expand_videos(numbers(paper)), where)
        # The name becomes part of paths.
        if paper["paper"] != name or not PAPER_NAME.fullmatch(name):
            raise Problem(f"{where}: paper is {paper['paper']!r}; it must be the file's own name, such as ding2025")
        if settings["scale"] not in paper["scales"]:
            raise Problem(
                f"config.yaml: {name} has no scale '{settings['scale']}'{nearest(settings['scale'], paper['scales'])}"
            )
    return settings, papers


def merge(below: dict, above: dict) -> dict:
    """`above` laid over `below`: mappings deeply, everything else replaced. Neither argument is changed."""
    merged = copy.deepcopy(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else copy.deepcopy(value)
    return merged


def numbers(value, where: str = ""):
    """Texts such as 8/255 and 1e-3, which YAML leaves as texts, as the numbers they mean; these must be finite."""
    if isinstance(value, dict):
        return {key: numbers(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [numbers(item, f"{where}.{number}") for number, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise Problem(f"{where.lstrip('.')}: {value} is not a number that can be computed with: write a finite one")
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
        sets = scale.get("data") if isinstance(scale, dict) else None
        for data in (sets or {}).values() if isinstance(sets, dict) else ():
            splits = data.get("splits") if isinstance(data, dict) else None
            for split, videos in (splits or {}).items():
                if isinstance(videos, str) and _RANGES.fullmatch(videos):
                    bounds = [[int(end) for end in part.split("-")] for part in videos.split(",")]
                    splits[split] = [video for pair in bounds for video in range(pair[0], pair[-1] + 1)]
    return paper
