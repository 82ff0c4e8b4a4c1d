"""The claims of the four papers: they name what is there, rest on printed cells, and are attempted in full."""

import copy
from pathlib import Path

import pytest

from robustloss import config, reference, runs
from robustloss.claims import statements
from robustloss.errors import Problem

ROOT = Path(__file__).parents[2]
PAPERS = {"ding2025": 8, "song2022": 8, "chen2019": 8, "pang2020": 5}


@pytest.fixture(scope="module")
def settings():
    return config.read_yaml(ROOT / "config.yaml")


@pytest.fixture(scope="module")
def stated(settings):
    return config.load(copy.deepcopy(settings))[1]


@pytest.mark.parametrize(("name", "least"), PAPERS.items())
def test_the_papers_claims_name_what_is_there(stated, name, least):
    found = stated[name]["claims"]
    assert list(found) == [f"C{number}" for number in range(1, len(found) + 1)]
    assert len(found) >= least
    assert not [content["problem"] for content in found.values() if "problem" in content]


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_claims_rest_on_printed_cells(stated, name):
    cells = reference.read(ROOT / "data" / "reference" / f"{name}.csv")
    found = 0
    for content in stated[name]["claims"].values():
        for comparison in content["comparisons"]:
            if "published" in comparison:
                item, metric, row, *other = comparison["published"]
                values = [cells.value(item, row, metric)]
                values += [cells.value(*(other[1:] or [item]), other[0], metric)] if other else []
                assert all(isinstance(value, float) for value in values)
                found += 1
    # The text of pang2020 prints no number.
    assert found > 5 or name == "pang2020"


@pytest.fixture(scope="module")
def planned(settings):
    return runs.plan(*config.load(copy.deepcopy(settings) | {"scale": "paper"})).manifests


@pytest.mark.parametrize("name", PAPERS)
def test_the_scale_paper_attempts_every_claim_with_several_trainings(planned, name):
    manifest = planned[name]
    for number, content in manifest["claims"].items():
        for comparison in content["comparisons"]:
            for row, experiment, attack in _sides(comparison):
                entries = manifest["rows"][experiment][row]
                assert len(entries) >= 2, (number, experiment, row)
                assert all({*attack} <= {*entry["attacks"]} for entry in entries), (number, attack)


def _sides(comparison: dict):
    """Every row, its experiment and attacks, that a comparison reads: both sides, as published and honestly."""
    own = comparison["experiment"]
    other = comparison.get("against_experiment", own)
    attack = statements.several(comparison.get("attack", []))
    against = statements.several(comparison.get("against_attack", attack))
    honest = statements.several(comparison.get("honest", []))
    for rows, experiment, attacks in ((comparison["row"], own, attack), (comparison["against"], other, against)):
        for row in statements.several(rows):
            yield row, experiment, attacks
            yield row, comparison.get("honest_experiment", experiment), honest


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_claims_are_about_the_data_of_the_scale_paper(stated, name):
    comparisons = [comparison for content in stated[name]["claims"].values() for comparison in content["comparisons"]]
    names = {comparison["original"]["data"] for comparison in comparisons}
    assert names <= {"cholec80", "mnist", "cifar10", "cifar100", "tiny-imagenet-200"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"row": "GCE 1/9"}, "claims.C6.row: there is no 'GCE 1/9'; did you mean 'GCE 1/"),
        ({"experiment": "mnits"}, "claims.C6.experiment: there is no 'mnits'; did you mean 'mnist'?"),
        ({"attack": "pgd 0.4"}, "claims.C6.attack: there is no 'pgd 0.4'; did you mean"),
        ({"honest": ["honest 0.4"]}, "claims.C6.honest: there is no 'honest 0.4'; did you mean"),
        ({"against_experiment": "cifar10"}, "mnist, cifar10 have different data"),
        ({"direction": "upwards"}, "direction: 'upwards' is not one of higher, lower"),
        ({"direction": "near", "tolerance": None}, "tolerance: None is not a number of points"),
        ({"rows": "XE"}, "unknown key 'rows'; did you mean 'row'?"),
        ({"sized": "yes"}, "sized: 'yes' is not true, where the claim is of the printed size itself"),
        ({"class": "3"}, "class: '3' is not a class, counted from 0"),
        ({"measure": "d_cc", "class": 3}, "d_cc is of a whole training: leave 'class' out"),
        ({"measure": "accuracy lost", "attack": 1}, "attack: 1 is not the label of an attack"),
    ],
)
def test_a_wrong_claim_fails_its_own_page_alone(settings, change, sentence):
    changed = settings | {"papers": ["chen2019"], "chen2019": {"claims": {"C6": change}}}
    _, found = config.load(copy.deepcopy(changed))
    assert sentence in found["chen2019"]["claims"]["C6"]["problem"]
    others = [content for paper in found.values() for name, content in paper["claims"].items() if name != "C6"]
    assert not [content for content in others if "problem" in content]


def test_a_claim_needs_a_sentence_and_its_source(settings):
    section = {"claims": {"C99": {"claim": "Only this."}}}
    with pytest.raises(Problem, match=r"claims\.C99: the key 'source' is missing"):
        config.load(copy.deepcopy(settings | {"papers": ["chen2019"], "chen2019": section}))
