"""A private Slurm of two nodes in one folder: munged, slurmctld and a slurmd each, with pretended processors and GPUs.

Jobs are accounted for in a database, as at most sites, and refused unless they belong to an account of their user's.

Nothing outside the folder is read or written, so the machine's own Slurm, if there is one, is not touched, and any user
can start it.
"""

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from accounting import Accounting

SERVERS = ("munged", "slurmctld", "slurmd", *Accounting.PROGRAMS)
CLIENTS = ("sbatch", "srun", "squeue", "scancel", "scontrol", "sinfo", "sacct", "sacctmgr")
SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"
# Each node's GPU: slurmd counts one only where it has a device file, and any device file will do.
DEVICES = {"one": "/dev/null", "two": "/dev/zero"}

CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A requeued job waits until its credential has expired: 120 seconds unless said otherwise.
AuthInfo=socket={root}/munge.socket,cred_expire=5
SlurmctldPort={controller_port}
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
MailProg=/bin/true
MpiDefault=none
# Job processes are found by their group: no control groups are needed, as in a container.
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# Who may have the GPU at once takes it from whoever has it, and that job goes back into the queue.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
# The nodes may have more than the machine.
SlurmdParameters=config_overrides
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0,batch_sched_delay=0
MinJobAge=3600
KillWait=2
# A node that does not answer for so long is lost, and its jobs go back into the queue.
SlurmdTimeout=5
ReturnToService=2
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting_port}
# munge's socket again, which is not taken from AuthInfo here.
AccountingStoragePass={root}/munge.socket
AccountingStorageEnforce=associations
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
NodeName=one NodeAddr=127.0.0.1 Port={port_one} CPUs=4 RealMemory=64000 Gres=gpu:pretended:1 Weight=1 State=UNKNOWN
NodeName=two NodeAddr=127.0.0.1 Port={port_two} CPUs=4 RealMemory=64000 Gres=gpu:pretended:1 Weight=2 State=UNKNOWN
PartitionName=main Nodes=ALL PriorityTier=1 Default=YES MaxTime=INFINITE State=UP
PartitionName=second Nodes=two PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=2 MaxTime=INFINITE State=UP
"""


class Cluster:
    """Starts in `with`, and stops with every job and daemon of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.accounting = Accounting(root, self.user)
        self.daemons: dict[str, subprocess.Popen] = {}

    @staticmethod
    def missing() -> list[str]:
        """The programs that are not installed."""
        return [name for name in SERVERS + CLIENTS if not shutil.which(name, path=SYSTEM)]

    def environment(self) -> dict[str, str]:
        """This process's, with this cluster's programs before the machine's."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_", "PYTEST"))
        }
        return kept | {"SLURM_CONF": str(self.root / "slurm.conf"), "PATH": f"{self.root}/bin:{kept['PATH']}:{SYSTEM}"}

    def ask(self, *command: str) -> str:
        """What one of Slurm's programs answers."""
        found = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=60)
        if found.returncode:
            raise RuntimeError(f"{' '.join(command)}: {found.stdout}{found.stderr}")
        return found.stdout.strip()

    def jobs(self) -> dict[str, str]:
        """The state of every job there ever was, by its number."""
        return dict(line.split() for line in self.ask("squeue", "-h", "--states=all", "-o", "%A %T").splitlines())

    def accounted(self, job: str) -> tuple[str, str] | None:
        """The account and the state of an ended job in the database, which hears of them seconds later."""
        asked = ("--jobs", job, "--allocations", "--noheader", "--parsable2", "--format=Account,State,End")
        account, state, end = (self.ask("sacct", *asked) or "||Unknown").split("|")
        return None if end == "Unknown" else (account, state)

    def node(self, job: str) -> str:
        """Where a job runs."""
        return self.ask("squeue", "-h", "-j", job, "-o", "%N")

    @contextlib.contextmanager
    def lost(self, node: str, job: str):
        """Have the power of a node fail on which a job runs; it comes back at the end of `with`."""
        daemon = self.daemons.pop(f"slurmd-{node}")
        daemon.kill()
        daemon.wait()
        for process in self._processes(job):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        yield
        self._start_node(node)

    def _processes(self, job: str) -> list[int]:
        """The processes of a job: first those that watch over it, which would tell of the end of the others."""
        watching, watched = [], []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = (process / "environ").read_bytes().split(b"\0")
                if f"SLURM_CONF={self.root}/slurm.conf".encode() not in environment:
                    continue
                if (process / "cmdline").read_bytes().startswith(f"slurmstepd: [{job}.".encode()):
                    watching.append(int(process.name))
                elif f"SLURM_JOB_ID={job}".encode() in environment:
                    watched.append(int(process.name))
        return watching + watched

    def __enter__(self) -> "Cluster":
        try:
            self._configure()
            socket_path = self.root / "munge.socket"
            # --force: a private folder above the socket is no fault here.
            self._start(
                *("munged", "--foreground", "--force", f"--socket={socket_path}", f"--key-file={self.root}/munge.key"),
                *(f"--pid-file={self.root}/munged.pid", f"--log-file={self.root}/munged.log"),
                *(f"--seed-file={self.root}/munge.seed", "--num-threads=2"),
            )
            wait_for(socket_path.exists, "munge's socket")
            self._start_accounting()
            self._start("slurmctld", "-D", "-f", str(self.root / "slurm.conf"))
            for node in DEVICES:
                self._start_node(node)
            wait_for(self._idle, "the nodes")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        if "slurmctld" in self.daemons:
            with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
                self.ask("scancel", "--user", self.user)
                wait_for(lambda: not self.ask("squeue", "-h"), "the last job's end", 15)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(15)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self.daemons.clear()

    def _configure(self) -> None:
        for name in ("state", "bin"):
            (self.root / name).mkdir()
        key = self.root / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        names = ("controller_port", "accounting_port", "port_one", "port_two")
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        about = {"root": self.root, "host": socket.gethostname().split(".")[0], "user": self.user}
        (self.root / "slurm.conf").write_text(CONFIGURATION.format(**about, **ports))
        self.accounting.configure(about["host"], ports["accounting_port"])
        lines = [f"NodeName={node} Name=gpu Type=pretended File={device}\n" for node, device in DEVICES.items()]
        (self.root / "gres.conf").write_text("".join(lines))
        # Read although nothing uses control groups; finding out which there are fails in a container.
        (self.root / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
        for name in CLIENTS:
            # Jobs start job steps without SLURM_CONF in their environment.
            program = self.root / "bin" / name
            real = shutil.which(name, path=SYSTEM)
            program.write_text(f'#!/bin/sh\nSLURM_CONF={self.root}/slurm.conf exec {real} "$@"\n')
            program.chmod(0o755)

    def _start_accounting(self) -> None:
        self._start(*self.accounting.database(), name="mariadbd")
        wait_for(lambda: self._all_run() and self.accounting.socket.exists(), "the database")
        self._start(*self.accounting.daemon(), name="slurmdbd")
        wait_for(lambda: self._all_run() and self._answers("sacctmgr", "list", "cluster"), "slurmdbd")
        for entry in self.accounting.entries():
            self.ask("sacctmgr", "--immediate", *entry)

    def _start_node(self, node: str) -> None:
        self._start("slurmd", "-D", "-f", str(self.root / "slurm.conf"), "-N", node, name=f"slurmd-{node}")

    def _start(self, *command: str, name: str | None = None) -> None:
        name = name or command[0]
        with open(self.root / f"{name}.out", "wb") as output:
            self.daemons[name] = subprocess.Popen(
                command,
                env=self.environment(),
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def _idle(self) -> bool:
        return self._all_run() and set(self._answers("sinfo", "-h", "-N", "-o", "%T").split()) == {"idle"}

    def _answers(self, *command: str) -> str:
        """What one of Slurm's programs answers, which may be nothing yet."""
        with contextlib.suppress(RuntimeError):
            return self.ask(*command)
        return ""

    def _all_run(self) -> bool:
        for name, daemon in self.daemons.items():
            if daemon.poll() is not None:
                log = self.root / f"{name}.log"
                said = log.read_text() if log.exists() else ""
                raise RuntimeError(f"{name} ended:\n{said}{(self.root / f'{name}.out').read_text()}")
        return True


def _end_with_parent() -> None:
    # PR_SET_PDEATHSIG: also when the tests are killed.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(condition, what: str, seconds: float = 180.0):
    """The condition's first true value; TimeoutError with `what` if there is none."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.1)
    raise TimeoutError(f"waited {seconds:.0f} s for {what}")
