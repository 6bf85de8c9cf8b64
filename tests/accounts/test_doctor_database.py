"""What the doctor says of the database: SQLite here, PostgreSQL where there is a server."""

from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from accounts.doctor.database import examine_database
from accounts.doctor.findings import Finding, Status
from accounts.models import EndReason, SessionRecord
from tests.browsers import records_away

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
    recorder.record_unapplied("accounts", "0001_initial")
    try:
        finding = examined()["migrations"]
    finally:
        recorder.record_applied("accounts", "0001_initial")

    assert finding.status is Status.PROBLEM
    assert "accounts.0001_initial" in finding.found
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
    try:
        findings = examined()
    finally:
        connection.close()

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
