# The plan, made once from config.yaml and the papers' yaml, and what all jobs share.
import atexit
import gc
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from robustloss import config as configuration
from robustloss import locks, runs
from robustloss.errors import Problem
from robustloss.publishing import again

# A plan is very many small objects that stay: to look through them for dead ones is a fifth of its time, and to do so
# before the process ends another fifth.
gc.disable()
atexit.register(gc.freeze)


# Jobs come and go.
onstart:
    gc.freeze()
    gc.enable()


# A Snakemake that was killed leaves its lock, which the next one takes away; this is known to live while ALIVE is open.
ALIVE = locks.clear_stale(Path(".snakemake")) if workflow.is_main_process else None

try:
    # Snakemake has read them, and of a key that is there twice taken the last.
    for path in map(Path, workflow.configfiles):
        configuration.read_yaml(path)
    SETTINGS, PAPERS = configuration.load(config)
    PLAN = again.plan(SETTINGS) if SETTINGS["published"] else runs.plan(SETTINGS, PAPERS)
except Problem as problem:
    sys.exit(f"robustloss: {problem}")

# Every job finds the library and this environment's python.
# The device is no parameter of a rule: which one computed a result is recorded with it, and is no reason to rerun.
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [sys.path[0], os.environ.get("PYTHONPATH")])),
    PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    ROBUSTLOSS_DEVICE=SETTINGS["device"],
    ROBUSTLOSS_CUDA_GRAPHS=str(SETTINGS.get("cuda_graphs", True)).lower(),
    ROBUSTLOSS_PROCESSES=str(SETTINGS.get("processes", 1)),
    ROBUSTLOSS_JOBS_PER_GPU=str(SETTINGS.get("jobs_per_gpu", 1)),
)
# Threads that wait for each other spin, which is the fastest where a job has all cores, and ruins jobs side by side.
# LeNet-5's training, images a second with two threads on two cores: alone 27,200 spinning, 23,000 with a short spin,
# 11,300 without; two at once 360, 5,700 and 8,000 each.
if SETTINGS["threads"] < len(os.sched_getaffinity(0)):
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Of the report's pages, which are no code.
REPORT_TEMPLATES = sorted(map(str, Path("workflow/robustloss/report/templates").iterdir()))


wildcard_constraints:
    paper=r"[a-z]+[0-9]{4}",
    video=r"[0-9]{2}",
    raw=r"[^/]+",
    data=r"[^/]+",
    run=r"[^/]+",
    attack=r"[^/]+",
    audit=r"[^/]+",
    measured=r"[^/]+",
    features=r"features-[0-9a-f]+",
