"""Fixtures for the tests of events."""

import shutil
from pathlib import Path

import pytest

from tests.accounts.history.processes import run


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("events") / "migrated.sqlite3"
    run("from django.core.management import call_command; call_command('migrate', verbosity=0)", database)
    return database


@pytest.fixture
def database(migrated: Path, tmp_path: Path) -> Path:
    """A separate database for each test."""
    return Path(shutil.copy(migrated, tmp_path))
