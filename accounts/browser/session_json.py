"""The session as JSON for scripts, and the CSRF token with which they can change something."""

import time

from django.http import HttpRequest, JsonResponse
from django.middleware.csrf import get_token

from accounts.session.api_session import ApiSession


def session_response(request: HttpRequest, current: ApiSession | None, *, is_unproven: bool = False) -> JsonResponse:
    """The user, the tokens' remaining seconds and the CSRF token, and the CSRF cookie. Never a token of the API.

    `is_unproven`: there is a session, but the request has no proof of the device that it is bound to.
    """
    user = current.user if current else None
    response = JsonResponse(
        {
            "authenticated": current is not None,
            "user": {"id": user.id, "name": user.name, "email": user.email} if user else None,
            "access_expires_in": _whole_seconds(current.tokens.access_seconds_left()) if current else None,
            "refresh_expires_in": _whole_seconds(current.tokens.refresh_seconds_left()) if current else None,
            "session_expires_in": _seconds_until(current.known_end()) if current else None,
            "generation": current.generation if current else None,
            "is_bound_to_device": bool(current.device) if current else is_unproven or None,
            # As secret as in a form of our pages: browsers let only our own origin read this response (no CORS,
            # Cross-Origin-Resource-Policy: same-origin), and no cache stores it.
            "csrf_token": get_token(request),
        }
    )
    response["Cache-Control"] = "private, no-store"
    return response


def _seconds_until(at: float | None) -> int | None:
    return None if at is None else _whole_seconds(at - time.time())


def _whole_seconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(0, int(seconds))
