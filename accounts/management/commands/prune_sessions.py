"""Wipe what nobody can use any more, and forget what ended long ago."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.db.models.functions import Now

from accounts.ending import end_session
from accounts.models import EndReason, SessionRecord

# The hosts date a refresh token by their own clocks: one that is off must not end a session that the API still knows.
_CLOCK_MARGIN = timedelta(days=1)


class Command(BaseCommand):
    help = "End sessions whose refresh token has expired, and remove the records of those that ended long ago."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--keep-days", type=int, default=30, help="how long ended sessions stay in the admin (30)")
        parser.add_argument("--batch", type=int, default=500, help="rows changed at a time (500)")

    def handle(self, *args: Any, keep_days: int, batch: int, **options: Any) -> None:
        expired = 0
        living = SessionRecord.objects.filter(ended_at=None, expires_at__lt=Now() - _CLOCK_MARGIN)
        while rows := list(living.order_by().values_list("pk", "generation", "user_id")[:batch]):
            # One that rotates at this moment has a new refresh token.
            expired += sum(
                end_session(session_id, EndReason.EXPIRED, up_to_generation=generation, user_id=user_id)
                for session_id, generation, user_id in rows
            )
        removed = 0
        long_ended = SessionRecord.objects.filter(ended_at__lt=Now() - timedelta(days=keep_days))
        while ids := list(long_ended.order_by().values_list("pk", flat=True)[:batch]):
            removed += SessionRecord.objects.filter(pk__in=ids).delete()[0]
        self.stdout.write(
            f"{expired} expired sessions ended, {removed} records of sessions ended {keep_days} days ago removed."
        )
