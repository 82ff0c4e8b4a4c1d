"""The whole demo killed at ten random moments: more than a second demo's time, so only on request, after `make demo`.

WHOLE_DEMO=1 python -m pytest -s tests/faults/test_whole_demo.py
"""

import itertools
import json
import os
import random
import time

import pytest
from faulty import Study, kill, kill_a_job
from studies import ROOT, lay_out

from robustloss import runs

KILLS = 10
# After so much of the demo is there, and so many seconds more, which may fall anywhere into a job.
SECONDS = 5.0
SECONDS_TABLE = "results/papers/pang2020/tables/speed.csv"

pytestmark = [
    pytest.mark.xdist_group("faults"),
    pytest.mark.skipif("WHOLE_DEMO" not in os.environ, reason="takes longer than the demo: set WHOLE_DEMO=1"),
]


class Demo(Study):
    """The demo, started by the same command as often as it takes."""

    words = ("--cores", "all", "--config", "scale=demo")
    process = None

    def go_on(self) -> None:
        """Start it if it does not run: it was killed, or it ended because a job was."""
        if self.process is None or self.process.poll() is not None:
            self.told()
            self.process = self.start(*self.words)

    def told(self) -> str:
        log = self.folder / "snakemake.log"
        text = log.read_text() if log.exists() else ""
        assert "Traceback" not in text
        return text


def records(study: Study) -> set[str]:
    """The records that the papers' manifests name."""
    manifests = [json.loads(path.read_text()) for path in study.folder.glob("results/papers/*/manifest.json")]
    entries = [entry for manifest in manifests for rows in manifest["rows"].values() for entry in rows.values()]
    trained = {f"{run['directory']}/run.json" for run in itertools.chain(*entries)}
    return trained.union(*map(runs.results, manifests))


def test_ten_kills_over_the_whole_demo_and_then_the_same_command(tmp_path):
    """Snakemake, it and its jobs, or a job alone; afterwards every number is that of the demo nobody disturbed."""
    undisturbed, demo = Study(ROOT), Demo(tmp_path / "demo")
    lay_out(demo.folder)
    assert undisturbed.scheduled() == {}, "run `make demo` first"
    wanted = records(undisturbed)
    chance = random.Random(20261121)
    start = time.monotonic()
    for number, share in enumerate(sorted(chance.random() for _ in range(KILLS))):
        while sum((demo.folder / path).exists() for path in wanted) < share * len(wanted):
            demo.go_on()
            time.sleep(0.2)
        demo.go_on()
        time.sleep(chance.uniform(0, SECONDS))
        demo.go_on()
        what = ("Snakemake and its jobs", "Snakemake", "a job")[number % 3]
        if what == "a job":
            what = kill_a_job(demo.process, chance)
        else:
            kill(demo.process, whole=what != "Snakemake")
        print(f"killed {what} after {time.monotonic() - start:.0f} s, with {share:.0%} of {len(wanted)} results there")
    demo.process.wait()
    found = demo.snakemake(*demo.words)
    assert "Traceback" not in demo.told() + found.stdout + found.stderr
    print(f"finished after {time.monotonic() - start:.0f} s")
    assert demo.scheduled() == {}
    assert records(demo) == wanted
    numbers, expected = demo.numbers(), undisturbed.numbers()
    # Seconds of training are nobody's to repeat.
    assert {path for path in numbers if numbers[path] != expected.get(path)} <= {SECONDS_TABLE}
    demo.verified()
    print(f"{len(numbers)} files of numbers are equal")
