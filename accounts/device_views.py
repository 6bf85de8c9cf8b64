"""Where a browser registers the key of its device, and proves later that it still has it (`accounts.device`).

Both views are exempt from the CSRF check: the browser itself posts without a token, and nothing changes without a proof
that is signed with the device's key and repeats a challenge of this site.
"""

import logging
from dataclasses import replace

from django.contrib.auth.decorators import login_not_required
from django.db import Error as AnyDatabaseError
from django.http import HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts.api_client import ApiRequest
from accounts.browser.cookies import check_cookie_size, read_cookies
from accounts.browser.device import can_bind, set_device_cookie
from accounts.conf import conf
from accounts.device.cookie import read_cookie
from accounts.device.proof import StaleChallenge, Unproven, check_proof, check_registration
from accounts.device.protocol import (
    CHALLENGE_HEADER,
    ID_HEADER,
    PROOF_HEADER,
    challenge_header,
    end_of_binding,
    read_identifier,
    session_config,
    unquoted,
)
from accounts.exceptions import ApiMisbehaved
from accounts.models import AttemptCount
from accounts.rotation.binding import is_bound_to
from accounts.rotation.database import drop_broken_connection
from accounts.session.api_session import ApiSession
from accounts.session.device_key import device_key
from accounts.session.sealing import CannotOpen, key_ids, sealing_key_id
from accounts.telemetry.metrics import count_device
from accounts.telemetry.trace import StepKind, add_step, trace_session

logger = logging.getLogger(__name__)

_HEADERS = {"Cache-Control": "private, no-store"}


@csrf_exempt
@login_not_required
@require_POST
def register(request: ApiRequest) -> HttpResponse:
    """Takes the key that the browser has made for its session. The record gets it with a later request."""
    session = _read_session(request)
    if session is None:
        return _unreadable_cookie(request) or _refuse("There is no session to bind to a device.")
    if not can_bind(request):
        return _refuse("This site binds no sessions to devices.")
    try:
        key = check_registration(_proof(request), session.id)
    except StaleChallenge as error:
        # No binding has a name yet.
        return _challenge(session, str(session.id), error)
    except Unproven as error:
        _note_refusal(session, error)
        return _refuse("This is no valid registration of a device.")
    if session.device and session.device != key:
        return _refuse("This session is bound to another key.")
    try:
        check_cookie_size(replace(session, device=key))
    except ApiMisbehaved:
        return _refuse("With this key, the session is too large for a cookie.")
    if not request.api_session.bind(key):
        # No device cookie either: a key that differs from the session's would lock the browser out.
        return _refuse("The session is over, or it cannot be bound at present.")
    if session.device != key and not _is_first_key(session, key):
        request.api_session.leave_cookie_unchanged()
        return _refuse("Another key was registered for this session a moment ago.")
    return _proven(session, key)


@csrf_exempt
@login_not_required
@require_POST
def refresh(request: ApiRequest) -> HttpResponse:
    """Renews the device cookie for a proof of the key. Needs no API, and a query only if no cookie has a key.

    Without a valid proof it responds with 403 and a challenge, which the browser signs. A binding that this browser's
    session does not have any more ends: the browser would ask for ever.
    """
    identifier = unquoted(request.headers.get(ID_HEADER, ""))
    try:
        asked_for, key = read_identifier(identifier)
    except ValueError:
        return _refuse("There is no session to prove.")
    session = _read_session(request)
    if session is None or session.id != asked_for:
        return _unreadable_cookie(request) or JsonResponse(end_of_binding(identifier), headers=_HEADERS)
    if not _is_bound_to(request, session, key):
        return JsonResponse(end_of_binding(identifier), headers=_HEADERS)
    if PROOF_HEADER not in request.headers:
        return _challenge(session, identifier)
    try:
        check_proof(_proof(request), session.id, key)
    except Unproven as error:
        return _challenge(session, identifier, error)
    return _proven(session, key)


def _is_first_key(session: ApiSession, key: str) -> bool:
    """Whether no other key was registered within the grace period: a browser may be asked twice.

    With two keys, the late response to one registration would take away the key that the record has by then.
    """
    name = f"device/{session.id}"
    own = f"{name}/{device_key(key)}"
    try:
        if AttemptCount.objects.claim(name, seconds=conf.leeway):
            return AttemptCount.objects.claim(own, seconds=conf.leeway)
        return AttemptCount.objects.count_of(own, seconds=conf.leeway) > 0
    except AnyDatabaseError:
        drop_broken_connection()
        return False


def _read_session(request: ApiRequest) -> ApiSession | None:
    """The session in the cookie, without its device's proof, and without a query."""
    session = read_cookies(request.COOKIES)
    if session is not None:
        trace_session(session.id)
        add_step(StepKind.OPENED, generation=session.generation)
    return session


def _is_bound_to(request: ApiRequest, session: ApiSession, key: str) -> bool:
    """Whether the session is bound to this key. Raises ApiUnavailable.

    A response that was under way may have replaced the session cookie by one without a key. Then the device cookie has
    it; and if that has expired since, the record knows it.
    """
    if session.device:
        return session.device == key
    proof = read_cookie(request.COOKIES, session.id)
    return proof.key == key if proof else is_bound_to(session.id, key)


def _proof(request: ApiRequest) -> str:
    return unquoted(request.headers.get(PROOF_HEADER, ""))


def _proven(session: ApiSession, key: str) -> HttpResponse:
    count_device("proven")
    add_step(StepKind.DEVICE_PROVEN)
    response = JsonResponse(session_config(session.id, key), headers=_HEADERS)
    set_device_cookie(response, session.id, key)
    return response


def _challenge(session: ApiSession, identifier: str, error: Unproven | None = None) -> HttpResponse:
    response = _refuse("Sign the challenge with the key of the device.", status=403)
    response[CHALLENGE_HEADER] = challenge_header(session.id, identifier)
    if error is None:
        add_step(StepKind.DEVICE_CHALLENGED)
        # Each refresh begins like this. Django would log a warning of a forbidden request each time.
        response._has_been_logged = True  # type: ignore[attr-defined]
    else:
        _note_refusal(session, error)
    return response


def _note_refusal(session: ApiSession, error: Unproven) -> None:
    logger.info("session %s: a proof of its device was refused: %s", session.id, error)
    count_device("refused")
    add_step(StepKind.DEVICE_REFUSED)


def _unreadable_cookie(request: ApiRequest) -> HttpResponse | None:
    """503 if another host has sealed the cookie, with a key that this one does not have: 4xx would end the binding."""
    try:
        key_id = sealing_key_id(request.COOKIES.get(conf.cookie_name, "").rpartition(".")[2])
    except CannotOpen:
        return None
    if key_id in key_ids():
        return None
    response = _refuse("This host cannot read the session at present.", status=503)
    response["Retry-After"] = "1"
    return response


def _refuse(detail: str, *, status: int = 400) -> JsonResponse:
    return JsonResponse({"detail": detail}, status=status, headers=_HEADERS)
