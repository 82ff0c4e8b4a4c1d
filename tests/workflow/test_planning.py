"""What a dry run schedules before anything was computed, and once a network is there."""

import re

import pytest
from studies import ROOT, Study, lay_out

from robustloss import config, runs
from robustloss.costs import table


@pytest.fixture
def study(tmp_path) -> Study:
    lay_out(tmp_path)
    return Study(tmp_path)


def planned(study: Study, target: str) -> set[str]:
    """The rules of the jobs that a dry run of one file schedules."""
    found = study.snakemake("-n", "--nocolor", "--config", "papers=[chen2019]", "--", target)
    lines = (found.stdout + found.stderr).splitlines()
    return {line.split()[1].rstrip(":") for line in lines if line.startswith("rule ")}


def test_a_measurement_brings_the_data_of_a_network_that_is_there_already(study):
    """Without a network its training brings them; with one and without them, as after a pull, the attack must."""
    settings, papers = config.load(config.read_yaml(ROOT / "config.yaml") | {"papers": ["chen2019"]})
    manifest = runs.plan(settings, papers).manifests["chen2019"]
    run = next(run for rows in manifest["rows"].values() for row in rows.values() for run in row)
    target = f"{next(iter(run['attacks'].values()))}/attack.json"
    assert planned(study, target) == {"prepare_images", "train", "attack"}
    for name in ("run.json", "history.csv"):
        path = study.folder / run["directory"] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert planned(study, target) == {"prepare_images", "attack"}
    record = study.folder / manifest["data"]["mnist"] / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    assert planned(study, target) == {"attack"}


def test_the_cost_table_counts_the_jobs_of_a_dry_run(study):
    settings, papers = config.load(config.read_yaml(ROOT / "config.yaml"))
    counted = table.bill(runs.plan(settings, papers), "cpu").jobs
    found = study.snakemake("-n", "--nocolor", "--quiet", "rules")
    stats = {rule: int(number) for rule, number in re.findall(r"^(\w+) +(\d+)$", found.stdout + found.stderr, re.M)}
    assert {rule: stats[rule] for rule in table.ON_GPU} == {rule: counted[rule] for rule in table.ON_GPU}
    # `all` computes nothing.
    assert counted.total() == stats["total"] - 1
