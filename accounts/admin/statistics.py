"""What staff see above the list of sessions: what happened in the last hours, at the cost of the last one."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.cache import cache
from django.db.models import Count
from django.utils import timezone

from accounts.models import SessionEvent, SessionRecord

HOURS = 24
#: Beyond this, counting would take longer than the page.
MAX_COUNTED = 100_000
#: Until then, a host that could not reach the database for a while may still write events of an hour that is over.
_SETTLED_AFTER = timedelta(minutes=10)
_KEPT_SECONDS = (HOURS + 1) * 3600


@dataclass(frozen=True, slots=True)
class Hour:
    """What happened in the hour that begins at `at`: how often each kind of event was told."""

    at: datetime
    counts: Mapping[str, int]


def last_hours() -> list[Hour]:
    """The last 24 hours, the present one included. An hour that is over is counted once, and kept in Django's cache."""
    now = timezone.now()
    present = now.replace(minute=0, second=0, microsecond=0)
    hours = [present - timedelta(hours=ago) for ago in reversed(range(HOURS))]
    known = cache.get_many([_key(at) for at in hours])
    counted = {at: known[_key(at)] if _key(at) in known else _count(at) for at in hours}
    settled = {
        _key(at): counts
        for at, counts in counted.items()
        if _key(at) not in known and at + timedelta(hours=1) + _SETTLED_AFTER <= now
    }
    if settled:
        cache.set_many(settled, _KEPT_SECONDS)
    return [Hour(at, counts) for at, counts in counted.items()]


def count_active_sessions() -> tuple[int, bool]:
    """How many sessions are active; and whether that is all of them, or there are more than are counted."""
    # The one column that its index has: of rows that had to be read, fewer could be counted.
    living = SessionRecord.objects.filter(ended_at=None).order_by().values("expires_at")
    # Two questions, each of which an index answers; together they have none.
    active = living.filter(expires_at__gt=timezone.now())[: MAX_COUNTED + 1].count()
    active += living.filter(expires_at=None)[: MAX_COUNTED + 1].count()
    return min(active, MAX_COUNTED), active <= MAX_COUNTED


def _key(at: datetime) -> str:
    return f"accounts.admin.statistics.{at:%Y%m%d%H}"


def _count(at: datetime) -> dict[str, int]:
    events = SessionEvent.objects.filter(at__gte=at, at__lt=at + timedelta(hours=1))
    return dict(events.order_by().values_list("kind").annotate(times=Count("*")))
