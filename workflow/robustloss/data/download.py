"""Files from the web: only what data/sources.csv names, and only with the checksum that it gives."""

import csv
import hashlib
import http.client
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import IO

from robustloss import files
from robustloss.errors import Problem
from robustloss.progress import say, track

SOURCES = Path(__file__).parents[3] / "data/sources.csv"
MEBIBYTE = 2**20
SECONDS_OF_SILENCE = 30.0
WORTH_ANOTHER_ATTEMPT = {408, 425, 429}


class _InterruptedError(Exception):
    """A fault of the network or the server that may be gone at the next attempt."""


def source(dataset: str, file: str) -> dict[str, str]:
    """The row of data/sources.csv for one file: url, md5, sha256, bytes, licence ... as text, empty where unknown."""
    with open(SOURCES, encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if (row["dataset"], row["file"]) == (dataset, file):
                return row
    raise Problem(f"{SOURCES} has no row for {file} of {dataset}: add one with its url and checksum")


def obtain(row: dict[str, str], folder: str | Path, may_download: bool) -> Path:
    """The path of the file that `row` (see `source`) describes, in `folder`, downloaded when it is not there yet.

    Raises Problem when it is absent and may not be downloaded, or is present with another checksum.
    """
    path = Path(folder) / row["file"]
    if not path.exists():
        if not may_download:
            raise Problem(
                f"{path} is missing and config.yaml says download: false: "
                f"put the file from {row['url']} there or set download: true"
            )
        fetch(row["url"], path, md5=row["md5"], sha256=row["sha256"])
        return path
    try:
        with open(path, "rb") as stream:
            difference = _difference(stream, row["md5"], row["sha256"])
    except OSError as error:
        difference = f"cannot be read: {error.strerror}"
    if difference:
        cure = "and start again, it will be downloaded" if may_download else f"and put {row['url']} in its place"
        raise Problem(f"{path} is not the official file ({difference}): delete it {cure}")
    return path


def fetch(
    url: str, path: str | Path, *, md5: str = "", sha256: str = "", attempts: int = 5, pause: float = 1.0
) -> None:
    """Download `url` to `path`, which exists afterwards only whole and with the right checksum.

    At least one of `md5` and `sha256` (hex; of sha256 the first digits may do) is needed. Network faults and busy
    servers are met with `attempts` attempts, `pause` seconds apart, doubled each time, which resume where the last
    one broke off if the server can. Only https is used, and http on this computer itself. Raises Problem.
    """
    path = Path(path)
    try:
        if not md5 and not sha256:
            raise Problem("no checksum is known for it")
        _refuse_insecure(url)
        with files.replacing(path, "w+b") as stream:
            _receive_persistently(url, stream, attempts, pause)
            difference = _difference(stream, md5, sha256)
            if difference:
                raise Problem(f"what came is not the official file ({difference})")
    except Problem as problem:
        raise Problem(f"cannot download {url}: {problem}; {_by_hand(path)}") from None
    except OSError as error:
        raise Problem(f"cannot write {path} ({error.strerror}): mend the folder or its disk and start again") from None


def _by_hand(path: Path) -> str:
    return (
        f"put the file into {path.parent} as {path.name} by hand, and start again "
        "(download: false in config.yaml turns downloads off)"
    )


def _difference(stream: IO[bytes], md5: str, sha256: str) -> str:
    """How the checksums of an open file differ from those that are known; empty if they do not."""
    for name, expected in (("sha256", sha256), ("md5", md5)):
        stream.seek(0)
        if expected and not (found := hashlib.file_digest(stream, name).hexdigest()).startswith(expected.lower()):
            return f"its {name} is {found} instead of {expected}"
    return ""


def _refuse_insecure(url: str) -> None:
    parts = urllib.parse.urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not local:
        raise Problem(f"{url} is not an https address")


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, stream, code, message, headers, url):
        _refuse_insecure(url)
        return super().redirect_request(request, stream, code, message, headers, url)


def _receive_persistently(url: str, stream: IO[bytes], attempts: int, pause: float) -> None:
    for attempt in range(1, attempts + 1):
        try:
            return _receive(url, stream)
        except _InterruptedError as fault:
            if attempt == attempts:
                raise Problem(f"{fault}, also at attempt {attempts}") from None
            wait = pause * 2 ** (attempt - 1)
            say(f"{url}: {fault}; attempt {attempt + 1} of {attempts} in {wait:.0f} s")
            time.sleep(wait)


def _receive(url: str, stream: IO[bytes]) -> None:
    """One attempt: append to what `stream` holds already, or begin anew where the server cannot continue."""
    with _open(url, stream) as response:
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            stream.seek(0)
            stream.truncate()
        length = response.headers.get("Content-Length")
        chunks, start = _chunks(response), stream.tell()
        if length:
            chunks = track(chunks, f"downloading {url} (MiB)", -(-int(length) // MEBIBYTE))
        _write_all(chunks, stream)
    if length and stream.tell() - start != int(length):
        raise _InterruptedError(f"the connection broke off after {stream.tell() - start} of {length} bytes")


def _write_all(chunks: Iterable[bytes], stream: IO[bytes]) -> None:
    for chunk in chunks:
        stream.write(chunk)


def _open(url: str, stream: IO[bytes]) -> http.client.HTTPResponse:
    held = stream.tell()
    request = urllib.request.Request(url, headers={"Range": f"bytes={held}-"} if held else {})
    try:
        return urllib.request.build_opener(_SecureRedirects).open(request, timeout=SECONDS_OF_SILENCE)
    except urllib.error.HTTPError as error:
        answer = f"the server answers {error.code} {error.reason}"
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and held:
            stream.seek(0)
            stream.truncate()
        elif error.code < 500 and error.code not in WORTH_ANOTHER_ATTEMPT:
            raise Problem(answer) from None
        raise _InterruptedError(answer) from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise Problem(f"the server's certificate is not trusted ({reason.verify_message})") from None
        raise _InterruptedError(f"no connection ({reason})") from None


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(MEBIBYTE)
        except (OSError, http.client.HTTPException) as error:
            raise _InterruptedError(f"the connection broke off ({error})") from None
        if not chunk:
            return
        yield chunk
