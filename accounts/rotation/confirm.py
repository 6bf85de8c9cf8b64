"""Confirming a generation when the browser presents it, and choosing what the response may write into the cookie."""

from dataclasses import replace

from django.db import Error as AnyDatabaseError

from accounts.history.events import record_event
from accounts.models import EventKind, SessionRecord
from accounts.rotation.database import database_errors_as_unavailable, drop_broken_connection, in_open_transaction
from accounts.rotation.ending import end_reused_session, session_ended_error
from accounts.rotation.reuse_detection import GenerationStatus, Presented, check_generation, retired_by
from accounts.session.api_session import ApiSession
from accounts.session.sealing import CannotOpen


def check_record(session: ApiSession, presented: Presented) -> ApiSession:
    """Look at the record of a session, and confirm that its browser has been seen with the generation it presented.

    Returns the session: confirmed; or unconfirmed where the browser was seen with a newer one, or not yet with this.
    Raises SessionEnded; or ApiUnavailable where the records cannot be reached.
    """
    with database_errors_as_unavailable():
        while True:
            record = SessionRecord.objects.fetch(session.id)
            if record is None or record.ended_at is not None:
                raise session_ended_error(record, session, presented)
            verdict = check_generation(record, presented)
            if verdict is GenerationStatus.REUSED:
                raise end_reused_session(record, session, presented)
            if verdict is GenerationStatus.IN_GRACE_PERIOD or in_open_transaction():
                # What a rollback could undo must not be in the cookie.
                return replace(session, confirmed=False)
            if record.generation < session.generation:
                SessionRecord.objects.catch_up(session)
            elif session.generation != presented.generation:
                return session
            elif record.confirmed == session.generation:
                return replace(session, confirmed=True)
            elif SessionRecord.objects.confirm(
                record, session.generation, retired=retired_by(record, session.generation)
            ):
                record_event(
                    EventKind.CONFIRMED,
                    session.id,
                    user_id=session.user.id,
                    generation=session.generation,
                    address=presented.address,
                )
                return replace(session, confirmed=True)
            # Another request confirmed or rotated in between: look again at what it is now.


def session_to_write(session: ApiSession, presented: Presented) -> ApiSession | None:
    """What the way out may write into the cookie: `session` or a newer generation; None if it was ended meanwhile.

    Where the records cannot be reached, a rotated session is written all the same: its pair may be the only living one.
    """
    try:
        record = SessionRecord.objects.fetch(session.id)
        if (
            record is None
            or record.ended_at is not None
            or check_generation(record, presented) is GenerationStatus.REUSED
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
