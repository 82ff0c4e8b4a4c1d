"""What a cell rests on, why a job would run, and what nothing refers to any more."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from robustloss import config, naming
from robustloss.errors import Problem
from robustloss.files import canonical, read_json
from robustloss.lineage import planned, unused
from robustloss.lineage.rests_on import rests_on, sentences
from robustloss.lineage.why import why

RESULTS, DATA = Path("results"), Path("data/prepared")


@pytest.fixture
def root(finished, tmp_path, monkeypatch):
    """A copy of the finished folder to work in."""
    shutil.copytree(finished[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def plan(finished):
    return copy.deepcopy(finished[1])


def runs_of(records: list[dict]) -> list[str]:
    return [Path(record["folder"]).name for record in records if record["stage"] == "run"]


def names(plan) -> tuple[str, str]:
    return tuple(plan.runs)


def test_a_cell_rests_on_its_run_its_attack_and_its_data(root, plan):
    first, _ = names(plan)
    found = rests_on(RESULTS, "some2020", "table3", "MNIST A", "FGSM")
    assert [record["stage"] for record in found] == ["data", "run", "features", "attack"]
    data, run, _, attack = found
    assert run["name"] == first and run == read_json(root / run["folder"] / "run.json") | {
        "stage": "run",
        "folder": run["folder"],
    }
    assert attack["run"] == first and attack["spec"]["name"] == "pgd"
    assert run["data_digest"] == data["digest"]


def test_a_transferred_attack_rests_on_its_source_too(root, plan):
    first, second = names(plan)
    assert runs_of(rests_on(RESULTS, "some2020", "table3", "B")) == [second, first]


def test_a_whole_table_a_claim_and_a_figure(root, plan):
    first, second = names(plan)
    assert sorted(runs_of(rests_on(RESULTS, "some2020", "table3"))) == sorted([first, second])
    assert sorted(runs_of(rests_on(RESULTS, "some2020", "claims", "C1"))) == sorted([first, second])
    assert runs_of(rests_on(RESULTS, "some2020", "figure1"))[0] == second


def test_a_table_that_was_changed_since_is_not_answered_from(root):
    table = root / "results/papers/some2020/tables/table3.csv"
    table.write_text(table.read_text().splitlines()[0])
    with pytest.raises(Problem, match=r"table3\.csv is not as it was made"):
        rests_on(RESULTS, "some2020", "table3")


def test_a_clone_answers_from_what_is_published(root):
    """Nothing was collected there yet; figures have to be drawn first, which it says."""
    questions = (("table3", "MNIST A", "FGSM"), ("table3", "B"), ("claims", "C1"))
    answers = [rests_on(RESULTS, "some2020", *question) for question in questions]
    shutil.move("results/papers", "results/published")
    for path in (RESULTS / "published/some2020").glob("some2020.*"):
        path.unlink()
    assert [rests_on(RESULTS, "some2020", *question) for question in questions] == answers
    with pytest.raises(Problem, match=r"no table or figure 'figure1'.*drawn by `make tables`"):
        rests_on(RESULTS, "some2020", "figure1")
    shutil.rmtree("results/published")
    with pytest.raises(Problem, match="has no paper yet: run the workflow first"):
        rests_on(RESULTS, "some2020", "table3")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (("some2021", "table3"), "did you mean 'some2020'"),
        (("some2020", "tabel3"), "did you mean 'table3'"),
        (("some2020", "table3", "MNIST D"), "no line 'MNIST D'; did you mean 'MNIST"),
        (("some2020", "table3", "A", "PGD"), "The choices are: FGSM"),
        (("some2020", "table3", "MNIST C"), "rests on no run"),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(root, question, answer):
    with pytest.raises(Problem) as caught:
        rests_on(RESULTS, *question)
    assert answer in str(caught.value)


def test_each_result_is_told_with_how_it_was_made(root):
    for record in rests_on(RESULTS, "some2020", "table3"):
        text = "\n".join(sentences(record))
        environment = record["environment"]
        assert environment["date"] in text and environment["hardware"] in text
        assert record["code"]["digest"][:12] in text and environment["git_commit"][:10] in text
        assert canonical(record["data"] if record["stage"] == "data" else record["spec"]) in text
        assert f"torch {environment['versions']['torch']}" in text
    (attack,) = (record for record in rests_on(RESULTS, "some2020", "table3", "B") if record["stage"] == "attack")
    ((source, digest),) = attack["source_digests"].items()
    assert f"weights of {source} {digest[:12]}" in "\n".join(sentences(attack))


def test_a_reader_who_has_read_enough_is_no_error(root):
    """`python -m robustloss rests-on ... | head`."""
    words = f"{sys.executable} -m robustloss rests-on --paper some2020 --table table3 --json | true"
    environment = os.environ | {"PYTHONPATH": str(config.WORKFLOW)}
    found = subprocess.run(["bash", "-o", "pipefail", "-c", words], env=environment, capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")


def test_nothing_would_run_when_all_exists(root, plan):
    assert why(plan, RESULTS, DATA) == ["Everything that is planned exists."]
    first, _ = names(plan)
    (sentence,) = why(plan, RESULTS, DATA, f"results/runs/{first}/run.json")
    assert sentence.startswith(f"results/runs/{first} exists") and sentence.endswith("nothing would run.")
    assert why(plan, RESULTS, DATA, "some2020") == [
        "results/papers/some2020/manifest.json is what the configuration asks for."
    ]


def replan(plan, run: str, change: dict) -> str:
    """The plan with one setting of a run changed, as its name then is."""
    spec, data = json.loads(plan.runs.pop(run)) | change, plan.data_of.pop(run)
    new = naming.name_of("bars-small", naming.trained(spec, data), *naming.run_modules(spec))
    plan.runs[new], plan.data_of[new] = canonical(spec), data
    plan.manifests = json.loads(json.dumps(plan.manifests).replace(run, new))
    return new


def test_a_changed_setting_is_named_with_both_values(root, plan):
    _, second = names(plan)
    new = replan(plan, second, {"epochs": 20, "seed": 1})
    (sentence,) = why(plan, RESULTS, DATA, new)
    assert sentence == (
        f"results/runs/{new} would be trained: nothing finished has this name; the nearest that exists is "
        f"results/runs/{second}: spec.epochs 2 -> 20; the same code."
    )
    changes = why(plan, RESULTS, DATA, "results/papers/some2020")
    assert "written anew" in changes[0] and any(second in text and new in text for text in changes[1:])


def test_changed_code_is_named_by_its_modules(root, plan, monkeypatch):
    first, _ = names(plan)
    digests = planned.naming.code_digest

    def edited(*entries):
        return digests(*entries) + ("edited" if "robustloss.losses.cross_entropy" in entries else "")

    monkeypatch.setattr(naming, "code_digest", edited)
    new = replan(plan, first, {})
    from robustloss.lineage import why as asked

    whole = asked.module_digests
    monkeypatch.setattr(
        asked, "module_digests", lambda *entries: whole(*entries) | {"robustloss.losses.cross_entropy": "0" * 64}
    )
    (sentence,) = why(plan, RESULTS, DATA, new)
    assert sentence.endswith("the same specification; other code in robustloss.losses.cross_entropy.")


def test_an_attack_that_is_missing(root, plan):
    first, _ = names(plan)
    (attack,) = (root / "results/runs" / first / "attacks").iterdir()
    (attack / "attack.json").unlink()
    (sentence,) = why(plan, RESULTS, DATA)
    assert sentence.startswith(f"results/runs/{first}/attacks/{attack.name} would be attacked")
    assert "a job that did not end left its parts" in sentence
    shutil.rmtree(root / "results/runs")
    *reasons, count = why(plan, RESULTS, DATA)
    assert len(reasons) == 2
    assert all("nothing else of its kind exists that says" in reason for reason in reasons)
    assert reasons[0].endswith("With it: 1 set of features, 1 attack, 1 audit.")
    assert count == "Missing in all: 2 runs, 2 sets of features, 2 attacks, 1 audit."


def test_data_are_missing_where_something_reads_them_alone(root, plan):
    """As Snakemake has it: data that were not pulled are prepared for what is missing, and for nothing that exists."""
    _, second = names(plan)
    (data,) = DATA.iterdir()
    shutil.rmtree(data)
    assert why(plan, RESULTS, DATA) == ["Everything that is planned exists."]
    (root / "results/runs" / second / "run.json").unlink()
    sentences = why(plan, RESULTS, DATA)
    assert [sentence.split(" ")[0] for sentence in sentences[:-1]] == [str(data), f"results/runs/{second}"]
    assert sentences[-1] == "Missing in all: 1 data set, 1 run."


def test_the_nearest_attack_is_one_of_the_same_kind(root, plan):
    """PGD is nothing to compare a transferred attack with."""
    _, second = names(plan)
    shutil.rmtree(root / "results/runs" / second / "attacks")
    (sentence,) = why(plan, RESULTS, DATA)
    assert "would be attacked" in sentence and "nothing else of its kind exists" in sentence


def test_what_exists_and_is_not_asked_for(root, plan):
    _, second = names(plan)
    replan(plan, second, {"epochs": 3})
    assert why(plan, RESULTS, DATA, second) == [
        f"results/runs/{second} exists, but the configuration does not ask for it."
    ]
    with pytest.raises(Problem, match="knows 'bars-smell-s1'; did you mean 'bars-small-"):
        why(plan, RESULTS, DATA, "bars-smell-s1")


@pytest.fixture
def asked_for(plan, monkeypatch):
    """The plan in place of those of all papers and scales."""
    monkeypatch.setattr(planned, "all_plans", lambda files: [plan])
    return plan


def test_all_that_is_planned_or_named_by_a_manifest_is_in_use(root, asked_for):
    assert unused.unused(RESULTS, DATA, []) == []
    asked_for.manifests.clear()
    asked_for.runs.clear()
    asked_for.data.clear()
    assert unused.unused(RESULTS, DATA, []) == []


def test_what_nothing_refers_to_is_listed_and_removed(root, asked_for):
    """The second run is attacked with examples of the first, so that one stays when its own setting changes."""
    first, second = (Path("results/runs") / name for name in names(asked_for))
    shutil.rmtree(root / "results/papers")
    replan(asked_for, first.name, {"epochs": 9})
    own = {path.parent for path in first.rglob("*.json") if path.name != "run.json"}
    assert len(own) == 3
    old = second / "attacks" / "pgd-00000000"
    shutil.copytree(next((first / "attacks").iterdir()), old)
    assert set(unused.unused(RESULTS, DATA, [])) == own | {old}
    rows = asked_for.manifests["some2020"]["rows"]["main"]
    rows["B"] = rows["A"]
    del asked_for.runs[second.name]
    listed = unused.unused(RESULTS, DATA, [])
    assert set(listed) == {first, second}
    assert unused.size(first) == sum(path.stat().st_size for path in first.rglob("*") if path.is_file()) > 0
    unused.delete(listed)
    assert list(Path("results/runs").iterdir()) == [] and len(list(DATA.iterdir())) == 1


def test_what_only_a_published_paper_names_is_in_use(root, asked_for):
    for found in (asked_for.manifests, asked_for.runs, asked_for.data):
        found.clear()
    shutil.move("results/papers", "results/published")
    assert unused.unused(RESULTS, DATA, []) == []
    shutil.rmtree("results/published")
    assert {path.name for path in unused.unused(RESULTS, DATA, [])} > {path.name for path in DATA.iterdir()}


def test_videos_that_a_killed_job_left_are_listed(root, asked_for):
    (data,) = DATA.iterdir()
    (data / "videos").mkdir()
    (data / "videos" / "video01.npy").write_bytes(b"")
    assert unused.unused(RESULTS, DATA, []) == [data / "videos"]


def test_only_a_link_is_removed_not_what_it_points_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    unused.delete([tmp_path / "link"])
    assert (tmp_path / "kept" / "file").exists() and not (tmp_path / "link").is_symlink()


def test_every_paper_is_planned_at_every_scale():
    settings = config.WORKFLOW.parent / "config.yaml"
    found = [
        (paper, manifest["scale"])
        for plan in planned.all_plans([settings])
        for paper, manifest in plan.manifests.items()
    ]
    assert len(found) == len(set(found))
    assert set(found) >= {(paper, "demo") for paper in ("chen2019", "ding2025", "pang2020", "song2022")}
    assert ("chen2019", "paper") in found
