"""Recording session events: in the log, for receivers of the signal, and in the database.

An event gets a row of its own (`record_event`), unless it is a routine one: the statement that stores a rotation or a
confirmation puts it into the session's record (`SessionRecord.recent_events`), and it is counted
(`record_kept_event`).
"""

import logging
from typing import Any
from uuid import UUID

from django.utils import timezone

from accounts.history.background_writer import BackgroundWriter, write_until_exit
from accounts.history.event_totals import event_counter
from accounts.models import EventKind, SessionEvent, Trigger
from accounts.signals import session_event
from accounts.telemetry.request_id import current_request_ids
from accounts.telemetry.trace import add_step
from accounts.text import clean_text

logger = logging.getLogger(__name__)

event_writer = BackgroundWriter(SessionEvent)
write_until_exit(event_writer)

#: The request trace has steps of its own for the first two. The others end another session than the traced one.
_UNTRACED = (EventKind.API_UNAVAILABLE, EventKind.ADOPTED, EventKind.ENDED_ELSEWHERE, EventKind.BY_PROVIDER)
_LEVELS = {
    EventKind.REUSED: logging.WARNING,
    EventKind.OTHER_USER: logging.ERROR,
    EventKind.API_UNAVAILABLE: logging.WARNING,
    EventKind.UNSTORED: logging.ERROR,
}


def new_event(
    kind: EventKind,
    session_id: UUID,
    *,
    generation: int | None = None,
    trigger: Trigger | None = None,
    seconds: float | None = None,
    address: str = "",
) -> SessionEvent:
    """An event of a session that happens now in the request of this thread. It is not recorded yet.

    `generation` is the one that the event concerns, or that it produced; `seconds` is the duration of the refresh;
    `address` is the browser's.
    """
    return SessionEvent(
        session_id=session_id,
        kind=kind,
        trigger=trigger or "",
        at=timezone.now(),
        generation=generation,
        duration_ms=None if seconds is None else round(seconds * 1000),
        request_id=current_request_ids().request_id,
        address=address or None,
    )


def record_event(kind: EventKind, session_id: UUID, *, user_id: int | str, why: str = "", **details: Any) -> None:
    """Record an event of a session that has just happened. `details` are the other arguments of `new_event`.

    `why` is only for the log. Makes no query, and never raises.
    """
    event = new_event(kind, session_id, **details)
    _announce(event, user_id=user_id, why=why)
    event_writer.add(event)


def record_kept_event(event: SessionEvent, *, user_id: int | str) -> None:
    """Record a new event that the session's record keeps already. Makes no query, and never raises."""
    _announce(event, user_id=user_id)
    event_counter.count(event)


def _announce(event: SessionEvent, *, user_id: int | str, why: str = "") -> None:
    """Tell the log, receivers of the signal, and the request trace."""
    kind = EventKind(event.kind)
    _log(event, kind, user_id=clean_text(str(user_id), 255), why=clean_text(why, 255))
    session_event.send_robust(sender=SessionEvent, event=event)
    if kind not in _UNTRACED:
        add_step(kind.value, generation=event.generation, trigger=event.trigger)


def _log(event: SessionEvent, kind: EventKind, *, user_id: str, why: str) -> None:
    """Log one line, with all fields in its text for people and as attributes for machines."""
    fields = {
        "user_id": user_id,
        "generation": event.generation,
        "trigger": str(event.trigger),
        "duration_ms": event.duration_ms,
        "address": event.address,
        "request_id": event.request_id,
        "why": why,
    }
    details = " ".join(f"{name}={value}" for name, value in fields.items() if value not in ("", None))
    logger.log(
        _LEVELS.get(kind, logging.INFO),
        "session %s: %s (%s)",
        event.session_id,
        kind.label,
        details,
        extra={"event": kind.value, "session_id": str(event.session_id), **fields},
    )
