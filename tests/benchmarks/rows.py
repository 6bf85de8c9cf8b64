"""`rows`: rotations a second as sessions grow, what a session and an event cost in bytes, and what pruning takes.

Databases of all sizes are filled first and then measured in turn, so that whatever else the machine is doing slows
them down alike. tests/benchmarks/rows_program.py says what a rotation is. With `--against`, two checkouts are measured
in turn (tests/benchmarks/rows_against.py).
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.processes import cpu_of_tree
from tests.benchmarks.report import Cell, Ratio, Report, Table, alternate, ratio
from tests.load.postgres import PostgresServer, has_postgres
from tests.load.site import KEY, PROJECT

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PROCESSES, THREADS = 4, 2
PRUNED_BEFORE_DAYS = 11

#: As a command of manage.py, whose statements may take long.
_AS_COMMAND = (
    "import runpy, sys; sys.argv[0] = 'manage.py';"
    "runpy.run_module('tests.benchmarks.rows_program', run_name='__main__')"
)
_ENVIRONMENT = {
    "DEBUG": "false",
    "SECRET_KEY": KEY,
    "ALLOWED_HOSTS": "testserver",
    "API_BASE_URL": "http://127.0.0.1:1",
    "LOG_LEVEL": "ERROR",
}


class Server:
    """A database system under measurement: databases on it, and what it alone spends."""

    def __init__(self, name: str, folder: Path, postgres: PostgresServer | None = None) -> None:
        self.name = name
        self._folder = folder
        self._postgres = postgres

    def create(self, name: str) -> str:
        """A new database, as a URL for DATABASE_URL."""
        return self._postgres.create_database(name) if self._postgres else f"sqlite:///{self._folder}/{name}.sqlite3"

    def cpu(self) -> float:
        """CPU seconds of its own processes so far. SQLite has none: it works in ours."""
        return cpu_of_tree(self._postgres.pid) if self._postgres else 0.0

    def log_bytes(self) -> int:
        """How much it has written to its write-ahead log so far; 0 where it does not say."""
        if self._postgres is None:
            return 0
        with self._postgres.connect() as connection:
            row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()
        assert row is not None
        return int(row[0])

    def updates(self, name: str) -> tuple[int, int]:
        """How many updates of sessions the database `name` has counted, and how many of them touched no index (HOT)."""
        if self._postgres is None:
            return 0, 0
        with self._postgres.connect(name) as connection:
            row = connection.execute(
                "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'accounts_sessionrecord'"
            ).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])


class Rows:
    """One database, with so many sessions in it. Each `measure` is a round; what else it saw is kept.

    `project` is the checkout whose code works on it, and `label` says so in the tables.
    """

    def __init__(self, server: Server, sessions: int, *, project: Path = PROJECT, label: str = "") -> None:
        self.sessions = sessions
        self.name = f"{label or server.name}, {sessions:,}"
        self._server = server
        self._project = project
        self._database = f"rows{sessions}{label.replace(' ', '-')}"
        self._url = server.create(self._database)
        self._run("fill", "--sessions", str(sessions))
        self.forget()
        self.rotations = 0
        self.weights_when_filled = self.weigh()

    def forget(self) -> None:
        """Begin anew with the figures of the rounds: for each, of one rotation."""
        self.figures: dict[str, list[float]] = {"cpu": [], "server": [], "log": []}
        self._updates_before = self._server.updates(self._database)

    @property
    def spent(self) -> list[float]:
        """CPU seconds of a rotation, in each round."""
        return [ours + server for ours, server in zip(self.figures["cpu"], self.figures["server"], strict=True)]

    def hot_share(self) -> float:
        """Of the updates of sessions in all rounds, the part that touched no index."""
        updates, hot = (
            now - before for now, before in zip(self._server.updates(self._database), self._updates_before, strict=True)
        )
        return hot / updates if updates else 0.0

    def measure(self, seconds: float) -> float:
        """Rotations a second, over several processes with threads."""
        server_before, log_before = self._server.cpu(), self._server.log_bytes()
        found = self._rotate(seconds)
        rotations = sum(one["rotations"] for one in found)
        self.rotations += rotations
        self.figures["cpu"].append(sum(one["cpu"] for one in found) / rotations)
        self.figures["server"].append((self._server.cpu() - server_before) / rotations)
        self.figures["log"].append((self._server.log_bytes() - log_before) / rotations)
        return float(rotations / max(one["seconds"] for one in found))

    def weigh(self) -> dict[str, dict[str, int]]:
        weights: dict[str, dict[str, int]] = self._run("weigh")
        return weights

    def prune(self) -> float:
        """Events removed a second."""
        found = self._run("prune", "--keep-days", str(PRUNED_BEFORE_DAYS))
        return float(found["removed"] / found["seconds"])

    def _rotate(self, seconds: float) -> list[dict[str, Any]]:
        started = [
            self._start(
                *("-m", "tests.benchmarks.rows_program"),
                *("rotate", "--seconds", str(seconds), "--sessions", str(self.sessions)),
                *("--threads", str(THREADS), "--share", f"{part}/{PROCESSES}"),
            )
            for part in range(PROCESSES)
        ]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline(), "a process that was to rotate did not start"
        for process in started:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        answers = [process.communicate()[0] for process in started]
        assert not any(process.returncode for process in started), "a process that rotated failed"
        return [json.loads(answer) for answer in answers]

    def _run(self, *arguments: str) -> Any:
        process = self._start("-c", _AS_COMMAND, *arguments)
        answer = process.communicate()[0]
        if process.returncode:
            raise RuntimeError(f"{' '.join(arguments)}: exit status {process.returncode}")
        return json.loads(answer)

    def _start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self._project,
            env={**os.environ, **_ENVIRONMENT, "DATABASE_URL": self._url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def measure_in_turn(databases: Sequence[Rows], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Rotations a second in each round, by name. The first round fills caches, and does not count."""
    measures = {one.name: partial(one.measure, seconds) for one in databases}
    alternate(measures, 1)
    for one in databases:
        one.forget()
    return alternate(measures, rounds)


def measure_rows(report: Report, rounds: int, seconds: float, most: int) -> None:
    """The tables, for databases of up to `most` sessions, from rounds of so many seconds."""
    sizes = [size for size in SIZES if size <= most]
    with ExitStack() as stack:
        servers = [stack.enter_context(server) for server in _servers()]
        databases = {server.name: [Rows(server, size) for size in sizes] for server in servers}
        rates = measure_in_turn([one for known in databases.values() for one in known], rounds, seconds)
        report.add(_rotations(databases, rates, rounds, seconds))
        for name, known in databases.items():
            report.add(_bytes(name, known))
            report.add(_pruning(name, known))


def _rotations(
    databases: Mapping[str, Sequence[Rows]], rates: Mapping[str, Sequence[float]], rounds: int, seconds: float
) -> Table:
    rows: list[list[Cell | Ratio]] = []
    [on_sqlite, *_] = databases.values()
    for known in databases.values():
        for one, same_on_sqlite in zip(known, on_sqlite, strict=True):
            rate = rates[one.name]
            rows.append(
                [
                    one.name,
                    round(statistics.median(rate)),
                    round(1 / statistics.median(one.spent)),
                    ratio(rate, rates[known[0].name]),
                    ratio(one.spent, known[0].spent),
                    ratio(rate, rates[same_on_sqlite.name]),
                    ratio(one.figures["server"], one.spent),
                    round(statistics.median(one.figures["log"])),
                    one.hot_share(),
                ]
            )
    return Table(
        "rotations",
        "Rotations, events counted, as sessions grow",
        [
            "sessions",
            "a second",
            "a CPU second",
            "rate, to the fewest",
            "CPU, to the fewest",
            "rate, to SQLite",
            "server's part",
            "log bytes",
            "HOT",
        ],
        rows,
        note=f"{PROCESSES} processes of {THREADS} threads, sessions at random, {rounds} alternating rounds of"
        f" {seconds:g} s; medians, with quartiles. CPU: what the processes and the database's server spend on a"
        " rotation, and of that the server's part. Log: what PostgreSQL writes ahead for one. HOT: the part of the"
        " updates of sessions that touched no index.",
    )


def _bytes(name: str, databases: Sequence[Rows]) -> Table:
    rows: list[list[Cell | Ratio]] = []
    for one in databases:
        before, after = one.weights_when_filled, one.weigh()
        rows += [
            [
                f"{one.sessions:,} {what}",
                *(round(before[what][part] / before[what]["rows"]) for part in ("table", "indexes")),
                *(round(after[what][part] / after[what]["rows"]) for part in ("table", "indexes")),
                round(one.rotations / one.sessions, 3),
            ]
            for what in before
        ]
    return Table(
        f"bytes on {name}",
        f"Bytes for one session, and for one event, on {name}",
        ["rows", "table", "indexes", "table, later", "indexes, later", "rotations of each"],
        rows,
        note="With a pair of 1.2 KB. Later: after the rotations that were measured. These leave no rows of events.",
    )


def _pruning(name: str, databases: Sequence[Rows]) -> Table:
    rates = [one.prune() for one in databases]
    rows: list[list[Cell | Ratio]] = [
        [f"{one.sessions:,}", round(rate), rate / rates[-1]] for one, rate in zip(databases, rates, strict=True)
    ]
    return Table(
        f"pruning on {name}",
        f"Events that prune_sessions removes on {name}",
        ["sessions", "a second", "rate, to the most"],
        rows,
        note=f"Of events of 12 days, those older than {PRUNED_BEFORE_DAYS}: a twelfth. Once each.",
    )


def _servers() -> Iterator[AbstractContextManager[Server]]:
    """The systems that can be measured here."""
    yield _sqlite()
    if has_postgres():
        yield postgres_server()


@contextmanager
def _sqlite() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        yield Server("SQLite", Path(folder))


@contextmanager
def postgres_server() -> Iterator[Server]:
    # SQLite is told to survive a power failure, so PostgreSQL has to.
    with tempfile.TemporaryDirectory() as folder, PostgresServer(durable=True) as postgres:
        yield Server("PostgreSQL", Path(folder), postgres)
