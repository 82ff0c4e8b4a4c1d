"""Which modules a result rests on, and what changes their digest."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from robustloss import code, naming, unchanged
from robustloss.errors import Problem
from robustloss.files import digest, read_json

LIBRARY = Path(code.__file__).parent
ROOT = LIBRARY.parents[1]


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A copy of the library whose source the test may change."""
    copy = tmp_path / "robustloss"
    shutil.copytree(LIBRARY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "ROOT", copy)

    def edit(module: str, old: str, new: str) -> None:
        path = copy / module
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        clear()

    def clear() -> None:
        for function in vars(code).values():
            if hasattr(function, "cache_clear"):
                function.cache_clear()

    clear()
    yield edit
    clear()


def test_closure_is_what_python_really_imports():
    """The static closure, with the neutral modules, covers every module of ours that importing the stage loads."""
    script = "import robustloss.training, sys; print(*(m for m in sys.modules if m.split('.')[0] == 'robustloss'))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=LIBRARY.parent
    ).stdout.split()
    assert set(loaded) <= {*code.closure("robustloss.training"), *code.NEUTRAL}


def test_training_does_not_rest_on_single_losses_models_or_attacks():
    closure = code.closure("robustloss.training")
    assert "robustloss.losses" in closure
    single = ("robustloss.losses.", "robustloss.models.", "robustloss.attacks.")
    helpers = {"robustloss.attacks.parts", "robustloss.attacks.parts.perturbed"}
    helpers |= {f"robustloss.models.{name}" for name in ("frozen", "quick", "squares")}
    assert not [name for name in closure if name.startswith(single) and name not in helpers]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("def loss(", "# why\ndef loss("),
        ('"""', '"""Another opening sentence. '),
        ("def loss(", "\n\n\ndef loss("),
    ],
    ids=["comment", "docstring", "blank lines"],
)
def test_comments_docstrings_and_layout_do_not_count(library, old, new):
    before = code.code_digest("robustloss.losses.all_one")
    library("losses/all_one.py", old, new)
    assert code.code_digest("robustloss.losses.all_one") == before


def test_a_changed_statement_counts_where_it_is_used_and_nowhere_else(library):
    used, unused = code.code_digest("robustloss.losses.all_one"), code.code_digest("robustloss.losses.entropy")
    library("losses/all_one.py", "def loss(", "EXTRA = 1\n\n\ndef loss(")
    assert code.code_digest("robustloss.losses.all_one") != used
    assert code.code_digest("robustloss.losses.entropy") == unused


def test_a_changed_helper_counts_for_everything_that_imports_it(library):
    before = code.code_digest("robustloss.training")
    library("schedules.py", "def rate(", "EXTRA = 1\n\n\ndef rate(")
    assert code.code_digest("robustloss.training") != before


def test_reporting_progress_is_no_part_of_a_result(library):
    before = code.code_digest("robustloss.training")
    library("progress.py", "SECONDS_BETWEEN_LINES = 10.0", "SECONDS_BETWEEN_LINES = 5.0")
    assert code.code_digest("robustloss.training") == before


def test_a_change_that_was_shown_to_change_no_number_keeps_the_names(library, monkeypatch):
    before = code.code_digest("robustloss.training")
    library("schedules.py", "def rate(", "EXTRA = 1\n\n\ndef rate(")
    was, now = (digest_of(folder / "schedules.py") for folder in (LIBRARY, code.ROOT))
    monkeypatch.setitem(unchanged.SAME, "robustloss.schedules", {now: was})
    library("schedules.py", "EXTRA = 1", "EXTRA = 1  # as shown")
    assert code.code_digest("robustloss.training") == before
    library("schedules.py", "EXTRA = 1", "EXTRA = 2")
    assert code.code_digest("robustloss.training") != before


def digest_of(path: Path) -> str:
    return digest(code._dump(ast.parse(path.read_text())))


def published_records() -> list[dict]:
    return [read_json(path) for path in (ROOT / "results" / "runs").rglob("*.json")]


def test_only_what_published_records_carry_is_kept():
    """A line is to go when its module has changed again, or when nothing published carries the old digest any more."""
    records = published_records()
    carried = {pair for record in records for pair in record.get("code", {}).get("modules", {}).items()}
    for module, digests in unchanged.SAME.items():
        assert digest_of(code._file(module)) in digests
        # A data set's own record, which names what it was made by, is not published with the runs on it.
        if not module.startswith("robustloss.data."):
            assert {(module, was) for was in digests.values()} <= carried


def test_published_runs_are_of_data_sets_that_have_their_names_still():
    of_data = [record for record in published_records() if "data" in record.get("spec", {})]
    assert of_data
    for record in of_data:
        assert naming.data_name(record["spec"]["data"]) == Path(record["data"]).name


def test_digest_is_the_same_in_every_python_version():
    """Python's own ast.dump changes between versions; names of results must not."""
    others = [found for name in ("python3.12", "python3.13", "python3.14") if (found := shutil.which(name))]
    script = "from robustloss.code import code_digest; print(code_digest('robustloss.training'))"
    answers = []
    for python in others:
        found = subprocess.run([python, "-c", script], capture_output=True, text=True, cwd=LIBRARY.parent)
        if found.returncode == 0:
            answers.append(found.stdout.strip())
    if not answers:
        pytest.skip("no other Python version on this machine")
    assert set(answers) == {code.code_digest("robustloss.training")}


def test_unknown_plugin_is_answered_with_the_nearest():
    with pytest.raises(Problem, match=r"no 'entropi'; did you mean 'entropy'\?"):
        code.plugin("losses", "entropi")


@pytest.mark.parametrize("name", ["../errors", "a.b", ""])
def test_plugin_names_cannot_leave_their_family(name):
    with pytest.raises(Problem):
        code.plugin("losses", name)


def test_settings_are_checked_against_the_signature():
    with pytest.raises(Problem, match=r"here: unknown key 'epsilom'; did you mean 'epsilon'"):
        code.check_settings("here", "robustloss.attacks.pgd", "perturb", {"epsilom": 1})
    with pytest.raises(Problem, match="the key 'epsilon' is missing"):
        code.check_settings("here", "robustloss.attacks.pgd", "perturb", {"step_size": 1, "steps": 1})
