"""Progress of long work: a bar on a terminal, a plain line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0


class Standing:
    """How many images withstand so far, and how many are attacked a second; counted from its creation."""

    def __init__(self) -> None:
        self.robust = self.images = self.attacked = 0
        self.start = time.monotonic()

    def known(self, robust: int, images: int) -> None:
        """Add images that were attacked before, of which `robust` withstood."""
        self.robust += robust
        self.images += images

    def count(self, robust: int, images: int) -> None:
        """Add images that were attacked just now, of which `robust` withstood."""
        self.known(robust, images)
        self.attacked += images

    def note(self) -> str:
        seconds = max(time.monotonic() - self.start, 1e-9)
        rate = f"{self.attacked / seconds:.3g} images per second"
        return f"{100 * self.robust / max(1, self.images):.1f} % of {self.images:,} images robust, {rate}"


def track(
    items: Iterable[Item], what: str, total: int | None = None, note: Callable[[], str] | None = None
) -> Iterator[Item]:
    """Yield `items`, reporting on stderr how many of `total` are done and how long the rest will take.

    `note` says how things stand; it is asked when a report is due.
    """
    total = len(items) if total is None else total
    if sys.stderr.isatty():
        from tqdm import tqdm

        bar = tqdm(items, desc=what, total=total, leave=False)
        for item in bar:
            yield item
            if note:
                bar.set_postfix_str(note(), refresh=False)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES or (done == total and now - start >= SECONDS_BETWEEN_LINES):
            last = now
            remaining = (now - start) / done * (total - done)
            standing = f", {note()}" if note else ""
            say(f"{what}: {done} of {total}, {now - start:.0f} s, about {remaining:.0f} s left{standing}")


def say(text: str) -> None:
    """One plain line on stderr."""
    print(text, file=sys.stderr, flush=True)
