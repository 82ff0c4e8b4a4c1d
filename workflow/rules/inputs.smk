# The questions that rules ask of the plan: what a job reads, and how it is specified.
import os
from pathlib import Path

from snakemake.exceptions import WorkflowError

from robustloss import runs
from robustloss.code import code_digest
from robustloss.files import canonical
from robustloss.lineage import collected


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


def counted(wildcards):
    if wildcards.paper not in PLAN.counted:
        raise WorkflowError(f"no frames of {wildcards.paper} are counted: is it among the papers of config.yaml?")
    return PLAN.counted[wildcards.paper]


def counted_data(wildcards):
    return PLAN.data[counted(wildcards)]


def counted_raw(wildcards):
    return PLAN.raw_of[counted(wildcards)]


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
