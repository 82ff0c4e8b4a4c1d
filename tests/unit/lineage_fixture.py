"""A small finished results folder, made by the stages themselves: two runs, one attacked with the other's examples."""

import os
from pathlib import Path

import numpy as np
from trainings import SPEC

from robustloss import evaluation, features, naming, runs, training
from robustloss.audit import audit
from robustloss.data import prepared
from robustloss.files import canonical, read_json, write_json, write_record
from robustloss.lineage import collected
from robustloss.provenance import Stopwatch

PGD = {"name": "pgd", "epsilon": 8 / 255, "step_size": 2 / 255, "steps": 2}
SCOPE = {"split": "evaluation", "epochs": "all", "count": 8}
AUDIT = {"split": "evaluation", "epsilon": 8 / 255, "count": 8, "steps": 2, "restarts": 1, "queries": 2, "draws": 2}


def write(root: Path) -> runs.Plan:
    """Fill `root` with data/prepared and results; the plan that asks for exactly these."""
    before = Path.cwd()
    os.chdir(root)
    try:
        return _write()
    finally:
        os.chdir(before)


def _write() -> runs.Plan:
    asked = SPEC["data"]
    name = naming.name_of("bars", asked, *naming.data_modules(asked))
    data = _data(Path("data/prepared") / name)
    plan = runs.Plan(data={name: canonical(asked)})
    first = _train(plan, data, SPEC)
    second = _train(plan, data, SPEC | {"seed": 1})
    rows = {"A": [_measured(plan, data, first, PGD)]}
    transfer = {"name": "transfer", "source": first, "attack": PGD}
    rows["B"] = [_measured(plan, data, second, transfer)]
    reference = "data/reference/some2020.csv"
    plan.manifests["some2020"] = {"paper": "some2020", "rows": {"main": rows}, "scale": "demo", "reference": reference}
    _paper(Path("results/papers/some2020"), plan.manifests["some2020"], first, second)
    return plan


def _data(folder: Path) -> prepared.Prepared:
    rng = np.random.default_rng(0)

    def split(count: int):
        images = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        return [images], images.shape, [{"image": i, "class": i % 3} for i in range(count)]

    splits = {"train": split(48), "test": split(12), "evaluation": split(9)}
    return prepared.write(folder, SPEC["data"], ["a", "b", "c"], splits, {})


def _train(plan: runs.Plan, data: prepared.Prepared, spec: dict) -> str:
    named = naming.trained(spec, data.directory.name)
    name = naming.name_of(f"bars-small-s{spec['seed']}", named, *naming.run_modules(spec))
    plan.runs[name], plan.data_of[name] = canonical(spec), data.directory.name
    training.train(spec, data, Path("results/runs") / name, "cpu")
    return name


def _measured(plan: runs.Plan, data: prepared.Prepared, run: str, attack: dict) -> dict:
    folder, model, spec = Path("results/runs") / run, SPEC["model"], SCOPE | attack
    attacked = naming.name_of(attack["name"], spec, *naming.attack_modules(spec, model))
    audited = naming.name_of("audit", AUDIT, *naming.audit_modules(AUDIT, model))
    measured = naming.name_of("features", {}, *naming.features_modules(model))
    plan.attacks[attacked], plan.audits[audited] = canonical(spec), canonical(AUDIT)
    evaluation.attack(folder, data, spec, folder / "attacks" / attacked, "cpu")
    features.measure(folder, data, folder / measured, "cpu")
    entry = {"seed": 0, "run": run, "directory": str(folder), "features": str(folder / measured)}
    entry["attacks"] = {"pgd 0.1": str(folder / "attacks" / attacked)}
    if attack is PGD:
        audit(folder, data, AUDIT, folder / "audits" / audited, "cpu")
        entry["audit"] = str(folder / "audits" / audited)
    return entry


def _paper(folder: Path, manifest: dict, first: str, second: str) -> None:
    write_json(folder / "manifest.json", manifest)
    (folder / "tables").mkdir()
    lines = [f"MNIST A,FGSM,A,pgd 0.1,{first}", f"MNIST B,FGSM,B,pgd 0.1,{second}", "MNIST C,FGSM,C,pgd 0.1,"]
    (folder / "tables" / "table3.csv").write_text("\n".join(["row,column,run_as,attack,runs", *lines, ""]))
    comparison = "C1,main,A,pgd 0.1,—,B,main,pgd 0.1"
    columns = "id,experiment,row,attack,honest_attack,against,against_experiment,against_attack"
    (folder / "comparisons.csv").write_text(f"{columns}\n{comparison}\n")
    picture = {"data": {"image/png": ""}, "metadata": {"image/png": {"alt": "A figure.", "runs": [second]}}}
    cells = [{"cell_type": "code", "source": 'paper.show("figure1")', "outputs": [picture]}]
    write_json(folder / "some2020.ipynb", {"cells": cells})
    (folder / "some2020.html").write_text("<p>A page.")
    for read in ("data/reference/some2020.csv", "notebooks/some2020.ipynb"):
        Path(read).parent.mkdir(parents=True)
        Path(read).write_text("")
    collected.write(Stopwatch(), folder / "manifest.json", Path("notebooks/some2020.ipynb"))


def change(path: Path, edit) -> None:
    """Edit a record and give it the checksum of what it now says: what a careless hand cannot do."""
    record = read_json(path)
    edit(record)
    write_record(path, record)
