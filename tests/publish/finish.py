"""Make what config.yaml plans in one process, which is quicker than a job each; argument: the papers to show."""

import json
import sys
from importlib import import_module
from pathlib import Path

from robustloss import config, papers, runs
from robustloss.code import plugin
from robustloss.data import prepared
from robustloss.evaluation import attack
from robustloss.features import measure
from robustloss.files import write_json
from robustloss.lineage import collected
from robustloss.provenance import Stopwatch
from robustloss.publishing import named
from robustloss.training import train

plan = runs.plan(*config.load(config.read_yaml(Path("config.yaml"))))
for name in set(plan.data_of.values()):
    spec = json.loads(plan.data[name])
    import_module(plugin("data", spec["name"])).prepare(spec, Path("data/prepared") / name, Path("data/raw"), False)
data = {run: prepared.load(Path("data/prepared") / plan.data_of[run]) for run in plan.runs}
for run, spec in plan.runs.items():
    train(json.loads(spec), data[run], Path("results/runs") / run, "cpu")
for paper, manifest in plan.manifests.items():
    for entry in named.entries(manifest):
        run = Path(entry["directory"])
        measure(run, data[run.name], Path(entry["features"]), "cpu")
        for folder in map(Path, entry["attacks"].values()):
            attack(run, data[run.name], json.loads(plan.attacks[folder.name]), folder, "cpu")
        for folder in map(Path, entry.get("measured", {}).values()):
            spec = json.loads(plan.measurements[folder.name])
            import_module(f"robustloss.{spec['name']}").measure(run, data[run.name], spec, folder, "cpu")
    folder = Path("results/papers") / paper
    write_json(folder / "manifest.json", manifest)
    watch = Stopwatch(collected.modules(paper))
    if paper in sys.argv[1:]:
        papers.render(f"notebooks/{paper}.ipynb", folder / "manifest.json", folder)
    else:
        (folder / f"{paper}.html").write_text("This page stands for the one that takes a while.")
    collected.write(watch, folder / "manifest.json", Path(f"notebooks/{paper}.ipynb"))
