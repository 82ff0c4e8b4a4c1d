"""`snakemake --profile slurm` on a real Slurm: what ends well, what fails, and what is killed.

A shrunken study on two nodes with a pretended GPU each, which account for jobs in a database (slurmdbd) and refuse
those without an account of the user's: to its end with partition, account and GPU model set in the profile; wrong
ones of each; a failing job, without an account in the profile, accounted to the default one; limits of memory and
time; a training that is preempted, loses its node and is cancelled, to the weights of an undisturbed one; Ctrl-C.
Last run on Slurm 22.05.

By hand: two trainings while slurmdbd was dead, with and without an account in the profile, ran to their ends. The
commands of envs/robustloss.def were run in a bare Debian 12 (four minutes), and chen2019's demo in that; Apptainer
itself was not.
"""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import wait_for
from safetensors.torch import load_file

pytestmark = [pytest.mark.xdist_group("slurm"), pytest.mark.usefixtures("overtime")]

LONG = {"mnist": {"epochs": 100}}


def numbers(submitted) -> list[str]:
    """The jobs that Snakemake says it submitted."""
    return re.findall(r"SLURM jobid (\d+)", submitted.said())


def running(study, submitted) -> str:
    """The newest job, when it runs."""
    found = wait_for(lambda: numbers(submitted), "a submission")[-1]
    wait_for(lambda: study.cluster.jobs()[found] == "RUNNING", f"job {found} to run")
    return found


def accounted(study, number: str) -> tuple[str, str]:
    """A job's account and state in the accounting database, once that knows of its end."""
    return wait_for(lambda: study.cluster.accounted(number), f"job {number} to be accounted for", 60)


def sentences(submitted) -> list[str]:
    return [line for line in submitted.said().splitlines() if line.startswith("robustloss: ")]


def test_a_study_from_its_data_to_its_manifest_as_a_site_has_set_it(study):
    """With the lines of the profile that a site edits: its partition, its account, the model of its GPUs."""
    profile = "slurm/config.yaml"
    study.edit(profile, "# slurm_partition: gpu", "slurm_partition: main")
    study.edit(profile, "# slurm_account: lab", "slurm_account: lab")
    study.edit(profile, "# gpu_model: a100", "gpu_model: pretended")
    submitted = study.submit("--", "results/papers/chen2019/manifest.json")
    assert submitted.end() == 0, submitted.said()
    assert (study.folder / "results/papers/chen2019/manifest.json").exists()
    assert "profile profiles/default" in submitted.said()
    # Training, the attack, and all measurements of the network as one; the manifest is written here.
    found = numbers(submitted)
    assert len(found) == 3
    assert {study.cluster.jobs()[number] for number in found} == {"COMPLETED"}
    described = [study.cluster.ask("scontrol", "show", "job", number) for number in found]
    for text in described:
        assert {"TresPerJob=gres:gpu:pretended:1", "Partition=main", "Account=lab"} <= set(text.split())
    assert "TimeLimit=00:10:00" in described[0]
    assert {accounted(study, number) for number in found} == {("lab", "COMPLETED")}


def test_the_cluster_refuses_a_job_of_an_account_that_is_not_the_user_s(cluster):
    with pytest.raises(RuntimeError, match="Invalid account"):
        cluster.ask("sbatch", "--account", "unknown", "--output", "/dev/null", "--wrap", "true")


@pytest.mark.parametrize(
    ("line", "wrong", "reason"),
    [
        ("# slurm_account: lab", "slurm_account: unknown", "account unknown appears to be invalid"),
        ("# slurm_partition: gpu", "slurm_partition: unknown", "invalid partition specified: unknown"),
        ("# gpu_model: a100", "gpu_model: unknown", "Requested node configuration is not available"),
    ],
)
def test_a_profile_whose_jobs_slurm_does_not_take(study, line, wrong, reason):
    study.edit("slurm/config.yaml", line, wrong)
    submitted = study.submit("--until", "train")
    assert submitted.end() == 1
    assert not numbers(submitted)
    (sentence,) = sentences(submitted)
    assert reason in sentence


def test_a_failing_job_s_log_and_reason(study):
    rate = {"schedules": {"default": {"name": "constant", "rate": 1e30}}}
    study.configure(training={"mnist": rate})
    submitted = study.submit("--until", "train", "--retries", "0")
    assert submitted.end() == 1
    assert "SLURM status is: 'FAILED'" in submitted.said()
    assert re.search(r"logs/train/digits-lenet5-\S+\.log", submitted.said())
    assert "the objective became" in sentences(submitted)[-1]
    # The profile names no account: the user's own default.
    assert accounted(study, numbers(submitted)[0]) == ("group", "FAILED")


def test_a_job_over_its_memory_is_repeated_with_more_and_then_told(study):
    submitted = study.submit("--until", "train", "--retries", "1", "--set-resources", "train:mem_mb=200*attempt")
    assert submitted.end() == 1
    asked = [study.cluster.ask("scontrol", "show", "job", number) for number in numbers(submitted)]
    assert [re.search(r"mem=(\d+)M", text)[1] for text in asked] == ["200", "400"]
    assert "ended a job that needed more memory than it had asked for" in sentences(submitted)[-1]


def test_a_training_that_is_preempted_loses_its_node_and_is_cancelled(study, tmp_path):
    """It goes on from its last state each time, to the weights of an undisturbed training."""
    study.configure(training=LONG)
    submitted = study.submit("--until", "train")
    number = running(study, submitted)
    study.state()
    interrupted = study.pause()
    urgent = ("--partition", "urgent", "--nodelist", study.cluster.node(number), "--gpus", "1", "--output", "/dev/null")
    study.cluster.ask("sbatch", *urgent, "--wrap", "true")
    interrupted = study.gone_on(interrupted)
    with study.cluster.lost(study.cluster.node(number), number):
        interrupted = study.gone_on(interrupted)
    assert numbers(submitted) == [number]
    study.cluster.ask("scancel", number)
    for process in study.gone_on(interrupted):
        os.kill(process, signal.SIGCONT)
    assert submitted.end() == 0, submitted.said()
    assert len(numbers(submitted)) == 2
    run = next(study.folder.glob("results/runs/*"))
    undisturbed = train_again(study, run, tmp_path)
    found = load_file(next(run.glob("weights/*")))
    assert found.keys() == undisturbed.keys()
    assert all((found[name] == tensor).all() for name, tensor in undisturbed.items())


def train_again(study, run: Path, folder: Path) -> dict:
    """The weights of the run's specification, trained here without a break."""
    record = json.loads((run / "run.json").read_text())
    out = folder / "again" / run.name
    options = {"spec": json.dumps(record["spec"]), "data": record["data"], "out": str(out)}
    command = [sys.executable, "-m", "robustloss", "train", *(f"--{name}={value}" for name, value in options.items())]
    environment = study.cluster.environment() | {"PYTHONPATH": "workflow", "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=study.folder, env=environment, check=True, capture_output=True)
    return load_file(next(out.glob("weights/*")))


def test_ctrl_c_leaves_no_job(study):
    study.configure(training={"mnist": {"epochs": 10_000}})
    submitted = study.submit("--until", "train")
    number = running(study, submitted)
    study.state()
    assert submitted.interrupt() == 1
    wait_for(lambda: study.cluster.jobs()[number] == "CANCELLED", f"job {number} to be cancelled")
    wait_for(lambda: not study.trainings(), "its training to end")


def test_a_job_over_its_time(overtime):
    assert overtime.end(150) == 1
    assert "SLURM status is: 'TIMEOUT'" in overtime.said()
    assert "ended a job that needed more time than it had asked for" in sentences(overtime)[-1]
