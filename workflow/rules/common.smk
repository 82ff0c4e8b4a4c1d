# The plan, made once from config.yaml and the papers' yaml, and the questions that rules ask of it.
import atexit
import gc
import inspect
import os
import sys
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "workflow"))

from snakemake.common import overwrite_function_params
from snakemake.jobs import Job
from snakemake.resources import Resource

from robustloss import config as configuration
from robustloss import locks, runs
from robustloss.code import code_digest
from robustloss.errors import Problem
from robustloss.files import canonical
from robustloss.lineage import collected
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


def asked_often(function):
    # Snakemake asks for a function's parameters several times a job; answered in advance, a large plan is 9 % faster.
    overwrite_function_params(function, inspect.signature(function).parameters)
    return function


asked_often(Resource.evaluate)

# Snakemake writes out the shell command three times when it tells of a job: another 8 %.
Job.shellcmd = property(cache(Job.shellcmd.fget))


def needed_for(result, inputs):
    """What a result needs to be made, and nothing once it is there: who prepares its data anew changes nothing in it.

    Snakemake would compute a result again whose input another job has just made, `ancient` or not.
    """

    def needed(wildcards):
        return [] if os.path.exists(result.format(**wildcards)) else inputs(wildcards)

    return asked_often(needed)


def needed_with_run(result):
    """What a result of a run needs beside it: its data, and the runs whose adversarial examples it takes.

    A run that is still to be trained brings its data itself, so that thousands of jobs have an input less.
    """
    data = needed_for(result, run_data)

    def needed(wildcards):
        trained = os.path.exists(f"results/runs/{wildcards.run}/run.json")
        return [*(data(wildcards) if trained else []), *source_runs(wildcards)]

    return asked_often(needed)


def drawn_spec(wildcards):
    return PLAN.drawn[wildcards.raw]


def data_spec(wildcards):
    return PLAN.data[wildcards.data]


def raw_folder(wildcards):
    return PLAN.raw_of[wildcards.data]


def video_source(wildcards):
    folder = PLAN.raw_of[wildcards.data]
    files = [
        f"{folder}/videos/video{wildcards.video}.mp4",
        f"{folder}/tool_annotations/video{wildcards.video}-tool.txt",
    ]
    # Real videos are the user's, and frames may stand in for them: the job says in a sentence what is missing.
    return files if Path(folder).name in PLAN.drawn else [path for path in files if Path(path).exists()]


def extracted_videos(wildcards):
    videos = runs.videos(PLAN.data[wildcards.data])
    return expand(
        "data/prepared/{data}/videos/video{video:02d}.{ending}",
        data=wildcards.data,
        video=videos,
        ending=["npy", "csv"],
    )


def run_spec(wildcards):
    return PLAN.runs[wildcards.run]


def run_data(wildcards):
    return [f"data/prepared/{PLAN.data_of[wildcards.run]}/record.json"]


def pretrained_weights(wildcards):
    return PLAN.weights_of.get(wildcards.run, [])


# A parameter that is asked with `input` is no reason to compute anything again.
def data_folder(wildcards, input):
    return f"data/prepared/{PLAN.data_of[wildcards.run]}"


def pretrained_file(wildcards, input):
    return pretrained_weights(wildcards)


def attack_spec(wildcards):
    return PLAN.attacks[wildcards.attack]


def audit_spec(wildcards):
    return PLAN.audits[wildcards.audit]


def measurement_spec(wildcards):
    return PLAN.measurements[wildcards.measured]


def source_runs(wildcards):
    named = wildcards.get("attack") or wildcards.get("audit")
    return [f"results/runs/{run}/run.json" for run in PLAN.sources.get(named, ())]


def counted_data(wildcards):
    return PLAN.data[PLAN.counted[wildcards.paper]]


def counted_raw(wildcards):
    return PLAN.raw_of[PLAN.counted[wildcards.paper]]


def counted_annotations(wildcards):
    folder = counted_raw(wildcards)
    videos = runs.videos(counted_data(wildcards)) if Path(folder).name in PLAN.drawn else []
    return expand("{folder}/tool_annotations/video{video:02d}-tool.txt", folder=folder, video=videos)


def paper_code(wildcards):
    return code_digest(*collected.modules(wildcards.paper))


def manifest_text(wildcards):
    return canonical(PLAN.manifests[wildcards.paper])


def paper_counts(wildcards):
    return f"results/papers/{wildcards.paper}/tables/table1.csv" if wildcards.paper in PLAN.counted else []


def paper_results(wildcards):
    return runs.results(PLAN.manifests[wildcards.paper])


# What was lost after the manifest is made anew before the page, which it would fail. Until then the manifest asks for it:
# to ask twice for thousands of results is a tenth of a plan's time.
def lost_results(wildcards):
    manifest = f"results/papers/{wildcards.paper}/manifest.json"
    if SETTINGS["published"] or not os.path.exists(manifest):
        return []
    return [path for path in paper_results(wildcards) if not os.path.exists(path)]
