"""The promises of the hand-over, one by one, on PostgreSQL: the same tests that run on SQLite."""

import os
import subprocess
import sys

import pytest

from tests.load.postgres import PostgresServer
from tests.load.site import PROJECT


@pytest.mark.postgres
def test_the_hand_over_keeps_its_promises_on_postgresql(postgres: PostgresServer) -> None:
    run = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "tests/accounts/test_hand_over.py", "-q", "-p", "no:cacheprovider"),
            # Only SQLite's clock can be moved.
            *("-k", "not judged_by_when_it_arrived"),
        ],
        cwd=PROJECT,
        env={**os.environ, "DATABASE_URL": postgres.url(), "COVERAGE_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert run.returncode == 0, run.stdout[-5000:]
