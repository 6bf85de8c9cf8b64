"""Recording the events of a rotation."""

from accounts.history.events import record_event
from accounts.models import EventKind, Trigger
from accounts.rotation.reuse_detection import Presented
from accounts.session.api_session import ApiSession


def record_rotation_event(
    kind: EventKind,
    session: ApiSession,
    presented: Presented,
    *,
    trigger: Trigger | None = None,
    seconds: float | None = None,
    why: str = "",
) -> None:
    """Record an event of this generation of `session`, with its user and the address of the browser."""
    record_event(
        kind,
        session.id,
        user_id=session.user.id,
        generation=session.generation,
        trigger=trigger,
        seconds=seconds,
        address=presented.address,
        why=why,
    )
