"""What a script can ask about the session: the session as JSON, and the deferred-update endpoint."""

import json
import logging

from django.http import HttpResponse, JsonResponse
from django.views.decorators.http import require_POST, require_safe

from accounts.api import ApiRequest
from accounts.browser.cookies import MAX_SESSION_BYTES, read_cookies
from accounts.exceptions import SignInRequired
from accounts.session.api_session import ApiSession
from accounts.session.sealing import CannotOpen
from accounts.telemetry.metrics import count_refused_update
from accounts.telemetry.trace import StepKind, add_step, trace_session

logger = logging.getLogger(__name__)


@require_safe
def session(request: ApiRequest) -> JsonResponse:
    """The present session in JSON, for scripts: who, and for how many seconds. Never a token."""
    held = request.api_session.current
    user = held.user if held else None
    response = JsonResponse(
        {
            "authenticated": held is not None,
            "user": {"id": user.id, "name": user.name, "email": user.email} if user else None,
            "access_expires_in": _whole_seconds(held.tokens.access_seconds_left()) if held else None,
            "refresh_expires_in": _whole_seconds(held.tokens.refresh_seconds_left()) if held else None,
            "generation": held.generation if held else None,
        }
    )
    response["Cache-Control"] = "private, no-store"
    return response


@require_POST
def update_session(request: ApiRequest) -> HttpResponse:
    """The deferred-update endpoint: JSON `{"session": "<hand-off>"}` from a streamed page's body becomes the cookie.

    204 and no body; tokens never go back to the script. Whatever is wrong: 400 with `detail`, and no cookie is touched.
    """
    try:
        request.api_session.accept_update(ApiSession.open_update(_posted_update(request)))
    except (CannotOpen, SignInRequired) as error:
        logger.info("a hand-off was refused: %s", str(error) or "it does not open, or is too old")
        count_refused_update()
        _trace_refusal(request)
        request.api_session.leave_cookie_unchanged()
        detail = "This is no hand-off for the session of this browser, or it is too old."
        return JsonResponse({"detail": detail}, status=400, headers={"Cache-Control": "private, no-store"})
    return HttpResponse(status=204)


def _trace_refusal(request: ApiRequest) -> None:
    """Draw it for the session of the browser that posted it, which may not have been looked at."""
    if request.trace is not None and (session := read_cookies(request.COOKIES)) is not None:
        trace_session(session.id)
        add_step(StepKind.UPDATE_REFUSED)


def _posted_update(request: ApiRequest) -> str:
    """The hand-off in the body. Raises CannotOpen where there is none."""
    if request.content_type != "application/json":
        raise CannotOpen("the body is not JSON")
    try:
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_SESSION_BYTES * 2:
            raise CannotOpen("the body is too large")
        body = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise CannotOpen("the body is not JSON") from error
    if not isinstance(body, dict) or not isinstance(body.get("session"), str):
        raise CannotOpen("the body holds no session")
    return str(body["session"])


def _whole_seconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(0, int(seconds))
