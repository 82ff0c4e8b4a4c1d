"""Locks that end with the process that holds them, however it ends."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from robustloss.progress import say

# What a file system without locks answers; there, whoever starts two at once is on their own.
WITHOUT = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Be the only process that makes `path`; wait for another one, and yield whether there was one.

    A job outlives a killed Snakemake, and the same command then starts it a second time. The lock is `.NAME.lock`
    beside `path` and goes with the process.
    """
    lock = path.parent / f".{path.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    stream, waited = _locked(lock)
    try:
        yield waited
    finally:
        # While it is still held: who waits for it sees that the name is gone, and begins anew.
        lock.unlink(missing_ok=True)
        stream.close()


def clear_stale(folder: Path) -> IO | None:
    """Remove Snakemake's locks from its folder (.snakemake) if no living Snakemake is there, and be known as one.

    The answer is to be kept: it is the sign of life. Of two that start at once neither is taken for dead.
    """
    try:
        folder.mkdir(exist_ok=True)
        stream = open(folder / "alive", "a")  # noqa: SIM115
    except OSError:
        return None  # Read-only: Snakemake says so itself.
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        stale = sorted((folder / "locks").glob("*.lock"))
        for path in stale:
            path.unlink(missing_ok=True)
        if stale:
            say("robustloss: removed the lock of a Snakemake that was killed")
    except BlockingIOError:
        pass
    except OSError as error:
        if error.errno not in WITHOUT:
            raise
        return stream
    fcntl.flock(stream, fcntl.LOCK_SH)
    return stream


def _locked(lock: Path) -> tuple[IO, bool]:
    """The open and locked file that has the name `lock`, and whether another process had it."""
    waited = False
    while True:
        stream = open(lock, "a")  # noqa: SIM115
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waited:
                say(f"another process is making {lock.parent / lock.name[1:-5]}: waiting for it")
            waited = True
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in WITHOUT:
                raise
            return stream, waited
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), lock.stat()):
                return stream, waited
        stream.close()
