"""What a database decides, on PostgreSQL: the same tests that run on SQLite."""

import os
import subprocess
import sys

import pytest

from tests.load.postgres import PostgresServer
from tests.load.site import PROJECT

#: With what of them is about SQLite: only its clock can be moved, and only its files are there for the asking.
FILES = {
    "rotation/test_rotate.py": "",
    "rotation/test_reuse_detection.py": "not the_arrival_of_a_request_counts",
    "rotation/test_ending.py": "",
    "rotation/test_records.py": "",
    "history/test_events.py": "",
    "history/test_background_writer.py": "not TestProcesses",
    "admin": "",
    "sign_in": "rate_limit",
    "test_commands.py": "TestPruneSessions",
}


@pytest.mark.postgres
@pytest.mark.parametrize("name", FILES)
def test_it_holds_on_postgresql(postgres: PostgresServer, name: str) -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", f"tests/accounts/{name}", "-q", "-p", "no:cacheprovider"),
            *("-k", FILES[name]),
        ],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": postgres.url(), "COVERAGE_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert run.returncode == 0, run.stdout[-5000:]
