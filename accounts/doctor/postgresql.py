"""PostgreSQL: a server of its own, with a clock of its own."""

from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from accounts.doctor.clocks import UPDATE_CLOCK_SECONDS, describe_difference
from accounts.doctor.findings import Findings, ok, problem, warning

_STATEMENT_MILLISECONDS = 10_000


def examine_postgresql(connection: BaseDatabaseWrapper) -> Findings:
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
    if abs(difference) > UPDATE_CLOCK_SECONDS:
        yield warning("database.clock", words, "Let both keep time with NTP.")
    else:
        yield ok("database.clock", words)
