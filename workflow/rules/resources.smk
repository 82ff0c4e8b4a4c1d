# What jobs ask a scheduler for: memory and time as the specifications let expect them, more with every attempt.
from functools import cache

from robustloss.costs import jobs

# A profile that gives the training a GPU (`set-resources`) is for a site that has some.
ON_GPU = SETTINGS["device"] == "cuda" or (
    SETTINGS["device"] == "auto" and workflow.resource_settings.overwrite_resources.get("train", {}).get("gpu")
)
EXPECTED = jobs.Estimator(PLAN, "cuda" if ON_GPU else "cpu", SETTINGS["threads"])


@cache
def expected(stage, *names):
    """What a job needs, estimated once for all its resources and attempts."""
    return getattr(EXPECTED, stage)(*names)


def memory(job):
    def mem_mb(wildcards, attempt):
        return jobs.megabytes(job(wildcards), attempt)

    return asked_often(mem_mb)


def minutes(job):
    def runtime(wildcards, attempt):
        return jobs.minutes(job(wildcards), attempt)

    return asked_often(runtime)


def simulate_video_job(wildcards):
    return expected("simulate_video", wildcards.raw)


def extract_video_job(wildcards):
    return expected("extract_video", wildcards.data)


def prepare_job(wildcards):
    return expected("prepare", wildcards.data)


def train_job(wildcards):
    return expected("train", wildcards.run)


def features_job(wildcards):
    return expected("features", wildcards.run)


def attack_job(wildcards):
    return expected("attack", wildcards.run, wildcards.attack)


def audit_job(wildcards):
    return expected("audit", wildcards.run, wildcards.audit)


def measure_job(wildcards):
    return expected("measure", wildcards.run, wildcards.measured)


def light_job(wildcards):
    return expected("light")
