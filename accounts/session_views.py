"""Views for scripts: the session as JSON, and the deferred-update endpoint."""

import json
import logging

from django.contrib.auth.decorators import login_not_required
from django.http import HttpResponse, JsonResponse
from django.views.decorators.http import require_POST, require_safe

from accounts.api_client import ApiRequest
from accounts.browser.cookies import MAX_SESSION_BYTES, read_cookies
from accounts.browser.session_json import session_response
from accounts.exceptions import SignInRequired
from accounts.session.api_session import ApiSession
from accounts.session.sealing import CannotOpen
from accounts.telemetry.metrics import count_refused_update
from accounts.telemetry.trace import StepKind, add_step, trace_session

logger = logging.getLogger(__name__)


@login_not_required
@require_safe
def session(request: ApiRequest) -> JsonResponse:
    """The session as JSON, for scripts. It also sets the CSRF cookie, for a front end that has no page of this site."""
    current = request.api_session.current
    return session_response(request, current, is_unproven=request.api_session.is_unproven)


@login_not_required
@require_POST
def update_session(request: ApiRequest) -> HttpResponse:
    """The deferred-update endpoint: writes the session update of a streamed body into the cookie.

    Takes JSON `{"session": "<session update>"}`. Responds 204 without a body, so tokens never go back to the script.
    Any invalid request gets 400 with `detail`, and the cookie stays unchanged.
    """
    try:
        request.api_session.accept_update(ApiSession.open_update(_posted_update(request)))
    except (CannotOpen, SignInRequired) as error:
        logger.info("a session update was refused: %s", str(error) or "it cannot be decrypted, or is too old")
        count_refused_update()
        _trace_refusal(request)
        request.api_session.leave_cookie_unchanged()
        detail = "This session update does not belong to the session of this browser, or it is too old."
        return JsonResponse({"detail": detail}, status=400, headers={"Cache-Control": "private, no-store"})
    return HttpResponse(status=204)


def _trace_refusal(request: ApiRequest) -> None:
    """Add the refusal to the trace of the browser's session, which this request may not have read."""
    if request.trace is not None and (session := read_cookies(request.COOKIES)) is not None:
        trace_session(session.id)
        add_step(StepKind.UPDATE_REFUSED)


def _posted_update(request: ApiRequest) -> str:
    """The session update in the body. Raises CannotOpen if there is none."""
    if request.content_type != "application/json":
        raise CannotOpen("the body is not JSON")
    try:
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_SESSION_BYTES * 2:
            raise CannotOpen("the body is too large")
        body = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise CannotOpen("the body is not JSON") from error
    if not isinstance(body, dict) or not isinstance(body.get("session"), str):
        raise CannotOpen("the body contains no session")
    return str(body["session"])
