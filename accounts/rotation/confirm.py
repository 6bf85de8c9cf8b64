"""Confirming a generation when the browser presents it, and choosing what the response may write into the cookie."""

from dataclasses import replace

from django.db import Error as AnyDatabaseError

from accounts.history.events import record_kept_event
from accounts.models import EventKind, SessionRecord
from accounts.rotation.binding import update_binding
from accounts.rotation.database import (
    connect,
    database_errors_as_unavailable,
    drop_broken_connection,
    in_open_transaction,
)
from accounts.rotation.ending import fetch_active_record, refuse_retired
from accounts.rotation.events import new_rotation_event
from accounts.rotation.reuse_detection import GenerationStatus, Presented, check_generation, lacks_device, retired_by
from accounts.session.api_session import ApiSession
from accounts.session.sealing import CannotOpen


def check_record(session: ApiSession, presented: Presented) -> ApiSession:
    """Check the record of a session, and confirm that its browser has sent the generation that it presented.

    Returns the session: confirmed, or unconfirmed if the browser has sent a newer generation or not yet this one.
    Raises SessionEnded, BodyConsumed, or ApiUnavailable if the records cannot be reached.
    """
    with database_errors_as_unavailable():
        if _confirm_newest(session, presented):
            return replace(session, confirmed=True)
        while True:
            record = fetch_active_record(session, presented)
            status = refuse_retired(record, session, presented)
            if in_open_transaction():
                # The cookie must not say what a rollback could undo.
                return replace(session, confirmed=False)
            if update_binding(record, session, presented):
                continue
            if status is GenerationStatus.IN_GRACE_PERIOD:
                return replace(session, confirmed=False)
            if record.generation < session.generation:
                SessionRecord.objects.catch_up(session)
            elif session.generation != presented.generation:
                return session
            elif record.confirmed == session.generation or _confirm(record, session, presented):
                return replace(session, confirmed=True)
            # The record has caught up, or another request has changed it: fetch it again.


def _confirm_newest(session: ApiSession, presented: Presented) -> bool:
    """Confirm a generation in one statement, if no request has presented it before. Then no newer one exists, and the
    browser has sent none that would retire it. Returns whether it did.
    """
    if session.confirmed or session.generation != presented.generation or in_open_transaction():
        return False
    event = new_rotation_event(EventKind.CONFIRMED, session, presented)
    connect()
    try:
        is_confirmed = SessionRecord.objects.confirm_newest(session, presented.device, event)
    except AnyDatabaseError:
        # A database that can only be read still tells that a session has ended.
        drop_broken_connection()
        return False
    if is_confirmed:
        record_kept_event(event, user_id=session.user.id)
    return is_confirmed


def _confirm(record: SessionRecord, session: ApiSession, presented: Presented) -> bool:
    """Confirm the generation of `session` in its record. Returns False if another request has changed the record."""
    event = new_rotation_event(EventKind.CONFIRMED, session, presented)
    retired = retired_by(record, session.generation)
    is_confirmed = SessionRecord.objects.confirm(record, session.generation, event, **retired)
    if is_confirmed:
        record_kept_event(event, user_id=session.user.id)
    return is_confirmed


def store_rejection(session: ApiSession) -> None:
    """Store that the API rejects the access token of `session`, for requests that adopt this generation."""
    try:
        SessionRecord.objects.update_newest(session)
    except AnyDatabaseError:
        # The cookie has it.
        drop_broken_connection()


def session_to_write(session: ApiSession, presented: Presented) -> ApiSession | None:
    """The session that the response may write into the cookie: `session` or a newer one; None if there is none.

    If the records cannot be reached, a rotated session is still written: its pair may be the only valid one. A session
    without a key does not replace the one that is bound to a device meanwhile.
    """
    try:
        if session.device == presented.device and SessionRecord.objects.is_newest(
            session, presented_generation=presented.generation
        ):
            return _for_cookie(session, presented)
        record = SessionRecord.objects.fetch(session.id)
        if (
            record is None
            or record.ended_at is not None
            or check_generation(record, presented) in (GenerationStatus.TOO_SLOW, GenerationStatus.REUSED)
        ):
            return None
        if record.generation < session.generation:
            SessionRecord.objects.catch_up(session)
        newest = record.newest(session)
        if newest.device:
            return _for_cookie(newest, presented)
        return None if lacks_device(record, replace(presented, generation=newest.generation)) else newest
    except AnyDatabaseError:
        drop_broken_connection()
        return session if session.generation > presented.generation else None
    except CannotOpen:
        return None


def _for_cookie(session: ApiSession, presented: Presented) -> ApiSession:
    """The newest session. It is unconfirmed if its cookie brings the key of a device: the browser has to send that."""
    is_in_cookie = not session.device or presented.has_device_in_cookie
    return session if is_in_cookie else replace(session, confirmed=False)
