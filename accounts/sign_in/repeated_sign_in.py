"""A sign-in whose request arrives more than once: a double click, a reload, a repetition by a proxy.

All these requests derive the same session identity from what the browser sends. One of them claims the sign-in in the
database and makes it. The others wait for the record, open the sealed session in it with the derived secret, and write
the same session into the cookie. So the API is asked once, and every response leaves the browser with a valid session.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from django.conf import settings
from django.db import Error as AnyDatabaseError

from accounts.api_client import ApiRequest
from accounts.conf import conf
from accounts.database_pool import give_back_connections
from accounts.exceptions import (
    AlreadyUsed,
    ApiMisbehaved,
    ApiUnavailable,
    CredentialsRefused,
    TooManyAttempts,
)
from accounts.models import SessionRecord
from accounts.models.attempt_count import AttemptCount
from accounts.rotation.database import database_errors_as_unavailable, drop_broken_connection
from accounts.rotation.reuse_detection import GenerationStatus, Presented, check_generation
from accounts.session.api_session import ApiSession, SessionIdentity
from accounts.session.sealing import CannotOpen
from accounts.sign_in.authorization_request import REPEAT_SECONDS, SIGN_IN_SECONDS

logger = logging.getLogger(__name__)

T = TypeVar("T")

_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.01, 0.1
# What the row of a claim counts: 1 while the sign-in is under way or after it succeeded, or one of these failures.
_FAILURES: dict[int, Callable[[], Exception]] = {
    400: lambda: CredentialsRefused("This sign-in took too long or is already complete."),
    502: lambda: ApiMisbehaved("the same sign-in has failed in another request"),
    503: lambda: ApiUnavailable("the same sign-in has failed in another request"),
}


def identity_of_form(request: ApiRequest, username: str, password: str) -> SessionIdentity | None:
    """The identity of the session that a posted sign-in form begins; None if it has no CSRF token.

    The CSRF token looks different on each page. The session can be opened only with the password.
    """
    token = request.POST.get("csrfmiddlewaretoken") or request.META.get(settings.CSRF_HEADER_NAME, "")
    if not token:
        return None
    return SessionIdentity.derive(
        id_from=json.dumps([token, username]), secret_from=json.dumps([token, username, password])
    )


def sign_in_once(
    request: ApiRequest, identity: SessionIdentity, attempt: Callable[[], T], *, has_code: bool = False
) -> T | None:
    """Return the result of `attempt`; or None if another request has begun the session, which is now this browser's.

    With `has_code`, the attempt spends an authorization code: if it fails, all requests get the same failure. Otherwise
    the next request makes its own attempt. Raises AlreadyUsed if the session is not for this request, or ApiUnavailable
    if the database fails or the other request does not come to an end.
    """
    key = f"sign-in/{identity.id}"
    claim_seconds = SIGN_IN_SECONDS + REPEAT_SECONDS if has_code else 4 * conf.attempt_seconds
    with database_errors_as_unavailable():
        record = _claim_or_wait(identity, key, claim_seconds)
        if record is not None:
            _join(request, identity, record)
            return None
    try:
        return attempt()
    except BaseException as error:
        # An attempt that was over a limit has sent no code.
        _end_claim(key, _status(error) if has_code and not isinstance(error, TooManyAttempts) else 0)
        raise


def _claim_or_wait(identity: SessionIdentity, key: str, claim_seconds: float) -> SessionRecord | None:
    """None if this request has claimed the sign-in; else the record of the session that another request has begun."""
    give_up_at, pause = time.monotonic() + 2 * conf.attempt_seconds, _FIRST_PAUSE_SECONDS
    while True:
        # Before the record is read: it is stored while the claim is still there.
        count = AttemptCount.objects.count_of(key, seconds=claim_seconds)
        record = SessionRecord.objects.fetch(identity.id)
        if record is not None:
            return record
        if count in _FAILURES:
            raise _FAILURES[count]()
        if not count and AttemptCount.objects.claim(key, seconds=claim_seconds):
            return None
        if time.monotonic() >= give_up_at:
            raise ApiUnavailable("another request is still making the same sign-in")
        give_back_connections()
        time.sleep(pause)
        pause = min(pause * 2, _MAX_PAUSE_SECONDS)


def _join(request: ApiRequest, identity: SessionIdentity, record: SessionRecord) -> None:
    """Make the session of `record` this browser's. Raises AlreadyUsed."""
    browser = request.api_session
    age = record.fetched_at.database - record.signed_in_at.timestamp()
    as_signed_in = Presented(generation=0, arrived=browser.arrived_at, address=browser.address)
    if (
        record.ended_at is not None
        or age > REPEAT_SECONDS
        or check_generation(record, as_signed_in) is GenerationStatus.REUSED
    ):
        raise AlreadyUsed
    try:
        session = ApiSession.open_record_of(identity, record.sealed)
    except CannotOpen as error:
        raise AlreadyUsed from error
    presented = browser.current_unproven()
    if presented is None or presented.id != session.id:
        if presented is not None and presented.signed_in_at > session.signed_in_at:
            # The browser has signed in again since. A late repetition must not take that back.
            raise AlreadyUsed
        browser.begin(replace(session, confirmed=record.confirmed >= session.generation))


def _status(error: BaseException) -> int:
    """The key in `_FAILURES` of a failed attempt."""
    if isinstance(error, CredentialsRefused):
        return 400
    return 503 if isinstance(error, ApiUnavailable) else 502


def _end_claim(key: str, count: int) -> None:
    """Store a failure; 0 lets the next request try. Never raises: the others then wait until they give up."""
    try:
        AttemptCount.objects.replace(key, count)
    except AnyDatabaseError as error:
        drop_broken_connection()
        logger.error("the end of a sign-in cannot be stored: %s", type(error).__name__)
