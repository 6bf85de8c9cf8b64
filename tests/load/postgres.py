"""A PostgreSQL server of the tests' own: Debian's binaries, data in a temporary folder, a port on 127.0.0.1."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from tests.load.processes import free_port, stop_process, wait_until

USER = "storm"
MISSING = "No PostgreSQL server; to install it: apt-get install postgresql"


def find_binary(name: str) -> str | None:
    """The path of one of PostgreSQL's programs: from PATH, else Debian's newest."""
    newest_first = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda folder: int(folder.parent.name.split(".")[0]),
        reverse=True,
    )
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, newest_first)]))


def has_postgres() -> bool:
    return find_binary("initdb") is not None and find_binary("postgres") is not None


def program_owner() -> dict[str, Any]:
    """PostgreSQL and PgBouncer refuse to run as root: then they run as PostgreSQL's own user, or as nobody."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("PostgreSQL does not run as root, and there is no user postgres or nobody")


class PostgresServer:
    """One server, as a context manager. It can be stopped, crash, and come back with everything it had committed.

    A test's data need not survive a power failure, only a crash of the server. A `durable` one's does, at its price.
    `connections` is how many it takes at most.
    """

    def __init__(self, *, durable: bool = False, connections: int = 200) -> None:
        self._settings = {"fsync": "on" if durable else "off", "max_connections": str(connections)}
        self._folder = Path(tempfile.mkdtemp(prefix="storm-postgres-"))
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        #: When it last began to answer (time.monotonic()).
        self.started_at = 0.0

    def __enter__(self) -> Self:
        try:
            self._hand_folder_over()
            self._fill()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and leave nothing behind."""
        self.thaw()
        self.crash()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Serve, on the same port as before, and wait until it answers."""
        if self._process is not None:
            return
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(str(find_binary("postgres")), "-D", str(self._data)),
                    *("-h", "127.0.0.1", "-p", str(self._port), "-k", str(self._folder)),
                    *(f"--{name}={value}" for name, value in self._settings.items()),
                ],
                cwd=self._folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                **program_owner(),
            )
        wait_until(self._answers, "PostgreSQL answers")
        self.started_at = time.monotonic()

    def stop(self) -> None:
        """Break all connections and end in good order."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """End at once, as in a power failure."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """SIGKILL to every process, also of a frozen server: what fencing a host does."""
        self.freeze()
        self._signal(signal.SIGKILL)
        self._end(signal.SIGKILL)

    def move(self) -> None:
        """Use another port from the next start on, where no site finds it."""
        self._port = free_port()

    def freeze(self) -> None:
        """Stop every process of the server where it stands, as when its machine hangs. The kernel goes on."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._signal(signal.SIGCONT)

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """A new database, as a URL for DATABASE_URL; a copy of `template`."""
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@{self.address}/{database}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=3)

    def set_synchronous_standby(self, name: str) -> None:
        """Let each commit wait until the standby of this name has it; none, for an empty one."""
        with self.connect() as connection:
            # Nothing that this writes may wait for the standby.
            connection.execute("SET synchronous_commit = local")
            connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
            connection.execute("SELECT pg_reload_conf()")

    @property
    def pid(self) -> int:
        """Of the process that all others of the server are children of."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _hand_folder_over(self) -> None:
        if owner := program_owner():
            os.chown(self._folder, owner["user"], owner["group"])

    def _fill(self) -> None:
        options = ("-A", "trust", "-U", USER, "--no-sync", "--no-locale", "-E", "UTF8")
        self._run("initdb", "-D", str(self._data), *options)

    def _run(self, program: str, *options: str) -> None:
        done = subprocess.run(
            [str(find_binary(program)), *options], cwd=self._folder, capture_output=True, text=True, **program_owner()
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr or done.stdout}")

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL did not start:\n{(self._folder / 'log').read_text()}")
        with suppress(psycopg.OperationalError), self.connect():
            return True
        return False

    def _signal(self, which: int) -> None:
        if self._process is not None:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            for pid in (self.pid, *map(int, children)):
                with suppress(ProcessLookupError):
                    os.kill(pid, which)

    def _end(self, how: int) -> None:
        if self._process is not None:
            stop_process(self._process, how)
            self._process = None


class Standby(PostgresServer):
    """Follows `primary`, which has to run, until it is promoted. The primary knows it by its `name`."""

    def __init__(self, primary: PostgresServer, *, name: str = "standby") -> None:
        super().__init__()
        self._source = f"{primary.url()}?application_name={name}"

    def promote(self) -> None:
        with self.connect() as connection:
            connection.execute("SELECT pg_promote()")

    def cut_off(self) -> None:
        """Break the replication: what the primary commits from now on does not arrive here."""
        with self.connect() as connection:
            connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
            connection.execute("SELECT pg_reload_conf()")
            wait_until(lambda: not self._follows(connection), "the standby receives nothing any more")

    def _follows(self, connection: "psycopg.Connection[tuple[Any, ...]]") -> bool:
        return connection.execute("SELECT 1 FROM pg_stat_wal_receiver").fetchone() is not None

    def _fill(self) -> None:
        self._run("pg_basebackup", "-D", str(self._data), "-d", self._source, "-R", "-c", "fast", "--no-sync")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running server, one for all tests. Skips where none is installed; in CI that is a failure."""
    if not has_postgres():
        if os.environ.get("CI"):
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    with PostgresServer() as server:
        yield server
