"""Sign-in and sign-out, on this site and at the API or its provider."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from django.contrib import messages
from django.db import Error as AnyDatabaseError
from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.text import Truncator

from accounts.api_client import ApiRequest
from accounts.browser.cookies import check_cookie_size
from accounts.dialects import current_dialect
from accounts.dialects.base import SignedIn
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.exceptions import AccountsError, AlreadyUsed, ApiMisbehaved, SessionEnded
from accounts.history.events import record_event
from accounts.models import EndReason, EventKind, SessionRecord
from accounts.rotation.database import database_errors_as_unavailable, drop_broken_connection
from accounts.rotation.ending import end_reused_session, end_session
from accounts.rotation.reuse_detection import GenerationStatus, check_generation
from accounts.rotation.token_requests import (
    push_authorization_request,
    request_revocation,
    request_sign_in,
    request_tokens,
)
from accounts.session.api_session import ApiSession, SessionIdentity
from accounts.session.claims import with_claims
from accounts.session.freshness import Freshness
from accounts.session.sealing import CannotOpen
from accounts.sign_in.authorization_request import AuthorizationRequest
from accounts.sign_in.rate_limit import limit_pushed_requests, rate_limited_attempt
from accounts.sign_in.repeated_sign_in import identity_of_form, sign_in_once
from accounts.signals import session_started
from accounts.telemetry.last_call import note_problem

logger = logging.getLogger(__name__)

#: In a message, which has to fit into a cookie.
_LONGEST_NAME = 100


def sign_in(request: ApiRequest, username: str, password: str) -> None:
    """Sign in at the API with name and password, and replace this browser's session by a new one.

    A form that is sent twice signs in once. Raises CredentialsRefused with the API's message, ApiUnavailable or
    ApiMisbehaved; TooManyAttempts before any call.
    """
    address = request.api_session.address

    def attempt(identity: SessionIdentity | None) -> None:
        with rate_limited_attempt(address, username):
            signed_in = request_sign_in(username, password, address=address)
        _begin_session(request, signed_in, identity)

    identity = identity_of_form(request, username, password)
    if identity is not None:
        with suppress(AlreadyUsed):
            sign_in_once(request, identity, lambda: attempt(identity))
            return
    attempt(None)


def begin_sign_in_at_provider(
    request: ApiRequest,
    dialect: OAuth2Dialect,
    next_page: str,
    *,
    switch: bool,
    freshness: Freshness,
    parameters: Mapping[str, str],
) -> HttpResponse:
    """Redirect the browser to the provider, with the cookie for its return.

    With `switch`, the provider asks the user to sign in even if it knows them. `freshness` is what the next page asks
    of the sign-in. `parameters` are further ones of the authorization request. Raises ApiUnavailable, ApiMisbehaved, or
    TooManyAttempts if the request would have to be pushed.
    """
    pending = AuthorizationRequest.begin(next_page, freshness)
    url = dialect.authorization_url(
        redirect_uri=_redirect_uri(request),
        state=pending.state,
        nonce=pending.nonce,
        code_verifier=pending.code_verifier,
        switch=switch,
        parameters={**parameters, **pending.binding},
    )
    call, address = dialect.push(url), request.api_session.address
    if call is not None:
        limit_pushed_requests(address)
        url = push_authorization_request(dialect, call, address=address)
    response = HttpResponseRedirect(url, headers={"Cache-Control": "private, no-store"})
    pending.remember(response, presented=request.COOKIES)
    return response


def finish_sign_in_at_provider(
    request: ApiRequest, dialect: OAuth2Dialect, pending: AuthorizationRequest, *, code: str, issuer: str | None
) -> SignedIn | None:
    """Exchange the code from the callback for tokens, and begin a new session.

    Returns None if another request for the same callback did that: its session is this browser's. Raises
    CredentialsRefused for a spent or expired code, AlreadyUsed, TooManyAttempts, ApiUnavailable or ApiMisbehaved.
    """
    dialect.check_issuer(issuer)
    address = request.api_session.address

    def attempt() -> SignedIn:
        # A code cannot be guessed, but each made-up code costs a call to the provider, which may limit this client.
        with rate_limited_attempt(address):
            signed_in = request_tokens(
                dialect,
                code,
                redirect_uri=_redirect_uri(request),
                code_verifier=pending.code_verifier,
                nonce=pending.nonce,
                dpop_key=pending.dpop_key,
                address=address,
            )
        _begin_session(request, signed_in, pending.session_identity)
        return signed_in

    return sign_in_once(request, pending.session_identity, attempt, has_code=True)


def _redirect_uri(request: ApiRequest) -> str:
    """The callback on the host that this browser uses: the browser sends the sign-in cookie to no other host."""
    return request.build_absolute_uri(reverse("accounts:callback"))


def _begin_session(request: ApiRequest, signed_in: SignedIn, identity: SessionIdentity | None) -> None:
    """Store the new session, end this browser's previous one, and set the new cookie."""
    browser = request.api_session
    previous = browser.current_unproven()
    if identity is not None and previous is not None and previous.id == identity.id:
        # The record of that session is gone. Ending it must not end the new one.
        identity = None
    session = ApiSession.begin(signed_in.user, signed_in.tokens, identity=identity, after=previous)
    try:
        user = with_claims(session.user, session.tokens.access, signed_in.id_token, signed_in.fields)
        session = replace(session, user=user)
        check_cookie_size(session)
        with database_errors_as_unavailable():
            SessionRecord.objects.begin(
                session,
                address=browser.address,
                user_agent=request.headers.get("User-Agent", ""),
                is_shared=identity is not None,
                sid=signed_in.sid,
            )
    except AccountsError as error:
        if isinstance(error, ApiMisbehaved):
            note_problem(str(error))
        request_revocation(session.tokens, address=browser.address)
        raise
    session_started.send_robust(
        sender=SessionRecord, session_id=session.id, user_id=str(session.user.id), user_name=session.user.name
    )
    record_event(EventKind.SIGNED_IN, session.id, user_id=session.user.id, generation=0, address=browser.address)
    same_user = previous is not None and previous.user.has_id(session.user.id)
    # If the provider ties a user's sign-ins together, revoking the previous one would end the new one too.
    _end_here_and_at_api(request, EndReason.REPLACED, revoke=not (same_user and current_dialect().sign_ins_are_tied))
    browser.begin(session)


def sign_out(request: ApiRequest) -> None:
    """End this browser's session here and at the API. Works while the API or the database is unavailable."""
    _end_here_and_at_api(request, EndReason.SIGNED_OUT)
    request.api_session.end(SessionEnded(EndReason.SIGNED_OUT, delete_cookie=True))


def say_signed_in(request: ApiRequest) -> None:
    """A message for the next page."""
    session = request.api_session.current_unchecked()
    name = Truncator(session.user.name if session else "").chars(_LONGEST_NAME)
    _say(request, f"You are signed in as {name}." if name else "You are signed in.")


def say_signed_out(request: ApiRequest) -> None:
    """A message for the next page."""
    _say(request, "You are signed out.")


def forget_messages(request: ApiRequest) -> None:
    """Messages that are still waiting were for the previous user. Django removes those that were read."""
    list(messages.get_messages(request))


def _say(request: ApiRequest, text: str) -> None:
    forget_messages(request)
    messages.success(request, text, fail_silently=True)


def _end_here_and_at_api(request: ApiRequest, reason: EndReason, *, revoke: bool = True) -> None:
    browser = request.api_session
    session = browser.current_unproven()
    if session is None:
        return
    newest = session
    try:
        while (record := SessionRecord.objects.fetch(session.id)) is not None and record.ended_at is None:
            if check_generation(record, browser.presented) is GenerationStatus.REUSED:
                end_reused_session(record, session, browser.presented)
                return
            # The newest pair has to be revoked, and end_session() erases it. So end only the generation that was read,
            # and read again if another request has rotated since.
            with suppress(CannotOpen):
                newest = record.newest(session)
            if end_session(
                session.id, reason, up_to_generation=record.generation, user_id=session.user.id, address=browser.address
            ):
                break
    except AnyDatabaseError:
        drop_broken_connection()
        logger.error("session %s: cannot end it in the database (%s)", session.id, reason.value)
    if revoke:
        request_revocation(newest.tokens, address=browser.address)
