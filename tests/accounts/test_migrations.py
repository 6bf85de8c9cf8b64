"""A database of an earlier release migrates to the newest tables, and keeps its rows."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from tests.browsers import PATIENCE_SECONDS
from tests.environment import clean_environment
from tests.load.postgres import PostgresServer, postgres
from tests.load.site import KEY, PROJECT

__all__ = ["postgres"]

#: As 0.1.0 writes it.
RECORD = """
INSERT INTO accounts_sessionrecord
    (id, generation, confirmed, retired, sealed, lease_owner, end_reason, user_id, user_name, user_agent, signed_in_at)
VALUES (?, 3, 3, '[]', 'sealed', '', '', '1', 'Ada@example.com', '', '2026-01-01')
"""


#: One row in each other table of migration 0004.
ROWS = (
    """
    INSERT INTO accounts_sessionevent (session_id, kind, "trigger", at, generation, request_id)
    VALUES ('22222222222222222222222222222222', 'handed-over', '', '2026-01-01 10:00:00', 3, 'a-request')
    """,
    """
    INSERT INTO accounts_tracedrequest (session_id, exchange, request_id, at, steps)
    VALUES ('22222222222222222222222222222222', '33333333333333333333333333333333', 'a-request',
            '2026-01-01 10:00:00', '[]')
    """,
    "INSERT INTO accounts_tally (key, count, expires_at) VALUES ('a-key', 5, '2026-01-01 10:00:00')",
)
#: What the models of the newest release read from them, as JSON.
READ = """
from accounts.models import AttemptCount, SessionEvent, SessionRecord, TracedRequest
print(*SessionRecord.objects.values_list("user_name", "generation").get())
print(*SessionEvent.objects.values_list("kind", "generation", "request_id").get())
print(*TracedRequest.objects.values_list("trace_id", "request_id").get())
print(AttemptCount.objects.get().count)
"""


def manage(database: Path | str, *arguments: str) -> str:
    """`database` is a file of SQLite, or a URL."""
    url = database if isinstance(database, str) else f"sqlite:///{database}"
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env=clean_environment(DEBUG="true", SECRET_KEY=KEY, DATABASE_URL=url),
        check=True,
        timeout=PATIENCE_SECONDS,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def migrate(database: Path | str, *target: str) -> None:
    manage(database, "migrate", "--verbosity", "0", *target)


def tables(connection: sqlite3.Connection) -> dict[str, str]:
    """The statement that made each table, by its name."""
    return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))


@dataclass(frozen=True)
class Migrated:
    """A database that 0.1.0 made, with a session, and that was migrated to the newest release by way of 0004."""

    path: Path
    connection: sqlite3.Connection
    tables_at_0004: dict[str, str]
    columns_at_0004: set[tuple[str, str, int]]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Migrated]:
    path = tmp_path_factory.mktemp("migrations") / "site.sqlite3"
    migrate(path, "accounts", "0001")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(RECORD, ["0" * 32])
        migrate(path, "accounts", "0004")
        for statement in ROWS:
            connection.execute(statement)
        before = tables(connection), columns(connection, "accounts_sessionrecord")
        migrate(path)
        yield Migrated(path, connection, *before)


def test_sessions_of_before_stay_and_are_found_by_name(database: Migrated) -> None:
    [row] = database.connection.execute(
        "SELECT generation, sealed, user_name, user_name_lower FROM accounts_sessionrecord WHERE id = ?", ["0" * 32]
    )

    assert row == (3, "sealed", "Ada@example.com", "ada@example.com")


def columns(connection: sqlite3.Connection, table: str) -> set[tuple[str, str, int]]:
    """Name, type and NOT NULL of each column."""
    return {(name, kind, required) for _, name, kind, required, *_ in connection.execute(f"PRAGMA table_info({table})")}


def test_the_tables_of_0004_stay_as_they_are_and_the_models_read_their_rows(database: Migrated) -> None:
    ours = {name: sql for name, sql in tables(database.connection).items() if name.startswith("accounts_")}

    record = "accounts_sessionrecord"
    assert database.columns_at_0004 < columns(database.connection, record)
    before = {name: sql for name, sql in database.tables_at_0004.items() if name.startswith("accounts_")}
    assert {**ours, record: ""} == {**ours, **before, record: ""}
    assert manage(database.path, "shell", "--no-imports", "--command", READ).splitlines() == [
        "Ada@example.com 3",
        "handed-over 3 a-request",
        "33333333-3333-3333-3333-333333333333 a-request",
        "5",
    ]


def test_a_host_that_still_runs_the_release_before_can_sign_people_in(database: Migrated) -> None:
    database.connection.execute(RECORD, ["1" * 32])

    added = database.connection.execute("SELECT expiry_check_at FROM accounts_sessionrecord WHERE id = ?", ["1" * 32])
    assert added.fetchall() == [("1970-01-01 00:00:00",)], "at once"
    database.connection.execute("DELETE FROM accounts_sessionrecord WHERE id = ?", ["1" * 32])


def test_the_newest_release_can_be_taken_back(database: Migrated) -> None:
    migrate(database.path, "accounts", "0004")

    assert database.connection.execute("SELECT count FROM accounts_tally").fetchall() == [(5,)]
    database.connection.execute("UPDATE accounts_sessionrecord SET expires_at = '2026-02-01 10:00:00'")
    migrate(database.path)
    check_at = database.connection.execute("SELECT expiry_check_at FROM accounts_sessionrecord")
    assert check_at.fetchall() == [("2026-02-01 10:00:00",)]


@pytest.mark.postgres
def test_on_postgresql_an_interrupted_migration_goes_on(postgres: PostgresServer) -> None:
    url = postgres.create_database("migrations")
    migrate(url, "accounts", "0010")
    with postgres.connect("migrations") as connection:
        connection.execute(RECORD.replace("?", "%s"), [UUID(int=0)])
        connection.execute("UPDATE accounts_sessionrecord SET expires_at = '2026-02-01 10:00:00Z'")
        # What remains of an index that was not complete.
        connection.execute("CREATE INDEX accounts_session_check ON accounts_sessionrecord (sealed)")

        migrate(url)

        row = connection.execute("SELECT expiry_check_at = expires_at FROM accounts_sessionrecord").fetchone()
        assert row == (True,)
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE indexname IN (%s, %s)",
            ["accounts_session_check", "accounts_session_expiry"],
        ).fetchall()
        assert [name for name, _ in indexes] == ["accounts_session_check"]
        assert "(expiry_check_at, ended_at) WHERE (ended_at IS NULL)" in indexes[0][1]
        options = connection.execute("SELECT reloptions FROM pg_class WHERE relname = 'accounts_sessionrecord'")
        assert options.fetchone() == (["fillfactor=70"],)
