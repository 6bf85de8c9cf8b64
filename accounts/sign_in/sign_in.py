"""Signing in and out, here and at the API or its provider."""

import logging
from contextlib import suppress

from django.db import Error as AnyDatabaseError
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse

from accounts.api import ApiRequest
from accounts.browser.cookies import check_cookie_size
from accounts.dialects import current_dialect
from accounts.dialects.base import SignedIn
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.exceptions import AccountsError, SessionEnded
from accounts.history.events import record_event
from accounts.models import EndReason, EventKind, SessionRecord
from accounts.rotation.database import database_errors_as_unavailable, drop_broken_connection
from accounts.rotation.ending import end_reused_session, end_session
from accounts.rotation.reuse_detection import GenerationStatus, check_generation
from accounts.rotation.token_requests import request_revocation, request_sign_in, request_tokens
from accounts.session.api_session import ApiSession
from accounts.session.sealing import CannotOpen
from accounts.sign_in.authorization_request import AuthorizationRequest
from accounts.sign_in.rate_limit import rate_limited_attempt
from accounts.signals import session_started

logger = logging.getLogger(__name__)


def sign_in(request: ApiRequest, username: str, password: str) -> ApiSession:
    """Sign in at the API with name and password, and begin a new session in this browser; the one before is over.

    Raises CredentialsRefused with the API's words, TooManyAttempts before it is asked, ApiUnavailable or ApiMisbehaved.
    """
    address = request.api_session.address
    with rate_limited_attempt(address, username):
        signed_in = request_sign_in(username, password, address=address)
    return _begin(request, signed_in)


def begin_sign_in_at_provider(request: ApiRequest, dialect: OAuth2Dialect, next_page: str) -> HttpResponse:
    """Send the browser to the provider, with what it has to bring back. Raises ApiUnavailable or ApiMisbehaved."""
    asked = AuthorizationRequest.begin(next_page)
    url = dialect.authorization_url(
        redirect_uri=_redirect_uri(request), state=asked.state, nonce=asked.nonce, code_verifier=asked.code_verifier
    )
    response = HttpResponseRedirect(url, headers={"Cache-Control": "private, no-store"})
    asked.remember(response, presented=request.COOKIES)
    return response


def finish_sign_in_at_provider(
    request: ApiRequest, dialect: OAuth2Dialect, asked: AuthorizationRequest, *, code: str, issuer: str | None
) -> SignedIn:
    """Trade the code with which the browser came back from the provider, and begin a new session.

    Raises CredentialsRefused for a code that is of no use any more, TooManyAttempts, ApiUnavailable or ApiMisbehaved.
    """
    dialect.check_issuer(issuer)
    address = request.api_session.address
    # No code can be guessed; but each one that is made up costs this client a call at the provider, which counts them.
    with rate_limited_attempt(address):
        signed_in = request_tokens(
            dialect,
            code,
            redirect_uri=_redirect_uri(request),
            code_verifier=asked.code_verifier,
            nonce=asked.nonce,
            address=address,
        )
    _begin(request, signed_in)
    return signed_in


def _redirect_uri(request: ApiRequest) -> str:
    """The callback as this browser sees it: the cookie of a sign-in comes back to no other host."""
    return request.build_absolute_uri(reverse("accounts:callback"))


def _begin(request: ApiRequest, signed_in: SignedIn) -> ApiSession:
    """Remember a new session, end the one that this browser had, and hold the new one."""
    browser = request.api_session
    older = browser.from_cookie()
    session = ApiSession.begin(signed_in.user, signed_in.tokens, after=older)
    try:
        check_cookie_size(session)
        with database_errors_as_unavailable():
            SessionRecord.objects.begin(
                session, address=browser.address, user_agent=request.headers.get("User-Agent", "")
            )
    except AccountsError:
        request_revocation(session.tokens, address=browser.address)
        raise
    session_started.send_robust(
        sender=SessionRecord, session_id=session.id, user_id=str(session.user.id), user_name=session.user.name
    )
    record_event(EventKind.SIGNED_IN, session.id, user_id=session.user.id, generation=0, address=browser.address)
    same_user = older is not None and older.user.id == session.user.id
    # At a provider that ties a user's sign-ins together, revoking the old one would end the new one too.
    _end_at_both_ends(request, EndReason.REPLACED, revoke=not (same_user and current_dialect().sign_ins_are_tied))
    browser.begin(session)
    return session


def sign_out(request: ApiRequest) -> None:
    """End this browser's session here and at the API. Works while the API or the database is away."""
    _end_at_both_ends(request, EndReason.SIGNED_OUT)
    request.api_session.finish(SessionEnded(EndReason.SIGNED_OUT, delete_cookie=True))


def _end_at_both_ends(request: ApiRequest, reason: EndReason, *, revoke: bool = True) -> None:
    browser = request.api_session
    session = browser.from_cookie()
    if session is None:
        return
    newest = session
    try:
        while (record := SessionRecord.objects.fetch(session.id)) is not None and record.ended_at is None:
            if check_generation(record, browser.presented) is GenerationStatus.REUSED:
                end_reused_session(record, session, browser.presented)
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
    if revoke:
        request_revocation(newest.tokens, address=browser.address)
