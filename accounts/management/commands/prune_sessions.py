"""Wipe what nobody can use any more, and forget what ended long ago."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts.models import EndReason, SessionEvent, SessionRecord, TracedRequest
from accounts.models.attempt_count import AttemptCount
from accounts.rotation.ending import end_session

# The hosts date a refresh token by their own clocks: one that is off must not end a session that the API still knows.
_CLOCK_MARGIN = timedelta(days=1)


class Command(BaseCommand):
    help = "End sessions whose refresh token has expired, and forget what ended or happened long ago."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--keep-days", type=int, default=30, help="how long it all stays in the admin (30)")
        parser.add_argument(
            "--idle-days",
            type=int,
            help="also end sessions that nobody has used for so long, where the API tells no end of theirs",
        )
        parser.add_argument("--batch", type=int, default=500, help="rows changed at a time (500)")

    def handle(self, *args: Any, keep_days: int, idle_days: int | None, batch: int, **options: Any) -> None:
        if idle_days is not None and idle_days < 1:
            raise CommandError("--idle-days has to be 1 or more: with less, whoever is signed in would be signed out.")
        expired = 0
        living = SessionRecord.objects.filter(ended_at=None, expires_at__lt=Now() - _CLOCK_MARGIN)
        while rows := list(living.order_by("expires_at")[:batch]):
            expired += _end(rows)
        idle = SessionRecord.objects.none() if idle_days is None else _idle_for(timedelta(days=idle_days))
        while rows := list(idle.order_by("pk")[:batch]):
            expired += _end(rows)
            # By the primary key from there on: in no order, each batch would begin with all that is used.
            idle = idle.filter(pk__gt=rows[-1].pk)
        long_ago = Now() - timedelta(days=keep_days)
        removed = _remove(SessionRecord.objects.filter(ended_at__lt=long_ago).order_by("ended_at"), batch)
        events = _remove(SessionEvent.objects.filter(at__lt=long_ago).order_by("at"), batch)
        drawn = _remove(TracedRequest.objects.filter(at__lt=long_ago).order_by("at"), batch)
        tallies = _remove(AttemptCount.objects.filter(expires_at__lt=Now()).order_by("expires_at"), batch)
        self.stdout.write(
            f"{expired} expired sessions ended, {removed} records of sessions ended {keep_days} days ago removed, "
            f"{drawn} drawn requests and {events} events as old as that, {tallies} counts of sign-ins that are over."
        )


def _idle_for(time: timedelta) -> "QuerySet[SessionRecord]":
    """The sessions whose expiry is not known, and that were neither begun, nor rotated, nor confirmed since."""
    since = Now() - time
    unknown = SessionRecord.objects.filter(ended_at=None, expires_at=None, signed_in_at__lt=since)
    return unknown.exclude(last_rotated_at__gte=since).exclude(confirmed_at__gte=since)


def _end(rows: list[SessionRecord]) -> int:
    """End these sessions, but for those that rotate at this moment: they have a new refresh token. Returns how many."""
    return sum(
        end_session(row.pk, EndReason.EXPIRED, up_to_generation=row.generation, user_id=row.user_id) for row in rows
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
