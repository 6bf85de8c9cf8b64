"""Binding a session to a device, when a cookie with the device's key comes back from the browser."""

from uuid import UUID

from accounts.models import EventKind, SessionRecord
from accounts.rotation.database import database_errors_as_unavailable
from accounts.rotation.events import record_rotation_event
from accounts.rotation.reuse_detection import Presented, lacks_device
from accounts.session.api_session import ApiSession
from accounts.session.device_key import device_key


def is_bound_to(session_id: UUID, device: str) -> bool:
    """Whether the record of a session has this key. Raises ApiUnavailable."""
    try:
        key = device_key(device)
    except ValueError:
        return False
    with database_errors_as_unavailable():
        record = SessionRecord.objects.fetch(session_id)
    return bool(key) and record is not None and record.device_key == key


def update_binding(record: SessionRecord, session: ApiSession, presented: Presented) -> bool:
    """Bind the session to the key that was presented. Returns whether the record has to be fetched again.

    If the record has a key, and an earlier release has dropped it from the cookie, the session is unbound until it is
    bound again.
    """
    if record.device_key == device_key(presented.device):
        return False
    if not presented.device:
        is_dropped = not lacks_device(record, presented)
        if is_dropped:
            SessionRecord.objects.unbind(record)
        return is_dropped
    if record.device_key or not presented.has_device_in_cookie or presented.generation < record.confirmed:
        return False
    if SessionRecord.objects.bind(record, presented.device):
        record_rotation_event(EventKind.BOUND, session, presented)
    return True
