# What a user reads last where something failed.
import re
import subprocess
import sys
from pathlib import Path


onerror:
    print(*last_lines(log), sep="\n", file=sys.stderr)


def last_lines(logs):
    """What a user who sees nothing else should know of a failure."""
    text = "\n".join(Path(log).read_text(encoding="utf-8") for log in logs)
    # Who stops the workflow wants it to stop.
    return [*([] if STOPPED in text else rest_of_the_report()), *sentences(text)]


def sentences(text):
    """What jobs had to tell the user, and what a scheduler had against them, each once."""
    told = dict.fromkeys(line for line in text.splitlines() if line.startswith("robustloss: "))
    # Snakemake names a scheduler's own logs of failed jobs, but shows only the rules'.
    ends = "\n".join(Path(log).read_text(errors="replace") for log in SCHEDULER_LOG.findall(text) if Path(log).exists())
    limits = [LIMIT.format(what) for what, signs in LIMITS.items() if any(sign in ends for sign in signs)]
    return [*told, *limits, *dict.fromkeys(REFUSAL.format(" ".join(why.split())) for why in REFUSED.findall(text))]


def rest_of_the_report():
    """Write the pages of the papers that are there, which no rule does while one of them fails; and say so."""
    there = [paper for paper in PLAN.manifests if Path(f"results/papers/{paper}/{paper}.html").exists()]
    if not there:
        return []
    command = "report", "--results", "results", "--out", "results/report"
    found = subprocess.run([sys.executable, "-m", "robustloss", *command], capture_output=True, text=True)
    if found.returncode:
        return [line for line in found.stderr.splitlines() if line.startswith("robustloss: ")]
    return [f"robustloss: results/report/index.html shows what could be made of {', '.join(there)}"]


STOPPED = "Terminating processes on user request"
SCHEDULER_LOG = re.compile(r"(\S+/slurm_logs/\S+\.log) \(check")
LIMITS = {"memory": ("exceeded memory limit", "oom_kill", "oom-kill"), "time": ("DUE TO TIME LIMIT",)}
LIMIT = "robustloss: the scheduler ended a job that needed more {} than it had asked for: see docs/cluster.md"
# The executor's own words for a wrong account, and sbatch's.
REFUSED = re.compile(
    r"(?:submission failed with exception: |sbatch failed\. The error message was ')(.*?)(?:For further|'\.$)",
    re.DOTALL | re.MULTILINE,
)
REFUSAL = "robustloss: Slurm did not take a job, see what profiles/slurm/config.yaml asks for: {}"
