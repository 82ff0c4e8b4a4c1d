"""What comes from outside is data: no pickle is run, no archive or name leaves its folder, no label becomes HTML."""

import ast
import hashlib
import io
import json
import pickle
import tarfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import papers_fixture
import pytest
import torch
from torch import nn

from robustloss import checkpoints, config, models, naming, outcomes, papers, runs, schemas
from robustloss.data import cifar10, download, prepared
from robustloss.errors import Problem
from robustloss.papers import display

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "workflow" / "robustloss"
PICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


class Bomb:
    """An object whose unpickling makes a file: what a hostile pickle does is done, and seen."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


@pytest.fixture
def bomb(tmp_path):
    """The bytes of a pickle that leaves a mark where it is run; it must not."""
    mark = tmp_path / "went-off"
    yield pickle.dumps(Bomb(mark))
    assert not mark.exists()


def test_the_bomb_goes_off(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


def calls_and_imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", node
        elif isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_the_library_unpickles_nothing():
    """No pickler is imported; numpy is told so; torch loads torchvision's own files, as plain tensors alone."""
    files = [*LIBRARY.rglob("*.py"), *(ROOT / "workflow" / "scripts").glob("*.py")]
    assert len(files) > 100
    for path in files:
        for name, node in calls_and_imports(path):
            assert name.partition(".")[0] not in PICKLERS, path
            keywords = {word.arg: ast.unparse(word.value) for word in getattr(node, "keywords", [])}
            if name in ("np.load", "numpy.load"):
                assert keywords.get("allow_pickle") == "False", path
            elif "allow_pickle" in keywords:
                assert keywords["allow_pickle"] == "False", path
            if name == "torch.load":
                assert keywords.get("weights_only") == "True", path
            assert name not in ("read_pickle", "pd.read_pickle", "eval", "exec", "yaml.unsafe_load", "os.system"), path
            if name == "yaml.load":
                assert keywords.get("Loader") == "LOADER", path
            assert keywords.get("shell") != "True", path
    assert schemas.LOADER.__name__ in ("CSafeLoader", "SafeLoader")


@pytest.mark.parametrize("place", ["object array", "bare pickle"])
def test_a_pickle_in_place_of_outcomes_is_refused(tmp_path, bomb, place):
    path = tmp_path / "epoch-001.npz"
    if place == "object array":
        np.savez(path, labels=np.array([Bomb(tmp_path / "went-off")], dtype=object))
    else:
        path.write_bytes(bomb)
    with pytest.raises(Problem, match=r"epoch-001\.npz is damaged"):
        outcomes.load(path)


@pytest.mark.parametrize("place", ["object array", "bare pickle"])
def test_a_pickle_in_place_of_prepared_images_is_refused(tmp_path, bomb, place):
    images = np.zeros((3, 4, 4, 3), np.uint8)
    split = ([images], images.shape, [{"class": label} for label in (0, 1, 1)])
    prepared.write(tmp_path / "data", {"name": "x"}, ["a", "b"], dict.fromkeys(prepared.SPLITS, split), {})
    path = tmp_path / "data" / "train.npy"
    if place == "object array":
        np.save(path, np.array([Bomb(tmp_path / "went-off")] * 3, dtype=object), allow_pickle=True)
    else:
        path.write_bytes(bomb)
    with pytest.raises(Problem, match=r"train\.npy is not the file that was prepared"):
        prepared.load(tmp_path / "data")


@pytest.mark.parametrize("write", ["bare", "torch"])
def test_a_pickle_in_place_of_weights_is_refused(tmp_path, bomb, write):
    for path in (tmp_path / "run" / "weights" / "epoch-001.safetensors", tmp_path / "resnet50.pth"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if write == "bare":
            path.write_bytes(bomb)
        else:
            torch.save({"weight": Bomb(tmp_path / "went-off")}, path)
    with pytest.raises(Problem, match=r"epoch-001\.safetensors is damaged"):
        checkpoints.read_tensors(tmp_path / "run" / "weights" / "epoch-001.safetensors")
    with pytest.raises(Problem, match=r"resnet50\.pth are damaged"):
        models.load_pretrained(nn.Sequential(nn.Linear(2, 2)), tmp_path / "resnet50.pth")


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.size = kind, link, 0 if link else 4
    return found


@pytest.mark.parametrize(
    "members",
    [
        [member("../outside")],
        [member("cifar-10-batches-bin/../../outside")],
        [member("/{out}/outside")],
        [member("link", tarfile.SYMTYPE, "{out}"), member("link/outside")],
        [member("cifar-10-batches-bin", tarfile.SYMTYPE, ".."), member("cifar-10-batches-bin/outside")],
        [member("hard", tarfile.LNKTYPE, "../../secret")],
        [member("fifo", tarfile.FIFOTYPE)],
    ],
    ids=["parent", "hidden parent", "absolute", "symbolic link", "link upwards", "hard link", "device"],
)
def test_an_archive_cannot_leave_its_folder(tmp_path, members):
    """Also with the right checksum: the publisher's server may be another's by now."""
    root, out = tmp_path / "raw", tmp_path / "out"
    (root / "cifar10").mkdir(parents=True)
    out.mkdir()
    (tmp_path / "secret").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for found in members:
            found.name, found.linkname = (text.replace("{out}", str(out)) for text in (found.name, found.linkname))
            archive.addfile(found, io.BytesIO(b"evil"[: found.size]))
    path = root / "cifar10" / "cifar-10-binary.tar.gz"
    path.write_bytes(stream.getvalue())
    source = {"file": path.name, "url": "https://example.org", "md5": hashlib.md5(stream.getvalue()).hexdigest()}
    with pytest.raises(Problem, match="is damaged"):
        cifar10.prepare({"name": "cifar10"}, tmp_path / "prepared", root, False, source | {"sha256": ""})
    left = {found for found in tmp_path.rglob("*") if found not in before}
    assert left <= {path, root / "cifar10" / "cifar-10-batches-bin"}
    assert (tmp_path / "secret").read_text() == "mine"


@pytest.mark.parametrize("url", ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd"])
def test_downloads_only_over_https(tmp_path, url):
    with pytest.raises(Problem, match="not an https address"):
        download.fetch(url, tmp_path / "x", md5="0" * 32)


def test_downloads_only_with_a_checksum(tmp_path):
    with pytest.raises(Problem, match="no checksum"):
        download.fetch("https://example.org/x", tmp_path / "x")


OUTSIDE = ["../../outside", "/outside", "..", ".", "a/../../b", "a\\..\\b", "~/x", "$(touch x)", "x\n../y", ""]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_slug_cannot_leave_its_folder(name):
    found = naming.name_of(name, {}, "robustloss.errors")
    assert Path("results/runs", found).resolve().parent == Path("results/runs").resolve()
    assert "/" not in found and "\\" not in found and "\n" not in found and "$" not in found


def hostile(paper: dict, name: str):
    """The paper with `name` for each thing that a yaml may call what it likes, beside those that others refer to."""
    demo, experiments = paper["scales"]["demo"], paper["experiments"]
    attacks = {"attacks": demo["attacks"] | {name: demo["attacks"]["pgd"]}, "attacked": {"table3": ["pgd", name]}}
    scales = paper["scales"] | {"demo": demo | attacks}
    yield "attack", paper | {"attacks": paper["attacks"] | {name: paper["attacks"]["pgd"]}, "scales": scales}
    yield "experiment", paper | {"experiments": experiments | {name: experiments["table3"]}}
    table = experiments["table3"] | {"rows": experiments["table3"]["rows"] | {name: {"objective": "1"}}}
    yield "row", paper | {"experiments": experiments | {"table3": table}}
    yield "paper", paper | {"paper": name}
    for section, label, key in (("data", "surgical", "name"), ("networks", "resnet", "name")):
        changed = demo | {section: demo[section] | {label: demo[section][label] | {key: name}}}
        yield section, paper | {"scales": paper["scales"] | {"demo": changed}}


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_in_a_paper_s_yaml_leaves_the_results(tmp_path, name):
    """Either it is refused in a sentence, or everything that is planned lies where it belongs."""
    (tmp_path / "papers").mkdir()
    settings = config.read_yaml(ROOT / "config.yaml") | {"papers": ["ding2025"]}
    paper = config.read_yaml(config.WORKFLOW / "papers" / "ding2025.yaml")
    refused = []
    for what, changed in hostile(paper, name):
        (tmp_path / "papers" / "ding2025.yaml").write_text(json.dumps(changed))
        try:
            plan = runs.plan(*config.load(settings, tmp_path))
        except Problem:
            refused.append(what)
            continue
        within(plan, what)
    assert refused == ["paper", "data", "networks"]


def within(plan: runs.Plan, what: str) -> None:
    assert set(plan.manifests) == {"ding2025"}, what
    for manifest in plan.manifests.values():
        for path in runs.results(manifest):
            assert Path(path).resolve().is_relative_to(Path("results/runs").resolve()), what
        for path in manifest["data"].values():
            assert Path(path).resolve().parent == Path("data/prepared").resolve(), what
    for found in (*plan.runs, *plan.attacks, *plan.audits, *plan.measurements, *plan.data, *plan.drawn):
        assert Path(found).name == found and found not in (".", ".."), what


@pytest.mark.parametrize("name", ["../evil", "/evil", "ding2025/../evil", "Ding2025", ".."])
def test_config_yaml_names_no_paper_elsewhere(name):
    settings = config.read_yaml(ROOT / "config.yaml")
    with pytest.raises(Problem, match="there is no paper"):
        config.load(settings | {"papers": [name]})


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def harmless(page: str) -> str:
    """The text of a page, which runs nothing."""
    elements = Elements(page)
    assert not [tag for tag, attributes in elements.found if tag in ("script", "img")]
    assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
    return elements.text


def test_every_table_of_a_notebook_shows_labels_as_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    manifest = papers_fixture.write(tmp_path, epochs=1)
    content = json.loads(manifest.read_text())
    for rows in content["labels"].values():
        rows |= dict.fromkeys(rows, EVIL)
    content["rows"]["table3"][EVIL] = content["rows"]["table3"]["1"]
    content["labels"]["table3"][EVIL] = EVIL
    content["scale"] = content["citation"] = EVIL
    manifest.write_text(json.dumps(content))
    for path in tmp_path.glob("results/runs/*/run.json"):
        record = json.loads(path.read_text())
        record["environment"]["hardware"] = EVIL
        record["spec"]["data"]["name"] = EVIL
        path.write_text(json.dumps(record))
    table1 = tmp_path / "results" / "papers" / "ding2025" / "tables" / "table1.csv"
    table1.write_text(table1.read_text().replace("Grasper", EVIL.replace('"', "")))
    paper = papers.load("results/papers/ding2025/manifest.json")
    shown = [harmless(paper.show(f"table{number}").to_html()) for number in (1, 2, 3, 4)]
    shown += [harmless(paper.overview().to_html()), harmless(paper.audits().to_html())]
    assert sum(EVIL in text for text in shown) >= 3


def test_what_is_displayed_is_text_but_for_formulas():
    frame = pd.DataFrame({EVIL: [EVIL, display.to_html("L_CE^f < <b>x</b>")]})
    page = display.styled(frame, "t", EVIL, left=(EVIL,), grey=(EVIL,)).to_html()
    text = harmless(page)
    assert text.count(EVIL) == 3
    assert "<i>L</i><sub>CE</sub><sup>f</sup> &lt; &lt;b&gt;x&lt;/b&gt;" in page
