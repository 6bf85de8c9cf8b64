"""Signing in and out, here and at the API."""

import logging
from contextlib import suppress

from django.db import Error as AnyDatabaseError

from accounts.api import ApiRequest
from accounts.auth_api import request_revocation, request_sign_in
from accounts.cookies import check_size
from accounts.ending import end_session, reuse
from accounts.events import tell
from accounts.exceptions import AccountsError, SessionEnded
from accounts.judge import Verdict, judge
from accounts.models import EndReason, Kind, SessionRecord
from accounts.records import drop_broken_connection, records_reachable
from accounts.sealing import CannotOpen
from accounts.session import ApiSession
from accounts.signals import session_started

logger = logging.getLogger(__name__)


def sign_in(request: ApiRequest, username: str, password: str) -> ApiSession:
    """Sign in at the API, and begin a new session in this browser; one that it had before is over.

    Raises CredentialsRefused with the API's words, ApiUnavailable or ApiMisbehaved.
    """
    browser = request.api_session
    signed_in = request_sign_in(username, password, address=browser.address)
    older = browser.opened()
    session = ApiSession.begin(signed_in.user, signed_in.tokens, after=older)
    try:
        check_size(session)
        with records_reachable():
            SessionRecord.objects.begin(
                session, address=browser.address, user_agent=request.headers.get("User-Agent", "")
            )
    except AccountsError:
        request_revocation(session.tokens, address=browser.address)
        raise
    session_started.send_robust(
        sender=SessionRecord, session_id=session.id, user_id=str(session.user.id), user_name=session.user.name
    )
    tell(Kind.SIGNED_IN, session.id, user_id=session.user.id, generation=0, address=browser.address)
    _end_at_both_ends(request, EndReason.REPLACED)
    browser.begin(session)
    return session


def sign_out(request: ApiRequest) -> None:
    """End this browser's session here and at the API. Works while the API or the database is away."""
    _end_at_both_ends(request, EndReason.SIGNED_OUT)
    request.api_session.finish(SessionEnded(EndReason.SIGNED_OUT, delete_cookie=True))


def _end_at_both_ends(request: ApiRequest, reason: EndReason) -> None:
    browser = request.api_session
    session = browser.opened()
    if session is None:
        return
    newest = session
    try:
        while (record := SessionRecord.objects.look(session.id)) is not None and record.ended_at is None:
            if judge(record, browser.presented) is Verdict.REUSE:
                reuse(record, session, browser.presented)
                return
            # The pair to revoke is the newest, and ending the session forgets it: end it as it was seen, or look again.
            with suppress(CannotOpen):
                newest = record.newest(session)
            if end_session(
                session.id,
                reason,
                up_to_generation=record.generation,
                user_id=session.user.id,
                address=browser.address,
            ):
                break
    except AnyDatabaseError:
        drop_broken_connection()
        logger.error("session %s: its record could not be reached to end it (%s)", session.id, reason.value)
    request_revocation(newest.tokens, address=browser.address)
