"""End sessions that have expired, and delete old rows."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import router
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from accounts.conf import conf
from accounts.models import (
    EndReason,
    EventTotal,
    SessionEvent,
    SessionRecord,
    SessionRecordQuerySet,
    TracedRequest,
)
from accounts.models.attempt_count import AttemptCount
from accounts.rotation.ending import end_session

# A host dates the expiry of a session by its own clock. A wrong clock must not end a session that is still valid.
_CLOCK_MARGIN = timedelta(days=1)


class Command(BaseCommand):
    help = (
        "End sessions whose refresh token has expired or that have reached a limit, and delete rows of sessions, "
        "events and requests that are old."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--keep-days", type=int, default=30, help="days that ended sessions, events and requests stay (30)"
        )
        parser.add_argument(
            "--idle-days", type=int, help="also end sessions without a known expiry that were not used for so many days"
        )
        parser.add_argument("--batch", type=int, default=500, help="rows changed at once (500)")

    def handle(self, *args: Any, keep_days: int, idle_days: int | None, batch: int, **options: Any) -> None:
        if idle_days is not None and idle_days < 1:
            raise CommandError("--idle-days must be 1 or more: less would sign every user out.")
        expired = 0
        # A replica that lags behind would return the same rows again.
        records = SessionRecord.objects.using(router.db_for_write(SessionRecord))
        _put_off(records, batch)
        living = records.filter(ended_at=None, expiry_check_at__lt=Now() - _CLOCK_MARGIN)
        living = living.filter(expires_at__lt=Now() - _CLOCK_MARGIN).order_by("expiry_check_at")
        while rows := list(living[:batch]):
            expired += _end(rows)
        too_old = records.none() if conf.max_age is None else _older_than(records, timedelta(seconds=conf.max_age))
        while rows := list(too_old.order_by("signed_in_at")[:batch]):
            expired += _end(rows)
        idle = records.none() if idle_days is None else _idle_for(records, timedelta(days=idle_days))
        while rows := list(idle.order_by("pk")[:batch]):
            expired += _end(rows)
            # Continue after the last primary key. Otherwise each batch would read the same used sessions again.
            idle = idle.filter(pk__gt=rows[-1].pk)
        long_ago = Now() - timedelta(days=keep_days)
        removed = _remove(SessionRecord.objects.filter(ended_at__lt=long_ago).order_by("ended_at"), batch)
        events = _remove(SessionEvent.objects.filter(at__lt=long_ago).order_by("at"), batch)
        totals = _remove(EventTotal.objects.filter(hour__lt=long_ago).order_by("hour"), batch)
        requests = _remove(TracedRequest.objects.filter(at__lt=long_ago).order_by("at"), batch)
        counts = _remove(AttemptCount.objects.filter(expires_at__lt=Now()).order_by("expires_at"), batch)
        self.stdout.write(
            f"{expired} expired sessions ended. Removed, older than {keep_days} days: {removed} ended sessions, "
            f"{events} events, {totals} hourly totals of events, {requests} traced requests. Also removed: "
            f"{counts} expired counts of failed sign-ins."
        )


def _put_off(records: SessionRecordQuerySet, batch: int) -> None:
    """Look again at sessions that are due only when they expire: rotations have put off their expiry."""
    not_expired = records.due().filter(Q(expires_at=None) | Q(expires_at__gt=F("expiry_check_at")))
    rows = not_expired.order_by("expiry_check_at").values_list("pk", "expiry_check_at")
    while found := list(rows[:batch]):
        # The database computes it from the row, so no change of another request is lost.
        not_expired.filter(pk__in=[pk for pk, _ in found]).update(expiry_check_at=F("expires_at"))
        # Continue there. Otherwise each batch would read the same expired sessions again.
        rows = rows.filter(expiry_check_at__gte=found[-1][1])


def _older_than(records: "QuerySet[SessionRecord]", age: timedelta) -> "QuerySet[SessionRecord]":
    """Sessions that began before that, such as those from before API_SESSION_MAX_AGE was set."""
    return records.filter(ended_at=None, signed_in_at__lt=Now() - age - _CLOCK_MARGIN)


def _idle_for(records: "QuerySet[SessionRecord]", time: timedelta) -> "QuerySet[SessionRecord]":
    """Sessions without a known expiry that were not begun, rotated or confirmed since."""
    since = Now() - time
    # Both times: the index has one of them.
    unknown = records.filter(ended_at=None, expiry_check_at=None, expires_at=None, signed_in_at__lt=since)
    return unknown.exclude(last_rotated_at__gte=since).exclude(confirmed_at__gte=since)


def _end(rows: list[SessionRecord]) -> int:
    """End these sessions, except those that have rotated since: they have a new refresh token. Returns how many."""
    return sum(
        end_session(row.pk, _why_over(row), up_to_generation=row.generation, user_id=row.user_id) for row in rows
    )


def _why_over(row: SessionRecord) -> EndReason:
    """Which limit it was. The record does not tell an expired refresh token from the idle time: both were not used."""
    if conf.max_age is not None and timezone.now() - row.signed_in_at >= timedelta(seconds=conf.max_age):
        return EndReason.MAX_AGE
    return EndReason.EXPIRED if conf.idle_timeout is None else EndReason.IDLE


def _remove(rows: "QuerySet[Any]", batch: int) -> int:
    """Delete in batches, so that no request waits long for a lock. Returns how many.

    `rows` must be in the order of an index. Otherwise PostgreSQL scans the table for each batch.
    """
    removed = 0
    rows = rows.using(router.db_for_write(rows.model))
    while ids := list(rows.values_list("pk", flat=True)[:batch]):
        # A row that has changed since stays, such as the count of a new window.
        removed += rows.filter(pk__in=ids).delete()[0]
    return removed
