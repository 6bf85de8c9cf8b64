"""What happens to sessions, told in one place: to the log, to listeners in this process, and to the journal."""

import logging
from uuid import UUID

from django.utils import timezone

from accounts.history.background_writer import BackgroundWriter, write_until_exit
from accounts.models import EventKind, SessionEvent, Trigger
from accounts.signals import session_event
from accounts.telemetry.request_id import current_request_ids
from accounts.telemetry.trace import add_step
from accounts.text import clean_text

logger = logging.getLogger(__name__)

event_writer = BackgroundWriter(SessionEvent)
write_until_exit(event_writer)

#: What a drawing shows in its own way: as a call without a usable answer, and whether or not an answer had been lost.
_DRAWN_ELSEWHERE = (EventKind.API_AWAY, EventKind.ADOPTED)
_LEVELS = {EventKind.REUSED: logging.WARNING, EventKind.API_AWAY: logging.WARNING, EventKind.UNSTORED: logging.ERROR}


def record_event(
    kind: EventKind,
    session_id: UUID,
    *,
    user_id: int | str,
    generation: int | None = None,
    trigger: Trigger | None = None,
    seconds: float | None = None,
    address: str = "",
    why: str = "",
) -> None:
    """Something happened to a session, just now and in the request that this thread works on.

    `generation` is the one that it happened to, or that came of it; `seconds` what the refresh took at the API;
    `address` the browser's; `why` is for the log alone. Costs no query, and never raises.
    """
    event = SessionEvent(
        session_id=session_id,
        kind=kind,
        trigger=trigger or "",
        at=timezone.now(),
        generation=generation,
        duration_ms=None if seconds is None else round(seconds * 1000),
        request_id=current_request_ids().request_id,
        address=address or None,
    )
    _log(event, kind, user_id=clean_text(str(user_id), 255), why=clean_text(why, 255))
    session_event.send_robust(sender=SessionEvent, event=event)
    event_writer.add(event)
    if kind not in _DRAWN_ELSEWHERE:
        add_step(kind.value, generation=generation, trigger=trigger or "")


def _log(event: SessionEvent, kind: EventKind, *, user_id: str, why: str) -> None:
    """One line, with everything in it for people, and field by field for machines."""
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
