"""A run's name says what it is: what changes it, what does not, and what a change touches."""

import json
from pathlib import Path

import pytest

from robustloss import config, naming, runs
from robustloss.files import canonical

ROOT = Path(__file__).parents[2]


def planned(section: dict | None = None, **changes) -> runs.Plan:
    settings = config.read_yaml(ROOT / "config.yaml") | {"papers": ["ding2025"]} | changes
    if section:
        settings["ding2025"] = section
    return runs.plan(*config.load(settings))


def test_all_papers_are_planned_together_and_share_what_is_equal():
    """The digits are prepared once for all, and no run or attack of one paper is another's under a second name."""
    everything = planned(papers=["ding2025", "song2022", "pang2020", "chen2019"])
    assert len(everything.manifests) == 4
    assert sum(json.loads(spec)["name"] == "digits" for spec in everything.data.values()) == 1
    alone = [planned(papers=[paper]) for paper in everything.manifests]
    assert set(everything.runs) == set().union(*(plan.runs for plan in alone))
    assert len(set(everything.runs.values())) == len(everything.runs)


def names(plan: runs.Plan, table: str = "table3") -> dict[str, list[str]]:
    return {label: [run["run"] for run in row] for label, row in plan.manifests["ding2025"]["rows"][table].items()}


@pytest.fixture(scope="module")
def base() -> runs.Plan:
    return planned()


def test_demo_trains_every_row_of_tables_3_and_4_once(base):
    trained = [run for table in ("table3", "table4") for row in names(base, table).values() for run in row]
    assert len(set(trained)) == len(trained) == 14
    assert set(trained) <= set(base.runs)
    assert list(names(base)) == ["0", "1", "2", "3", "4", "5", "5(2)", "6", "6(2)", "7", "8"]


def test_order_of_entries_changes_nothing(base):
    settings, papers = config.load(config.read_yaml(ROOT / "config.yaml") | {"papers": ["ding2025"]})

    def reverse(value):
        return {key: reverse(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    turned = runs.plan(reverse(settings), reverse(papers))
    assert turned.runs == base.runs
    assert canonical(turned.manifests) == canonical(base.manifests)


def test_order_of_an_objective_s_terms_changes_nothing(base):
    terms = [{"loss": "all_one", "weight": "1/6"}, {"loss": "cross_entropy", "weight": 1.0}]
    assert planned({"objectives": {"5": {"terms": terms}}}).runs == base.runs


def test_a_changed_weight_is_a_new_run_for_that_function_alone(base):
    terms = [{"loss": "cross_entropy", "weight": 1}, {"loss": "all_one", "weight": 0.25}]
    changed = planned({"objectives": {"5": {"terms": terms}}})
    before, after = names(base), names(changed)
    assert {label for label in before if before[label] != after[label]} == {"5", "5(2)"}
    assert names(base, "table4") == names(changed, "table4")


def test_a_changed_epsilon_is_a_new_attack_on_the_same_runs(base):
    changed = planned({"attacks": {"pgd": {"epsilon": "4/255"}}})
    assert changed.runs == base.runs
    pgd = [{name for name in plan.attacks if name.startswith("pgd")} for plan in (base, changed)]
    assert len(pgd[0]) == len(pgd[1]) and not pgd[0] & pgd[1]


def test_a_seed_added_is_new_runs_only(base):
    assert set(planned(seeds=[0, 1]).runs) > set(base.runs)


def test_an_experiment_may_have_seeds_of_its_own(base):
    scale = {"seeds": [0, 1], "seeded": {"table4": [3]}}
    found = planned({"scales": {"demo": scale}})
    trained = found.manifests["ding2025"]["rows"]
    assert {run["seed"] for run in trained["table3"]["1"]} == {0, 1}
    assert {run["seed"] for row in trained["table4"].values() for run in row} == {3}
    # What a user asks for goes before what a paper says.
    asked = planned({"scales": {"demo": scale}}, seeds=[5]).manifests["ding2025"]["rows"]["table4"]
    assert {run["seed"] for row in asked.values() for run in row} == {5}


def test_a_scale_may_train_rows_that_it_neither_attacks_nor_audits():
    scales = {"demo": {"unattacked": {"mnist": ["GCE 1/2"]}, "audited": {"mnist": ["GCE 1/2", "GCE 1/3"]}}}
    rows = planned(papers=["chen2019"], chen2019={"scales": scales}).manifests["chen2019"]["rows"]["mnist"]
    assert [bool(run["attacks"]) for label in ("GCE 1/2", "GCE 1/3") for run in rows[label]] == [False, True]
    assert [("audit" in run) for label in ("GCE 1/2", "GCE 1/3") for run in rows[label]] == [False, True]


def test_what_figures_show_of_one_network_is_measured_of_a_row_s_first_alone():
    rows = planned(papers=["chen2019"], seeds=[4, 2]).manifests["chen2019"]["rows"]["mnist"]
    assert [("figure1 MNIST" in run.get("measured", {})) for run in rows["XE"]] == [True, False]
    assert [run["seed"] for run in rows["XE"]] == [4, 2]


def test_second_training_takes_another_seed(base):
    specs = {label: json.loads(base.runs[run[0]]) for label, run in names(base).items()}
    assert specs["5"] | {"seed": 0} == specs["5(2)"] | {"seed": 0}
    assert specs["5"]["seed"] != specs["5(2)"]["seed"]


def test_where_and_on_what_a_run_is_computed_is_no_part_of_it(base):
    assert planned(device="cpu", threads=2, data_root="/elsewhere").runs == base.runs


def test_rows_that_a_scale_does_not_name_are_empty():
    rows = names(planned({"scales": {"demo": {"rows": {"table3": ["1", "5"], "table4": []}}}}))
    assert [label for label, found in rows.items() if found] == ["1", "5"]


def test_pretrained_auto_is_decided_when_planning_so_that_the_name_says_it(tmp_path):
    def wanted(**changes):
        plan = planned(scale="short", data_root=str(tmp_path), **changes)
        run = names(plan)["1"][0]
        return json.loads(plan.runs[run])["model"]["pretrained"], run

    kept, first = wanted(download=True)
    scratch, second = wanted(download=False)
    assert (kept, scratch) == ("imagenet", "none")
    assert first != second
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / runs.PRETRAINED["resnet50"]).touch()
    assert wanted(download=False)[0] == "imagenet"


def test_a_head_is_part_of_the_run_and_its_code_of_all_that_is_computed_with_it(base, monkeypatch):
    head = {"name": "linear", "dimension": 2}
    section = {"scales": {"demo": {"networks": {"resnet": {"head": head}}}}}
    changed = planned(section)
    for label, (run,) in names(changed).items():
        assert run.startswith("cholec80-sim-small-linear2-")
        assert json.loads(changed.runs[run])["model"]["head"] == head
        assert run not in base.runs, label
    assert names(changed, "table4") == names(base, "table4")
    digest, edited = naming.code_digest, "robustloss.heads.linear"
    monkeypatch.setattr(naming, "code_digest", lambda *modules: digest(*modules) + "edited" * (edited in modules))
    again = planned(section)
    before, after = (plan.manifests["ding2025"]["rows"] for plan in (changed, again))
    old, new = before["table3"]["1"][0], after["table3"]["1"][0]
    assert old["run"] != new["run"]
    assert Path(old["features"]).name != Path(new["features"]).name
    assert Path(old["attacks"]["pgd"]).name != Path(new["attacks"]["pgd"]).name
    # The honest attack takes adversarial examples of table 3's networks.
    for label, rows in before["table4"].items():
        for old, new in zip(rows, after["table4"][label], strict=True):
            assert (old["run"], old["attacks"]["pgd"]) == (new["run"], new["attacks"]["pgd"])


def test_a_second_objective_is_part_of_the_run(base, monkeypatch):
    terms = [{"loss": "gce", "weight": 1, "alpha": 0.5}, {"loss": "complement_entropy", "weight": "1/6"}]
    changed = planned({"objectives": {"5": {"then": terms}}})
    (run,) = names(changed)["5"]
    assert "-0.167all_one+1cross_entropy-then-1gce+0.167complement_entropy-" in run
    assert [term["loss"] for term in json.loads(changed.runs[run])["then"]] == ["gce", "complement_entropy"]
    assert planned({"objectives": {"5": {"then": terms[::-1]}}}).runs == changed.runs
    assert {label for label, found in names(changed).items() if found != names(base)[label]} == {"5", "5(2)"}
    digest, edited = naming.code_digest, "robustloss.losses.gce"
    monkeypatch.setattr(naming, "code_digest", lambda *modules: digest(*modules) + "edited" * (edited in modules))
    assert names(planned({"objectives": {"5": {"then": terms}}}))["5"] != [run]


def test_names_are_file_names(base):
    for name in [*base.runs, *base.attacks, *base.data, *base.drawn]:
        assert "/" not in name
        assert len(name) < 200


def test_paper_scale_has_the_paper_s_splits():
    plan = planned(scale="paper")
    splits = json.loads(plan.data[plan.counted["ding2025"]])["splits"]
    assert splits == {"train": [*range(1, 41)], "test": [*range(41, 81)], "evaluation": [*range(41, 46)]}


def table5(plan, label="clean+adv"):
    (run,) = plan.manifests["ding2025"]["rows"]["table5"][label]
    return run, json.loads(plan.runs[run["run"]])


def test_adversarial_training_is_part_of_the_run(base):
    run, spec = table5(base)
    assert run["run"].startswith("cholec80-sim-small-0.5cross_entropy-sai_fgsm-inverse-time-s0-")
    assert spec["perturbation"]["tracker"] == "trigonometric"
    assert spec["objective"] == spec["clean"] == [{"loss": "cross_entropy", "weight": 0.5}]
    changed = planned({"perturbations": {"borderline": {"epsilon": "1/255"}}})
    assert table5(changed)[0]["run"] != run["run"]
    assert names(changed) == names(base)


def test_the_attack_s_code_is_part_of_what_was_trained_against_it(base, monkeypatch):
    digest, edited = naming.code_digest, "robustloss.attacks.sai_fgsm"
    monkeypatch.setattr(naming, "code_digest", lambda *modules: digest(*modules) + "edited" * (edited in modules))
    changed = planned()
    assert table5(changed)[0]["run"] != table5(base)[0]["run"]
    assert names(changed) == names(base)


def test_an_attack_on_the_training_objective_has_its_terms_and_its_code(base, monkeypatch):
    section = {"attacks": {"pgd": {"loss": "training"}}}
    changed = planned(section)

    def attack(plan, label):
        (run,) = plan.manifests["ding2025"]["rows"]["table3"][label]
        return Path(run["attacks"]["pgd"]).name

    terms = json.loads(changed.attacks[attack(changed, "5")])["loss"]
    assert sorted(term["loss"] for term in terms) == ["all_one", "cross_entropy"]
    assert attack(changed, "5") != attack(changed, "6")
    assert attack(base, "5") == attack(base, "6")
    digest, edited = naming.code_digest, "robustloss.losses.all_one"
    monkeypatch.setattr(naming, "code_digest", lambda *modules: digest(*modules) + "edited" * (edited in modules))
    again = planned(section)
    assert attack(again, "5") != attack(changed, "5")
    assert attack(again, "1") == attack(changed, "1")


def test_a_defence_changes_what_is_attacked_and_not_what_is_trained(base):
    defence = {"name": "random_padding", "smallest": 40, "size": 48, "passes": 3}
    rows = {"random": {"objective": "1", "defence": "random"}}
    changed = planned({"defences": {"random": defence}, "experiments": {"table3": {"rows": rows}}})
    (plain_run,), (defended,) = (changed.manifests["ding2025"]["rows"]["table3"][label] for label in ("1", "random"))
    assert (plain_run["run"], plain_run["features"]) == (defended["run"], defended["features"])
    assert plain_run["attacks"] != defended["attacks"]
    assert json.loads(changed.attacks[Path(defended["attacks"]["pgd"]).name])["defence"] == defence


def test_a_model_that_two_experiments_share_is_trained_once(base):
    """Row 1 of Table 3 again, as an experiment of its own."""
    again = {"data": "surgical", "network": "resnet", "rows": {"CE": {"objective": "1"}}}
    changed = planned({"experiments": {"again": again}})
    assert changed.runs == base.runs
    assert names(changed, "again")["CE"] == names(changed)["1"]


def test_a_run_that_keeps_its_best_epoch_says_so_in_its_name():
    plan = planned(papers=["chen2019"], scale="paper", seeds=[0])
    rows = plan.manifests["chen2019"]["rows"]
    best, last = (rows[experiment]["GCE 1/3"][0]["run"] for experiment in ("mnist-best", "mnist"))
    assert json.loads(plan.runs[best]) == json.loads(plan.runs[last]) | {"keep": "best"}
    assert "-best-" in best and "best" not in last


def test_figure_4_of_chen2019_is_trained_with_the_radius_of_its_caption():
    plan = planned(papers=["chen2019"], scale="paper", seeds=[0])
    manifest = plan.manifests["chen2019"]
    figure = manifest["figures"]["figure4"]
    for row in figure["rows"]:
        (run,) = manifest["rows"][figure["experiment"]][row]
        assert json.loads(plan.runs[run["run"]])["perturbation"]["epsilon"] == 0.02
        (table,) = manifest["rows"]["cifar10-at"][row]
        assert json.loads(plan.runs[table["run"]])["perturbation"]["epsilon"] == 8 / 255


def test_adversaries_of_mmc_climb_the_adaptive_loss_where_the_row_says_so():
    plan = planned(papers=["pang2020"], scale="paper", seeds=[0])
    rows = plan.manifests["pang2020"]["rows"]["cifar10-at"]
    for goal, target in (("un", {}), ("tar", {"target": "random"})):
        adaptive, usual = (
            json.loads(plan.runs[rows[f"AT-{goal} MMC-10{name}"][0]["run"]]) for name in (" adaptive", "")
        )
        assert adaptive == usual | {"perturbation": usual["perturbation"] | {"loss": "true_logit"}}
        assert target.items() <= adaptive["perturbation"].items()


def test_an_audit_is_named_by_its_settings_and_its_source(base):
    rows = base.manifests["ding2025"]["rows"]
    audited = {label: run["audit"] for label, (run,) in rows["table3"].items() if "audit" in run}
    assert list(audited) == ["1", "6"]
    name = Path(audited["6"]).name
    source = names(base)["1"][0]
    assert json.loads(base.audits[name])["source"] == source
    assert base.sources[name] == [source]
    assert f"{audited['6']}/audit.json" in runs.results(base.manifests["ding2025"])
    # A network's own adversarial examples are no transfer.
    own = Path(audited["1"]).name
    assert "source" not in json.loads(base.audits[own])
    assert base.sources[own] == []
    changed = planned({"scales": {"demo": {"audits": {"surgical": {"steps": 12}}}}})
    assert changed.runs == base.runs and changed.attacks == base.attacks
    assert not set(changed.audits) & set(base.audits)


def from_row_7(attack: dict) -> dict:
    """Table 3's networks attacked by pgd, and by what `attack` makes on row 7's."""
    transfer = {"name": "transfer", "source": {"experiment": "table3", "row": "7"}, "attack": attack}
    return {"attacks": {"transfer": transfer}, "experiments": {"table3": {"attacks": ["pgd", "transfer"]}}}


def test_transfer_names_the_source_s_run_and_climbs_the_source_s_objective():
    plan = planned(from_row_7({"name": "fgsm", "epsilon": 0.01, "loss": "training"}))
    for label, (run,) in plan.manifests["ding2025"]["rows"]["table3"].items():
        spec = json.loads(plan.attacks[Path(run["attacks"]["transfer"]).name])
        assert spec["source"] == names(plan)["7"][0], label
        assert [term["loss"] for term in spec["attack"]["loss"]] == ["cross_entropy", "entropy"]
        assert plan.sources[Path(run["attacks"]["transfer"]).name] == [spec["source"]]


def test_an_ensemble_leaves_out_the_network_s_own_examples(base):
    runs = {label: run for label, (run,) in base.manifests["ding2025"]["rows"]["table3"].items()}

    def sources(label: str) -> list[str]:
        spec = json.loads(base.attacks[Path(runs[label]["attacks"]["honest"]).name])
        return [member["source"] for member in spec["attacks"] if member["name"] == "transfer"]

    assert sources("1") == [runs["6"]["run"]]
    assert sources("6") == [runs["1"]["run"]]
    assert sources("3") == [runs["1"]["run"], runs["6"]["run"]]


def test_a_defended_row_meets_the_examples_of_the_network_behind_its_defence():
    """The network itself has no defence, so that what it makes of an image is a transfer."""
    found = planned(papers=["song2022"], scale="paper")
    rows = found.manifests["song2022"]["rows"]["cifar10"]
    plain, defended = rows["SCE"][0], rows["Random"][0]
    assert plain["run"] == defended["run"]
    direct = []
    for run, met in ((plain, False), (defended, True)):
        honest = json.loads(found.attacks[Path(run["attacks"]["honest 8/255"]).name])
        direct.append([member["name"] for member in honest["attacks"] if "source" not in member])
        assert (run["run"] in {member.get("source") for member in honest["attacks"]}) == met
        assert (json.loads(found.audits[Path(run["audit"]).name]).get("source") == run["run"]) == met
    # Whoever meets more examples is attacked directly no less.
    assert direct[0] == direct[1] != []


@pytest.mark.parametrize("scale", ["demo", "short", "cpu", "paper"])
def test_every_network_meets_another_one_s_examples(scale):
    """Each honest evaluation has an adversarial example from at least one network that is not its own."""
    found = planned(papers=["ding2025", "song2022", "pang2020", "chen2019"], scale=scale)
    honest = [
        json.loads(found.attacks[Path(folder).name])
        for manifest in found.manifests.values()
        for rows in manifest["rows"].values()
        for row in rows.values()
        for run in row
        for name, folder in run["attacks"].items()
        if name.startswith("honest")
    ]
    assert honest and all(any("source" in member for member in spec["attacks"]) for spec in honest)


def test_the_code_of_an_attack_within_another_is_part_of_its_name(monkeypatch):
    digest = naming.code_digest
    inner = "robustloss.attacks.fgsm"
    section = from_row_7({"name": "fgsm", "epsilon": 0.01})
    before = planned(section)
    monkeypatch.setattr(naming, "code_digest", lambda *modules: digest(*modules) + "edited" * (inner in modules))
    after = planned(section)
    changed = set(after.attacks) - set(before.attacks)
    assert changed and all(name.startswith("transfer") for name in changed)
