"""What the doctor says of the hosts of a PostgreSQL cluster."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db.utils import ConnectionHandler

from accounts.checks.database import check_database
from accounts.doctor import database
from accounts.doctor.database import database_hosts, examine_database, has_several_hosts
from accounts.doctor.findings import Status
from tests.accounts.doctor.reports import by_name, statuses
from tests.load.postgres import PostgresServer, Standby, postgres
from tests.load.processes import free_port

__all__ = ["postgres"]


@pytest.mark.parametrize(
    ("values", "hosts"),
    [
        ({"HOST": "", "PORT": ""}, [("localhost", 5432)]),
        ({"HOST": "a", "PORT": 5433}, [("a", 5433)]),
        ({"HOST": "a,b", "PORT": ""}, [("a", 5432), ("b", 5432)]),
        ({"HOST": "a,b", "PORT": 5433}, [("a", 5433), ("b", 5433)]),
        ({"HOST": "a,b", "PORT": "1,2"}, [("a", 1), ("b", 2)]),
        ({"HOST": "", "PORT": "", "OPTIONS": {"host": "a,b", "port": "1,2"}}, [("a", 1), ("b", 2)]),
    ],
)
def test_the_hosts_of_a_database(values: dict[str, Any], hosts: list[tuple[str, int]]) -> None:
    assert database_hosts(values) == hosts


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
class TestCluster:
    @pytest.fixture
    def standby(self, postgres: PostgresServer) -> Iterator[Standby]:
        with Standby(postgres) as standby:
            yield standby

    @pytest.fixture
    def absent(self, postgres: PostgresServer, standby: Standby, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        """A site that names three hosts: nobody listens at this one, and the others are a primary and a standby."""
        absent = f"127.0.0.1:{free_port()}"
        hosts, ports = zip(*(place.split(":") for place in (absent, standby.address, postgres.address)), strict=True)
        values = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "storm",
            "HOST": ",".join(hosts),
            "PORT": ",".join(ports),
            "OPTIONS": {"target_session_attrs": "read-write"},
        }
        handler = ConnectionHandler({"default": values})
        monkeypatch.setattr(database, "connections", handler)
        monkeypatch.setattr("accounts.checks.database.connections", handler)
        yield absent
        handler.close_all()

    def test_each_host_is_named(self, postgres: PostgresServer, standby: Standby, absent: str) -> None:
        assert has_several_hosts()
        found = by_name(examine_database())

        assert statuses(found) == {
            "host-1": Status.WARNING,
            "host-2": Status.OK,
            "host-3": Status.OK,
            "primary": Status.WARNING,  # asynchronous
        }
        assert f"{absent} is unavailable" in found["host-1"].found
        assert found["host-2"].found == f"{standby.address} is a standby."
        assert found["host-3"].found == f"{postgres.address} is the primary."

    def test_two_primaries_are_a_problem(self, standby: Standby, absent: str) -> None:
        standby.promote()

        assert by_name(examine_database())["primary"].status is Status.PROBLEM

    def test_without_a_primary_the_check_names_each_host(
        self, postgres: PostgresServer, standby: Standby, absent: str
    ) -> None:
        postgres.stop()
        try:
            (message,) = check_database(databases=["default"])
            found = by_name(examine_database())
        finally:
            postgres.start()

        assert message.id == "accounts.E040"
        for place in (absent, postgres.address, standby.address):
            assert place in message.msg
        assert "promote" in str(message.hint)
        assert found["primary"].status is Status.PROBLEM
