# What jobs ask a scheduler for: memory and time as the specifications let expect them, more with every attempt.
import inspect

from robustloss.costs import jobs

# A profile that gives the training a GPU (`set-resources`) is for a site that has some.
ON_GPU = SETTINGS["device"] == "cuda" or (
    SETTINGS["device"] == "auto" and workflow.resource_settings.overwrite_resources.get("train", {}).get("gpu")
)
EXPECTED = jobs.Estimator(PLAN, "cuda" if ON_GPU else "cpu", SETTINGS["threads"])


def asked_often(function):
    # Snakemake asks for a function's signature several times a job; answered in advance, a large plan is 8 % faster.
    function.__signature__ = inspect.signature(function)
    return function


def memory(expected):
    def mem_mb(wildcards, attempt):
        return jobs.megabytes(expected(wildcards), attempt)

    return asked_often(mem_mb)


def minutes(expected):
    def runtime(wildcards, attempt):
        return jobs.minutes(expected(wildcards), attempt)

    return asked_often(runtime)


def simulate_video_job(wildcards):
    return EXPECTED.simulate_video(wildcards.raw)


def extract_video_job(wildcards):
    return EXPECTED.extract_video(wildcards.data)


def prepare_job(wildcards):
    return EXPECTED.prepare(wildcards.data)


def train_job(wildcards):
    return EXPECTED.train(wildcards.run)


def features_job(wildcards):
    return EXPECTED.features(wildcards.run)


def attack_job(wildcards):
    return EXPECTED.attack(wildcards.run, wildcards.attack)


def audit_job(wildcards):
    return EXPECTED.audit(wildcards.run, wildcards.audit)


def measure_job(wildcards):
    return EXPECTED.measure(wildcards.run, wildcards.measured)


def light_job(wildcards):
    return EXPECTED.light()


for value in [*globals().values()]:
    if inspect.isfunction(value) and value.__globals__ is globals():
        asked_often(value)
