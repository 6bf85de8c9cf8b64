"""The ends that this site sets itself: API_SESSION_MAX_AGE and API_SESSION_IDLE_TIMEOUT.

A request decides by its cookie, without a query. Before the session ends, its record has to agree. It may hold a newer
generation, if the browser missed a response. And it has the times by the database's clock: a host with a wrong clock
ends no session.
"""

import time
from dataclasses import replace

from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error as AnyDatabaseError

from accounts.conf import conf
from accounts.exceptions import SessionEnded
from accounts.models import EndReason, SessionRecord
from accounts.rotation.database import drop_broken_connection, in_open_transaction
from accounts.rotation.ending import end_session, session_ended_error
from accounts.rotation.lease import is_leased_to_another
from accounts.rotation.reuse_detection import Presented
from accounts.rotation.token_requests import request_revocation
from accounts.session.api_session import ApiSession
from accounts.session.sealing import CannotOpen


def check_limits(session: ApiSession, presented: Presented, now: float, *, may_be_idle: bool) -> SessionEnded | None:
    """End a session that has reached one of its limits at `now`, in seconds since the epoch; None if it goes on.

    `may_be_idle` is for the first look at a cookie. A stream gets older but not idle: its browser is there.
    """
    if session.is_too_old(now):
        return _end_at_limit(session, presented, EndReason.MAX_AGE)
    if may_be_idle and session.is_idle(now):
        return _end_at_limit(session, presented, EndReason.IDLE)
    return None


def note_use(session: ApiSession) -> ApiSession | None:
    """`session`, in use though the API is unavailable and issues no new access token; None if that is noted already.

    A user who tries again and again is not idle, however long the API is unavailable.
    """
    now, noted = time.time(), session.tokens.refresh_failed_at
    if conf.idle_timeout is None or not session.tokens.has_expired():
        return None
    if noted is not None and 0 <= now - noted < conf.idle_timeout / 4:
        return None
    session = replace(session, tokens=replace(session.tokens, refresh_failed_at=now))
    try:
        SessionRecord.objects.set_expiry(session)
    except AnyDatabaseError:
        # The cookie has it. Only the lists and prune_sessions look at the record's time.
        drop_broken_connection()
    return session


def _end_at_limit(session: ApiSession, presented: Presented, reason: EndReason) -> SessionEnded | None:
    """End a session that has reached the limit `reason` by its cookie, and revoke its newest pair at the API.

    Returns None if its record disagrees: then the session goes on. If the record cannot be read, the session is over
    for this request, and its cookie stays.
    """
    unknown = SessionEnded(reason, delete_cookie=False)
    if in_open_transaction():
        # A rollback would undo the end. The next request with this cookie ends the session.
        return unknown
    try:
        while (record := SessionRecord.objects.fetch(session.id)) is not None:
            if record.ended_at is not None:
                return session_ended_error(record, session, presented)
            newest = record.newest(session)
            if not _agrees(record, newest, reason):
                return None
            # The newest pair has to be revoked. If another request has rotated since, read again.
            if end_session(
                session.id,
                reason,
                up_to_generation=record.generation,
                user_id=session.user.id,
                generation=presented.generation,
                address=presented.address,
            ):
                request_revocation(newest.tokens, address=presented.address)
                break
    except SynchronousOnlyOperation:
        # An async view that runs past the limit. Its next call of the API, or the next request, ends the session.
        return None
    except AnyDatabaseError:
        drop_broken_connection()
        return unknown
    except CannotOpen:
        # Another host sealed it with a key that this one does not have yet.
        return unknown
    return SessionEnded(reason, delete_cookie=True)


def _agrees(record: SessionRecord, newest: ApiSession, reason: EndReason) -> bool:
    """Whether the record's newest session has reached the limit too, also by the database's clock."""
    now = record.fetched_at.database
    if reason is EndReason.MAX_AGE:
        return conf.max_age is not None and now - record.signed_in_at.timestamp() >= conf.max_age
    if is_leased_to_another(record, owner=""):
        # A request that arrived in time is rotating.
        return False
    life = newest.tokens.access_lifetime()
    if life is None or conf.idle_timeout is None or not newest.is_idle(time.time()):
        return False
    used_at = record.last_rotated_at or record.signed_in_at
    return now - used_at.timestamp() >= life + conf.idle_timeout
