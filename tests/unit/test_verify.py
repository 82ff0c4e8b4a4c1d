"""Verifying a results folder: what the stages wrote passes, and each thing done to it is named."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import lineage_fixture
import papers_fixture
import pytest

from robustloss import naming
from robustloss.errors import Problem
from robustloss.files import write_json
from robustloss.lineage.verify import verify

LIBRARY = Path(naming.__file__).parents[1]


@pytest.fixture(scope="module")
def made(finished):
    return finished[0]


@pytest.fixture
def root(made, tmp_path):
    """A copy of the finished folder, which the test may damage."""
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy"


def problems(root, **options) -> list[str]:
    return verify(root / "results", root / "data/prepared", **options).problems


def only(root, pattern: str) -> Path:
    return sorted(root.glob(pattern))[0]


def test_what_the_stages_wrote_is_found_whole(made):
    found = verify(made / "results", made / "data/prepared")
    assert found.problems == found.unfinished == []
    assert found.records == 9
    files = [path for folder in ("results", "data/prepared") for path in (made / folder).rglob("*.*")]
    vouched = [path for path in files if path.suffix in (".safetensors", ".npz", ".csv", ".npy", ".html", ".ipynb")]
    assert found.files == len(vouched)
    assert found.bytes == sum(path.stat().st_size for path in vouched)


@pytest.mark.parametrize(
    "pattern",
    [
        "results/runs/*/weights/epoch-002.safetensors",
        "results/runs/*/history.csv",
        "results/runs/*/attacks/*/samples/epoch-001.npz",
        "results/runs/*/attacks/*/epochs.csv",
        "results/runs/*/features-*/classes.csv",
        "results/runs/*/audits/*/samples/*.npz",
        "results/papers/*/tables/table3.csv",
        "results/papers/*/comparisons.csv",
        "results/papers/*/some2020.html",
        "data/prepared/*/train.npy",
        "data/prepared/*/evaluation.csv",
    ],
)
@pytest.mark.parametrize("damage", ["a flipped bit", "cut off", "missing"])
def test_a_damaged_file_is_named_and_nothing_else(root, pattern, damage):
    path = only(root, pattern)
    content = bytearray(path.read_bytes())
    if damage == "a flipped bit":
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    elif damage == "cut off":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    (sentence,) = problems(root)
    assert str(path) in sentence
    assert ("is missing" in sentence) == (damage == "missing")


RECORDS = [
    "results/runs/*/run.json",
    "results/runs/*/attacks/*/attack.json",
    "results/runs/*/features-*/features.json",
    "results/runs/*/audits/*/audit.json",
    "data/prepared/*/record.json",
    "results/papers/*/paper.json",
]


@pytest.mark.parametrize("pattern", RECORDS)
def test_a_number_changed_by_hand_is_named(root, pattern):
    path = only(root, pattern)
    papers_fixture.edit(path, lambda record: record["environment"].update(seconds=1.0))
    assert any(str(path) in sentence and "not what was written" in sentence for sentence in problems(root))


@pytest.mark.parametrize("pattern", RECORDS)
def test_every_flipped_bit_of_a_record_is_named(root, pattern):
    path = only(root, pattern)
    content = path.read_bytes()
    for place in range(7, len(content) - 3, max(1, len(content) // 12)):
        if chr(content[place]).isspace():
            continue
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        assert any(str(path) in sentence for sentence in problems(root)), place


def test_a_specification_that_does_not_have_its_name(root):
    path = only(root, "results/runs/*/run.json")
    lineage_fixture.change(path, lambda record: record["spec"].update(epochs=3))
    assert any(f"{path}: the name of its folder" in sentence for sentence in problems(root))


def test_a_code_digest_that_is_not_that_of_its_modules(root):
    path = only(root, "results/runs/*/attacks/*/attack.json")
    lineage_fixture.change(path, lambda record: record["code"]["modules"].update({"robustloss.attacks.pgd": "0" * 64}))
    assert f"{path}: its code digest is not that of its modules" in problems(root)


def test_a_renamed_run(root):
    path = only(root, "results/runs/*")
    path.rename(path.with_name("mine-12345678"))
    found = problems(root)
    assert any("was renamed" in sentence and "mine-12345678/run.json" in sentence for sentence in found)
    assert any("manifest.json names" in sentence and path.name in sentence for sentence in found)


def test_results_of_other_weights(root):
    """A run trained anew, with other weights and a whole record: what was measured on the old ones no longer holds."""
    first, second = sorted((root / "results/runs").iterdir())
    shutil.copy(second / "weights/epoch-002.safetensors", first / "weights/epoch-002.safetensors")
    own = {path.name: path for path in first.rglob("*.json")}
    digest = verify(root / "results", root / "data/prepared")
    assert len(digest.problems) == 1
    from robustloss.files import sha256

    new = {"weights/epoch-002.safetensors": sha256(first / "weights/epoch-002.safetensors")}
    lineage_fixture.change(first / "run.json", lambda record: record["files"].update(new))
    found = problems(root)
    others = [own[name] for name in ("attack.json", "features.json", "audit.json")]
    transferred = next(second.glob("attacks/*/attack.json"))
    assert {sentence.split(" was measured on other weights")[0] for sentence in found[:-1]} == {
        str(path) for path in (*others, transferred)
    }
    assert "some2020/paper.json: it was made from other records" in found[-1]


def test_a_source_that_is_not_there(root):
    first, second = sorted((root / "results/runs").iterdir())
    shutil.rmtree(first)
    attack = next(second.glob("attacks/*/attack.json"))
    assert f"{attack} rests on the run {first.name}, which is not here" in problems(root)


def test_data_prepared_anew_with_other_images(root):
    path = only(root, "data/prepared/*/record.json")
    lineage_fixture.change(path, lambda record: record.update(digest="0" * 64))
    assert sum("trained on other data" in sentence for sentence in problems(root)) == 2


def test_a_file_that_no_record_vouches_for(root):
    run = only(root, "results/runs/*")
    (run / "weights" / "epoch-009.safetensors").write_bytes(b"")
    (sentence,) = problems(root)
    assert "epoch-009.safetensors is a file that no record vouches for" in sentence


def test_what_a_job_in_progress_leaves_is_no_problem(root):
    run = only(root, "results/runs/*")
    (run / "state.safetensors").write_bytes(b"")
    (run / ".run.json.partial").write_bytes(b"")
    (run / "weights.dvc").write_text("")
    (root / "results/runs/other-12345678/weights").mkdir(parents=True)
    videos = only(root, "data/prepared/*") / "videos"
    videos.mkdir()
    (videos / "video01.npy").write_bytes(b"")
    found = verify(root / "results", root / "data/prepared")
    assert found.problems == []
    assert found.unfinished == [
        f"{videos} was left by a job that was killed: `unused` lists it",
        f"{root / 'results/runs/other-12345678'} is unfinished: it has no run.json",
    ]


def test_what_was_not_pulled_is_counted(root):
    """Only what DVC has, and only whole folders: of one that is here every file must be."""
    run = only(root, "results/runs/*")
    outcomes = next(run.glob("attacks/*/samples"))
    for folder in (run / "weights", outcomes):
        shutil.rmtree(folder)
    assert len(problems(root)) == 4
    outs = [{"path": "weights"}, {"path": outcomes.relative_to(run).as_posix()}]
    (run / "bytes.dvc").write_text(json.dumps({"outs": outs}))
    found = verify(root / "results", root / "data/prepared")
    assert (found.problems, found.absent) == ([], 4)
    outcomes.mkdir()
    assert len(problems(root)) == 2


def test_what_was_not_published_is_counted(root):
    """Of runs that a published manifest names, and only where none of their weights are here."""
    shutil.copytree(root / "results/papers", root / "results/published")
    runs = sorted(root.glob("results/runs/*"))
    for run in runs:
        shutil.rmtree(run / "weights")
        for outcomes in run.rglob("samples"):
            shutil.rmtree(outcomes)
    found = verify(root / "results", root / "data/prepared")
    assert found.problems == [] and found.unpublished > 4
    (runs[0] / "weights").mkdir()
    assert 0 < len(problems(root)) < found.unpublished
    shutil.rmtree(root / "results/published")
    assert len(problems(root)) == found.unpublished


def published(root) -> Path:
    """The finished paper as git has it when it is published: without page and notebook."""
    folder = root / "results/published/some2020"
    shutil.copytree(root / "results/papers/some2020", folder, ignore=shutil.ignore_patterns("*.html", "*.ipynb"))
    return folder


@pytest.mark.parametrize("kind", ["papers", "published"])
def test_a_cell_of_a_table_changed_by_hand_is_named(root, kind):
    assert published(root).is_dir() and problems(root) == []
    path = root / "results" / kind / "some2020/tables/table3.csv"
    path.write_text(path.read_text().replace("MNIST A", "MNIST B", 1))
    (sentence,) = problems(root)
    assert str(path) in sentence and "is not the file that was written" in sentence
    path.unlink()
    (sentence,) = problems(root)
    assert f"{path} is missing" in sentence


@pytest.mark.parametrize("kind", ["papers", "published"])
def test_a_paper_of_another_manifest(root, kind):
    published(root)
    path = root / "results" / kind / "some2020/manifest.json"
    path.write_text(path.read_text().replace('"demo"', '"paper"'))
    (sentence,) = problems(root)
    assert f"{path.parent}/paper.json: it was made from another manifest" in sentence


def test_a_paper_of_other_records(root):
    """A run made anew, on another day: its record is whole, but the tables are those of the one before."""
    lineage_fixture.change(
        only(root, "results/runs/*/run.json"), lambda record: record["environment"].update(seconds=1.0)
    )
    (sentence,) = problems(root)
    assert "some2020/paper.json: it was made from other records than are there now" in sentence


def test_tables_that_nothing_vouches_for(root):
    (root / "results/papers/some2020/paper.json").unlink()
    (sentence,) = problems(root)
    assert "some2020 has no paper.json, so nothing vouches for its tables" in sentence


def test_a_record_without_checksum(root):
    path = only(root, "results/runs/*/run.json")
    papers_fixture.edit(path, lambda record: record.pop("record_sha256"))
    assert f"{path} has no 'record_sha256', so nothing vouches for it: make it again" in problems(root)


def test_the_command_names_what_is_wrong_and_fails(root):
    path = only(root, "results/runs/*/history.csv")
    path.write_text("")

    def command(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "robustloss", "verify", *words],
            cwd=root,
            env={"PYTHONPATH": str(LIBRARY), "PATH": ""},
            capture_output=True,
            text=True,
        )

    found = command()
    assert found.returncode == 1
    assert f"PROBLEM {path.relative_to(root)} is not the file" in found.stdout
    assert found.stderr.endswith("results is not as it was written: 1 problem(s), named above\n")
    assert "no folder" in command("nowhere").stderr


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(Problem, match="is no folder"):
        verify(tmp_path / "x", tmp_path)
    (tmp_path / "results").mkdir()
    write_json(tmp_path / "results" / "x.json", {})
    assert verify(tmp_path / "results", tmp_path / "data").records == 0
