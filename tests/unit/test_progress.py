"""Progress: what a log and a bar say of long work."""

import sys
import time

import pytest

from robustloss import progress


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(progress, "time", found)
    return found


def test_images_that_were_attacked_before_take_no_time(clock):
    standing = progress.Standing()
    standing.known(50, 100)
    clock.now += 20
    standing.count(25, 100)
    assert standing.note() == "37.5 % of 200 images robust, 5 images per second"


def test_a_log_says_now_and_then_how_things_stand(clock, capsys):
    standing = progress.Standing()
    for _ in progress.track(range(4), "batches", note=standing.note):
        clock.now += 8
        standing.count(32, 64)
    assert capsys.readouterr().err.splitlines() == [
        "batches: 2 of 4, 16 s, about 16 s left, 50.0 % of 128 images robust, 8 images per second",
        "batches: 4 of 4, 32 s, about 0 s left, 50.0 % of 256 images robust, 8 images per second",
    ]


def test_a_bar_says_the_same(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for _ in progress.track(range(2), "batches", note=lambda: "7 images per second"):
        time.sleep(0.15)  # a bar is drawn ten times a second
    assert "7 images per second" in capsys.readouterr().err
