"""Statistics above the list of sessions. Past hours come from the cache, so only the present one is counted."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.core.cache import cache
from django.db.models import Count, Q
from django.utils import timezone

from accounts.models import EventTotal, SessionEvent, SessionRecord

HOURS = 24
#: Beyond this, counting would take longer than the page.
MAX_COUNTED = 100_000
#: A host that could not reach the database may still write events of an hour that is over.
_SETTLED_AFTER = timedelta(minutes=10)
_KEPT_SECONDS = (HOURS + 1) * 3600


@dataclass(frozen=True, slots=True)
class Hour:
    """The hour that begins at `at`, and how many events of each kind it has."""

    at: datetime
    counts: Mapping[str, int]


def last_hours() -> list[Hour]:
    """The last 24 hours, including the present one. An hour that is over is counted once and kept in Django's cache."""
    now = timezone.now()
    present = now.replace(minute=0, second=0, microsecond=0)
    hours = [present - timedelta(hours=ago) for ago in reversed(range(HOURS))]
    cached = cache.get_many([_cache_key(at) for at in hours])
    counted = {at: cached[_cache_key(at)] if _cache_key(at) in cached else _count_events(at) for at in hours}
    totals = _event_totals(hours[0])
    settled = {
        _cache_key(at): counts
        for at, counts in counted.items()
        if _cache_key(at) not in cached and at + timedelta(hours=1) + _SETTLED_AFTER <= now
    }
    if settled:
        cache.set_many(settled, _KEPT_SECONDS)
    return [Hour(at, Counter(counts) + totals[at]) for at, counts in counted.items()]


def count_active_sessions() -> tuple[int, bool]:
    """How many sessions are active, at most MAX_COUNTED, and whether that is all of them."""
    # Only the column of the index: PostgreSQL and SQLite then read no table rows.
    living = SessionRecord.objects.filter(ended_at=None).order_by().values("expiry_check_at")
    now = timezone.now()
    # Several queries, because an index serves each of them, but not all in one.
    queries = (
        living.filter(expiry_check_at__gt=now),
        living.filter(expiry_check_at=None),
        # Few, see prune_sessions. These rows are read.
        living.filter(Q(expires_at=None) | Q(expires_at__gt=now), expiry_check_at__lte=now),
    )
    active = sum(query[: MAX_COUNTED + 1].count() for query in queries)
    return min(active, MAX_COUNTED), active <= MAX_COUNTED


def _cache_key(at: datetime) -> str:
    return f"accounts.admin.statistics.{at:%Y%m%d%H}"


def _event_totals(since: datetime) -> defaultdict[datetime, Counter[str]]:
    """The totals of routine events, which have no rows, by the hour. They are few and need no cache."""
    totals: defaultdict[datetime, Counter[str]] = defaultdict(Counter)
    for hour, kind, count in EventTotal.objects.filter(hour__gte=since).values_list("hour", "kind", "count"):
        totals[hour][kind] = count
    return totals


def _count_events(at: datetime) -> dict[str, int]:
    """The events of an hour that have rows. Also from the release before, which shares the cache during an update."""
    events = SessionEvent.objects.filter(at__gte=at, at__lt=at + timedelta(hours=1))
    return dict(events.order_by().values_list("kind").annotate(times=Count("*")))
