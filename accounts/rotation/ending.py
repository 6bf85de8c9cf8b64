"""The end of a session, and which requests may delete its cookie."""

import logging
from uuid import UUID

from django.db import Error as AnyDatabaseError

from accounts.exceptions import SessionEnded
from accounts.history.events import record_event
from accounts.models import EndReason, EventKind, SessionRecord
from accounts.rotation.database import drop_broken_connection, in_open_transaction
from accounts.rotation.reuse_detection import GenerationStatus, Presented, check_generation, too_slow_error
from accounts.rotation.token_requests import request_revocation
from accounts.session.api_session import ApiSession
from accounts.session.sealing import CannotOpen
from accounts.signals import reuse_detected, session_ended

logger = logging.getLogger(__name__)


def end_session(
    session_id: UUID,
    reason: EndReason,
    *,
    up_to_generation: int | None = None,
    user_id: int | str = "",
    generation: int | None = None,
    address: str = "",
) -> bool:
    """End a session for all browsers. Returns whether this call ended it, and only then records the event.

    With `up_to_generation`, only if no newer one was stored in the meantime. `user_id`, `generation` and `address` go
    into the event: the user, and the generation and the address of the request that ended the session.
    """
    ended = SessionRecord.objects.end(session_id, reason, up_to_generation=up_to_generation)
    if ended:
        record_event(EventKind(reason.value), session_id, user_id=user_id, generation=generation, address=address)
        session_ended.send_robust(sender=SessionRecord, session_id=session_id, reason=reason)
    return ended


def session_ended_error(record: SessionRecord | None, session: ApiSession, presented: Presented) -> SessionEnded:
    """The exception for a session whose record has ended or is gone."""
    if record is None:
        return SessionEnded("forgotten", delete_cookie=True)
    if record.end_reason in (EndReason.REVOKED, EndReason.ENDED_ELSEWHERE):
        _revoke_once(record, session, presented)
    # The sign-in that replaced it has written a new session into this cookie.
    replaced = record.end_reason == EndReason.REPLACED
    return SessionEnded(record.end_reason, delete_cookie=record.had_ended_by(presented.arrived) and not replaced)


def _revoke_once(record: SessionRecord, session: ApiSession, presented: Presented) -> None:
    """Revoke the pair of a session that staff or the user ended from elsewhere, if no request has done so yet.

    They did not have the secret of its cookie, so it could not be revoked before. While the API fails, three requests
    try it. A request with an older generation counts as a failure: its pair may be spent already.
    """
    left = record.revocations_left
    try:
        # 0 until the API has responded: the other requests do not try it meanwhile.
        if not left or not SessionRecord.objects.set_revocations_left(record, 0, instead_of=left):
            return
        is_revoked = request_revocation(session.tokens, address=presented.address)
        if not is_revoked or session.generation < record.generation:
            SessionRecord.objects.set_revocations_left(record, left - 1, instead_of=0)
    except AnyDatabaseError:
        drop_broken_connection()
        logger.warning("session %s: it is not known whether its pair is revoked at the API", record.pk)


def fetch_active_record(session: ApiSession, presented: Presented) -> SessionRecord:
    """The record of a session. Raises SessionEnded if it has ended or is gone."""
    record = SessionRecord.objects.fetch(session.id)
    if record is None or record.ended_at is not None:
        raise session_ended_error(record, session, presented)
    return record


def refuse_retired(record: SessionRecord, session: ApiSession, presented: Presented) -> GenerationStatus:
    """Returns the status of what the browser presented. Raises SessionEnded for a reuse, or BodyConsumed."""
    status = check_generation(record, presented)
    if status is GenerationStatus.REUSED:
        raise end_reused_session(record, session, presented)
    if status is GenerationStatus.TOO_SLOW:
        raise too_slow_error()
    return status


def end_reused_session(record: SessionRecord, session: ApiSession, presented: Presented) -> SessionEnded:
    """End a session whose retired generation was used: its cookie was copied, and the copy cannot be told apart."""
    if in_open_transaction():
        # A rollback would undo the end. The next request with this cookie detects the reuse again.
        return SessionEnded(EndReason.REUSED, delete_cookie=False)
    if end_session(
        session.id,
        EndReason.REUSED,
        user_id=session.user.id,
        generation=presented.generation,
        address=presented.address,
    ):
        reuse_detected.send_robust(
            sender=SessionRecord, session_id=session.id, user_name=record.user_name, address=presented.address
        )
        try:
            newest = record.newest(session)
        except CannotOpen:
            newest = session
        request_revocation(newest.tokens, address=presented.address)
    return SessionEnded(EndReason.REUSED, delete_cookie=True)
