"""The tests of what a database decides, run again on PostgreSQL."""

import os
import subprocess
import sys

import pytest

from tests.load.postgres import PostgresServer
from tests.load.site import PROJECT

TESTS = [
    "tests/accounts/rotation/test_rotate.py",
    "tests/accounts/rotation/test_reuse_detection.py",
    "tests/accounts/rotation/test_ending.py",
    "tests/accounts/rotation/test_records.py",
    "tests/accounts/rotation/test_expiry_check.py",
    "tests/accounts/history",
    "tests/accounts/admin",
    *sorted(map(str, PROJECT.glob("tests/accounts/sign_in/test_rate_limit*.py"))),
    "tests/accounts/sign_in/test_own_sessions.py::TestTheList",
    "tests/accounts/telemetry/test_trace.py",
    "tests/accounts/telemetry/test_trace_limits.py",
    "tests/accounts/test_commands.py::TestPruneSessions",
    "tests/protected/test_trace.py",
]
#: Only SQLite's clock can be moved, and only its files can be opened by other processes of the test.
ONLY_SQLITE = "the_arrival_of_a_request_counts or TestProcesses"


@pytest.mark.postgres
def test_they_pass_on_postgresql(postgres: PostgresServer) -> None:
    run = subprocess.run(
        [*(sys.executable, "-m", "pytest", *TESTS), *("-q", "-p", "no:cacheprovider", "-k", f"not ({ONLY_SQLITE})")],
        cwd=PROJECT,
        env={**os.environ, "TEST_DATABASE_URL": postgres.url(), "COVERAGE_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=600,
    )

    assert run.returncode == 0, run.stdout[-5000:]
