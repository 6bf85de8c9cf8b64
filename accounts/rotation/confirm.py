"""Confirming a generation when the browser presents it, and choosing what the response may write into the cookie."""

from dataclasses import replace

from django.db import Error as AnyDatabaseError

from accounts.models import EventKind, SessionRecord
from accounts.rotation.database import database_errors_as_unavailable, drop_broken_connection, in_open_transaction
from accounts.rotation.ending import end_reused_session, fetch_active_record
from accounts.rotation.events import record_rotation_event
from accounts.rotation.reuse_detection import GenerationStatus, Presented, check_generation, retired_by, too_slow_error
from accounts.session.api_session import ApiSession
from accounts.session.sealing import CannotOpen


def check_record(session: ApiSession, presented: Presented) -> ApiSession:
    """Fetch the record of a session, and confirm that its browser has sent the generation that it presented.

    Returns the session: confirmed, or unconfirmed if the browser has sent a newer generation or not yet this one.
    Raises SessionEnded, BodyConsumed, or ApiUnavailable if the records cannot be reached.
    """
    with database_errors_as_unavailable():
        while True:
            record = fetch_active_record(session, presented)
            status = check_generation(record, presented)
            if status is GenerationStatus.REUSED:
                raise end_reused_session(record, session, presented)
            if status is GenerationStatus.TOO_SLOW:
                raise too_slow_error()
            if status is GenerationStatus.IN_GRACE_PERIOD or in_open_transaction():
                # The cookie must not say what a rollback could undo.
                return replace(session, confirmed=False)
            if record.generation < session.generation:
                SessionRecord.objects.catch_up(session)
            elif session.generation != presented.generation:
                return session
            elif record.confirmed == session.generation:
                return replace(session, confirmed=True)
            elif SessionRecord.objects.confirm(record, session.generation, **retired_by(record, session.generation)):
                record_rotation_event(EventKind.CONFIRMED, session, presented)
                return replace(session, confirmed=True)
            # The record has caught up, or another request has changed it: fetch it again.


def store_rejection(session: ApiSession) -> None:
    """Store that the API rejects the access token of `session`, for requests that adopt this generation."""
    try:
        SessionRecord.objects.update_newest(session)
    except AnyDatabaseError:
        # The cookie has it.
        drop_broken_connection()


def session_to_write(session: ApiSession, presented: Presented) -> ApiSession | None:
    """The session that the response may write into the cookie: `session` or a newer one; None if there is none.

    If the records cannot be reached, a rotated session is still written: its pair may be the only valid one.
    """
    try:
        record = SessionRecord.objects.fetch(session.id)
        if (
            record is None
            or record.ended_at is not None
            or check_generation(record, presented) in (GenerationStatus.TOO_SLOW, GenerationStatus.REUSED)
        ):
            return None
        if record.generation < session.generation:
            SessionRecord.objects.catch_up(session)
        return record.newest(session)
    except AnyDatabaseError:
        drop_broken_connection()
        return session if session.generation > presented.generation else None
    except CannotOpen:
        return None
