"""What `manage.py check --deploy --database default` says: SQLite here, PostgreSQL where there is a server."""

import gc
import subprocess
import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.checks import CheckMessage, run_checks
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.utils import ConnectionHandler
from django.utils import timezone
from environ import Env

from accounts.checks.database import check_database, check_postgresql, check_sqlite
from accounts.models import EndReason, SessionRecord
from tests.browsers import records_away
from tests.load.postgres import PostgresServer, postgres
from tests.load.processes import free_port
from tests.load.site import Site

__all__ = ["postgres"]

PASSWORD = "hunter2-of-the-database"
pytestmark = pytest.mark.django_db(transaction=True)


def found() -> dict[str | None, CheckMessage]:
    """The messages of the check, by id. Each has a hint."""
    messages = [*check_database(app_configs=None, databases=["default"])]
    assert all(message.hint for message in messages)
    return {message.id: message for message in messages}


def record(**values: object) -> SessionRecord:
    return SessionRecord.objects.create(id=uuid4(), user_id="1", user_name="Ada", **values)


@pytest.fixture(autouse=True)
def durable(db: None) -> None:
    """As on the site. tests/settings.py turns this off to save time."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous=FULL")


def test_a_database_in_good_order_has_no_message() -> None:
    record(sealed="x" * 900)
    record(ended_at=timezone.now(), end_reason=EndReason.SIGNED_OUT)

    assert found() == {}


@pytest.mark.parametrize("databases", [None, [], ["replica"]])
def test_the_database_is_asked_only_if_the_command_names_it(databases: list[str] | None) -> None:
    with records_away():
        assert [*check_database(app_configs=None, databases=databases)] == []


def test_it_is_a_deployment_check_so_that_migrate_can_mend_what_it_finds() -> None:
    with records_away():
        deployment = run_checks(include_deployment_checks=True, databases=["default"], tags=["database"])
        before_migrate = run_checks(databases=["default"], tags=["database"])

    assert [message.id for message in deployment] == ["accounts.W040"]
    assert before_migrate == []


def test_an_unapplied_migration_is_an_error() -> None:
    recorder = MigrationRecorder(connection)
    [(_, newest)] = MigrationLoader(connection).graph.leaf_nodes("accounts")
    recorder.record_unapplied("accounts", newest)
    try:
        message = found()["accounts.E041"]
    finally:
        recorder.record_applied("accounts", newest)

    assert message.is_serious()
    assert f"accounts.{newest}" in message.msg
    assert "migrate" in str(message.hint)


def test_a_query_that_fails_is_a_warning_without_the_drivers_text() -> None:
    with records_away():
        messages = found()

    assert [*messages] == ["accounts.W040"]
    assert "OperationalError" in messages["accounts.W040"].msg
    assert "sessionrecord" not in messages["accounts.W040"].msg


def test_a_journal_that_loses_what_was_stored_is_a_warning() -> None:
    connection.ensure_connection()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous=OFF")

    message = found()["accounts.W043"]

    assert not message.is_serious()
    assert "synchronous is 0" in message.msg


def test_a_missing_file_is_not_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "moved.sqlite3"))
    connection.close()

    messages = found()

    assert [*messages] == ["accounts.E040"]
    assert not [*tmp_path.iterdir()]


def test_a_file_that_is_not_a_database_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "letter.sqlite3").write_text("Dear Ada, " * 1000)
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "letter.sqlite3"))
    connection.close()
    with warnings.catch_warnings():
        # Django forgets a connection whose first statement failed, and Python 3.13 warns that it was not closed.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            messages = found()
        finally:
            connection.close()
        gc.collect()

    assert [*messages] == ["accounts.E040"]
    assert messages["accounts.E040"].is_serious()


def test_a_folder_that_cannot_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, who can write everywhere."""
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).is_file())

    assert [*found()] == ["accounts.E043"]


def test_records_that_nobody_prunes_are_a_warning() -> None:
    record(expires_at=timezone.now() - timedelta(days=3))
    record(ended_at=timezone.now() - timedelta(days=33), end_reason=EndReason.SIGNED_OUT)
    record(expires_at=timezone.now() - timedelta(days=1))
    record(ended_at=timezone.now() - timedelta(days=30), end_reason=EndReason.SIGNED_OUT)

    message = found()["accounts.W046"]

    assert not message.is_serious()
    assert message.msg.startswith("2 session records")
    assert "prune_sessions" in str(message.hint)


def test_a_database_in_memory_is_a_warning() -> None:
    handler = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})

    (message,) = check_sqlite(handler["default"])

    assert (message.id, message.is_serious(), bool(message.hint)) == ("accounts.W041", False, True)


class TestCommand:
    """`manage.py check` as an operator runs it."""

    @pytest.fixture
    def site(self, tmp_path: Path) -> Site:
        """A site with a database file. It does not run."""
        return Site(database_url=f"sqlite:///{tmp_path / 'db.sqlite3'}", api_url=f"http://127.0.0.1:{free_port()}")

    def check(self, site: Site, **environment: str) -> "subprocess.CompletedProcess[str]":
        # Only these tags: from Django 6.1 on, Django's own checks of models raise if the database is unavailable.
        tags = ("--tag", "database", "--tag", "security")
        return site.manage("check", "--deploy", "--database", "default", *tags, **environment)

    def test_a_database_in_good_order(self, site: Site) -> None:
        site.migrate()

        done = self.check(site)

        assert done.returncode == 0, done.stderr
        # This site goes without TLS.
        assert "accounts.W010" in done.stderr
        assert "accounts.W04" not in done.stderr

    def test_an_empty_one_lacks_migrations(self, site: Site, tmp_path: Path) -> None:
        (tmp_path / "db.sqlite3").touch()

        done = self.check(site)

        assert done.returncode == 1
        assert "accounts.E041" in done.stderr
        assert "accounts.0001_initial" in done.stderr

    def test_a_server_that_is_unavailable_leaves_the_other_checks_their_say(self, site: Site) -> None:
        port = free_port()

        done = self.check(site, DATABASE_URL=f"postgres://ada:{PASSWORD}@127.0.0.1:{port}/site")

        assert done.returncode == 1
        assert "accounts.E040" in done.stderr
        assert "accounts.W010" in done.stderr
        assert f"site on 127.0.0.1:{port}" in done.stderr
        assert "Connection refused" in done.stderr
        assert PASSWORD not in done.stdout + done.stderr


@pytest.mark.postgres
class TestPostgres:
    @pytest.fixture
    def server(self, postgres: PostgresServer) -> Iterator[BaseDatabaseWrapper]:
        """A connection of its own, in the middle of no transaction."""
        handler = ConnectionHandler({"default": Env.db_url_config(postgres.url())})
        yield handler["default"]
        handler["default"].close()

    def test_one_in_good_order_has_no_message(self, server: BaseDatabaseWrapper) -> None:
        assert [*check_postgresql(server)] == []

    def test_one_that_takes_no_changes_and_commits_late(self, server: BaseDatabaseWrapper) -> None:
        with server.cursor() as cursor:
            cursor.execute("SET default_transaction_read_only = on")
            cursor.execute("SET synchronous_commit = off")

        messages = [*check_postgresql(server)]

        assert [(message.id, message.is_serious()) for message in messages] == [
            ("accounts.E042", True),
            ("accounts.W044", False),
        ]

    def test_a_clock_that_is_off_is_a_warning(
        self, server: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        late = timezone.now() - timedelta(minutes=10)
        monkeypatch.setattr(timezone, "now", lambda: late)

        (message,) = check_postgresql(server)

        assert (message.id, message.is_serious()) == ("accounts.W045", False)
        assert "differ by 60" in message.msg

    def test_one_that_refuses_this_site(self, postgres: PostgresServer, tmp_path: Path) -> None:
        site = Site(database_url=f"sqlite:///{tmp_path / 'db.sqlite3'}", api_url="http://127.0.0.1:9")
        url = postgres.url("nowhere").replace("@", f":{PASSWORD}@")

        done = site.manage(*("check", "--deploy", "--database", "default", "--tag", "database"), DATABASE_URL=url)

        assert done.returncode == 1
        assert "accounts.E040" in done.stderr
        assert "refuses this site's connection" in done.stderr
        assert PASSWORD not in done.stdout + done.stderr
