"""The whole demo killed at ten random moments: a second demo's time, so only on request, after `make demo`.

WHOLE_DEMO=1 python -m pytest tests/faults/test_whole_demo.py
"""

import itertools
import os
import random
import subprocess

import pytest
from faulty import Study, kill
from studies import ROOT, lay_out

KILLS = 10
# Between the first and the last kill; the demo takes about as long on two cores.
SECONDS = 600.0
SECONDS_TABLE = "results/papers/pang2020/tables/speed.csv"

pytestmark = [
    pytest.mark.xdist_group("faults"),
    pytest.mark.skipif("WHOLE_DEMO" not in os.environ, reason="takes as long as the demo: set WHOLE_DEMO=1"),
]


def test_ten_kills_over_the_whole_demo_and_then_the_same_command(tmp_path):
    """Snakemake alone or with its jobs; afterwards every number is that of the demo that nobody disturbed."""
    undisturbed, demo = Study(ROOT), Study(tmp_path / "demo")
    lay_out(demo.folder)
    words = ("--cores", "all", "--config", "scale=demo")
    assert undisturbed.scheduled() == {}, "run `make demo` first"
    chance = random.Random(20261121)
    moments = sorted(chance.uniform(0, SECONDS) for _ in range(KILLS))
    for number, seconds in enumerate(later - sooner for sooner, later in itertools.pairwise([0.0, *moments])):
        process = demo.start(*words)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(seconds)
        kill(process, whole=number % 2 == 0)
        print(f"killed {'Snakemake and its jobs' if number % 2 == 0 else 'Snakemake'} after {seconds:.0f} s")
        assert "Traceback" not in (demo.folder / "snakemake.log").read_text()
    found = demo.snakemake(*words)
    assert "Traceback" not in found.stdout + found.stderr
    assert demo.scheduled() == {}
    numbers, expected = demo.numbers(), undisturbed.numbers()
    # Seconds of training are nobody's to repeat.
    assert {path for path in numbers if numbers[path] != expected.get(path)} <= {SECONDS_TABLE}
    demo.verified()
