"""A private Slurm, and a shrunken study in which Snakemake submits to it as a user's would."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cluster import Cluster, wait_for
from studies import COPIED, ROOT, Study, lay_out

HERE = Path(__file__).parent

# One network of chen2019 on digits, one attack.
EXPERIMENTS = yaml.safe_load((ROOT / "workflow/papers/chen2019.yaml").read_text())["experiments"]
SHRUNKEN = {
    "rows": {name: [] for name in EXPERIMENTS} | {"mnist": ["XE"]},
    "attacked": {"mnist": ["fgsm 0.2"]},
    "audited": {name: [] for name in EXPERIMENTS},
    "training": {"mnist": {"epochs": 3}},
}


class Submitted:
    """Snakemake at work on the cluster, and what it has said so far."""

    def __init__(self, folder: Path, cluster: Cluster, *arguments: str) -> None:
        self.log = folder / "snakemake.log"
        with open(self.log, "w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / "snakemake_polling.py"), "--profile", "slurm", *SETTINGS, *arguments],
                cwd=folder,
                env=cluster.environment() | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A shell's background job ignores Ctrl-C, and hands that on to whatever it starts.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def said(self) -> str:
        return self.log.read_text()

    def end(self, seconds: float = 300) -> int:
        """The exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"Snakemake did not end:\n{self.said()}") from None

    def interrupt(self) -> int:
        """The exit status after Ctrl-C, typed again after ten seconds: the executor 2.8.0 may swallow it as it asks."""
        for _ in range(3):
            self.process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(10)
        return self.end(10)

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


# The executor falls back on sacct unless Slurm remembers ended jobs for three times this.
SETTINGS = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5")


class SlurmStudy(Study):
    """A study whose jobs go to the cluster."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        super().__init__(folder)
        self.cluster = cluster
        self.submitted: list[Submitted] = []

    def configure(self, **scale) -> None:
        """Lay settings over the shrunken scale."""
        settings = yaml.safe_load((ROOT / "config.yaml").read_text())
        settings |= {"papers": ["chen2019"], "chen2019": {"scales": {"demo": SHRUNKEN | scale}}}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(settings))

    def submit(self, *arguments: str) -> Submitted:
        """`snakemake --profile slurm` with arguments, started."""
        found = Submitted(self.folder, self.cluster, *arguments)
        self.submitted.append(found)
        return found

    def trainings(self) -> list[int]:
        """The processes that train in this study's folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().split(b"\0")
                if words[1:4] == [b"-m", b"robustloss", b"train"] and (process / "cwd").readlink() == self.folder:
                    found.append(int(process.name))
        return found

    def state(self) -> Path:
        """What training goes on from, as soon as it has been written."""
        return wait_for(lambda: next(self.folder.glob("results/runs/*/state.safetensors"), None), "a training's state")

    def pause(self) -> set[int]:
        """Have the training stand still, so that it does not end before the test is ready; gives its process."""
        found = wait_for(self.trainings, "a training")
        for process in found:
            os.kill(process, signal.SIGSTOP)
        return set(found)

    def gone_on(self, before: set[int]) -> set[int]:
        """The process that goes on, from a state, with the training that `before` was ended in; it stands still."""
        wait_for(lambda: set(self.trainings()) - before, "a training again")
        log = next(self.folder.glob("logs/train/*.log"))
        wait_for(lambda: "going on after epoch" in log.read_text(), "the training to go on")
        return self.pause()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A Slurm of this session's own; REQUIRE_SLURM=1 makes its absence an error."""
    if missing := Cluster.missing():
        sentence = f"Slurm is not installed ({', '.join(missing)}): run tests/slurm/install.sh as root"
        if os.environ.get("REQUIRE_SLURM") == "1":
            pytest.fail(sentence)
        pytest.skip(sentence)
    with Cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="session")
def prepared(cluster, tmp_path_factory):
    """A copy of the repository in which nothing is made yet but the data set."""
    folder = tmp_path_factory.mktemp("prepared") / "study"
    lay_out(folder, (*COPIED, "slurm"))
    made = SlurmStudy(folder, cluster)
    made.configure()
    made.snakemake("--cores", "1", "--until", "prepare_images")
    return made


@pytest.fixture
def study(prepared, tmp_path):
    """A copy of that, in which the test may submit."""
    made = SlurmStudy(prepared.copy(tmp_path / "study").folder, prepared.cluster)
    yield made
    for submitted in made.submitted:
        submitted.stop()


@pytest.fixture(scope="session")
def overtime(prepared, tmp_path_factory):
    """A training under a limit of a minute that stands still; it is submitted first and judged last."""
    made = SlurmStudy(prepared.copy(tmp_path_factory.mktemp("overtime") / "study").folder, prepared.cluster)
    made.configure(training={"mnist": {"epochs": 10_000}})
    asked = ("train:runtime=1", "train:gpu=1", "train:slurm_partition=second")
    submitted = made.submit("--until", "train", "--retries", "0", "--set-resources", *asked)
    try:
        made.pause()
        yield submitted
    finally:
        submitted.stop()
