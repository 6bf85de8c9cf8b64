"""Recording the events of a rotation."""

from typing import Any

from accounts.history.events import new_event, record_event
from accounts.models import EventKind, SessionEvent
from accounts.rotation.reuse_detection import Presented
from accounts.session.api_session import ApiSession


def new_rotation_event(kind: EventKind, session: ApiSession, presented: Presented, **details: Any) -> SessionEvent:
    """An event of this generation of `session`. `details` are the other arguments of `new_event`."""
    return new_event(kind, session.id, generation=session.generation, address=presented.address, **details)


def record_rotation_event(kind: EventKind, session: ApiSession, presented: Presented, **details: Any) -> None:
    """Record an event of this generation of `session`. `details` are the other arguments of `record_event`."""
    user, address = session.user, presented.address
    record_event(kind, session.id, user_id=user.id, generation=session.generation, address=address, **details)
