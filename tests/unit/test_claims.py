"""Claims: the rule at each of its words, what is measured, and what is written."""

import copy
import csv
import math
from dataclasses import replace
from pathlib import Path

import claims_fixture
import numpy as np
import pandas as pd
import pytest
from claims_fixture import right
from scipy import stats

from robustloss import claims, evaluation, features, outcomes, papers, training
from robustloss.claims import page, summary
from robustloss.claims.comparing import ledger
from robustloss.claims.differences import Difference, Part
from robustloss.claims.measures import Reader, Trained
from robustloss.claims.verdicts import Comparison, Finding, Verdict, Word
from robustloss.errors import Problem
from robustloss.files import read_json, write_json
from robustloss.images import spread

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Manifests' paths start from the working directory."""
    monkeypatch.chdir(tmp_path)


# Attacks by their labels, published as 33.45 and 0.01 % in chen2019's Table 3.
PUBLISHED = {"published": ["table3", "robust_accuracy_bim", "MNIST eps=0.3 GCE", "MNIST eps=0.3 XE"], "tolerance": 5}
SIZE = 0.3344


# The rule.


def network(**attacks) -> dict:
    """A training that is right on all of 400 images, of which so many withstand each attack."""
    return {"clean": right(400, 400), "attacks": {label: right(count, 400) for label, count in attacks.items()}}


ORIGINAL = {"data": "mnist", "network": {"name": "lenet5", "mean": 0, "std": 1}, "epochs": 2}


def claim(**comparison) -> dict:
    common = {"experiment": "mnist", "row": "GCE", "against": "XE", "original": ORIGINAL}
    common |= {"measure": "robust accuracy", "attack": "bim", "direction": "higher"}
    return {"claim": "A claim.", "source": "Section 1", "comparisons": [common | comparison]}


def test_claims_stand_in_the_order_of_their_numbers(tmp_path):
    rows = {"GCE": [network(bim=80)], "XE": [network(bim=40)]}
    stated = {name: claim() for name in ("C1", "C10", "C2")}
    verdicts = claims.ledger(papers.load(claims_fixture.write(tmp_path, rows, stated)))
    assert [verdict.name for verdict in verdicts] == ["C1", "C2", "C10"]


def judge(root, rows: dict, *comparisons: dict, data: str = "mnist"):
    stated = claim() | {"comparisons": [claim(**comparison)["comparisons"][0] for comparison in comparisons]}
    manifest = claims_fixture.write(root, rows, {"C1": stated}, data)
    (verdict,) = claims.ledger(papers.load(manifest))
    return verdict


def two(first: dict, second: dict) -> dict:
    """Two trainings of each row, the second ones one image worse."""
    return {
        row: [network(**counts), network(**{label: max(count - 1, 0) for label, count in counts.items()})]
        for row, counts in (("GCE", first), ("XE", second))
    }


HONEST = {**PUBLISHED, "honest": "honest"}


def by_scipy(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """The interval of shares (trainings, images): scipy's paired and Welch's, less what analysis of variance shares."""
    images, trainings = first.shape[1], len(first)
    # Half a count in each cell of McNemar's table.
    pairs = [np.append(row.mean(0), extra) for row, extra in ((first, (0.5**0.5, 0)), (second, (0, 0.5**0.5)))]
    paired = stats.ttest_rel(*pairs).confidence_interval()
    residual = sum(row.var() - row.mean(0).var() - row.mean(1).var() for row in (first, second))
    interaction = residual / ((trainings - 1) * (images - 1))
    of_images = (paired.high - paired.low) / 2
    own = 1 - interaction / (of_images / stats.t.ppf(0.975, images + 1)) ** 2
    welch = stats.ttest_ind(first.mean(1), second.mean(1), equal_var=False).confidence_interval()
    half = math.hypot(of_images * own**0.5, (welch.high - welch.low) / 2)
    centre = (paired.high + paired.low) / 2
    return centre - half, centre + half


def test_a_verdict_hangs_on_images_and_on_trainings_as_scipy_has_them(tmp_path):
    """Three trainings of 125 images each and three of 125 on average: the images are the same, the verdicts are not."""
    words = {}
    for counts in ((125, 126, 124), (100, 175, 100)):
        rows = {"GCE": counts, "XE": (100, 101, 99)}
        rows = {row: [network(bim=count) for count in own] for row, own in rows.items()}
        verdict = judge(tmp_path, rows, {})
        outcomes_of = {
            row: np.stack([training["attacks"]["bim"] for training in trainings]).astype(float)
            for row, trainings in rows.items()
        }
        found = verdict.decisive.ours
        assert found.mean == pytest.approx(25 / 400)
        assert found.interval() == pytest.approx(by_scipy(outcomes_of["GCE"], outcomes_of["XE"]), rel=1e-6)
        words[counts] = verdict.word
    assert list(words.values()) == [Word.REPRODUCED, Word.NOT_REPRODUCED]
    # Of one training each the images alone decide; so few cannot.
    few = {"GCE": [network(bim=103)], "XE": [network(bim=100)]}
    assert judge(tmp_path, few, {}).word == Word.NOT_REPRODUCED


def test_direction_and_size_on_the_papers_data_are_reproduced(tmp_path):
    verdict = judge(tmp_path, two({"bim": 134, "honest": 134}, {"bim": 0, "honest": 0}), HONEST)
    assert verdict.word == Word.REPRODUCED
    assert verdict.decisive.published == pytest.approx(SIZE)
    assert verdict.decisive.ours.mean == pytest.approx(133.5 / 400)
    assert page.note(verdict) == ""


@pytest.mark.parametrize(
    ("rows", "comparisons", "data", "reason"),
    [
        (two({"bim": 200}, {"bim": 0}), [PUBLISHED], "mnist", "the size is another"),
        (two({"bim": 134}, {"bim": 0}), [PUBLISHED], "digits", "digits in place of mnist, so sizes do not compare"),
        ({"GCE": [network(bim=134)], "XE": [network(bim=0)]}, [PUBLISHED], "mnist", "one training of a row"),
        (two({"bim": 134}, {"bim": 0}), [PUBLISHED, {"attack": "fgsm"}], "mnist", "1 of 2 comparisons made"),
        (
            {"GCE": [network(bim=8, honest=7)] * 2, "XE": [network(bim=0, honest=3)] * 2},
            [{"honest": "honest"}],
            "mnist",
            "the honest attacks leave it open",
        ),
    ],
)
def test_a_direction_without_its_size_is_direction_only(tmp_path, rows, comparisons, data, reason):
    verdict = judge(tmp_path, rows, *comparisons, data=data)
    assert verdict.word == Word.DIRECTION
    assert page.note(verdict) == reason


@pytest.mark.parametrize(
    ("original", "words"),
    [
        ({"network": {"name": "resnet_cifar", "depth": 56}}, "lenet5 in place of resnet_cifar depth 56"),
        ({"network": {"name": "lenet5", "width": 8}}, "lenet5 in place of lenet5 width 8"),
        (
            {"network": {"name": "resnet_cifar", "depth": 56, "preactivation": True, "bias": False}},
            "lenet5 in place of resnet_cifar depth 56 preactivation no bias",
        ),
        ({"network": {"name": "lenet5", "mean": 0.5}}, ""),
        ({"epochs": 20}, "2 epochs in place of 20"),
        ({"data": "cholec80", "epochs": 3}, "mnist in place of cholec80, 2 epochs in place of 3"),
    ],
)
def test_what_stands_in_for_the_papers_own_is_told_with_every_word(tmp_path, original, words):
    """On something else a size says nothing, so that the best word is another; a bad word does not hide it either."""
    settings = HONEST | {"original": ORIGINAL | original}
    good = judge(tmp_path, two({"bim": 134, "honest": 134}, {"bim": 0, "honest": 0}), settings)
    assert good.word == (Word.DIRECTION if words else Word.REPRODUCED)
    assert page.note(good) == (f"{words}, so sizes do not compare" if words else "")
    bad = judge(tmp_path, two({"bim": 20, "honest": 0}, {"bim": 60, "honest": 0}), settings)
    assert bad.word == Word.NOT_REPRODUCED
    assert page.note(bad) == "; ".join(filter(None, ["the opposite holds", words]))
    gone = judge(tmp_path, two({"bim": 134, "honest": 0}, {"bim": 0, "honest": 0}), settings)
    assert gone.word == Word.COLLAPSES
    assert page.note(gone).endswith(words or "cannot be told apart")


def test_a_claim_about_two_networks_is_attempted_with_these_alone(tmp_path):
    other = ORIGINAL | {"network": {"name": "resnet_cifar", "depth": 56}}
    rows = two({"bim": 134}, {"bim": 0})
    verdict = judge(tmp_path, rows, {"against_original": other})
    assert verdict.word == Word.NOT_ATTEMPTED
    assert page.note(verdict) == "it compares networks: lenet5 in place of resnet_cifar depth 56"
    # Of one network, whatever stands in for it.
    assert judge(tmp_path, rows, {"original": other}).word == Word.DIRECTION


@pytest.mark.parametrize(
    ("settings", "count", "word", "reason"),
    [
        ({}, 200, Word.DIRECTION, "the size is another"),
        ({"sized": True}, 200, Word.NOT_REPRODUCED, "the size is another"),
        ({"sized": True}, 134, Word.REPRODUCED, ""),
        # Where something stands in, no size is asked for.
        ({"sized": True, "original": ORIGINAL | {"epochs": 20}}, 200, Word.DIRECTION, "2 epochs in place of 20"),
    ],
)
def test_a_claim_of_a_size_stands_and_falls_with_it(tmp_path, settings, count, word, reason):
    verdict = judge(tmp_path, two({"bim": count}, {"bim": 0}), PUBLISHED | settings)
    assert verdict.word == word
    assert page.note(verdict).startswith(reason) and bool(page.note(verdict)) == bool(reason)


@pytest.mark.parametrize(("count", "word"), [(134, Word.REPRODUCED), (64, Word.DIRECTION), (204, Word.DIRECTION)])
def test_a_tolerance_as_large_as_the_effect_is_halved(tmp_path, count, word):
    """33.44 points are printed: 16 or 51 are not the same size, however much is tolerated."""
    assert judge(tmp_path, two({"bim": count}, {"bim": 0}), PUBLISHED | {"tolerance": 40}).word == word


def test_a_refutation_is_shown_before_what_is_open(tmp_path):
    """The wide interval of few images reaches further than the narrow one that lies on the other side."""
    rows = two({"bim": 180, "fgsm": 200}, {"bim": 200, "fgsm": 220})
    for trainings in rows.values():
        for trained in trainings:
            trained["clean"] = right(400, 400)
    rows["GCE"][0]["attacks"]["fgsm"] = np.roll(right(200, 400), 200)
    rows["GCE"][1]["attacks"]["fgsm"] = np.roll(right(199, 400), 200)
    verdict = judge(tmp_path, rows, {"attack": "fgsm"}, {"attack": "bim"})
    rooms = [found.room(*found.ours.interval())[0] for found in verdict.run]
    assert rooms[0] < rooms[1]
    assert verdict.decisive.settings["attack"] == "bim"
    assert page.note(verdict) == "0 of 2 comparisons hold; in the one shown the opposite holds"


def test_a_size_counts_from_the_tolerance_on_where_at_least_is_claimed(tmp_path):
    rows = two({"bim": 300}, {"bim": 0})
    assert judge(tmp_path, rows, {**PUBLISHED, "direction": "at least"}).word == Word.REPRODUCED
    rows = two({"bim": 100}, {"bim": 0})
    assert judge(tmp_path, rows, {**PUBLISHED, "direction": "at least"}).word == Word.DIRECTION


@pytest.mark.parametrize(
    ("counts", "reason"),
    [((20, 60), "the opposite holds"), ((60, 58), "cannot be told apart"), ((0, 0), "cannot be told apart")],
)
def test_what_the_interval_does_not_show_is_not_reproduced(tmp_path, counts, reason):
    verdict = judge(tmp_path, two({"bim": counts[0]}, {"bim": counts[1]}), PUBLISHED)
    assert verdict.word == Word.NOT_REPRODUCED
    assert page.note(verdict) == reason


def test_of_several_comparisons_all_must_hold(tmp_path):
    rows = two({"bim": 134, "fgsm": 30, "pgd": 90}, {"bim": 0, "fgsm": 60, "pgd": 2})
    verdict = judge(tmp_path, rows, {}, {"attack": "fgsm"}, {"attack": "pgd"})
    assert verdict.word == Word.NOT_REPRODUCED
    assert verdict.decisive.settings["attack"] == "fgsm"
    assert page.note(verdict) == "2 of 3 comparisons hold; in the one shown the opposite holds"


@pytest.mark.parametrize(
    ("honest", "reason"), [((0, 0), "cannot be told apart"), ((20, 21), "cannot"), ((2, 60), "the opposite holds")]
)
def test_what_holds_as_published_alone_collapses(tmp_path, honest, reason):
    rows = two({"bim": 134, "honest": honest[0]}, {"bim": 0, "honest": honest[1]})
    verdict = judge(tmp_path, rows, HONEST)
    assert verdict.word == Word.COLLAPSES
    assert page.note(verdict).startswith(f"holds as published; under the honest attacks {reason}")


def test_one_loss_of_many_must_be_surer_than_one_of_one():
    """It is lost at 98.8 %, as its t value of 2.5 says: enough for one of four comparisons, not of five."""
    part = Part(0.04**2, 1e9)
    found = Comparison(
        claim()["comparisons"][0],
        published=None,
        trainings=2,
        images=400,
        ours=Difference(0.3, 0.3, part),
        honest=Difference(0, 0, part),
        lost=Difference(0.1, 0.1, part),
    )
    for count, word in {1: Word.COLLAPSES, 4: Word.COLLAPSES, 5: Word.DIRECTION, 10: Word.DIRECTION}.items():
        assert Verdict("chen2019", "paper", "C1", "A claim.", "Section 1", (found,) * count).word == word


def test_several_honest_attacks_leave_what_withstands_them_all(tmp_path):
    rows = two({"bim": 134, "a": 134, "b": 134}, {"bim": 0, "a": 0, "b": 0})
    for trained in rows["GCE"]:
        trained["attacks"]["b"] = ~right(133, 400)
    verdict = judge(tmp_path, rows, {**PUBLISHED, "honest": ["a", "b"]})
    assert verdict.word == Word.COLLAPSES
    assert verdict.decisive.honest.mean == pytest.approx(0.5 / 400)


def test_honest_attacks_may_be_those_of_another_experiment_on_the_same_trainings(tmp_path):
    stated = claim(**HONEST, honest_experiment="judged", experiment="attacked")
    path = claims_fixture.write(tmp_path, two({"bim": 134, "honest": 0}, {"bim": 0, "honest": 0}), {"C1": stated})
    manifest = read_json(path)
    for experiment, label in (("attacked", "bim"), ("judged", "honest")):
        manifest["rows"][experiment] = {
            row: [entry | {"attacks": {label: entry["attacks"][label]}} for entry in entries]
            for row, entries in manifest["rows"]["mnist"].items()
        }
    for entries, word in ((2, Word.COLLAPSES), (1, Word.REPRODUCED), (0, Word.REPRODUCED)):
        manifest["rows"]["judged"]["XE"] = manifest["rows"]["judged"]["XE"][:entries]
        write_json(path, manifest)
        (verdict,) = claims.ledger(papers.load(path))
        assert verdict.word == word
        assert ("not all judged honestly" in page.note(verdict)) == (entries < 2)


def test_a_mean_over_epochs_is_judged_at_the_last_one(tmp_path):
    path = claims_fixture.write(
        tmp_path, two({"bim": 134, "honest": 100}, {"bim": 0, "honest": 0}), {"C1": claim(**HONEST, epochs="mean")}
    )
    for folder in tmp_path.glob("results/runs/*/attacks/bim-0000"):
        first = outcomes.load(outcomes.outcomes_path(folder, 2)) | {"adversarial_predictions": np.zeros(400, np.int16)}
        outcomes.save(outcomes.outcomes_path(folder, 1), first)
        pd.DataFrame([{"epoch": 1}, {"epoch": 2}]).to_csv(folder / "epochs.csv", index=False)
    (verdict,) = claims.ledger(papers.load(path))
    assert verdict.decisive.ours.mean == pytest.approx(133.5 / 400 / 2)
    assert verdict.decisive.honest.mean == pytest.approx(99.5 / 400)
    assert verdict.decisive.lost.mean == pytest.approx(34 / 400)


def test_rows_attacks_and_trainings_that_are_not_there_are_not_attempted(tmp_path):
    rows = two({"bim": 134}, {"bim": 0})
    assert judge(tmp_path, {**rows, "XE": []}, {}).decisive.missing == "XE not trained"
    verdict = judge(tmp_path, rows, {"attack": "pgd"})
    assert verdict.word == Word.NOT_ATTEMPTED
    assert page.note(verdict) == "pgd not run on GCE"
    # The trainings took two epochs, and attacked was the last.
    of_one = judge(tmp_path, rows, {"epochs": "mean"})
    assert of_one.word == Word.NOT_ATTEMPTED
    assert page.note(of_one) == "a mean over the epochs, of which not all were kept"
    alone = {row: trainings[:1] for row, trainings in rows.items()}
    verdict = judge(tmp_path, alone, {"measure": "d_cc"})
    assert (verdict.word, page.note(verdict)) == (Word.NOT_ATTEMPTED, "one training of a row says nothing of its d_cc")


@pytest.mark.parametrize(("right_images", "word"), [(80, Word.REPRODUCED), (60, Word.DIRECTION)])
def test_of_a_size_half_may_be_missing_however_much_is_tolerated(tmp_path, right_images, word):
    """0.2 and 0.15 for 0.33: the first is another by less than half of it, the second by more."""
    verdict = judge(tmp_path, two({"bim": right_images}, {"bim": 0}), PUBLISHED | {"tolerance": 50})
    assert verdict.word == word


@pytest.mark.parametrize("order", [("bim", "mim"), ("mim", "bim")])
def test_a_verdict_hangs_on_the_weakest_comparison_of_those_that_hold(tmp_path, order):
    rows = two({"bim": 300, "mim": 200}, {"bim": 0, "mim": 100})
    verdict = judge(tmp_path, rows, *({"attack": attack} for attack in order))
    assert verdict.word == Word.REPRODUCED
    assert verdict.decisive.settings["attack"] == "mim"


def test_rows_that_do_not_differ_by_more_than_the_tolerance_are_near(tmp_path):
    for counts, tolerance, word, finding in [
        ((200, 200), 5, Word.REPRODUCED, Finding.HOLDS),
        ((200, 200), 0.1, Word.NOT_REPRODUCED, Finding.UNDECIDED),
        ((200, 260), 5, Word.NOT_REPRODUCED, Finding.FAILS),
        ((260, 200), 5, Word.NOT_REPRODUCED, Finding.FAILS),
    ]:
        rows = two({"bim": counts[0]}, {"bim": counts[1]})
        verdict = judge(tmp_path, rows, {"direction": "near", "tolerance": tolerance})
        found = verdict.decisive
        assert (verdict.word, found.finding(found.ours)) == (word, finding)
    better, worse = two({"bim": 260}, {"bim": 200}), two({"bim": 200}, {"bim": 260})
    for direction, rows, word in [
        ("not lower", better, Word.REPRODUCED),
        ("not lower", worse, Word.NOT_REPRODUCED),
        ("not higher", worse, Word.REPRODUCED),
        ("not higher", better, Word.NOT_REPRODUCED),
        ("lower", worse, Word.REPRODUCED),
    ]:
        assert judge(tmp_path, rows, {"direction": direction, "tolerance": 1}).word == word


# What is measured.


def test_each_measure_reads_the_images_that_it_says(tmp_path):
    numbers = {"clean": right(380, 400), "cross_entropy": np.linspace(0, 1, 400), "l2": np.full(400, 2.0)}
    base = network(bim=100) | numbers
    other = network(bim=60) | {"clean": right(390, 400), "cross_entropy": np.full(400, 0.25), "l2": np.full(400, 0.5)}
    rows = {"GCE": [base, base], "XE": [other, other]}
    for measure, difference in {
        "accuracy": -10 / 400,
        "error": 10 / 400,
        "robust accuracy": 40 / 400,
        "accuracy lost": (280 - 330) / 400,
        "cross-entropy": 0.5 - 0.25,
        "perturbation": 1.5,
    }.items():
        attack = "bim" if measure in ("robust accuracy", "accuracy lost", "perturbation") else None
        settings = claim(measure=measure)["comparisons"][0]
        settings = settings if attack else {key: value for key, value in settings.items() if key != "attack"}
        stated = claim() | {"comparisons": [settings]}
        (verdict,) = claims.ledger(papers.load(claims_fixture.write(tmp_path, rows, {"C1": stated})))
        assert verdict.decisive.ours.mean == pytest.approx(difference, abs=1e-6), measure
        assert verdict.decisive.images == (280 if measure == "perturbation" else 400)


@pytest.mark.parametrize("measure", ["accuracy", "robust accuracy"])
def test_of_one_class_only_its_own_images_count(tmp_path, measure):
    labels = np.arange(400) % 4
    numbers = {"clean": right(400, 400), "labels": labels}
    # All of the 40 images that one network gets right and the other does not are of class 2.
    changed = (labels == 2) & right(160, 400)
    base, other = network(bim=400) | numbers, network(bim=400) | numbers | {"clean": ~changed}
    other["attacks"] = {"bim": ~changed}
    for only, difference in {None: 0.1, 2: 0.4, 3: 0.0}.items():
        settings = claim(measure=measure)["comparisons"][0] | ({} if only is None else {"class": only})
        settings = settings if measure == "robust accuracy" else settings | {"attack": []}
        stated = claim() | {"comparisons": [settings]}
        path = claims_fixture.write(tmp_path, {"GCE": [base, base], "XE": [other, other]}, {"C1": stated})
        for _ in range(2):
            # The second time from what was kept of single images.
            (verdict,) = claims.ledger(papers.load(path))
            assert verdict.decisive.ours.mean == pytest.approx(difference, abs=1e-6)
            assert verdict.decisive.images == (400 if only is None else 100)
            for path_of_images in tmp_path.glob("**/samples/*.npz"):
                path_of_images.unlink()


def test_rows_that_were_attacked_on_other_images_are_compared_on_those_they_share(tmp_path):
    rows = two({"bim": 134}, {"bim": 0})
    images = np.arange(0, 400, 4)
    for trained in rows["GCE"]:
        trained["attacks"]["bim"] = trained["attacks"]["bim"][images]
        trained["images"] = images
    verdict = judge(tmp_path, rows, {})
    assert verdict.decisive.images == 100
    assert verdict.decisive.ours.mean == pytest.approx(np.mean([(images < count).mean() for count in (134, 133)]))


def test_distances_are_compared_as_ratios_over_trainings(tmp_path):
    rows = two({"bim": 0}, {"bim": 0})
    numbers = {"GCE": (1.0, 1.2), "XE": (9.0, 10.0)}
    for row, values in numbers.items():
        for trained, value in zip(rows[row], values, strict=True):
            trained["d_cc"] = value
    comparison = claim(measure="d_cc", direction="lower")["comparisons"][0]
    del comparison["attack"]
    manifest = claims_fixture.write(tmp_path, rows, {"C1": claim() | {"comparisons": [comparison]}})
    paper = papers.load(manifest)
    measured = {row: [run.last("d_cc", "evaluation") for run in paper.collection.of("mnist", row)] for row in numbers}
    theirs = stats.ttest_ind(*map(np.log, measured.values()), equal_var=False).confidence_interval()
    (verdict,) = claims.ledger(paper)
    (row,) = page.claims([verdict]).to_dict("records")
    assert verdict.word == Word.REPRODUCED
    assert (row["low"], row["high"]) == pytest.approx((math.exp(theirs.low), math.exp(theirs.high)))
    assert row["interval"] == "trainings"


def test_an_attack_of_its_own_for_the_other_row_is_used(tmp_path):
    rows = two({"bim": 134, "pgd": 0}, {"bim": 134, "pgd": 20})
    verdict = judge(tmp_path, rows, {"against_attack": "pgd"})
    assert verdict.decisive.ours.mean == pytest.approx(114 / 400)


# Files, the notebook's table and the readme.


@pytest.fixture
def paper(tmp_path):
    rows = two({"bim": 134, "honest": 0}, {"bim": 0, "honest": 0})
    stated = {
        "C1": claim(**HONEST) | {"claim": "GCE > XE & <b>all</b>"},
        "C2": claim(attack="pgd"),
    }
    return papers.load(claims_fixture.write(tmp_path, rows, stated))


def test_the_files_hold_every_claim_and_comparison(paper):
    text = claims.show(paper).to_html()
    folder = paper.collection.directory
    with open(folder / "claims.csv", encoding="utf-8") as stream:
        first, second = csv.DictReader(stream)
    assert (first["id"], first["verdict"], second["verdict"]) == ("C1", "collapses", "not attempted at this scale")
    assert float(first["published"]) == pytest.approx(100 * SIZE)
    assert float(first["ours"]) == pytest.approx(100 * 133.5 / 400)
    assert float(first["low"]) < float(first["ours"]) < float(first["high"])
    assert (float(first["honest"]), first["seeds"], first["images"]) == (0, "2", "400")
    assert (first["honest_images"], second["honest_images"]) == ("400", "—")
    assert (first["data"], first["published_data"], second["data"]) == ("mnist", "mnist", "—")
    assert (first["paper"], first["scale"], first["interval"]) == ("chen2019", "demo", "images and trainings")
    with open(folder / "comparisons.csv", encoding="utf-8") as stream:
        found = [(row["id"], row["found"], row["honest_found"], row["missing"]) for row in csv.DictReader(stream)]
    assert found == [("C1", "holds", "cannot be told apart", ""), ("C2", "—", "—", "pgd not run on GCE")]
    assert "GCE &gt; XE &amp; &lt;b&gt;all&lt;/b&gt;" in text
    assert "+33.4 [" in text
    assert "collapses</strong>" in text


def test_a_paper_without_claims_leaves_no_file(paper):
    del paper.collection.manifest["claims"]
    assert "states no claims" in claims.show(paper).to_html()
    assert not list(paper.collection.directory.glob("*.csv"))


def test_the_readme_gets_one_line_per_paper_between_its_markers(paper, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{summary.BEGIN}\nold\n{summary.END}\n\nafter\n", encoding="utf-8")
    with pytest.raises(Problem, match="nowhere/papers has no claims yet: run the workflow first, or name another"):
        claims.write_summary(tmp_path / "nowhere", readme)
    assert "old" in readme.read_text(encoding="utf-8")
    claims.show(paper)
    for _ in range(2):
        claims.write_summary(tmp_path / "results", readme)
        lines = readme.read_text(encoding="utf-8").splitlines()
        assert lines[:1] + lines[-1:] == ["before", "after"]
        assert [line for line in lines if "chen2019" in line] == ["| chen2019 | demo | 2 | 0 | 0 | 0 | 1 | 1 |"]
        assert "old" not in lines
    readme.write_text("no markers", encoding="utf-8")
    with pytest.raises(Problem, match=r"README\.md needs the lines <!-- verdicts"):
        claims.write_summary(tmp_path / "results", readme)
    assert readme.read_text(encoding="utf-8") == "no markers"


def test_missing_outcomes_are_one_sentence(paper):
    next(paper.collection.root.glob("results/runs/mnist-GCE-s0/attacks/bim-*/samples/*.npz")).unlink()
    with pytest.raises(Problem, match=r"chen2019, claim C1: .*epoch-002\.npz is missing") as caught:
        claims.ledger(paper)
    assert "\n" not in str(caught.value)


def test_a_row_that_is_not_in_the_manifest_is_one_sentence(paper):
    manifest = copy.deepcopy(paper.collection.manifest)
    manifest["claims"]["C1"]["comparisons"][0]["row"] = "GCF"
    with pytest.raises(Problem, match="claim C1: there is no row 'GCF' in mnist"):
        ledger(replace(paper.collection, manifest=manifest))


def test_a_cell_that_is_not_in_the_reference_is_one_sentence(paper):
    manifest = copy.deepcopy(paper.collection.manifest)
    manifest["claims"]["C1"]["comparisons"][0]["published"][2] = "MNIST eps=0.4 GCE"
    with pytest.raises(Problem, match=r"chen2019, claim C1: .*no row 'MNIST eps=0.4 GCE' in table3"):
        ledger(replace(paper.collection, manifest=manifest))


def test_a_claim_with_a_problem_is_told_where_it_is_judged(paper):
    manifest = paper.collection.manifest | {"claims": {"C1": {"problem": "chen2019.yaml: claims.C1.row: no such row"}}}
    with pytest.raises(Problem, match="no such row"):
        ledger(replace(paper.collection, manifest=manifest))


def test_what_the_stages_write_is_what_they_sum_up(bars, spec, tmp_path):
    """Shares and losses of images, averaged, are those of the summaries, at the last epoch and over all."""
    run = tmp_path / "run"
    training.train(spec | {"epochs": 2}, bars, run)
    features.measure(run, bars, run / "features")
    settings = {"name": "pgd", "epsilon": 0.02, "step_size": 0.01, "steps": 2, "split": "evaluation"}
    evaluation.attack(run, bars, settings | {"epochs": "all", "count": 20}, run / "attack")
    clean = read_json(run / "features" / "features.json")["summary"]["test"]
    attacked = read_json(run / "attack" / "attack.json")["summary"]
    trained, reader = Trained(None, run / "features", {"pgd": run / "attack"}), Reader(run)
    for epochs in ("mean", "last"):
        for share, labels, expected in [
            ("accuracy", [], clean["accuracy"]),
            ("accuracy", ["pgd"], attacked["clean_accuracy"]),
            ("robust accuracy", ["pgd"], attacked["robust_accuracy"]),
        ]:
            assert reader.sample(trained, share, labels, epochs).values.mean() == pytest.approx(expected[epochs])
    errors = pd.read_csv(run / "features" / "epochs.csv").query("split == 'train'")["cross_entropy"]
    assert reader.sample(trained, "cross-entropy", [], "last").values.mean() == pytest.approx(errors.iloc[-1])
    images = reader.sample(trained, "accuracy", ["pgd"], "last").images
    assert images.tolist() == spread(30, 20).tolist()
