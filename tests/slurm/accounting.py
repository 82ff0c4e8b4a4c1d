"""The accounting of the private Slurm: a database in its folder, slurmdbd, and the account whose jobs are accepted."""

import subprocess
from pathlib import Path

CONFIGURATION = """\
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
LogFile={root}/slurmdbd.log
PidFile={root}/slurmdbd.pid
CommitDelay=0
StorageType=accounting_storage/mysql
StorageHost=localhost
"""


class Accounting:
    """How the database and slurmdbd are started in a folder, and what sacctmgr enters once they run."""

    PROGRAMS = ("slurmdbd", "mariadbd", "mariadb-install-db")

    def __init__(self, root: Path, user: str) -> None:
        self.root = root
        self.user = user
        self.socket = root / "mariadb.socket"

    def configure(self, host: str, port: int) -> None:
        """Write slurmdbd's configuration, which it only takes if nobody else can read it."""
        path = self.root / "slurmdbd.conf"
        path.touch(mode=0o600)
        path.write_text(CONFIGURATION.format(root=self.root, host=host, port=port, user=self.user))

    def database(self) -> tuple[str, ...]:
        """The command of the database, whose own tables are made. Who may open its socket may do anything with it."""
        # Waiting for the disk would be half of the start, and nothing here need survive a failure of power.
        options = ("--no-defaults", f"--user={self.user}", f"--datadir={self.root}/database", "--debug-no-sync")
        with open(self.root / "mariadb-install-db.out", "wb") as output:
            command = ("mariadb-install-db", *options, "--skip-test-db", "--auth-root-authentication-method=normal")
            subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True)
        served = (f"--socket={self.socket}", f"--pid-file={self.root}/mariadbd.pid", "--skip-networking")
        return ("mariadbd", *options, *served, "--skip-grant-tables")

    def daemon(self) -> tuple[str, ...]:
        """The command of slurmdbd, which is told of the database's socket by no setting of its own."""
        return ("env", f"MYSQL_UNIX_PORT={self.socket}", "slurmdbd", "-D")

    def entries(self) -> tuple[tuple[str, ...], ...]:
        """What sacctmgr is told: the cluster, and that the user may submit for two accounts, one of them by default."""
        return (
            ("add", "cluster", "tests"),
            ("add", "account", "group,lab"),
            ("add", "user", self.user, "account=group,lab"),
            # root has had another default since the cluster was added.
            ("modify", "user", self.user, "set", "DefaultAccount=group"),
        )
