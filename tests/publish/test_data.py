"""Data sets under DVC, raw and prepared: drawn ones for everybody, others for whoever has them already."""

import shutil

import pytest
import yaml
from repositories import Repository
from studies import SHRUNKEN

from robustloss import config

pytestmark = pytest.mark.xdist_group("publish")
# One network of ding2025 that nothing attacks.
ONE = {"rows": {"table3": ["1"], "table4": [], "table5": [], "table6": []}, "attacked": {"table3": [], "table4": []}}
DING = {"scales": {"demo": SHRUNKEN | ONE | {"audited": {"table3": [], "table4": []}}}}
KINDS = ("data/raw/*/*/*", "data/prepared/*/*")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Repository:
    """An author's repository with a network trained on clips that were drawn; nothing is published yet."""
    author = Repository(tmp_path_factory.mktemp("drawn") / "author")
    author.begin(papers=["ding2025"], ding2025=DING)
    author.finish()
    return author


@pytest.fixture
def author(drawn, tmp_path) -> Repository:
    shutil.copytree(drawn.folder, tmp_path / "author", symlinks=True)
    return Repository(tmp_path / "author")


def test_clips_that_were_drawn_and_what_was_made_of_them(author, tmp_path):
    """Each is behind a .dvc of its own; a clone that fetches them draws, extracts and trains nothing."""
    assert author.publish() == []
    raw, prepared = (next(author.folder.glob(f"data/{kind}/*/")) for kind in ("raw", "prepared"))
    tracked = author.run("git", "ls-files", "data/raw", "data/prepared").stdout.split()
    assert tracked == [f"{folder.relative_to(author.folder)}.dvc" for folder in (prepared, raw)]
    clone = author.clone(tmp_path / "clone")
    clone.library("pull")
    assert clone.bytes(KINDS[1]) == author.bytes(KINDS[1]) != {}
    assert clone.bytes(KINDS[0]) == {}
    clone.dvc("pull", f"data/raw/{raw.name}.dvc")
    assert clone.bytes(*KINDS) == author.bytes(*KINDS)
    assert len(clone.bytes(KINDS[0])) == 6
    assert set(clone.scheduled()) <= {"count_frames", "manifest", "paper", "report"}
    assert clone.library("verify").returncode == 0
    assert clone.run("git", "status", "--porcelain").stdout == ""


@pytest.fixture
def restricted(author) -> Repository:
    """The clips in the place of Cholec80's videos, and a network trained on them."""
    shutil.move(next(author.folder.glob("data/raw/cholec80-sim-*")), author.folder / "data/raw/cholec80")
    for folder in ("results/runs", "results/papers", "data/prepared"):
        shutil.rmtree(author.folder / folder)
    splits = {"train": [1, 2], "test": [3], "evaluation": [3]}
    paper = yaml.safe_load((author.folder / "workflow/papers/ding2025.yaml").read_text())["scales"]["demo"]
    scale = config.merge(paper, DING["scales"]["demo"])
    scale["data"] = {"surgical": {"name": "cholec80", "image_size": 16, "splits": splits}}
    author.set(scale="mine", ding2025={"scales": {"mine": scale}})
    author.finish()
    return author


def test_data_that_are_not_passed_on(restricted, tmp_path):
    """They go where their owner says that nobody else reads, and stay there whatever is published where."""
    for name in ("lab", "open"):
        restricted.dvc("remote", "add", name, str(tmp_path / name))
    said = restricted.told("publish", "--private")
    assert "data/published travels with the repository: name a remote that is private" in said
    for words in ([], ["--remote", "open"]):
        (sentence,) = restricted.publish(*words)
        assert "cholec80 is not passed on; `make publish REMOTE=NAME PRIVATE=yes`" in sentence
        assert not list(restricted.folder.glob("data/*/*.dvc"))
    assert restricted.publish("--remote", "lab", "--private") == []
    assert {path.name for path in restricted.folder.glob("data/raw/*.dvc")} == {"cholec80.dvc"}
    before = [path.read_bytes() for path in restricted.folder.glob("data/*/*.dvc")]
    assert restricted.publish("--remote", "open") == []
    assert "left out" not in restricted.library("publish").stderr
    assert [path.read_bytes() for path in restricted.folder.glob("data/*/*.dvc")] == before
    clone = restricted.clone(tmp_path / "clone")
    clone.library("pull")
    clone.dvc("pull", "data/raw/cholec80.dvc")
    assert clone.bytes(*KINDS) == restricted.bytes(*KINDS) != {}
    # Who does not read the remote has everything else, and is told what is left out.
    (tmp_path / "lab").rename(tmp_path / "elsewhere")
    other = restricted.clone(tmp_path / "other")
    assert "left out: the remote lab" in other.library("pull").stderr
    assert other.bytes(*KINDS) == {}
    assert other.bytes("results/runs/*/weights/*") == restricted.bytes("results/runs/*/weights/*") != {}
