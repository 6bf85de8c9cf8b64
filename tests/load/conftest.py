"""What the short storm shares: one server, and sites that all its scenarios play on."""

from collections.abc import Iterator

import pytest

from tests.load.postgres import PostgresServer, postgres
from tests.load.site import Site
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


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> str:
    """The name of a database with all tables, as a template for others: the migrations take seconds."""
    Site(database_url=postgres.create_database("migrated"), api_url="http://127.0.0.1:1").migrate()
    return "migrated"
