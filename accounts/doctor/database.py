"""The database that holds the records: there, migrated, writable, on time, and tidied up."""

import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error as AnyDatabaseError
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Max, Q
from django.db.models.functions import Length, Now

from accounts.doctor.findings import Finding, Findings, count, ok, problem, unknown, warning
from accounts.doctor.postgresql import examine_postgresql
from accounts.doctor.sqlite import examine_sqlite
from accounts.models import SessionRecord

_PROBE_SECONDS = 3.0
#: `prune_sessions` waits for a day after the expiry, keeps what has ended for 30 days, and runs once a day.
_EXPIRED_FOR = timedelta(days=2)
_ENDED_FOR = timedelta(days=32)


def examine_database() -> Findings:
    connection = connections[router.db_for_write(SessionRecord)]
    if _is_missing_file(connection):
        # To connect would make an empty one.
        yield problem("database.connection", f"There is no file {_place(connection)}.", "Run: python manage.py migrate")
        return
    try:
        connection.ensure_connection()
    except (AnyDatabaseError, ImproperlyConfigured) as error:
        yield _unreachable(connection, error)
        return
    try:
        yield ok("database.connection", f"{_version(connection)} answers: {_place(connection)}.")
        yield _migrations(connection)
        yield from examine_sqlite(connection) if connection.vendor == "sqlite" else ()
        yield from examine_postgresql(connection) if connection.vendor == "postgresql" else ()
        yield from _records()
    except AnyDatabaseError as error:
        # Its text can quote a row, so it goes no further.
        yield unknown("database.rest", f"The rest cannot be told: {type(error).__name__}.")
    finally:
        if not connection.in_atomic_block:
            connection.close()


def _is_missing_file(connection: BaseDatabaseWrapper) -> bool:
    if connection.vendor != "sqlite" or connection.is_in_memory_db():  # type: ignore[attr-defined]
        return False
    return not Path(connection.settings_dict["NAME"]).exists()


def _unreachable(connection: BaseDatabaseWrapper, error: Exception) -> Finding:
    """Without the driver's own words, which may name the user."""
    name, place = "database.connection", _place(connection)
    if connection.vendor == "sqlite":
        return problem(
            name,
            f"The database cannot be opened: {place} ({type(error).__name__}).",
            "DATABASE_URL names a file; its folder has to exist, and both have to be writable for the site's user.",
        )
    host, port = connection.settings_dict["HOST"] or "localhost", connection.settings_dict["PORT"] or 5432
    if not host.startswith("/"):
        try:
            socket.create_connection((host, int(port)), timeout=_PROBE_SECONDS).close()
        except OSError as refusal:
            reason = refusal.strerror or type(refusal).__name__
            return problem(
                name,
                f"The database does not answer: {place} ({reason}).",
                "Start it, and look at host and port in DATABASE_URL and at the firewall.",
            )
    return problem(
        name,
        f"Something listens at {place}, but lets this site not in ({type(error).__name__}).",
        "Look at user, password and name in DATABASE_URL, at the server's log, and at its version.",
    )


def _version(connection: BaseDatabaseWrapper) -> str:
    version = ".".join(str(number) for number in connection.get_database_version())
    return f"{connection.display_name} {version}"


def _place(connection: BaseDatabaseWrapper) -> str:
    """Where the database is, and no more: neither user nor password."""
    values: dict[str, Any] = connection.settings_dict
    if connection.vendor == "sqlite":
        return str(values["NAME"])
    port = f":{values['PORT']}" if values["PORT"] else ""
    return f"{values['NAME']} on {values['HOST'] or 'this machine'}{port}"


def _migrations(connection: BaseDatabaseWrapper) -> Finding:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if not plan:
        return ok("database.migrations", "All migrations are applied.")
    names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in plan[:5])
    more = f" and {len(plan) - 5} more" if len(plan) > 5 else ""
    return problem(
        "database.migrations",
        f"{count(len(plan), 'migration')} not applied: {names}{more}.",
        "Run: python manage.py migrate",
    )


def _records() -> Findings:
    records = SessionRecord.objects.order_by()
    living = records.filter(ended_at=None)
    ended = records.exclude(ended_at=None)
    longest = living.aggregate(longest=Max(Length("sealed")))["longest"]
    size = f" The largest that is stored has {longest} bytes, as a cookie." if longest else ""
    yield ok("database.sessions", f"{count(living.count(), 'living session')}, {ended.count()} ended.{size}")
    overdue = records.filter(
        Q(ended_at=None, expires_at__lt=Now() - _EXPIRED_FOR) | Q(ended_at__lt=Now() - _ENDED_FOR)
    ).count()
    if overdue:
        yield warning(
            "database.pruning",
            f"{count(overdue, 'record')} should have been pruned a day ago or longer.",
            "Run `python manage.py prune_sessions` once a day.",
        )
    else:
        yield ok("database.pruning", "Nothing is overdue for prune_sessions.")
