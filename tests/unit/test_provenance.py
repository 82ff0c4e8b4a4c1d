"""What every record holds of how it was made, and what the checksums in records and weights are worth."""

import hashlib
import json
import math
import subprocess

import lineage_fixture
import pytest
import torch

from robustloss import checkpoints, naming, provenance
from robustloss.code import code_digest
from robustloss.errors import Problem
from robustloss.files import read_json, write_record
from robustloss.lineage import stored


@pytest.fixture(scope="module")
def made(finished):
    return finished[0]


@pytest.fixture(scope="module")
def records(made):
    items = [*stored.data_sets(made / "data/prepared"), *stored.everything(made / "results")]
    assert {item.stage for item in items} == {"data", "run", "features", "attack", "audit"}
    return [(item, item.record()) for item in items]


def test_every_record_says_how_it_was_made(records):
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=naming.__file__.rpartition("/")[0], capture_output=True, text=True
    ).stdout.strip()
    for item, record in records:
        environment = record["environment"]
        assert environment["seconds"] > 0 and environment["peak_memory_bytes"] > 2**20, item
        assert environment["git_commit"] == (commit or None)
        assert isinstance(environment["git_dirty"], bool if commit else type(None))
        assert environment["versions"]["torch"] == torch.__version__.partition("+")[0]
        assert environment["hardware"]
        assert item.stage == "data" or environment["device"] == "cpu"


def test_every_record_names_the_code_that_its_name_was_made_from(records):
    modules = {
        "data": lambda record: naming.data_modules(record["data"]),
        "run": lambda record: naming.run_modules(record["spec"]),
        "features": lambda record: naming.features_modules(lineage_fixture.SPEC["model"]),
        "attack": lambda record: naming.attack_modules(record["spec"], lineage_fixture.SPEC["model"]),
        "audit": lambda record: naming.audit_modules(record["spec"], lineage_fixture.SPEC["model"]),
    }
    for item, record in records:
        assert record["code"]["digest"] == code_digest(*modules[item.stage](record)), item


def test_every_record_vouches_for_its_files(made, records):
    for item, record in records:
        digests = record["files"] or {
            f"{split}.{ending}": about[key]
            for split, about in record["splits"].items()
            for ending, key in (("npy", "images_sha256"), ("csv", "index_sha256"))
        }
        # sha256sum, which is not ours.
        found = subprocess.run(["sha256sum", *digests], cwd=item.folder, capture_output=True, text=True, check=True)
        assert [line.split()[0] for line in found.stdout.splitlines()] == list(digests.values())


def test_every_result_names_the_data_and_the_weights_that_it_read(records):
    runs = {item.name: record for item, record in records if item.stage == "run"}
    (data,) = (record for item, record in records if item.stage == "data")
    for item, record in records:
        if item.stage in ("features", "attack", "audit"):
            assert record["weights_digest"] == provenance.weights_digest(runs[item.run])
            assert record["data_digest"] == data["digest"]
    sources = [record["source_digests"] for _, record in records if record.get("source_digests")]
    first = min(runs.values(), key=lambda record: record["spec"]["seed"])
    assert sources == [{first["name"]: provenance.weights_digest(first)}]
    assert len({provenance.weights_digest(record) for record in runs.values()}) == 2


def test_the_code_is_that_of_the_beginning(tmp_path, monkeypatch):
    """Who edits the library during a long training changes no record of it."""
    watch = provenance.Stopwatch(["robustloss.losses.all_one"])
    monkeypatch.setattr(provenance, "module_digests", lambda *entries: {"edited": "0" * 64})
    watch.write(tmp_path / "run.json", {"name": "x"})
    assert read_json(tmp_path / "run.json")["code"]["digest"] == code_digest("robustloss.losses.all_one")


def test_changes_are_those_of_what_git_knows_and_new_modules(tmp_path, monkeypatch):
    """New results are no change of the code that makes them."""
    library = tmp_path / "workflow" / "robustloss"
    library.mkdir(parents=True)
    (library / "provenance.py").write_text("")
    someone = ["-c", "user.name=someone", "-c", "user.email=someone"]
    for words in (["init", "-q"], ["add", "."], [*someone, "commit", "-q", "-m", "."]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "__file__", str(library / "provenance.py"))

    def changed() -> bool:
        return provenance.Stopwatch().environment()["git_dirty"]

    (tmp_path / "results.csv").write_text("")
    assert not changed()
    (library / "new_loss.py").write_text("")
    assert changed()
    (library / "new_loss.py").unlink()
    (library / "provenance.py").write_text("# another")
    assert changed()


def test_time_is_not_the_clock_s(monkeypatch):
    """A clock that jumps back makes no negative seconds."""
    watch = provenance.Stopwatch()
    monkeypatch.setattr(provenance.time, "time", lambda: 0.0)
    monkeypatch.setattr(
        provenance.time, "gmtime", lambda *_: provenance.time.struct_time((1970, 1, 1, 0, 0, 0, 3, 1, 0))
    )
    assert watch.environment()["seconds"] >= 0
    assert not watch.environment()["date"].startswith("1970")


def test_a_record_has_the_checksum_of_what_it_says(tmp_path):
    """Floats, letters and keys come back from the file as they were."""
    record = {
        "name": "ε",
        "values": [0.1, 1e-300, 1 / 3, math.pi, 2**60, True, None],
        "map": {1: "a", "10": "b", "2": {}},
    }
    write_record(tmp_path / "x.json", record)
    found = read_json(tmp_path / "x.json")
    assert found["values"] == record["values"]
    content = {key: value for key, value in found.items() if key != "record_sha256"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert found["record_sha256"] == hashlib.sha256(text.encode() + b"\0").hexdigest()


def test_equal_tensors_have_equal_files(tmp_path):
    for number in range(20):
        tensors = {name: torch.arange(4.0) for name in "dbca"}
        checkpoints.save_tensors(tmp_path / f"{number}.safetensors", tensors, {"run": "r", "epoch": 1, "spec": "{}"})
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_every_flipped_bit_of_weights_is_refused(tmp_path, dtype):
    path = tmp_path / "weights" / "epoch-001.safetensors"
    tensors = {
        "a": torch.arange(6).reshape(2, 3).to(dtype),
        "scalar": torch.tensor(1).to(dtype),
        "none": torch.empty(0),
    }
    checkpoints.save_tensors(path, tensors, {"epoch": 1})
    found, about = checkpoints.read_tensors(path, {"epoch": 1})
    assert about == {"epoch": 1} and all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(Problem, match=r"epoch-001\.safetensors (is damaged|was made with other settings)"):
            checkpoints.read_tensors(path, {"epoch": 1})
