"""What is computed again after a change: exactly what the change touches. Each a dry run on a finished study."""

import pytest
import yaml

CE_WITH_ALL_ONE = [{"loss": "cross_entropy", "weight": 1}, {"loss": "all_one", "weight": 0.25}]
COLLECTED = {"manifest", "paper", "report"}
RUNS = 7

# All tests of this folder share one finished study, so they go to one worker (`--dist loadgroup`).
pytestmark = pytest.mark.xdist_group("study")


def losses_of(jobs: dict, rule: str) -> list[str]:
    """The runs of a rule's jobs, without their digests."""
    return sorted(wildcards.split("run=")[1].split(",")[0].rsplit("-", 1)[0] for wildcards in jobs.get(rule, ()))


def assert_these_runs_only(jobs: dict, *runs: str, audited: tuple[str, ...] = ()) -> None:
    """Their training, attacks and features, audits of some runs, and the paper; nothing else."""
    assert set(jobs) == {"train", "attack", "features", *(["audit"] if audited else [])} | COLLECTED
    for rule in ("train", "attack", "features"):
        assert losses_of(jobs, rule) == sorted(runs)
    assert losses_of(jobs, "audit") == sorted(audited)


def test_nothing_changed_nothing_runs(study):
    found = study.snakemake("-n")
    assert study.scheduled() == {}
    assert "Nothing to be done" in found.stdout + found.stderr


def test_one_loss_weight(study):
    study.configure(objectives={"5": {"terms": CE_WITH_ALL_ONE}})
    assert_these_runs_only(
        study.scheduled(),
        "cholec80-sim-small-0.25all_one+1cross_entropy-inverse-time-s0",
        "cholec80-sim-small-0.25all_one+1cross_entropy-inverse-time-s1000",
    )


def test_the_setting_changed_back(study):
    study.configure(objectives={"5": {"terms": CE_WITH_ALL_ONE}})
    study.snakemake("--cores", "2")
    study.configure()
    assert set(study.scheduled()) <= COLLECTED


def test_attack_epsilon(study):
    study.configure(attacks={"pgd": {"epsilon": "4/255"}})
    jobs = study.scheduled()
    assert set(jobs) == {"attack"} | COLLECTED
    assert len(jobs["attack"]) == RUNS


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("workflow/robustloss/training.py", "def train(", "# why\ndef train("),
        ("workflow/robustloss/losses/all_one.py", '"""', '"""Another opening. '),
        ("workflow/robustloss/progress.py", "SECONDS_BETWEEN_LINES = 10.0", "SECONDS_BETWEEN_LINES = 9.0"),
    ],
    ids=["comment", "docstring", "progress"],
)
def test_what_cannot_change_a_number_in_the_library(study, file, old, new):
    study.edit(file, old, new)
    assert study.scheduled() == {}


def test_the_code_of_one_loss(study):
    """The audit of another run takes examples of row 8, which the loss trains."""
    study.edit("workflow/robustloss/losses/entropy.py", "def loss(", "EXTRA = 1\n\n\ndef loss(")
    assert_these_runs_only(
        study.scheduled(),
        "cholec80-sim-small-1cross_entropy+1entropy-inverse-time-s0",
        "cholec80-sim-small-1cross_entropy-1entropy-inverse-time-s0",
        "cholec80-sim-small_separable-1cross_entropy-1entropy-inverse-time-s0",
        audited=("cholec80-sim-small-1cross_entropy-constant-s0",),
    )


def test_a_new_loss(study):
    (study.folder / "workflow/robustloss/losses/largest_logit.py").write_text(
        '"""The largest logit."""\n\n\ndef loss(logits, labels):\n    return logits.amax(1)\n'
    )
    study.configure(
        "new",
        objectives={
            "new": {
                "formula": "L_CE + max z",
                "terms": [{"loss": "cross_entropy", "weight": 1}, {"loss": "largest_logit", "weight": 0.1}],
            }
        },
        experiments={"table3": {"rows": {"new": {"objective": "new"}}}},
    )
    assert_these_runs_only(study.scheduled(), "cholec80-sim-small-1cross_entropy+0.1largest_logit-inverse-time-s0")


def test_a_seed_added(study):
    path = study.folder / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(settings | {"seeds": [0, 1]}))
    jobs = study.scheduled()
    # What figures show of one network is there already.
    assert set(jobs) == {"train", "attack", "audit", "features"} | COLLECTED
    assert all("-s1-" in run or "-s1001-" in run for run in jobs["train"])
    assert len(jobs["train"]) == RUNS


def test_order_of_entries_in_the_yaml(study):
    def reverse(value):
        return {key: reverse(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    path = study.folder / "workflow/papers/ding2025.yaml"
    path.write_text(yaml.safe_dump(reverse(yaml.safe_load(path.read_text())), sort_keys=False))
    assert study.scheduled() == {}


def test_device_threads_and_data_root(study):
    path = study.folder / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(settings | {"device": "cpu", "threads": 2, "data_root": "elsewhere"}))
    assert study.scheduled() == {}


def test_the_notebook(study):
    with open(study.folder / "notebooks/ding2025.ipynb", "a") as stream:
        stream.write("\n")
    assert set(study.scheduled()) == {"paper", "report"}


def test_a_clone_with_the_results_but_without_snakemake_s_records(finished, tmp_path):
    """As after a clone and a pull of the data: every file has a new date, and Snakemake remembers nothing."""
    clone = finished.copy(tmp_path / "clone", ".snakemake")
    for path in sorted(clone.folder.rglob("*")):
        path.touch()
    assert set(clone.scheduled()) <= COLLECTED


def test_a_deleted_attack_alone_is_made_again(study):
    next(study.folder.glob("results/runs/*/attacks/*/attack.json")).unlink()
    study.forget_paper()
    jobs = study.scheduled()
    assert set(jobs) == {"attack", "count_frames"} | COLLECTED
    assert len(jobs["attack"]) == 1


def test_an_attack_that_is_lost_beside_its_manifest_is_made_before_a_page_that_needs_it(study):
    next(study.folder.glob("results/runs/*/attacks/*/attack.json")).unlink()
    with open(study.folder / "notebooks/ding2025.ipynb", "a") as stream:
        stream.write("\n")
    jobs = study.scheduled()
    assert set(jobs) == {"attack", "manifest", "paper", "report"}
    assert len(jobs["attack"]) == 1
