"""Configuration is refused with one sentence that names the key and what would be valid."""

import copy
from pathlib import Path

import pytest

from robustloss import checks, code, config
from robustloss.attacks.parts import balls, gradients, targets
from robustloss.errors import Problem

ROOT = Path(__file__).parents[2]
SCALES = ("demo", "short", "cpu", "paper")


@pytest.fixture
def settings():
    return config.read_yaml(ROOT / "config.yaml")


def refused(settings: dict, section: dict | None = None) -> str:
    if section is not None:
        settings = settings | {"ding2025": section}
    with pytest.raises(Problem) as caught:
        config.load(settings)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def demo(**changes) -> dict:
    return {"scales": {"demo": changes}}


def test_the_repository_s_own_configuration_is_valid_at_every_scale(settings):
    for scale in SCALES:
        _, papers = config.load(settings | {"scale": scale})
        assert set(papers) == {"ding2025", "song2022", "pang2020", "chen2019"}


@pytest.mark.parametrize("path", sorted((ROOT / "workflow/configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_of_workflow_configs_is_valid_as_typed(settings, path):
    """Laid over config.yaml, as `snakemake --configfile` does."""
    loaded, papers = config.load(config.merge(settings, config.read_yaml(path)))
    assert list(papers) == loaded["papers"]


def test_unknown_key_is_named_with_the_nearest_valid_one(settings):
    assert "unknown key 'sede'; did you mean 'seeds'?" in refused(settings | {"sede": [0]})
    assert "scales.demo.training.default: unknown key 'epoch'; did you mean 'epochs'?" in refused(
        settings, demo(training={"default": {"epoch": 3}})
    )


def test_wrong_type_says_what_is_wanted(settings):
    assert "seeds.0: 'one' is not a whole number from 0" in refused(settings | {"seeds": ["one"]})
    assert "threads: 'two' is not a whole number from 1" in refused(settings | {"threads": "two"})
    section = demo(training={"default": {"batch_size": 0.5}})
    assert "batch_size: 0.5 is not a whole number from 2" in refused(settings, section)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"scale: demo\nthreads: 1\nscale: short\n", "the key 'scale' is there twice, of which one would be lost"),
        (b"chen2019: {scales: {demo: {seeds: [0], seeds: [1]}}}", "the key 'seeds' is there twice"),
        (b"", "is not made of keys and values: it is empty"),
        (b"- scale\n", "is not made of keys and values: it is ['scale']"),
        (b"scale: [demo", "is not valid YAML: "),
        (b"scale: \xff", "is no text of YAML: "),
    ],
)
def test_a_file_that_is_no_whole_configuration_is_refused(tmp_path, text, sentence):
    path = tmp_path / "overlay.yaml"
    path.write_bytes(text)
    with pytest.raises(Problem) as caught:
        config.read_yaml(path)
    assert str(caught.value).startswith(f"{path} ") and sentence in str(caught.value)


def test_what_is_merged_may_be_said_again(tmp_path):
    path = tmp_path / "overlay.yaml"
    path.write_text("a: {z: &x {<<: &y {b: 1}, b: 2}}\nc: {<<: *x, b: 3}\nd: [*y]\n")
    assert config.read_yaml(path) == {"a": {"z": {"b": 2}}, "c": {"b": 3}, "d": [{"b": 1}]}


@pytest.mark.parametrize(
    ("loss", "settings", "sentence"),
    [
        ("gce", {"alpha": "half"}, "alpha: 'half' is not a number"),
        ("gce", {"alpha": True}, "alpha: True is not a number"),
        ("focal", {"gamma": "two"}, "gamma: 'two' is not a number"),
        ("focal", {"above": 1}, "above: 1 is not true or false"),
        ("focal", {"terms": 1.5}, "terms: 1.5 is not a whole number"),
    ],
)
def test_a_setting_of_another_kind_is_refused(monkeypatch, tmp_path, loss, settings, sentence):
    """By the annotation of its parameter or, in a module that has none, by its default."""
    source = "def loss(logits, labels, *, gamma=2.0, above=False, terms: int = 3, other=None):\n    return logits\n"
    (tmp_path / "focal.py").write_text(source)
    known = code._file
    monkeypatch.setattr(code, "_file", lambda module: tmp_path / "focal.py" if "focal" in module else known(module))
    with pytest.raises(Problem) as caught:
        code.check_kinds("here", f"robustloss.losses.{loss}", "loss", settings)
    assert str(caught.value) == f"here: {sentence}"


def test_images_are_of_attacks_that_are_made_again(settings):
    assert "images is for attacks that are made again" in refused(settings | {"images": 5})


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_a_number_without_end_is_refused_where_it_stands(settings, number):
    section = {"attacks": {"pgd": {"epsilon": number}}}
    assert f"ding2025.attacks.pgd.epsilon: {number} is not a number that can be" in refused(settings, section)


def test_epsilon_in_pixels_is_refused_with_the_right_unit(settings):
    for section in ({"attacks": {"pgd": {"epsilon": 8}}}, demo(attacks={"pgd": {"epsilon": 8}})):
        sentence = refused(settings, section)
        assert "epsilon: 8 is not a fraction of the pixel range" in sentence
        assert "write 8/255, not 8" in sentence


def test_unknown_names_are_answered_with_the_nearest(settings):
    assert "no scale 'dmo'; did you mean 'demo'?" in refused(settings | {"scale": "dmo"})
    assert "no paper 'ding2024'; did you mean 'ding2025'?" in refused(settings | {"papers": ["ding2024"]})
    row = {"experiments": {"table3": {"rows": {"5": {"objective": "55"}}}}}
    assert "rows.5.objective: there is no '55'; did you mean '5'?" in refused(settings, row)
    loss = {"objectives": {"5": {"terms": [{"loss": "all_ones", "weight": 1}]}}}
    assert "no 'all_ones' in losses; did you mean 'all_one'?" in refused(settings, loss)


def test_settings_that_a_loss_or_attack_does_not_take_are_refused(settings):
    loss = {"objectives": {"5": {"terms": [{"loss": "all_one", "weight": 1, "alpha": 2}]}}}
    assert "objectives.5: unknown key 'alpha'" in refused(settings, loss)
    assert "did you mean 'restarts'?" in refused(settings, {"attacks": {"pgd": {"restart": 2}}})


def headed(settings: dict, head: dict, terms: list[dict]) -> dict:
    """The demo with a head on its first network and these terms for every row."""
    section = demo(networks={"resnet": {"head": head}})
    rows = [str(index) for index in range(1, 9)]
    section["objectives"] = {row: {"terms": terms} for row in rows}
    section["scales"] |= {name: {"networks": {"resnet": {"head": head}}} for name in SCALES[1:]}
    section["experiments"] = {"table4": {"network": "resnet"}}
    return settings | {"ding2025": section}


def test_heads_and_second_objectives_are_part_of_a_paper(settings):
    head = {"name": "max_mahalanobis", "dimension": 256, "scale": 10}
    changed = headed(settings, head, [{"loss": "mmc", "weight": 1}])
    changed["ding2025"]["objectives"]["5"]["then"] = [{"loss": "complement_entropy", "weight": 1}]
    _, papers = config.load(changed)
    assert papers["ding2025"]["scales"]["demo"]["networks"]["resnet"]["head"] == head
    assert papers["ding2025"]["objectives"]["5"]["then"][0]["loss"] == "complement_entropy"


def test_heads_that_do_not_fit_are_refused(settings):
    terms = [{"loss": "mmc", "weight": 1}]
    for head, sentence in (
        ({"name": "linear", "dimension": 2}, "networks.resnet: loss mmc needs a network with the head max_mahalanobis"),
        ({"name": "max_mahalanobi", "dimension": 2}, "no 'max_mahalanobi' in heads; did you mean 'max_mahalanobis'?"),
        ({"name": "max_mahalanobis", "dimension": 2, "elast": True}, "networks.resnet.head: unknown key 'elast'"),
        ({"name": "max_mahalanobis", "dimension": 0}, "head.dimension: 0 is not a whole number from 1"),
        ({"name": "max_mahalanobis"}, "networks.resnet.head: the key 'dimension' is missing"),
    ):
        assert sentence in refused(headed(settings, head, terms))
    no_head = {"objectives": {"5": {"then": terms}}}
    assert "resnet: loss mmc needs a network with the head max_mahalanobis; this has no head" in refused(
        settings, no_head
    )
    unknown = {"objectives": {"5": {"then": [{"loss": "complement", "weight": 1}]}}}
    assert "did you mean 'complement_entropy'?" in refused(settings, unknown)


def test_what_the_library_hands_to_a_loss_is_no_setting(settings):
    terms = [{"loss": "center", "weight": 1, "features": 1}]
    head = {"name": "linear", "dimension": 2, "centres": True}
    assert "objectives.1: unknown key 'features'" in refused(headed(settings, head, terms))


def test_missing_key_is_named(settings):
    del settings["data_root"]
    assert refused(settings) == "config.yaml: the key 'data_root' is missing"


def test_broken_yaml_is_named_with_its_line(tmp_path):
    path = tmp_path / "paper.yaml"
    path.write_text("a: [1\nb: 2\n")
    with pytest.raises(Problem, match=r"paper\.yaml is not valid YAML.*line 2"):
        config.read_yaml(path)


def test_numbers_that_yaml_leaves_as_texts():
    found = config.numbers({"a": "8/255", "b": ["1e-3", "0.5/255"], "c": "1/0", "d": "5(2)", "e": "12"})
    assert found == {"a": 8 / 255, "b": [0.001, 0.5 / 255], "c": "1/0", "d": "5(2)", "e": "12"}


def test_video_ranges():
    paper = {"scales": {"x": {"data": {"own": {"splits": {"train": "1-3, 68", "test": [4], "evaluation": "one"}}}}}}
    splits = config.expand_videos(copy.deepcopy(paper))["scales"]["x"]["data"]["own"]["splits"]
    assert splits == {"train": [1, 2, 3, 68], "test": [4], "evaluation": "one"}


def test_texts_from_a_command_line_mean_what_yaml_would_read(settings):
    found, _ = config.load(settings | {"seeds": ["0", "1"], "download": "false", "threads": "2"})
    assert (found["seeds"], found["download"], found["threads"]) == ([0, 1], False, 2)


def test_merge_lays_mappings_over_each_other_and_replaces_lists():
    below = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert config.merge(below, {"a": {"c": [3]}, "e": 2}) == {"a": {"b": 1, "c": [3]}, "d": 1, "e": 2}
    assert below == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


def row(**changes) -> dict:
    return {"experiments": {"table5": {"rows": {"clean+adv": changes}}}}


def test_names_in_rows_are_defined_somewhere(settings):
    for key, section in (("perturbation", "borderlin"), ("clean", "halve"), ("objective", "halve")):
        assert f"rows.clean+adv.{key}: there is no '{section}'; did you mean" in refused(
            settings, row(**{key: section})
        )
    assert "rows.clean+adv.defence: there is no 'random'" in refused(settings, row(defence="random"))


def test_clean_images_belong_to_adversarial_training(settings):
    section = {"experiments": {"table3": {"rows": {"1": {"clean": "half"}}}}}
    assert "`clean` is what clean images add to a training with a `perturbation`" in refused(settings, section)


def test_perturbations_are_checked_like_attacks(settings):
    for key, value, sentence in (
        ("epsilon", 2, "write 8/255, not 8"),
        ("trackr", "constant", "unknown key 'trackr'; did you mean 'tracker'?"),
        ("split", "test", "'split' belongs to attacks, not to training"),
        ("name", "pdg", "there is no 'pdg' in attacks"),
        ("loss", [{"loss": "gcee", "weight": 1}], "there is no 'gcee' in losses"),
    ):
        section = {"perturbations": {"borderline": {key: value}}}
        if key == "loss":
            section = {
                "perturbations": {"pgd": {"name": "pgd", "epsilon": 0.1, "step_size": 0.1, "steps": 1, key: value}}
            }
        assert sentence in refused(settings, section)


def test_experiments_name_data_and_training_that_the_scale_has(settings):
    assert "there is no 'surgicl'; did you mean 'surgical'?" in refused(
        settings, {"experiments": {"table3": {"data": "surgicl"}}}
    )
    assert "training, which experiment table3 needs,: there is no 'slow'" in refused(
        settings, {"experiments": {"table3": {"training": "slow"}}}
    )
    assert "experiments.table3.attacks: there is no 'pdg'; did you mean 'pgd'?" in refused(
        settings, {"experiments": {"table3": {"attacks": ["pdg"]}}}
    )


def test_a_scale_may_run_some_of_an_experiment_s_attacks(settings):
    config.load(settings | {"ding2025": demo(attacked={"table3": ["pgd"], "table4": []})})
    assert "attacked.table3: there is no 'pdg'; did you mean 'pgd'?" in refused(
        settings, demo(attacked={"table3": ["pdg"]})
    )
    assert "attacked: there is no 'tabel3'; did you mean" in refused(settings, demo(attacked={"tabel3": ["pgd"]}))


def test_rows_that_a_scale_does_not_attack_are_the_paper_s(settings):
    assert "unattacked.table3: there is no '55'; did you mean '5'?" in refused(
        settings, demo(unattacked={"table3": ["55"]})
    )


def test_experiments_with_seeds_of_their_own_are_the_paper_s(settings):
    assert "seeded: there is no 'tabel3'; did you mean" in refused(settings, demo(seeded={"tabel3": [0]}))
    assert "seeded.table3.0: 'one' is not a whole number from 0" in refused(settings, demo(seeded={"table3": ["one"]}))


def test_optimizers_take_their_own_settings(settings):
    adam = demo(training={"default": {"optimizer": {"name": "adam"}}})
    assert "unknown key 'momentum'" in refused(settings, adam)
    assert "optimizer.name: 'rmsprop' is not adam or sgd" in refused(
        settings, demo(training={"default": {"optimizer": {"name": "rmsprop"}}})
    )


def test_an_objective_s_head_stands_in_for_the_network_s(settings):
    network = {"name": "small", "head": {"name": "linear", "dimension": 5}}
    objective = {"head": {"name": "unit_norm", "dimension": 7}}
    assert checks.head_of(network, objective, {}) == {"name": "unit_norm", "dimension": 7}
    assert checks.head_of(network, {}, {}) == {"name": "linear", "dimension": 5}
    assert checks.head_of({"name": "small"}, {}, {}) is None
    assert checks.head_of({"name": "small"}, {}, {"embedding": 3}) == {"name": "linear", "dimension": 3}
    assert checks.head_of(network, objective, {"embedding": 3}) == {"name": "unit_norm", "dimension": 3}


def test_every_paper_s_yaml_is_valid_at_every_scale(settings):
    for path in sorted((ROOT / "workflow/papers").glob("*.yaml")):
        for scale in SCALES:
            config.load(settings | {"scale": scale, "papers": [path.stem]})


def transferred(source, **attack) -> dict:
    """Table 3's networks attacked with examples of `source`."""
    found = {"name": "transfer", "source": source, "attack": {"name": "fgsm", "epsilon": 0.01} | attack}
    return {"experiments": {"table3": {"attacks": ["moved"]}}, "attacks": {"moved": found}}


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("9", "experiments.table3.attacks: moved, source: there is no '9'"),
        ({"experiment": "table3", "row": "9"}, "attacks: moved, source: there is no '9'"),
        ({"experiment": "tabel3", "row": "1"}, "source: there is no 'tabel3'; did you mean 'table3'?"),
        ({"row": "1"}, "attacks.moved.source: the key 'experiment' is missing"),
        (1, "attacks.moved.source: 1 is not the label of a row of the same experiment, or {experiment: ..., row: ...}"),
    ],
)
def test_a_source_is_a_row_that_there_is(settings, source, sentence):
    assert sentence in refused(settings, transferred(source))


def test_a_source_has_the_attacked_network_s_data(settings):
    section = transferred({"experiment": "table4", "row": "1"})
    config.load(settings | {"ding2025": section})
    clip = config.read_yaml(config.WORKFLOW / "papers/ding2025.yaml")["scales"]["demo"]["data"]["surgical"]
    section["experiments"]["table4"] = {"data": "other"}
    section["scales"] = {name: {"data": {"other": clip}} for name in SCALES}
    assert "moved, source: table4 has other data, other: name a row on the same" in refused(settings, section)


def test_an_attack_within_another_is_checked(settings):
    assert "attacks.moved.attack: unknown key 'epsilonn'" in refused(settings, transferred("1", epsilonn=0.1))
    assert "moved.attack: there is no 'fgms' in attacks; did you mean" in refused(
        settings, transferred("1", name="fgms")
    )


def test_training_knows_no_other_network(settings):
    perturbation = {"name": "transfer", "source": "1", "attack": {"name": "fgsm", "epsilon": 0.01}}
    assert "perturbations.moved: training knows no other network" in refused(
        settings, {"perturbations": {"moved": perturbation}}
    )


def test_audits_are_checked(settings):
    assert "experiments.table3.audit: there is no 'surgicl'" in refused(
        settings, {"experiments": {"table3": {"audit": "surgicl"}}}
    )
    assert "audits.surgical: unknown key 'step'; did you mean 'steps'?" in refused(
        settings, {"audits": {"surgical": {"step": 3}}}
    )
    assert "audits.surgical: epsilon: 2 is not a fraction of the pixel range" in refused(
        settings, demo(audits={"surgical": {"epsilon": 2}})
    )
    assert "audited.table3: there is no '11'" in refused(settings, demo(audited={"table3": ["11"]}))


def test_a_warm_up_is_a_number_of_epochs(settings):
    assert "warm_up: 0 is not a whole number of epochs from 1" in refused(
        settings, demo(training={"default": {"warm_up": 0}})
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"loss": "traning"}, "loss: 'traning' is not one of cross_entropy, exact_cross_entropy"),
        ({"loss": ["cross_entropy"]}, "loss.0: 'cross_entropy' is not a loss, its weight and the loss's own settings"),
        ({"target": "nowhere"}, "target: 'nowhere' is not random, second, least_likely or a class"),
        ({"norm": "l3"}, "norm: 'l3' is not linf or l2"),
        ({"name": "worst_case", "attacks": []}, "attacks: [] is not a list of attacks"),
        ({"name": "worst_case", "attacks": ["fgsm"]}, "attacks.0: 'fgsm' is not an attack and its settings"),
    ],
)
def test_what_an_attack_would_refuse_is_refused_before_the_training(settings, change, sentence):
    attack = {"name": "pgd", "epsilon": 0.1, "step_size": 0.1, "steps": 1} | change
    assert sentence in refused(settings, {"attacks": {"pgd": attack}})


def test_attacks_take_the_losses_targets_and_norms_that_the_schema_names():
    defined = config.read_yaml(ROOT / "workflow/schemas/paper.schema.yaml")["$defs"]
    for loss in defined["climbed"]["anyOf"][0]["enum"]:
        assert loss == "training" or gradients.choose(loss)
    for target in (*defined["target"]["anyOf"][1]["enum"], 3):
        targets.check(target)
    for norm in defined["attack"]["allOf"][2]["then"]["properties"]["norm"]["enum"]:
        assert balls.choose(norm, 0.1)


def test_every_attack_with_these_settings_is_one_of_those_that_the_schema_looks_at():
    parts = config.read_yaml(ROOT / "workflow/schemas/paper.schema.yaml")["$defs"]["attack"]["allOf"]
    looked_at = {
        key: {*part["if"]["properties"]["name"]["enum"]} for part in parts for key in part["then"]["properties"]
    }
    # These have targets of their own.
    others = {"target": {"carlini_wagner", "jsma", "sai_fgsm"}}
    for key, found in looked_at.items():
        settings = {name: code.parameters(code.plugin("attacks", name), "perturb") for name in code.plugins("attacks")}
        taking = {name for name, (required, optional) in settings.items() if key in required + optional}
        assert taking - found == others.get(key, set()), key
