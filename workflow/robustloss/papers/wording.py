"""Words for how a result was made, the same in tables, on pages and in answers."""

from fractions import Fraction

# Where there is nothing.
DASH = "—"
# A weight such as 1/6 is stored as a float; this finds the fraction again, and no other one by chance.
LARGEST_DENOMINATOR = 100


def fraction(value: float) -> Fraction:
    """The fraction that a float was written as, if it was one; else the nearest."""
    return Fraction(value).limit_denominator(LARGEST_DENOMINATOR)


def objective(spec: dict) -> str:
    """What a network was trained with, term by term; nothing for an empty specification.

    `1 cross_entropy - 1 false_label`, `1/2 cross_entropy (clean); 1/2 cross_entropy (sai_fgsm, target entropy)`.
    """
    parts = [f"{_terms(spec['clean'])} (clean)"] if "clean" in spec else []
    parts += [_terms(spec["objective"]) + _adversaries(spec.get("perturbation"))] if "objective" in spec else []
    parts += [f"then {_terms(spec['then'])}"] if "then" in spec else []
    return "; ".join(parts)


def versions(environment: dict) -> str:
    """`python 3.11.2, torch 2.15.0`; nothing where none is known."""
    found = {"python": environment.get("python"), **environment.get("versions", {})}
    return ", ".join(f"{name} {version}" for name, version in found.items() if version)


def machine(environment: dict) -> str:
    """The processor with the number of threads, or the accelerator; nothing where it is not known."""
    hardware = environment.get("hardware", "")
    threads = environment.get("threads")
    if environment.get("device") != "cpu" or threads is None:
        return hardware
    return f"{hardware}, {threads} thread{'s' if threads > 1 else ''}"


def commit(environment: dict) -> str:
    """The commit in short, and whether files were changed; nothing where it is not known."""
    found = environment.get("git_commit") or ""
    return f"{found[:10]}{' with changes' if found and environment.get('git_dirty') else ''}"


def _terms(terms: list[dict]) -> str:
    """Losses with their weights and settings, the largest weight first."""
    parts = []
    for term in sorted(terms, key=lambda term: -term["weight"]):
        own = [f"{key} {_exact(value)}" for key, value in term.items() if key not in ("loss", "weight")]
        name = f"{term['loss']}[{', '.join(own)}]" if own else term["loss"]
        parts.append(f"{'-' if term['weight'] < 0 else '+'} {_exact(abs(term['weight']))} {name}")
    return " ".join(parts).removeprefix("+ ")


def _adversaries(perturbation: dict | None) -> str:
    """Who perturbs the images of a term, and what sets its relatives apart."""
    if perturbation is None:
        return ""
    details = [f"{key} {perturbation[key]}" for key in ("tracker", "target") if key in perturbation]
    return f" ({', '.join([perturbation['name'], *details])})"


def _exact(value):
    """A float as its fraction, if it is one; all else as it is."""
    return fraction(value) if isinstance(value, float) and float(fraction(value)) == value else value
