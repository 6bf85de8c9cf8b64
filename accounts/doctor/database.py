"""The database that holds the records: there, migrated, writable, on time, and tidied up."""

import os
import socket
from contextlib import suppress
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
from django.utils import timezone

from accounts.doctor.clocks import HAND_OFF_CLOCK_SECONDS, describe_difference
from accounts.doctor.findings import Finding, Findings, count, ok, problem, unknown, warning
from accounts.models import SessionRecord

_PROBE_SECONDS = 3.0
_STATEMENT_MILLISECONDS = 10_000
_NETWORK_FILE_SYSTEMS = (
    "9p",
    "afs",
    "ceph",
    "cifs",
    "fuse.sshfs",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
)
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
        yield from _sqlite(connection) if connection.vendor == "sqlite" else ()
        yield from _postgresql(connection) if connection.vendor == "postgresql" else ()
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


def _sqlite(connection: BaseDatabaseWrapper) -> Findings:
    if connection.is_in_memory_db():  # type: ignore[attr-defined]
        yield warning(
            "database.file",
            "The database is in memory: each process has its own, and it is gone with it.",
            "Name a file, or a PostgreSQL server, in DATABASE_URL.",
        )
        return
    with connection.cursor() as cursor:
        journal = cursor.execute("PRAGMA journal_mode").fetchone()[0]
        synchronous = cursor.execute("PRAGMA synchronous").fetchone()[0]
    if (journal, synchronous) == ("wal", 2):
        yield ok("database.durability", "Write-ahead log, and a stored rotation survives a power failure.")
    else:
        yield warning(
            "database.durability",
            f"journal_mode is {journal} and synchronous is {synchronous}: processes lock each other out, or a power "
            "failure loses tokens that the API has handed out.",
            "Keep the init_command of config/settings.py: journal_mode=WAL and synchronous=FULL (2).",
        )
    yield _file(Path(connection.settings_dict["NAME"]).resolve())


def _file(path: Path) -> Finding:
    name = "database.file"
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        return problem(
            name,
            f"{path} or its folder cannot be written by the user that runs this command.",
            "Both have to be writable for the site's user: SQLite keeps its write-ahead log beside the file.",
        )
    kind = _file_system(path)
    if kind in _NETWORK_FILE_SYSTEMS:
        return warning(
            name,
            f"{path} is on a network file system ({kind}), where SQLite's locks and its write-ahead log do not hold.",
            "Use a local disk, or PostgreSQL where several hosts share the sessions.",
        )
    return ok(name, "The file and its folder can be written.")


def _file_system(path: Path) -> str:
    """The kind of file system that `path` is on, as Linux calls it; "" elsewhere."""
    mounts: list[tuple[Path, str]] = []
    with suppress(OSError):
        for line in Path("/proc/self/mounts").read_text(errors="replace").splitlines():
            _, mounted_on, kind, *_ = line.split(" ")
            mounts.append((Path(mounted_on.replace("\\040", " ")), kind))
    # Of two with the same depth, the later mount covers the earlier one.
    holding = [
        (len(folder.parts), number, kind) for number, (folder, kind) in enumerate(mounts) if path.is_relative_to(folder)
    ]
    return max(holding)[2] if holding else ""


def _postgresql(connection: BaseDatabaseWrapper) -> Findings:
    with connection.cursor() as cursor:
        # manage.py has no limit of its own, and somebody may hold a lock.
        cursor.execute(f"SET statement_timeout = {_STATEMENT_MILLISECONDS}")
        cursor.execute("SHOW transaction_read_only")
        read_only = cursor.fetchone()[0] == "on"
        cursor.execute("SHOW synchronous_commit")
        commits_late = cursor.fetchone()[0] == "off"
        before = timezone.now()
        cursor.execute("SELECT clock_timestamp()")
        now = cursor.fetchone()[0]
        after = timezone.now()
    if read_only:
        yield problem(
            "database.writable",
            "The database takes no changes: it is a replica, or set to read-only. Nobody can sign in or rotate.",
            "Name the primary server in DATABASE_URL.",
        )
    if commits_late:
        yield warning(
            "database.durability",
            "synchronous_commit is off: a crash of the server loses tokens that the API has handed out.",
            "Turn it on for this database.",
        )
    uncertain = (after - before).total_seconds() / 2
    difference = (now - before).total_seconds() - uncertain
    words = describe_difference("The database's clock", difference, uncertain)
    if abs(difference) > HAND_OFF_CLOCK_SECONDS:
        yield warning("database.clock", words, "Let both keep time with NTP.")
    else:
        yield ok("database.clock", words)


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
