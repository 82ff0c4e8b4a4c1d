"""profiles/slurm says nothing about rules that do not exist, and the rules ask for what a scheduler needs to know."""

import re
from pathlib import Path

import pytest
import yaml

from robustloss.costs.table import ON_GPU

ROOT = Path(__file__).parents[2]
PROFILE = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())


def rules() -> dict[str, str]:
    """The text of every rule that makes files by a command, by its name."""
    texts = [path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")]
    found = [part for text in texts for part in re.split(r"^(?=\w+ ?\w*:$)", text, flags=re.M)]
    named = {match[1]: part for part in found if (match := re.match(r"rule (\w+):", part))}
    return {name: text for name, text in named.items() if "shell:" in text or "script:" in text}


def test_it_is_found_by_the_name_that_is_typed():
    assert (ROOT / "slurm").resolve() == ROOT / "profiles/slurm"


def test_it_names_rules_that_exist():
    assert PROFILE["set-resources"].keys() | PROFILE["groups"].keys() <= rules().keys()


def test_what_computes_with_a_network_has_one_gpu():
    assert set(ON_GPU) <= PROFILE["set-resources"].keys()
    assert all(asked["gpu"] == 1 for asked in PROFILE["set-resources"].values())
    using = {
        name for name, text in rules().items() if re.search(r"robustloss (train|features|attack|audit|measure) ", text)
    }
    assert using == PROFILE["set-resources"].keys()


def test_a_group_is_of_one_run_and_uses_its_gpu_one_job_after_the_other():
    assert set(PROFILE["groups"].values()) == PROFILE["group-components"].keys()
    assert all("{run}" in name for name in PROFILE["group-components"])
    assert (PROFILE["resources"]["gpu"], PROFILE["set-resource-scopes"]["gpu"]) == (1, "local")
    # Repeating a group repeats all of it.
    assert not {"train", "attack"} & PROFILE["groups"].keys()


@pytest.mark.parametrize("name", sorted(rules()))
def test_every_rule_asks_for_memory_and_time_and_none_repeats_itself(name):
    text = rules()[name]
    assert "mem_mb=memory(" in text
    assert "runtime=minutes(" in text
    # A rule's own `retries` would be obeyed within the first allocation as well.
    assert "retries" not in text


def test_attempts_and_the_status_command():
    assert PROFILE["retries"] >= 2
    assert PROFILE["slurm-status-command"] == "squeue"
    assert "slurm-array-jobs" not in PROFILE
