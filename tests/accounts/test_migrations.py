"""The tables of a release in use become those of the next one."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.browsers import PATIENCE_SECONDS
from tests.load.site import KEY, PROJECT

#: As 0.1.0 writes it.
RECORD = """
INSERT INTO accounts_sessionrecord
    (id, generation, confirmed, retired, sealed, lease_owner, end_reason, user_id, user_name, user_agent, signed_in_at)
VALUES (?, 3, 3, '[]', 'sealed', '', '', '1', 'Ada@example.com', '', '2026-01-01')
"""


def migrate(database: Path, *target: str) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0", *target],
        cwd=PROJECT,
        env={**os.environ, "DEBUG": "true", "SECRET_KEY": KEY, "DATABASE_URL": f"sqlite:///{database}"},
        check=True,
        timeout=PATIENCE_SECONDS,
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """As 0.1.0 left it, with a session."""
    path = tmp_path / "site.sqlite3"
    migrate(path, "accounts", "0001")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(RECORD, ["0" * 32])
        migrate(path)
        yield connection


def test_sessions_of_before_stay_and_are_found_by_name(database: sqlite3.Connection) -> None:
    [row] = database.execute("SELECT generation, sealed, user_name, user_name_lower FROM accounts_sessionrecord")

    assert row == (3, "sealed", "Ada@example.com", "ada@example.com")


def test_a_host_that_still_runs_the_release_before_can_sign_people_in(database: sqlite3.Connection) -> None:
    database.execute(RECORD, ["1" * 32])

    assert database.execute("SELECT count(*) FROM accounts_sessionrecord").fetchall() == [(2,)]
