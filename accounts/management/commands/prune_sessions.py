"""Wipe what nobody can use any more, and forget what ended long ago."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts.ending import end_session
from accounts.models import EndReason, SessionEvent, SessionRecord, TracedRequest
from accounts.tallies import Tally

# The hosts date a refresh token by their own clocks: one that is off must not end a session that the API still knows.
_CLOCK_MARGIN = timedelta(days=1)


class Command(BaseCommand):
    help = "End sessions whose refresh token has expired, and forget what ended or happened long ago."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--keep-days", type=int, default=30, help="how long it all stays in the admin (30)")
        parser.add_argument("--batch", type=int, default=500, help="rows changed at a time (500)")

    def handle(self, *args: Any, keep_days: int, batch: int, **options: Any) -> None:
        expired = 0
        living = SessionRecord.objects.filter(ended_at=None, expires_at__lt=Now() - _CLOCK_MARGIN)
        while rows := list(living.order_by("expires_at").values_list("pk", "generation", "user_id")[:batch]):
            # One that rotates at this moment has a new refresh token.
            expired += sum(
                end_session(session_id, EndReason.EXPIRED, up_to_generation=generation, user_id=user_id)
                for session_id, generation, user_id in rows
            )
        long_ago = Now() - timedelta(days=keep_days)
        removed = _remove(SessionRecord.objects.filter(ended_at__lt=long_ago).order_by("ended_at"), batch)
        events = _remove(SessionEvent.objects.filter(at__lt=long_ago).order_by("at"), batch)
        drawn = _remove(TracedRequest.objects.filter(at__lt=long_ago).order_by("at"), batch)
        tallies = _remove(Tally.objects.filter(expires_at__lt=Now()).order_by("expires_at"), batch)
        self.stdout.write(
            f"{expired} expired sessions ended, {removed} records of sessions ended {keep_days} days ago removed, "
            f"{drawn} drawn requests and {events} events as old as that, {tallies} counts of sign-ins that are over."
        )


def _remove(rows: "QuerySet[Any]", batch: int) -> int:
    """Delete a few at a time, so that nobody waits long for a lock. Returns how many.

    `rows` are in the order of an index. In no order, PostgreSQL looks through the table itself for each batch, and for
    the last one through all of it.
    """
    removed = 0
    while ids := list(rows.values_list("pk", flat=True)[:batch]):
        # What has changed in the meantime, as the count of a window that began anew, stays.
        removed += rows.filter(pk__in=ids).delete()[0]
    return removed
