"""The timeline of a session: its events with rows of their own, and the routine events that its record keeps."""

from dataclasses import dataclass

from accounts.models import EventKind, SessionEvent, SessionRecord

EVENTS_PER_PAGE = 200


@dataclass(frozen=True, slots=True)
class TimelinePage:
    """Events, newest first, and the numbers of the pages beside it; 0 if there is none."""

    events: list[SessionEvent]
    newer: int
    older: int


def timeline_page(record: SessionRecord, number: int) -> TimelinePage:
    """A page of the session's timeline. The first one is 1."""
    start, kept = (number - 1) * EVENTS_PER_PAGE, kept_events(record)
    # A row moves one place for each kept event that is newer. The `before` newest of these belong to earlier pages.
    before = min(start, len(kept))
    rows = SessionEvent.objects.filter(session_id=record.pk).order_by("-at", "-pk")
    around = [*rows[start - before : start + EVENTS_PER_PAGE + 1], *kept]
    found = sorted(around, key=lambda event: event.at, reverse=True)[before:]
    return TimelinePage(
        events=found[:EVENTS_PER_PAGE],
        newer=number - 1,
        older=number + 1 if len(found) > EVENTS_PER_PAGE else 0,
    )


def kept_events(record: SessionRecord) -> list[SessionEvent]:
    """The routine events that the record keeps, newest first."""
    return [SessionEvent.from_line(record.pk, line) for line in reversed(record.recent_events or [])]


def has_unlisted_rotations(record: SessionRecord) -> bool:
    """Whether the session had rotations that are in no page of its timeline: they are only counted."""
    rows = SessionEvent.objects.filter(session_id=record.pk, kind=EventKind.ROTATED)
    kept = sum(event.kind == EventKind.ROTATED for event in kept_events(record))
    return rows.count() + kept < record.generation
