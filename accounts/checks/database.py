"""System checks that ask the database of the session records: `manage.py check --deploy --database default`.

They are deployment checks because `migrate` runs the other checks of its database: an unapplied migration must not stop
it.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as AnyDatabaseError
from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts.doctor.database import database_hosts
from accounts.models import SessionRecord

_CONNECT_SECONDS = 3.0
_STATEMENT_MILLISECONDS = 10_000
#: A session update is valid for 60 seconds, and another host may open it.
_MAX_CLOCK_DIFFERENCE_SECONDS = 30.0
#: `prune_sessions` waits for a day after the expiry, keeps ended sessions for 30 days, and runs once a day.
_EXPIRED_FOR = timedelta(days=2)
_ENDED_FOR = timedelta(days=32)
_unavailable = partial(Error, id="accounts.E040")


@register(Tags.database, deploy=True)
def check_database(databases: Sequence[str] | None = None, **kwargs: object) -> Iterator[CheckMessage]:
    """Raises nothing for a database that is unavailable: the other checks of the run still report."""
    alias = router.db_for_write(SessionRecord)
    if alias not in (databases or ()):
        return
    connection = connections[alias]
    try:
        if unavailable := _connect(connection):
            yield unavailable
            return
        with _limited_statements(connection):
            for check in (check_migrations, check_sqlite, check_postgresql, check_pruning):
                yield from check(connection)
    except AnyDatabaseError as error:
        # Without the driver's own text, which can quote a row.
        yield Warning(
            f"The database refuses a query of this check: {type(error).__name__}.",
            hint="Run: python manage.py migrate. If that does not help, read the database server's log.",
            id="accounts.W040",
        )
    finally:
        if not connection.in_atomic_block:
            connection.close()


@contextmanager
def _limited_statements(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """manage.py sets no limit, and another process may hold a lock."""
    if connection.vendor != "postgresql":
        yield
        return
    with transaction.atomic(using=connection.alias):
        with connection.cursor() as cursor:
            # For this transaction only: PgBouncer gives the connection to another client afterwards.
            cursor.execute(f"SET LOCAL statement_timeout = {_STATEMENT_MILLISECONDS}")
        yield


def _connect(connection: BaseDatabaseWrapper) -> CheckMessage | None:
    """Connect to the database; the error if that fails. It omits the driver's own text, which can name the user."""
    values: dict[str, Any] = connection.settings_dict
    name = values["NAME"]
    is_sqlite = connection.vendor == "sqlite"
    if is_sqlite and not connection.is_in_memory_db() and not Path(name).exists():  # type: ignore[attr-defined]
        # A connection would create an empty file.
        return _unavailable(
            f"The database file {name} does not exist.",
            "Check the path in DATABASE_URL. For a new database, run: python manage.py migrate",
        )
    try:
        connection.ensure_connection()
    except (AnyDatabaseError, ImproperlyConfigured) as error:
        if is_sqlite:
            hint = "DATABASE_URL names a file. Its folder must exist, and the site's user must be able to write both."
            return _unavailable(f"The database {name} cannot be opened ({type(error).__name__}).", hint)
        return _server_unavailable(values, error)
    return None


def _server_unavailable(values: dict[str, Any], error: Exception) -> CheckMessage:
    """Names each host: of a cluster, one may be down, and the others may accept no writes."""
    hosts = database_hosts(values)
    places = [f"{host}:{port}" for host, port in hosts] if values["HOST"] else ["this host"]
    refusals = {place: _refusal(host, port) for place, (host, port) in zip(places, hosts, strict=True)}
    found = " ".join(
        f"The database server of {values['NAME']} on {place} cannot be reached ({refusal})."
        if refusal
        else f"The server of {values['NAME']} on {place} can be reached, but it refuses this site's connection "
        f"({type(error).__name__})."
        for place, refusal in refusals.items()
    )
    if all(refusals.values()):
        return _unavailable(found, "Start it, and check the host and the port in DATABASE_URL and the firewall.")
    hint = "Check the user, the password and the name in DATABASE_URL, and the server's log and version."
    if len(hosts) > 1:
        hint += " With target_session_attrs=read-write, a standby is refused: promote one."
    return _unavailable(found, hint)


def _refusal(host: str, port: int) -> str:
    """Why a TCP connection is not possible; "" if it is."""
    try:
        if not host.startswith("/"):
            socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as refusal:
        return refusal.strerror or type(refusal).__name__
    return ""


def check_migrations(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in plan[:5])
        more = f" and {len(plan) - 5} more" if len(plan) > 5 else ""
        missing = f"The database lacks migrations: {names}{more}."
        yield Error(missing, hint="Run: python manage.py migrate", id="accounts.E041")


def check_sqlite(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    if connection.vendor != "sqlite":
        return
    if connection.is_in_memory_db():  # type: ignore[attr-defined]
        yield Warning(
            "The database is in memory: each process has its own, and loses it when it ends.",
            hint="Name a file, or a PostgreSQL server, in DATABASE_URL.",
            id="accounts.W041",
        )
        return
    with connection.cursor() as cursor:
        journal = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
    if (journal, synchronous) != ("wal", 2):
        yield Warning(
            f"SQLite's journal_mode is {journal} and its synchronous is {synchronous}: processes lock each other out, "
            "or a power failure loses tokens that the API has already issued.",
            hint="Keep the init_command of config/settings.py: journal_mode=WAL and synchronous=FULL (2).",
            id="accounts.W043",
        )
    yield from _check_file(Path(connection.settings_dict["NAME"]).resolve())


def _check_file(path: Path) -> Iterator[CheckMessage]:
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        yield Error(
            f"The user of this command cannot write {path} or its folder.",
            hint="The site's user must be able to write both: SQLite keeps its write-ahead log beside the file.",
            id="accounts.E043",
        )


def check_postgresql(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        before = timezone.now()
        cursor.execute(
            "SELECT current_setting('transaction_read_only'), current_setting('synchronous_commit'), clock_timestamp()"
        )
        read_only, synchronous_commit, now = cursor.fetchone()
        after = timezone.now()
    if read_only == "on":
        yield Error(
            "The database is read-only, perhaps a replica: users cannot sign in, and sessions cannot rotate.",
            hint="Name the primary server in DATABASE_URL.",
            id="accounts.E042",
        )
    if synchronous_commit == "off":
        yield Warning(
            "PostgreSQL's synchronous_commit is off: a server crash loses tokens that the API has already issued.",
            hint="Turn it on for this database.",
            id="accounts.W044",
        )
    difference = abs((now - before - (after - before) / 2).total_seconds())
    if difference > _MAX_CLOCK_DIFFERENCE_SECONDS:
        yield Warning(
            f"The clocks of the database server and of this host differ by {difference:.0f} s.",
            hint="Synchronise both with NTP.",
            id="accounts.W045",
        )


def check_pruning(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    long_ago = Now() - _EXPIRED_FOR
    expired = Q(ended_at=None, expiry_check_at__lt=long_ago, expires_at__lt=long_ago)
    overdue = expired | Q(ended_at__lt=Now() - _ENDED_FOR)
    number = SessionRecord.objects.using(connection.alias).filter(overdue).count()
    if number:
        yield Warning(
            f"{number} session records are overdue for pruning by a day or longer.",
            hint="Run `python manage.py prune_sessions` once a day.",
            id="accounts.W046",
        )
