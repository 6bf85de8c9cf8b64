"""How many routine events each hour had. What a session's record keeps of them goes when newer ones come."""

from datetime import datetime

from django.db import models
from django.db.models import F


class EventTotalQuerySet(models.QuerySet["EventTotal"]):
    """The statements of the totals. They raise DatabaseError."""

    def add(self, hour: datetime, kind: str, count: int) -> None:
        """Add `count` events. Other processes add to the same row at the same time."""
        total = self.filter(hour=hour, kind=kind)
        if not total.update(count=F("count") + count):
            # Another process may insert the row at the same time.
            self.bulk_create([EventTotal(hour=hour, kind=kind, count=0)], ignore_conflicts=True)
            total.update(count=F("count") + count)


class EventTotal(models.Model):
    """The number of events of one kind in the hour that begins at `hour`, over all sessions, processes and hosts.

    Events with a row of their own (`SessionEvent`) are not in it.
    """

    hour = models.DateTimeField()
    kind = models.CharField(max_length=16)
    count = models.PositiveBigIntegerField()

    objects = EventTotalQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        # Also serves the chart and the deletion of old totals.
        constraints = (models.UniqueConstraint(fields=["hour", "kind"], name="accounts_event_total"),)

    def __str__(self) -> str:
        return f"{self.count} {self.kind} in the hour from {self.hour}"
