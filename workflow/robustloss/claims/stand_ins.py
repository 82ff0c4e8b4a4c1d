"""What takes the place of a paper's own data, networks and epochs in the trainings that are compared, in words.

A training is told by its specification, what it stands for by the `original` of a comparison: the same experiment's
`data`, `network` and `epochs` at the scale `paper`.
"""

from collections.abc import Iterable

from robustloss.code import settings_of


def told(specs: Iterable[dict], originals: Iterable[dict]) -> tuple[str, ...]:
    """Everything that stands in, each once: `mnist in place of cholec80`."""
    found = []
    for spec, original in zip(specs, originals, strict=True):
        found += [
            _instead(spec["data"]["name"], original["data"]),
            network(spec, original),
            _instead(spec["epochs"], original["epochs"], " epochs"),
        ]
    return tuple(dict.fromkeys(filter(None, found)))


def network(spec: dict, original: dict) -> str:
    """`resnet_cifar depth 8 in place of resnet_cifar depth 56`; nothing for the paper's own."""
    ours, theirs = spec["model"], original["network"]
    own = [settings_of("models", each) for each in (ours, theirs)]
    other = [key for key in own[0] | own[1] if own[0].get(key) != own[1].get(key)]
    names = [
        " ".join([each["name"], *(_setting(key, each[key]) for key in other if key in each)]) for each in (ours, theirs)
    ]
    return _instead(*names)


def _setting(key: str, value) -> str:
    if isinstance(value, bool):
        return key if value else f"no {key}"
    return f"{key} {value}"


def _instead(ours, theirs, unit: str = "") -> str:
    return "" if ours == theirs else f"{ours}{unit} in place of {theirs}"
