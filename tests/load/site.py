"""The site as it runs in production: gunicorn, several worker processes with threads, a database, a log."""

import http.client
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.environment import clean_environment
from tests.load.processes import free_port, stop_process, wait_until
from tests.migrated_database import put_migrated_database

PROJECT = Path(__file__).resolve().parents[2]
KEY = "storm-only-" + "0" * 50

#: Short, so that a scenario can wait for them to pass.
CONNECT_SECONDS = 1.0
READ_SECONDS = 2.0
LEEWAY_SECONDS = 2.0

_PRODUCTION = {
    "SECRET_KEY": KEY,
    "ALLOWED_HOSTS": "127.0.0.1",
    "DEBUG": "false",
    # The storm speaks plain HTTP to 127.0.0.1; all else is as in production.
    "SECURE_SSL_REDIRECT": "false",
    "API_SESSION_COOKIE_SECURE": "false",
    "API_SESSION_COOKIE_NAME": "session",
    "API_DIALECT": "token-pair",
    "API_CONNECT_TIMEOUT": str(CONNECT_SECONDS),
    "API_READ_TIMEOUT": str(READ_SECONDS),
    "API_SESSION_LEEWAY": str(LEEWAY_SECONDS),
    "LOG_LEVEL": "INFO",
}


class Site:
    """One host, as a context manager. `environment` adds to, and overrules, production's."""

    def __init__(
        self,
        *,
        database_url: str,
        api_url: str,
        workers: int = 4,
        threads: int = 8,
        preload: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Without `preload` each worker loads the site by itself, as in production, and takes longer to start."""
        self.port = free_port()
        self._environment = {
            **clean_environment(**_PRODUCTION),
            "DATABASE_URL": database_url,
            "API_BASE_URL": api_url,
            **(environment or {}),
        }
        self._workers = workers
        self._threads = threads
        self._preload = preload
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Site":
        descriptor, name = tempfile.mkstemp(prefix="storm-site-", suffix=".log")
        os.close(descriptor)
        self._log = Path(name)
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.stop()
        self._log.unlink(missing_ok=True)

    def start(self) -> None:
        """Serve, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), cwd=PROJECT, env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        wait_until(lambda: self.is_ready() and len(self.workers) == self._workers, "the site is ready")

    def command(self) -> list[str]:
        """What serves."""
        return [
            *(sys.executable, "-m", "gunicorn", "config.wsgi", "--bind", f"127.0.0.1:{self.port}"),
            *("--workers", str(self._workers), "--worker-class", "gthread", "--threads", str(self._threads)),
            *("--keep-alive", "30", "--graceful-timeout", "5"),
            *(["--preload"] if self._preload else []),
            # A worker that a scenario suspends is not to be replaced meanwhile.
            *("--timeout", "0"),
        ]

    def stop(self) -> None:
        """Let requests under way finish, and end."""
        if self._process is not None:
            for worker in self.workers:
                self.resume(worker)
            stop_process(self._process)
            self._process = None

    def restart(self, environment: Mapping[str, str] | None = None) -> None:
        """Stop and start again, with some of the environment changed: a deployment."""
        self.stop()
        self._environment.update(environment or {})
        self.start()

    def reload(self) -> None:
        """SIGHUP: new workers, while the old ones finish what they are at. Returns when those are gone."""
        old = set(self.workers)
        os.kill(self.pid, signal.SIGHUP)
        wait_until(
            lambda: not old & set(self.workers) and len(self.workers) == self._workers and self.is_ready(),
            "new workers serve in place of the old ones",
        )

    def migrate(self) -> None:
        """Give the database its tables."""
        file = Path(self._environment["DATABASE_URL"].removeprefix("sqlite:///"))
        if file.is_absolute() and not file.exists():
            put_migrated_database(file)
            return
        done = self.manage("migrate", "--verbosity", "0")
        if done.returncode:
            raise RuntimeError(f"migrate: {done.stderr}")

    def manage(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of manage.py on this host, with more in its environment."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=PROJECT,
            env={**self._environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def is_ready(self) -> bool:
        """What a load balancer asks."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"the site is not running:\n{self.log}")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    @property
    def pid(self) -> int:
        """The process that was started; the workers are its children."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers that live now."""
        if self._process is None:
            return []
        master = self._process.pid
        with suppress(FileNotFoundError):
            return [int(pid) for pid in Path(f"/proc/{master}/task/{master}/children").read_text().split()]
        return []

    def worker_serving(self, port: int) -> int:
        """The worker at the other end of a browser's connection; `port` is the browser's."""
        found: list[int] = []

        def look() -> bool:
            inode = _socket_inode(local_port=self.port, remote_port=port)
            found.extend(pid for pid in self.workers if inode and _holds_socket(pid, inode))
            return bool(found)

        wait_until(look, "a worker has accepted the connection", seconds=5)
        return found[0]

    def kill(self, worker: int) -> None:
        """SIGKILL: gone in the middle of whatever it does. Gunicorn starts another one."""
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: worker not in self.workers and len(self.workers) == self._workers, "a new worker is there")

    def suspend(self, worker: int) -> None:
        """SIGSTOP: a host that swaps, or a virtual machine that is being moved."""
        os.kill(worker, signal.SIGSTOP)
        # The signal is on its way: what happens before the last thread has stopped still counts.
        wait_until(lambda: _has_stopped(worker), "the worker has stopped")

    def resume(self, worker: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGCONT)


def _socket_inode(*, local_port: int, remote_port: int) -> str | None:
    """Linux' number of the socket for this end of an established connection."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ports = [int(address.rpartition(":")[2], 16) for address in fields[1:3]]
        if ports == [local_port, remote_port]:
            return fields[9]
    return None


def _has_stopped(pid: int) -> bool:
    """Whether all threads of a process have: the field behind the name, which is in parentheses, is its state."""
    states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


def _holds_socket(pid: int, inode: str) -> bool:
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if os.readlink(descriptor) == f"socket:[{inode}]":
                    return True
    return False
