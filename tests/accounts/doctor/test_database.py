"""What the doctor says of the database: SQLite here, PostgreSQL where there is a server."""

import gc
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.utils import ConnectionHandler
from django.utils import timezone
from environ import Env

from accounts.doctor.database import examine_database
from accounts.doctor.findings import Finding, Status
from accounts.doctor.postgresql import examine_postgresql
from accounts.doctor.sqlite import examine_sqlite, file_system
from accounts.models import EndReason, SessionRecord
from tests.browsers import records_away
from tests.load.postgres import PostgresServer, postgres

__all__ = ["postgres"]

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
fileserver:/export /srv/data nfs4 rw,relatime 0 0
/dev/sdb1 /srv/data/local\\040disk xfs rw 0 0
tmpfs /run tmpfs rw 0 0
//fileserver/share /run cifs rw 0 0
"""

pytestmark = pytest.mark.django_db(transaction=True)


def examined() -> dict[str, Finding]:
    return {finding.name.removeprefix("database."): finding for finding in examine_database()}


def record(**values: object) -> SessionRecord:
    return SessionRecord.objects.create(id=uuid4(), user_id="1", user_name="Ada", **values)


def test_one_that_is_in_good_order_is_well() -> None:
    findings = examined()

    assert {name: finding.status for name, finding in findings.items()} == dict.fromkeys(
        ["connection", "migrations", "durability", "file", "sessions", "pruning"], Status.OK
    )
    assert "SQLite" in findings["connection"].found


def test_a_migration_that_is_not_applied_is_a_problem() -> None:
    recorder = MigrationRecorder(connection)
    [(_, newest)] = MigrationLoader(connection).graph.leaf_nodes("accounts")
    recorder.record_unapplied("accounts", newest)
    try:
        finding = examined()["migrations"]
    finally:
        recorder.record_applied("accounts", newest)

    assert finding.status is Status.PROBLEM
    assert f"accounts.{newest}" in finding.found
    assert "migrate" in finding.advice


def test_without_its_table_the_rest_is_unknown() -> None:
    with records_away():
        findings = examined()

    assert (findings["connection"].status, findings["rest"].status) == (Status.OK, Status.UNKNOWN)


def test_a_journal_that_loses_what_was_stored_is_a_warning() -> None:
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous=OFF")

    finding = examined()["durability"]

    assert finding.status is Status.WARNING
    assert "synchronous is 0" in finding.found


def test_a_file_that_was_moved_away_is_not_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "moved.sqlite3"))
    connection.close()

    findings = examined()

    assert {name: finding.status for name, finding in findings.items()} == {"connection": Status.PROBLEM}
    assert not [*tmp_path.iterdir()]


def test_a_file_that_is_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "letter.sqlite3").write_text("Dear Ada, " * 1000)
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "letter.sqlite3"))
    connection.close()
    with warnings.catch_warnings():
        # Django forgets a connection whose first statement failed, and Python 3.13 complains that nobody closed it.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            findings = examined()
        finally:
            connection.close()
        gc.collect()

    assert {name: finding.status for name, finding in findings.items()} == {"connection": Status.PROBLEM}


def test_sessions_are_counted() -> None:
    record(sealed="x" * 900)
    record()
    record(ended_at=timezone.now(), end_reason=EndReason.SIGNED_OUT)

    found = examined()["sessions"].found

    assert found == "2 living sessions, 1 ended. The largest that is stored has 900 bytes, as a cookie."


def test_records_that_nobody_prunes_are_a_warning() -> None:
    record(expires_at=timezone.now() - timedelta(days=3))
    record(ended_at=timezone.now() - timedelta(days=33), end_reason=EndReason.SIGNED_OUT)
    record(expires_at=timezone.now() - timedelta(days=1))
    record(ended_at=timezone.now() - timedelta(days=30), end_reason=EndReason.SIGNED_OUT)

    finding = examined()["pruning"]

    assert finding.status is Status.WARNING
    assert finding.found.startswith("2 records")
    assert "prune_sessions" in finding.advice


def test_one_in_memory_is_a_warning() -> None:
    handler = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})

    (finding,) = examine_sqlite(handler["default"])

    assert finding.status is Status.WARNING


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/site/db.sqlite3", "ext4"),
        ("/srv/data/db.sqlite3", "nfs4"),
        ("/srv/data/local disk/db.sqlite3", "xfs"),
        ("/srv/database/db.sqlite3", "ext4"),
        ("/run/db.sqlite3", "cifs"),
    ],
)
def test_which_file_system_a_file_is_on(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_a_system_that_does_not_tell_its_mounts() -> None:
    assert file_system(Path("/db.sqlite3"), "") == ""


@pytest.mark.postgres
class TestPostgres:
    @pytest.fixture
    def server(self, postgres: PostgresServer) -> Iterator[BaseDatabaseWrapper]:
        """A connection of its own, in the middle of no transaction."""
        handler = ConnectionHandler({"default": Env.db_url_config(postgres.url())})
        yield handler["default"]
        handler["default"].close()

    def test_one_in_good_order_keeps_time(self, server: BaseDatabaseWrapper) -> None:
        (finding,) = examine_postgresql(server)

        assert (finding.name, finding.status) == ("database.clock", Status.OK)
        assert "agrees" in finding.found

    def test_one_that_takes_no_changes_and_commits_late(self, server: BaseDatabaseWrapper) -> None:
        with server.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = on")
            cursor.execute("SET synchronous_commit = off")

        findings = {finding.name: finding.status for finding in examine_postgresql(server)}

        assert findings["database.writable"] is Status.PROBLEM
        assert findings["database.durability"] is Status.WARNING
