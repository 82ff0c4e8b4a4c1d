"""The export as an RO-Crate: valid for a validator that is not ours, and its digests those of the files in it."""

import email
import io
import json
import shutil
import subprocess
import urllib.request
import urllib.response
from pathlib import Path
from urllib.parse import unquote

import pytest
import requests
import urllib3

from robustloss.errors import Problem
from robustloss.files import read_json
from robustloss.lineage.crate import METADATA, write_crate

# What the terms of the crate mean: the parts that it uses of the contexts of RO-Crate 1.1 (version 1.1.3, CC0) and of
# Workflow Run Crate, by their addresses, since a test needs no network.
CONTEXTS = read_json(Path(__file__).with_name("ro_crate_context.json"))


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory):
    """A copy of the finished folder in which the workflow lies, too."""
    root = shutil.copytree(finished[0], tmp_path_factory.mktemp("made") / "copy")
    (root / "workflow" / "rules").mkdir(parents=True)
    for name in ("Snakefile", "config.yaml", "workflow/rules/train.smk"):
        (root / name).write_text("# rules\n")
    return root


@pytest.fixture(scope="module")
def crate(made):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made)
        write_crate(Path("results"), Path("data/prepared"), Path("crate"))
    return made / "crate"


@pytest.fixture
def offline(monkeypatch):
    """The two contexts answer at their addresses, and nothing else does."""

    def send(adapter, request, **_):
        body = json.dumps(CONTEXTS[request.url]).encode()
        headers = {"Content-Type": "application/ld+json"}
        raw = urllib3.HTTPResponse(io.BytesIO(body), headers, 200, preload_content=False, request_url=request.url)
        return adapter.build_response(request, raw)

    class Answers(urllib.request.HTTPSHandler):
        def https_open(self, request):
            head = email.message_from_string("Content-Type: application/ld+json\n\n")
            body = json.dumps(CONTEXTS[request.full_url]).encode()
            found = urllib.response.addinfourl(io.BytesIO(body), head, request.full_url, 200)
            found.msg = "OK"
            return found

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    monkeypatch.setattr(urllib.request, "_opener", urllib.request.build_opener(Answers))


def issues(folder: Path, profile: str = "provenance-run-crate") -> list[str]:
    from rocrate_validator import models, services

    settings = services.ValidationSettings(
        rocrate_uri=str(folder), profile_identifier=profile, requirement_severity=models.Severity.REQUIRED
    )
    return [issue.message for issue in services.validate(settings).get_issues()]


def entities(folder: Path) -> dict[str, dict]:
    return {entity["@id"]: entity for entity in read_json(folder / METADATA)["@graph"]}


def test_the_crate_is_a_valid_provenance_run_crate(crate, offline):
    assert issues(crate) == []


def test_the_validator_finds_what_is_wrong(crate, offline, tmp_path):
    """A step without its command, and a file that is not there."""
    shutil.copytree(crate, tmp_path / "crate")
    content = read_json(tmp_path / "crate" / METADATA)
    for entity in content["@graph"]:
        if entity["@type"] == "HowToStep":
            del entity["workExample"]
    (tmp_path / "crate" / METADATA).write_text(json.dumps(content))
    (tmp_path / "crate" / "config.yaml").unlink()
    found = " ".join(issues(tmp_path / "crate"))
    assert "workExample" in found and "config.yaml" in found


def test_every_term_is_one_of_the_contexts(crate):
    """A term that the contexts lack would mean nothing to a reader."""
    known = set().union(*(context["@context"] for context in CONTEXTS.values()))
    for entity in entities(crate).values():
        kinds = entity["@type"] if isinstance(entity["@type"], list) else [entity["@type"]]
        assert {*kinds, *entity} - {"@id", "@type"} <= known


def test_every_file_is_in_the_crate_with_its_digest(crate):
    found = {name: entity for name, entity in entities(crate).items() if "sha256" in entity}
    on_disk = {path.relative_to(crate).as_posix() for path in crate.rglob("*") if path.is_file()}
    assert {unquote(name) for name in found} == on_disk - {METADATA, "Snakefile"}
    lines = "".join(f"{entity['sha256']}  {unquote(name)}\n" for name, entity in found.items())
    # sha256sum, which is not ours.
    subprocess.run(["sha256sum", "--check", "--quiet"], input=lines, cwd=crate, text=True, check=True)


def test_no_image_of_the_data_is_exported(crate):
    assert [path.name for path in (crate / "data").rglob("*.*")] == ["record.json"]


def test_each_job_is_an_action_from_its_inputs_to_its_files(made, crate):
    found = entities(crate)
    actions = {name: entity for name, entity in found.items() if entity["@type"] == "CreateAction"}
    assert len(actions) == 8 + 1 + 1  # records, a paper, the workflow
    (attack,) = (entity for name, entity in actions.items() if "transfer-" in name)
    assert attack["instrument"] == {"@id": "#attack"}
    inputs = [unquote(entity["@id"]) for entity in attack["object"]]
    assert len(inputs) == 2 and all((made / path).name == "run.json" for path in inputs)
    record = read_json(next(made.glob("results/runs/*/attacks/transfer-*/attack.json")))
    assert [unquote(path).split("/")[2] for path in inputs] == [record["run"], *record["source_digests"]]
    results = {unquote(entity["@id"]).rsplit("/", 1)[1] for entity in attack["result"]}
    assert results == {"attack.json", "epochs.csv", "epoch-001.npz", "epoch-002.npz"}
    assert attack["startTime"] <= attack["endTime"]
    assert json.loads(attack["description"])["specification"] == record["spec"]
    jobs = {entity["object"]["@id"] for entity in found.values() if entity["@type"] == "ControlAction"}
    assert jobs == actions.keys() - {"#run"}
    used = [found[entity["@id"]] for entity in attack["resourceUsage"]]
    assert {entity["name"]: float(entity["value"]) for entity in used} == {
        key: record["environment"][key] for key in ("seconds", "peak_memory_bytes")
    }


def references(value) -> set[str]:
    """What an entity refers to, at any depth."""
    if isinstance(value, dict) and value.keys() == {"@id"}:
        return {value["@id"]}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set().union(*map(references, inner))


def test_a_clone_without_weights_refers_to_nothing_that_is_not_there(made, tmp_path, monkeypatch, offline):
    shutil.copytree(made, tmp_path / "clone", ignore=shutil.ignore_patterns("crate", "weights", "samples", "prepared"))
    monkeypatch.chdir(tmp_path / "clone")
    write_crate(Path("results"), Path("data/prepared"), Path("crate"))
    found = entities(Path("crate"))
    assert references(list(found.values())) - found.keys() == {"https://w3id.org/ro/crate/1.1"}
    assert issues(Path("crate")) == []


def test_an_existing_folder_and_an_empty_one_are_refused(crate, tmp_path):
    with pytest.raises(Problem, match="exists: name a folder that does not"):
        write_crate(tmp_path, tmp_path, crate)
    with pytest.raises(Problem, match="holds no finished run"):
        write_crate(tmp_path / "results", tmp_path, tmp_path / "crate")
