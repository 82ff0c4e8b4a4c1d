import csv
import hashlib
import http.server
import socket
import threading

import pytest
import torchvision

from robustloss.data import download
from robustloss.errors import Problem

CONTENT = bytes(range(256)) * 12_000  # about three of the pieces in which files are read
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each request with the next of the server's `answers`, the last one for ever after."""

    def do_GET(self):
        self.server.ranges.append(self.headers.get("Range"))
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *_):
        pass


def whole(request):
    request.send_response(200)
    request.send_header("Content-Length", str(len(CONTENT)))
    request.end_headers()
    request.wfile.write(CONTENT)


def unannounced(request):
    request.send_response(200)
    request.end_headers()
    request.wfile.write(CONTENT)


def broken_off(request):
    request.send_response(200)
    request.send_header("Content-Length", str(len(CONTENT)))
    request.end_headers()
    request.wfile.write(CONTENT[:1_000_000])


def rest(request):
    start = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    request.send_response(206)
    request.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
    request.send_header("Content-Length", str(len(CONTENT) - start))
    request.end_headers()
    request.wfile.write(CONTENT[start:])


def error(code):
    return lambda request: request.send_error(code)


def redirect(url):
    def answer(request):
        request.send_response(302)
        request.send_header("Location", url)
        request.end_headers()

    return answer


@pytest.fixture
def serve(monkeypatch):
    """Start a web server with the given answers; its `.url` is the address and `.ranges` what was asked for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(*answers):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.answers, server.ranges = list(answers), []
        server.url = f"http://127.0.0.1:{server.server_port}/folder/file.gz"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def fetch(server, path, **settings):
    download.fetch(server.url, path, pause=0.0, **({"sha256": SHA256} | settings))


@pytest.mark.parametrize("answer", [whole, unannounced])
def test_file_arrives_whole_in_a_new_folder_and_alone(tmp_path, serve, answer):
    fetch(serve(answer), tmp_path / "raw" / "file.gz", md5=MD5)
    assert (tmp_path / "raw" / "file.gz").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "raw").iterdir()] == ["file.gz"]


@pytest.mark.parametrize("code", [500, 503, 429])
def test_busy_server_is_asked_again(tmp_path, serve, capsys, code):
    server = serve(error(code), whole)
    fetch(server, tmp_path / "file.gz")
    assert (tmp_path / "file.gz").read_bytes() == CONTENT
    assert len(server.ranges) == 2
    assert f"answers {code}" in capsys.readouterr().err


def test_waiting_time_doubles(tmp_path, serve, monkeypatch):
    waits = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    with pytest.raises(Problem, match=r"answers 503.*also at attempt 5"):
        download.fetch(serve(error(503)).url, tmp_path / "file.gz", md5=MD5)
    assert waits == [1, 2, 4, 8]


def test_broken_download_resumes_where_it_stopped(tmp_path, serve):
    server = serve(broken_off, rest)
    fetch(server, tmp_path / "file.gz")
    assert server.ranges == [None, "bytes=1000000-"]
    assert (tmp_path / "file.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("answers", [(broken_off, whole), (broken_off, error(416), whole)])
def test_broken_download_begins_anew_where_the_server_cannot_resume(tmp_path, serve, answers):
    server = serve(*answers)
    fetch(server, tmp_path / "file.gz")
    assert len(server.ranges) == len(answers)
    assert (tmp_path / "file.gz").read_bytes() == CONTENT


def test_failed_download_leaves_nothing_but_what_was_there(tmp_path, serve):
    (tmp_path / "file.gz").write_bytes(b"older")
    with pytest.raises(Problem, match="broke off after 1000000 of 3072000 bytes, also at attempt 1"):
        fetch(serve(broken_off), tmp_path / "file.gz", attempts=1)
    assert [path.name for path in tmp_path.iterdir()] == ["file.gz"]
    assert (tmp_path / "file.gz").read_bytes() == b"older"


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"md5": "0" * 32}, {"sha256": "0" * 8}])
def test_wrong_checksum_is_refused_and_no_file_remains(tmp_path, serve, wrong):
    with pytest.raises(Problem, match=r"not the official file.*0{8}"):
        fetch(serve(whole), tmp_path / "file.gz", **wrong)
    assert not list(tmp_path.iterdir())


def test_first_digits_of_the_checksum_may_do(tmp_path, serve):
    fetch(serve(whole), tmp_path / "file.gz", sha256=SHA256[:8])
    assert (tmp_path / "file.gz").exists()


def test_absent_file_is_asked_for_once_and_the_sentence_tells_the_way_out(tmp_path, serve):
    server = serve(error(404))
    with pytest.raises(Problem) as caught:
        fetch(server, tmp_path / "file.gz")
    assert len(server.ranges) == 1
    for part in (server.url, "404", f"into {tmp_path} as file.gz", "download: false in config.yaml"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://example.org/f", "ftp://example.org/f", "file:///etc/hosts", "example.org/f"])
def test_only_https_is_used_beyond_this_computer(tmp_path, url):
    with pytest.raises(Problem, match="not an https address"):
        download.fetch(url, tmp_path / "f", md5=MD5)


def test_redirect_away_from_https_is_refused(tmp_path, serve):
    with pytest.raises(Problem, match=r"http://example.org/f is not an https address"):
        fetch(serve(redirect("http://example.org/f")), tmp_path / "f")


def test_redirect_is_followed(tmp_path, serve):
    fetch(serve(redirect(serve(whole).url)), tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_file_without_known_checksum_is_not_downloaded(tmp_path, serve):
    server = serve(whole)
    with pytest.raises(Problem, match="no checksum"):
        fetch(server, tmp_path / "f", sha256="")
    assert server.ranges == []


def test_unreachable_server_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(Problem, match=r"no connection .*refused"):
            download.fetch(f"http://127.0.0.1:{closed.getsockname()[1]}/f", tmp_path / "f", md5=MD5, pause=0.0)


def test_folder_that_cannot_be_written_is_a_sentence(tmp_path, serve):
    (tmp_path / "raw").write_text("a file where the folder should be")
    with pytest.raises(Problem, match=r"cannot write .*raw/f \("):
        fetch(serve(whole), tmp_path / "raw" / "f")


def row(url="https://example.org/file.gz"):
    return {"file": "file.gz", "url": url, "md5": MD5, "sha256": SHA256}


def test_obtain_takes_the_file_that_is_there(tmp_path):
    (tmp_path / "file.gz").write_bytes(CONTENT)
    assert download.obtain(row(), tmp_path, may_download=False) == tmp_path / "file.gz"


def test_obtain_downloads_only_what_is_absent(tmp_path, serve):
    server = serve(whole)
    for _ in range(2):
        assert download.obtain(row(server.url), tmp_path, may_download=True).read_bytes() == CONTENT
    assert len(server.ranges) == 1


def test_obtain_without_downloads_says_where_the_file_belongs(tmp_path):
    with pytest.raises(Problem, match=rf"{tmp_path}/file.gz is missing.*https://example.org/file.gz.*download: true"):
        download.obtain(row(), tmp_path, may_download=False)


@pytest.mark.parametrize(("may_download", "cure"), [(True, "will be downloaded"), (False, "https://example.org")])
def test_obtain_refuses_another_file_of_that_name(tmp_path, may_download, cure):
    (tmp_path / "file.gz").write_bytes(CONTENT[:-1])
    with pytest.raises(Problem, match=rf"file.gz is not the official file.*delete it.*{cure}"):
        download.obtain(row(), tmp_path, may_download)


def test_obtain_refuses_a_folder_of_that_name(tmp_path):
    (tmp_path / "file.gz").mkdir()
    with pytest.raises(Problem, match="cannot be read"):
        download.obtain(row(), tmp_path, may_download=True)


def test_every_source_has_a_secure_address_and_a_checksum():
    with open(download.SOURCES, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, strict=True))
    assert len({(row["dataset"], row["file"]) for row in rows}) == len(rows)
    for row in rows:
        assert None not in row and None not in row.values()
        assert row["url"].startswith("https://")
        assert row["md5"] or row["sha256"]
        assert len(row["md5"]) in (0, 32) and len(row["sha256"]) in (0, 8, 64)
        assert set(row["md5"] + row["sha256"]) <= set("0123456789abcdef")
        assert row["bytes"] == "" or int(row["bytes"]) > 0


def test_sources_of_mnist_are_those_of_torchvision():
    for file, md5 in torchvision.datasets.MNIST.resources:
        row = download.source("mnist", file)
        assert row["md5"] == md5
        assert row["url"] in [mirror + file for mirror in torchvision.datasets.MNIST.mirrors]


@pytest.mark.parametrize(
    "weights",
    [
        torchvision.models.ResNet50_Weights.IMAGENET1K_V2,
        torchvision.models.EfficientNet_B0_Weights.IMAGENET1K_V1,
    ],
)
def test_sources_of_weights_are_those_of_torchvision(weights):
    file = weights.url.rsplit("/", 1)[1]
    row = download.source("torchvision", file)
    assert row["url"] == weights.url
    assert file.removesuffix(".pth").endswith("-" + row["sha256"])


def test_unknown_source_is_refused_by_name():
    with pytest.raises(Problem, match=r"sources.csv has no row for f of nothing"):
        download.source("nothing", "f")
