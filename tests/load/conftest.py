"""What the short storm shares: one server, and sites that all its scenarios play on."""

from collections.abc import Iterator

import pytest

from tests.load.postgres import PostgresServer, postgres
from tests.load.stage import SHORT, Stage

__all__ = ["postgres"]


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """For scenarios that play on SQLite."""
    with Stage(SHORT) as stage:
        yield stage


@pytest.fixture(scope="session")
def fleet(postgres: PostgresServer) -> Iterator[Stage]:
    """For those that need PostgreSQL."""
    with Stage(SHORT, postgres) as stage:
        yield stage
