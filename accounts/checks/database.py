"""System checks that ask the database of the session records: `manage.py check --deploy --database default`.

They are deployment checks because `migrate` runs the other checks of its database: an unapplied migration must not stop
it.
"""

import os
import socket
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as AnyDatabaseError
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from accounts.models import SessionRecord

_CONNECT_SECONDS = 3.0
_STATEMENT_MILLISECONDS = 10_000
#: A session update is valid for 60 seconds, and another host may open it.
_MAX_CLOCK_DIFFERENCE_SECONDS = 30.0
#: `prune_sessions` waits for a day after the expiry, keeps ended sessions for 30 days, and runs once a day.
_EXPIRED_FOR = timedelta(days=2)
_ENDED_FOR = timedelta(days=32)
_NETWORK_FILE_SYSTEMS = ("9p", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3")


@register(Tags.database, deploy=True)
def check_database(
    app_configs: Sequence[AppConfig] | None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Raises nothing for a database that is unavailable: the other checks of the run still report."""
    alias = router.db_for_write(SessionRecord)
    if alias not in (databases or ()):
        return []
    connection = connections[alias]
    messages: list[CheckMessage] = []
    try:
        unavailable = check_connection(connection)
        if unavailable:
            return [unavailable]
        for check in (check_migrations, check_sqlite, check_postgresql, check_pruning):
            messages += check(connection)
    except AnyDatabaseError as error:
        messages.append(
            # Without the driver's own text, which can quote a row.
            Warning(
                f"The database refuses a query of this check: {type(error).__name__}.",
                hint="Run: python manage.py migrate. If that does not help, read the database server's log.",
                id="accounts.W040",
            )
        )
    finally:
        if not connection.in_atomic_block:
            connection.close()
    return messages


def check_connection(connection: BaseDatabaseWrapper) -> CheckMessage | None:
    """Connect to the database."""
    if _is_missing_file(connection):
        # A connection would create an empty file.
        hint = "Check the path in DATABASE_URL. For a new database, run: python manage.py migrate"
        return _unavailable(f"The database file {_place(connection)} does not exist.", hint)
    try:
        connection.ensure_connection()
    except (AnyDatabaseError, ImproperlyConfigured) as error:
        return _explain_failure(connection, error)
    return None


def _is_missing_file(connection: BaseDatabaseWrapper) -> bool:
    if connection.vendor != "sqlite" or connection.is_in_memory_db():  # type: ignore[attr-defined]
        return False
    return not Path(connection.settings_dict["NAME"]).exists()


def _explain_failure(connection: BaseDatabaseWrapper, error: Exception) -> CheckMessage:
    """Without the driver's own text, which can name the user."""
    place = _place(connection)
    if connection.vendor == "sqlite":
        return _unavailable(
            f"The database {place} cannot be opened ({type(error).__name__}).",
            "DATABASE_URL names a file. Its folder must exist, and the site's user must be able to write both.",
        )
    host, port = connection.settings_dict["HOST"] or "localhost", connection.settings_dict["PORT"] or 5432
    if not host.startswith("/"):
        try:
            socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
        except OSError as refusal:
            return _unavailable(
                f"The database server of {place} cannot be reached ({refusal.strerror or type(refusal).__name__}).",
                "Start it, and check the host and the port in DATABASE_URL and the firewall.",
            )
    return _unavailable(
        f"The server of {place} can be reached, but it refuses this site's connection ({type(error).__name__}).",
        "Check the user, the password and the database name in DATABASE_URL, and the server's log and version.",
    )


def _unavailable(message: str, hint: str) -> CheckMessage:
    return Error(message, hint=hint, id="accounts.E040")


def _place(connection: BaseDatabaseWrapper) -> str:
    """The address of the database, without user and password."""
    values: dict[str, Any] = connection.settings_dict
    if connection.vendor == "sqlite":
        return str(values["NAME"])
    port = f":{values['PORT']}" if values["PORT"] else ""
    return f"{values['NAME']} on {values['HOST'] or 'this host'}{port}"


def check_migrations(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in plan[:5])
        more = f" and {len(plan) - 5} more" if len(plan) > 5 else ""
        yield Error(
            f"The database lacks migrations: {names}{more}.",
            hint="Run: python manage.py migrate",
            id="accounts.E041",
        )


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
    kind = file_system(path, _mounts())
    if kind in _NETWORK_FILE_SYSTEMS:
        yield Warning(
            f"{path} is on a network file system ({kind}), where SQLite's locks and write-ahead log are unreliable.",
            hint="Use a local disk, or PostgreSQL if several hosts share the sessions.",
            id="accounts.W042",
        )


def _mounts() -> str:
    """The mounted file systems as Linux lists them; "" on other systems."""
    try:
        return Path("/proc/self/mounts").read_text(errors="replace")
    except OSError:
        return ""


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system of `path`, by the lines of `mounts` (proc_pid_mounts(5)); "" if none matches."""
    deepest, found = -1, ""
    for line in mounts.splitlines():
        _, folder, kind, *_ = line.split(" ")
        mounted_on = Path(folder.replace("\\040", " "))
        # Of two mounts on the same folder, the later one covers the earlier one.
        if path.is_relative_to(mounted_on) and len(mounted_on.parts) >= deepest:
            deepest, found = len(mounted_on.parts), kind
    return found


def check_postgresql(connection: BaseDatabaseWrapper) -> Iterator[CheckMessage]:
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        # manage.py sets no limit, and another process may hold a lock.
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
        yield Error(
            "The database is read-only, perhaps a replica: users cannot sign in, and sessions cannot rotate.",
            hint="Name the primary server in DATABASE_URL.",
            id="accounts.E042",
        )
    if commits_late:
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
    overdue = Q(ended_at=None, expires_at__lt=Now() - _EXPIRED_FOR) | Q(ended_at__lt=Now() - _ENDED_FOR)
    number = SessionRecord.objects.using(connection.alias).filter(overdue).count()
    if number:
        yield Warning(
            f"{number} session records are overdue for pruning by a day or longer.",
            hint="Run `python manage.py prune_sessions` once a day.",
            id="accounts.W046",
        )
