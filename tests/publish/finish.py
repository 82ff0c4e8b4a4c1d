"""Make what config.yaml plans in one process, which is quicker than a job each; argument: the papers to show."""

import json
import shutil
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

from robustloss import config, papers, runs
from robustloss.__main__ import assemble
from robustloss.code import plugin
from robustloss.data import cholec80, cholec80_sim, prepared
from robustloss.evaluation import attack
from robustloss.features import measure
from robustloss.files import write_json
from robustloss.lineage import collected, stored
from robustloss.provenance import Stopwatch
from robustloss.training import train


def prepare(name: str, spec: dict) -> None:
    """A data set, from clips that are drawn first where there are none."""
    folder, raw = Path("data/prepared") / name, Path(plan.raw_of[name])
    if not spec["name"].startswith("cholec80"):
        import_module(plugin("data", spec["name"])).prepare(spec, folder, raw, False)
        return
    for video in runs.videos(plan.data[name]):
        if raw.name in plan.drawn:
            cholec80_sim.simulate(json.loads(plan.drawn[raw.name]), video, raw)
        clip = cholec80.video_name(video)
        out = [folder / "videos" / f"{clip}.{ending}" for ending in ("npy", "csv")]
        cholec80.extract(clip, raw, spec["image_size"], *out)
    assemble(SimpleNamespace(spec=spec, out=folder))
    shutil.rmtree(folder / "videos")


plan = runs.plan(*config.load(config.read_yaml(Path("config.yaml"))))
for name in set(plan.data_of.values()):
    prepare(name, json.loads(plan.data[name]))
data = {run: prepared.load(Path("data/prepared") / plan.data_of[run]) for run in plan.runs}
for run, spec in plan.runs.items():
    train(json.loads(spec), data[run], Path("results/runs") / run, "cpu")
for paper, manifest in plan.manifests.items():
    for _, _, entry in stored.entries(manifest):
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
