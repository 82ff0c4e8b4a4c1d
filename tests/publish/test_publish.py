"""Published in one clone, fetched in another: over a folder, S3, HTTP and SSH; and what is never published."""

import asyncio
import http.server
import json
import os
import shutil
import threading
from functools import partial
from pathlib import Path

import asyncssh
import pytest
import yaml
from moto.server import ThreadedMotoServer

from robustloss.errors import Problem
from robustloss.publishing import publication

pytestmark = pytest.mark.xdist_group("publish")
KEYS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


def test_what_is_fetched_is_what_was_published(shelf, tmp_path):
    clone = shelf.clone(tmp_path / "clone")
    assert clone.bytes() == {}
    clone.library("pull")
    assert clone.bytes() == shelf.bytes()
    assert clone.run("git", "status", "--porcelain").stdout == ""


def test_git_has_the_small_numbers_and_nothing_else(shelf):
    tracked = shelf.run("git", "ls-files", "results", "data/prepared").stdout.splitlines()
    kinds = {path.rsplit("/", 1)[1] for path in tracked if path.startswith("results/runs/")}
    assert kinds == {
        *("run.json", "history.csv", "bytes.dvc", "attack.json", "epochs.csv", "features.json", "classes.csv"),
        *("measurement.json", "arrays.npz"),
    }
    published = [path for path in tracked if path.startswith("results/published/chen2019/")]
    names = {path.rsplit("/", 1)[1] for path in published}
    assert {"manifest.json", "claims.csv", "comparisons.csv", "images.npz", "table3.csv", "paper.json"} <= names
    assert {path.rsplit(".", 1)[1] for path in published} == {"json", "csv", "npz"}
    assert [path for path in tracked if path.startswith("data/prepared/")] == [
        f"{folder.relative_to(shelf.folder)}.dvc" for folder in shelf.folder.glob("data/prepared/*/")
    ]
    assert shelf.run("git", "status", "--porcelain").stdout == ""


def test_nothing_new_is_nothing_to_commit(shelf, tmp_path):
    shutil.copytree(shelf.folder, tmp_path / "author", symlinks=True)
    author = type(shelf)(tmp_path / "author")
    author.library("publish")
    assert author.run("git", "status", "--porcelain").stdout == ""


def test_one_paper_alone(shelf, tmp_path):
    """The networks of pang2020, among them one that only lends its adversarial examples, and none of chen2019."""
    clone = shelf.clone(tmp_path / "clone")
    clone.library("pull", "--papers", "pang2020")
    fetched = {run.name for run in clone.runs() if (run / "weights").is_dir()}
    assert fetched == {run.name for run in shelf.runs("pang2020")}
    assert len(fetched) == 2
    assert clone.bytes("data/prepared/*/*") == shelf.bytes("data/prepared/*/*")
    assert "there are chen2019, pang2020" in clone.told("pull", "--papers", "song2022")


def test_what_is_not_whole_stays_out(author):
    cut, unfinished = author.runs("chen2019")
    _, damaged = author.runs("pang2020")
    record = (unfinished / "run.json").read_text()
    (unfinished / "run.json").unlink()
    attack = next(cut.glob("attacks/*"))
    (attack / "attack.json").unlink()
    (cut / "weights/.epoch-001.safetensors.partial").write_bytes(b"half")
    weights = next(damaged.glob("weights/*"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    sentences = " ".join(author.publish())
    for said in (f"{unfinished.name} is not finished", f"{attack.name} is not finished", f"{weights.name} is damaged"):
        assert said in sentences
    tracked = author.run("git", "ls-files", "results").stdout
    assert unfinished.name not in tracked
    assert attack.name not in tracked
    assert damaged.name not in tracked
    assert attack.name not in (cut / "bytes.dvc").read_text()
    assert (cut / "bytes.dvc").read_text().count("nfiles: 1") == (cut / "bytes.dvc").read_text().count("path:")
    # Papers that could not be shown from what git has are not there either.
    for paper in ("chen2019", "pang2020"):
        assert f"{paper} stays as it was published" in sentences
    assert "published" not in tracked
    # What is mended is published by the same command.
    (unfinished / "run.json").write_text(record)
    assert not any(unfinished.name in sentence for sentence in author.publish())
    assert (unfinished / "bytes.dvc").is_file()


def test_what_was_published_is_not_replaced_by_what_is_damaged(shelf, tmp_path):
    shutil.copytree(shelf.folder, tmp_path / "author", symlinks=True)
    author = type(shelf)(tmp_path / "author")
    outcome = next(author.folder.glob("results/runs/*/attacks/*/samples/*.npz"))
    whole = outcome.read_bytes()
    outcome.write_bytes(whole[:-1])
    sentences = author.library("publish").stderr
    assert f"{outcome.name} is damaged" in sentences
    assert "samples is not as it was published: delete it, and `make pull` restores it" in sentences
    assert author.run("git", "status", "--porcelain").stdout == ""
    shutil.rmtree(outcome.parent)
    author.library("pull")
    assert outcome.read_bytes() == whole


def test_what_is_used_no_more_and_was_deleted_is_published_no_more(shelf, tmp_path):
    """An attack by older code lies beside the one that the paper names until `unused` removes it."""
    shutil.copytree(shelf.folder, tmp_path / "author", symlinks=True)
    author = type(shelf)(tmp_path / "author")
    attack = next(author.folder.glob("results/runs/*lenet5*/attacks/fgsm-*"))
    old = attack.with_name("fgsm-00000000")
    shutil.copytree(attack, old)
    pointer = attack.parents[1] / "bytes.dvc"
    samples = f"attacks/{attack.name}/samples"
    outs = yaml.safe_load(pointer.read_text())["outs"]
    others = [out | {"path": f"attacks/{old.name}/samples"} for out in outs if out["path"] == samples]
    pointer.write_text(yaml.safe_dump({"outs": outs + others}))
    author.library("publish")
    assert old.name in pointer.read_text()
    shutil.rmtree(old)
    assert "left out" not in author.library("publish").stderr
    assert yaml.safe_load(pointer.read_text())["outs"] == outs


def test_a_table_changed_by_hand_is_not_published(shelf, tmp_path):
    shutil.copytree(shelf.folder, tmp_path / "author", symlinks=True)
    author = type(shelf)(tmp_path / "author")
    table = author.folder / "results/papers/chen2019/tables/table3.csv"
    table.write_text(table.read_text().replace("0", "1", 1))
    said = author.library("publish").stderr
    assert "chen2019 stays as it was published: table3.csv is not as it was made; make it again" in said
    assert author.run("git", "status", "--porcelain").stdout == ""


def test_too_much_for_a_repository(author, monkeypatch):
    monkeypatch.chdir(author.folder)
    monkeypatch.setattr(publication, "LIMIT", 1_000)
    with pytest.raises(Problem, match="which travels with the repository: name the data sets"):
        publication.publish(Path("results"), None, None, None)
    assert author.run("git", "status", "--porcelain", "*.dvc").stdout == ""


def test_numbers_alone(author):
    author.publish("--data", "none")
    assert not list(author.folder.glob("results/runs/*/bytes.dvc"))
    assert len(author.run("git", "ls-files", "results/runs/*/run.json").stdout.splitlines()) == len(author.runs())


def test_data_that_are_not_ours_stay_out(author):
    record = next(author.folder.glob("data/prepared/*/record.json"))
    for run in author.runs():
        content = json.loads((run / "run.json").read_text())
        content["spec"]["data"]["name"] = "cholec80"
        content.pop("record_sha256", None)
        (run / "run.json").write_text(json.dumps(content))
    assert any("cholec80 is not passed on; " in sentence for sentence in author.publish())
    assert not record.parent.with_name(f"{record.parent.name}.dvc").exists()
    assert len(list(author.folder.glob("results/runs/*/bytes.dvc"))) == len(author.runs())


def test_s3(author, tmp_path):
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    author.dvc("remote", "add", "storage", "s3://bucket/robustloss")
    author.dvc("remote", "modify", "storage", "endpointurl", f"http://{host}:{port}")
    try:
        assert "did not take everything" in author.told("publish", "--remote", "storage", **KEYS)
        _make_bucket(host, port)
        author.publish("--remote", "storage", **KEYS)
        assert not list(author.folder.glob("data/published/**/*"))
        clone = author.clone(tmp_path / "clone")
        # Who has no key is told so, and still has everything that needs none.
        found = clone.library("pull", AWS_EC2_METADATA_DISABLED="true")
        assert "left out: the remote storage" in found.stderr and found.stdout.endswith("fetched: none\n")
        assert "5 runs and data sets fetched: 5 from storage" in clone.library("pull", **KEYS).stdout
        assert clone.bytes() == author.bytes()
    finally:
        server.stop()


def _make_bucket(host: str, port: int) -> None:
    import boto3

    keys = {"aws_access_key_id": "someone", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys).create_bucket(Bucket="bucket")


class Taking(http.server.SimpleHTTPRequestHandler):
    """A web server that keeps what is sent to it, for whoever has the key."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        content = self._body()
        path = Path(self.translate_path(self.path))
        if self.headers.get("X-Key") == "secret":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.send_response(201 if path.is_file() else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _body(self) -> bytes:
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def log_message(self, *arguments):
        pass


def test_http(author, tmp_path):
    """Written to with a key that stays out of git, read by everyone."""
    (tmp_path / "web").mkdir()
    handler = partial(Taking, directory=os.fspath(tmp_path / "web"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        author.dvc("remote", "add", "web", f"http://127.0.0.1:{server.server_port}")
        assert "did not take everything" in author.told("publish", "--remote", "web")
        author.dvc("remote", "modify", "--local", "web", "auth", "custom")
        author.dvc("remote", "modify", "--local", "web", "custom_auth_header", "X-Key")
        author.dvc("remote", "modify", "--local", "web", "password", "secret")
        author.publish("--remote", "web")
        assert not list(author.folder.glob("data/published/**/*"))
        clone = author.clone(tmp_path / "clone")
        clone.library("pull")
        assert clone.bytes() == author.bytes()
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def ssh(tmp_path):
    """An SSH server with a folder that the owner of tmp_path/key may write to, and that people's clients know."""
    (tmp_path / "home/.ssh").mkdir(parents=True)
    (tmp_path / "disk").mkdir()
    own, key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    key.write_private_key(tmp_path / "key")
    key.write_public_key(tmp_path / "key.pub")
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    options = {"server_host_keys": [own], "authorized_client_keys": os.fspath(tmp_path / "key.pub")}
    options["sftp_factory"] = partial(asyncssh.SFTPServer, chroot=os.fspath(tmp_path / "disk"))

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen("127.0.0.1", 0, **options)

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(30)
    host = f"[127.0.0.1]:{server.get_port()} {own.export_public_key().decode()}"
    (tmp_path / "home/.ssh/known_hosts").write_text(host)
    yield server.get_port()
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)


def test_ssh(author, ssh, tmp_path):
    """Written to and read with a key that stays out of git."""
    home = {"HOME": os.fspath(tmp_path / "home"), "SSH_AUTH_SOCK": ""}
    author.dvc("remote", "add", "server", f"ssh://someone@127.0.0.1:{ssh}/robustloss")
    assert "did not take everything" in author.told("publish", "--remote", "server", **home)
    author.dvc("remote", "modify", "--local", "server", "keyfile", os.fspath(tmp_path / "key"))
    author.publish("--remote", "server", **home)
    assert not list(author.folder.glob("data/published/**/*"))
    assert list((tmp_path / "disk/robustloss").iterdir())
    clone = author.clone(tmp_path / "clone")
    assert "left out: the remote server" in clone.library("pull", **home).stderr
    clone.dvc("remote", "modify", "--local", "server", "keyfile", os.fspath(tmp_path / "key"))
    clone.library("pull", **home)
    assert clone.bytes() == author.bytes()


class Counting(http.server.SimpleHTTPRequestHandler):
    """Serves so many files, and then no more."""

    left = 0

    def do_GET(self):
        type(self).left -= 1
        if self.left < 0:
            self.send_error(503)
        else:
            super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def web(shelf):
    """The published folder on the web, and what serves it."""
    handler = type("Handler", (Counting,), {})
    folder = os.fspath(shelf.folder / "data/published")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def test_http_that_vanishes_midway_and_comes_back(shelf, web, tmp_path):
    url, handler = web
    clone = shelf.clone(tmp_path / "clone")
    shutil.rmtree(clone.folder / "data/published")
    clone.dvc("remote", "modify", "repository", "url", url)
    handler.left = 12
    sentence = clone.told("pull")
    assert f"the remote repository ({url}) did not give everything" in sentence
    fetched = clone.bytes()
    assert fetched.items() <= shelf.bytes().items()
    handler.left = 10_000
    clone.library("pull")
    assert clone.bytes() == shelf.bytes()


def test_a_folder_that_vanishes_midway_and_comes_back(author, tmp_path):
    """Part of the remote cannot be written: nothing is lost, nothing is printed for git, the same command goes on."""
    for half in "89abcdef":
        for other in "0123456789abcdef":
            path = author.folder / "data/published/files/md5" / f"{half}{other}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("not a folder")
    before = author.bytes()
    found = author.library("publish", check=False)
    assert found.returncode == 1
    assert "did not take everything" in found.stderr
    assert "git" not in found.stdout
    assert author.bytes() == before
    shutil.rmtree(author.folder / "data/published")
    author.publish()
    clone = author.clone(tmp_path / "clone")
    clone.library("pull")
    assert clone.bytes() == before


def test_a_flipped_bit_in_the_remote_is_not_taken(shelf, tmp_path):
    clone = shelf.clone(tmp_path / "clone")
    largest = max((clone.folder / "data/published").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(content)
    assert "did not give everything" in clone.told("pull")
    assert clone.bytes().items() <= shelf.bytes().items()
