"""Counting routine events in memory, and adding the counts to the totals of each hour in the database."""

from collections import Counter
from datetime import datetime

from django.db import transaction

from accounts.history.background_writer import BackgroundWriter, write_until_exit
from accounts.models import EventTotal, SessionEvent

#: A process that is killed loses what it has counted in this time. All processes add to the same rows.
_GATHER_SECONDS = 5.0


class EventCounter(BackgroundWriter[EventTotal]):
    """Counts the events of one process. The queue has only the counts that are being written: one for each kind and
    hour. New events are counted beside the queue. So a count that could not be written is written again unchanged.
    """

    def __init__(self) -> None:
        super().__init__(EventTotal, gather_seconds=_GATHER_SECONDS)

    def start_over(self) -> None:
        super().start_over()
        self._counts: Counter[tuple[datetime, str]] = Counter()

    def count(self, event: SessionEvent) -> None:
        """Count an event. Never waits for the database, and never raises."""
        hour = event.at.replace(minute=0, second=0, microsecond=0)
        with self._changed:
            self._counts[hour, event.kind] += 1
            self._wake_writer()

    def insert(self, batch: list[EventTotal], database: str) -> None:
        # All or none, so that none is added twice (unless the database has committed, and its reply is lost). In order,
        # so that no two processes wait for each other.
        with transaction.atomic(using=database):
            for total in batch:
                EventTotal.objects.using(database).add(total.hour, total.kind, total.count)

    def _is_empty(self) -> bool:
        return not self._counts and super()._is_empty()

    def _fill_queue(self) -> None:
        if not self._queue:
            counts = sorted(self._counts.items())
            self._queue.extend(EventTotal(hour=hour, kind=kind, count=count) for (hour, kind), count in counts)
            self._counts.clear()


event_counter = EventCounter()
write_until_exit(event_counter)
