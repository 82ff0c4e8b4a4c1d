"""YAML files, and the schemas that their values are held to."""

import re
from functools import lru_cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from robustloss.code import nearest
from robustloss.errors import Problem

FOLDER = Path(__file__).parents[1] / "schemas"


# The safe loader in C, where PyYAML has it: a plan is made anew in every cluster job.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> dict:
    """What a YAML file says; Problem for one that is missing, no YAML, or no keys and values."""
    try:
        found = _loaded(LOADER(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise Problem(f"{path} is missing") from None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise Problem(f"{path} is no text of YAML: {error}") from None
    except yaml.YAMLError as error:
        told = " ".join(str(error).split()).replace('in "<unicode string>", ', "at ")
        raise Problem(f"{path} is not valid YAML: {told}") from None
    if not isinstance(found, dict):
        raise Problem(f"{path} is not made of keys and values: it is {'empty' if found is None else repr(found)[:40]}")
    return found


def _loaded(loader):
    """The one document of a loader; of a key that is there twice YAML would take the last."""
    try:
        node = loader.get_single_node()
        _refuse_repeated(node, set())
        return loader.construct_document(node) if node is not None else None
    finally:
        loader.dispose()


def _refuse_repeated(node, visited: set[int]) -> None:
    if node is None or id(node) in visited or isinstance(node, yaml.ScalarNode):
        return
    visited.add(id(node))
    seen = set()
    for child in node.value:
        key, value = child if isinstance(node, yaml.MappingNode) else (None, child)
        if isinstance(key, yaml.ScalarNode) and key.value in seen:
            problem = f"the key '{key.value}' is there twice, of which one would be lost: delete one"
            raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        _refuse_repeated(value, visited)


def check(value, schema: str, where: str, part: str | None = None) -> None:
    """Refuse a value that does not fit workflow/schemas/<schema>.schema.yaml, or one of its $defs."""
    error = best_match(_validator(schema, part).iter_errors(value))
    if error is not None:
        raise Problem(f"{where}: {_sentence(error)}")


def measures() -> list[str]:
    """The names of what a figure may have measured: modules of the library."""
    return read_yaml(FOLDER / "paper.schema.yaml")["$defs"]["measure"]["properties"]["name"]["enum"]


@lru_cache
def _validator(schema: str, part: str | None) -> Draft202012Validator:
    definition = read_yaml(FOLDER / f"{schema}.schema.yaml")
    if part:
        definition = {"$ref": f"#/$defs/{part}", "$defs": definition["$defs"]}
    return Draft202012Validator(definition)


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
