"""What the library's source says, read as syntax: which modules a stage rests on, their digest, a function's settings.

Nothing is imported here, so that a plan costs milliseconds and needs no torch.
"""

import ast
import difflib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from robustloss.errors import Problem
from robustloss.files import canonical, digest
from robustloss.unchanged import taken_for

PACKAGE = "robustloss"
ROOT = Path(__file__).parent

# These report, store or describe a computation and cannot change a number, so they are no part of a result's identity;
# nor is where it ran: `devices`, `graphs` and `parallel` change its rounding, and stand in its record.
NEUTRAL = frozenset(
    f"{PACKAGE}.{name}"
    for name in (
        "code",
        "devices",
        "errors",
        "files",
        "graphs",
        "naming",
        "parallel",
        "progress",
        "provenance",
        "unchanged",
    )
)
# The function that makes a module one of a family; its other modules are helpers.
FUNCTIONS = {"losses": "loss", "models": "network", "heads": "head", "attacks": "perturb", "defences": "defend"}
# The keys of a specification that say where it belongs; the others are the settings of its module's function.
FRAMES = {
    "losses": ("loss", "weight"),
    "models": ("name", "mean", "std", "standardise", "pretrained", "head"),
    "heads": ("name", "dimension"),
    "attacks": ("name", "split", "epochs", "count", "defence"),
    "defences": ("name",),
}
# Kinds of settings: whether a value is one, and what it then is called.
KINDS = {
    "float": (lambda value: isinstance(value, int | float) and not isinstance(value, bool), "a number"),
    "int": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "str": (lambda value: isinstance(value, str), "a text"),
}
# What may have a docstring.
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
# Keyword-only parameters that the library fills in, so that a yaml cannot.
SUPPLIED = {"loss": ("features", "head")}


@cache
def plugins(family: str) -> tuple[str, ...]:
    """The names that a yaml may use in `family` (losses, models, heads, attacks, defences, data): its modules."""
    names = sorted(path.stem for path in (ROOT / family).glob("*.py") if path.stem != "__init__")
    wanted = FUNCTIONS.get(family)
    return tuple(name for name in names if wanted is None or _function(f"{PACKAGE}.{family}.{name}", wanted))


@cache
def plugin(family: str, name: str) -> str:
    """The module of `name` in `family`, where a hyphen stands for an underscore; an unknown name gets the nearest."""
    stem = name.replace("-", "_")
    module = f"{PACKAGE}.{family}.{stem}"
    if not stem.isidentifier() or _file(module) is None:
        raise Problem(f"{family}: there is no '{name}'{nearest(name, plugins(family))}")
    return module


def nearest(name: str, choices) -> str:
    """The end of a sentence that refuses `name`: the most similar choice, and all of them."""
    choices = sorted(map(str, choices))
    similar = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    hint = f"; did you mean '{similar[0]}'?" if similar else ";"
    return f"{hint} The choices are: {', '.join(choices)}"


def closure(*entries: str) -> list[str]:
    """The modules that `entries` import, directly or not, themselves included, less the neutral ones.

    Modules found by name at run time are not seen: whoever plans a run gives them as entries.
    """
    found: set[str] = set()
    waiting = [*entries]
    while waiting:
        module = waiting.pop()
        if module in found or module in NEUTRAL:
            continue
        found.add(module)
        waiting.extend(_imports(module))
    return sorted(found)


@cache
def code_digest(*entries: str) -> str:
    """SHA-256 (hex) of the syntax of everything `entries` rest on; comments, docstrings and layout do not count."""
    return digest_of_modules(module_digests(*entries))


def module_digests(*entries: str) -> dict[str, str]:
    """The modules that `entries` rest on, each with the SHA-256 (hex) of its syntax."""
    return {module: _digest(module) for module in closure(*entries)}


def digest_of_modules(modules: dict[str, str]) -> str:
    """The code digest that follows from the digests of its modules."""
    return digest(canonical(modules))


def parameters(module: str, function: str) -> tuple[list[str], list[str]]:
    """The keyword-only parameters of a function in a module: (required, optional)."""
    node = _function(module, function)
    if node is None:
        raise Problem(f"{_file(module)} defines no function '{function}': a module of this family needs one")
    pairs = list(zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True))
    required = [argument.arg for argument, default in pairs if default is None]
    return required, [argument.arg for argument, default in pairs if default is not None]


def defaults(module: str, function: str) -> dict:
    """What the keyword-only parameters of a function in a module are where nothing is said, if that is a literal."""
    node = _function(module, function)
    pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if node else ()
    return {argument.arg: default.value for argument, default in pairs if isinstance(default, ast.Constant)}


def settings_of(family: str, spec: dict) -> dict:
    """A specification's own settings: what is handed to the function of its module."""
    return {key: value for key, value in spec.items() if key not in FRAMES[family]}


def parts_of(attack: dict) -> list[dict]:
    """The attacks that another one is made of, as they stand in its settings."""
    return [*attack.get("attacks", []), *([attack["attack"]] if "attack" in attack else [])]


def sources_of(attack: dict) -> list:
    """What an attack, or what it is made of, names as the networks whose adversarial examples it takes, each once."""
    found = [attack["source"]] if "source" in attack else []
    found += [source for part in parts_of(attack) for source in sources_of(part)]
    return [source for number, source in enumerate(found) if source not in found[:number]]


def members_of(ensemble: dict) -> list[dict]:
    """The attacks of an ensemble; those that take an `epsilon` and name none have the ensemble's."""
    return [_within(ensemble.get("epsilon"), member) for member in ensemble["attacks"]]


def _within(epsilon: float | None, attack: dict) -> dict:
    """`attack`, or the one that it rests on, with `epsilon` where it takes one and names none."""
    if epsilon is None or not isinstance(attack, dict) or attack.get("name") not in plugins("attacks"):
        return attack
    if "attack" in attack:
        return attack | {"attack": _within(epsilon, attack["attack"])}
    takes = any("epsilon" in names for names in parameters(plugin("attacks", attack["name"]), "perturb"))
    return {"epsilon": epsilon} | attack if takes else attack


def check_settings(where: str, module: str, function: str, settings) -> None:
    """Refuse settings that the function does not take, or that lack one it needs, naming the key."""
    supplied = SUPPLIED.get(function, ())
    required, optional = ([name for name in names if name not in supplied] for names in parameters(module, function))
    for key in settings:
        if key not in required + optional:
            choices = required + optional
            rest = nearest(key, choices) if choices else ": it takes no settings"
            raise Problem(f"{where}: unknown key '{key}'{rest}")
    for key in required:
        if key not in settings:
            raise Problem(f"{where}: the key '{key}' is missing")


def check_kinds(where: str, module: str, function: str, settings: dict) -> None:
    """Refuse settings that are of another kind than the function's parameters, naming the key."""
    for key, kind in _kinds(module, function).items():
        if key in settings and not KINDS[kind][0](settings[key]):
            raise Problem(f"{where}: {key}: {settings[key]!r} is not {KINDS[kind][1]}")


@cache
def _kinds(module: str, function: str) -> dict[str, str]:
    """By keyword-only parameter the kind of its values, where its annotation or else its default says one of KINDS."""
    node = _function(module, function)
    found = {}
    for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        said = ast.unparse(argument.annotation) if argument.annotation else ""
        if not said and isinstance(default, ast.Constant):
            said = type(default.value).__name__
        if said in KINDS:
            found[argument.arg] = said
    return found


def check_head(where: str, loss: str, head: str | None) -> None:
    """Refuse a loss on a network whose head (None: no head) is not among those that the loss names as its HEADS."""
    fitting = _literal(plugin("losses", loss), "HEADS")
    if fitting and head not in fitting:
        found = f"the head {head}" if head else "no head"
        raise Problem(f"{where}: loss {loss} needs a network with the head {' or '.join(fitting)}; this has {found}")


def _literal(module: str, name: str):
    """What a module assigns to `name` at its top level, as a literal; None where it does not."""
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
            return ast.literal_eval(node.value)
    return None


def _function(module: str, name: str) -> ast.FunctionDef | None:
    functions = [node for node in _tree(module).body if isinstance(node, ast.FunctionDef) and node.name == name]
    return functions[0] if functions else None


@cache
def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _tree(module: str) -> ast.Module:
    path = _file(module)
    if path is None:
        raise Problem(f"the library has no module {module}")
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise Problem(f"{path}, line {error.lineno}: {error.msg}") from None


@cache
def _imports(module: str) -> list[str]:
    names = []
    for node in _statements(_tree(module)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = [name for name in names if name.split(".")[0] == PACKAGE and _file(name)]
    # Importing a.b.c runs a/__init__ and a.b/__init__ as well.
    parents = [name.rsplit(".", depth)[0] for name in ours for depth in range(1, name.count(".") + 1)]
    return sorted({*ours, *parents})


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """The statements within a node, nested ones too: a tenth of what `ast.walk` goes through."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for statement in getattr(node, block, ()):
            yield statement
            yield from _statements(statement)


@cache
def _digest(module: str) -> str:
    return taken_for(module, digest(_dump(_tree(module))))


def _dump(node) -> str:
    # Not ast.dump: its text differs between Python versions, and a name must not.
    if isinstance(node, list):
        return f"[{','.join(map(_dump, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = {name: value for name, value in ast.iter_fields(node) if value is not None and value != []}
    if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:]
    return f"{type(node).__name__}({','.join([f'{name}={_dump(value)}' for name, value in fields.items()])})"
