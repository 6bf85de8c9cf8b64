"""The headers and the JSON of Device Bound Session Credentials (W3C draft)."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.urls import reverse

from accounts.conf import conf
from accounts.device.cookie import cookie_name
from accounts.device.proof import new_challenge

REGISTRATION_HEADER = "Secure-Session-Registration"
CHALLENGE_HEADER = "Secure-Session-Challenge"
PROOF_HEADER = "Secure-Session-Response"
ID_HEADER = "Sec-Secure-Session-Id"


def registration_header(session_id: UUID) -> str:
    """Asks the browser to make a key for this session, and to prove it."""
    path = reverse("accounts:device-register")
    return f'(ES256 RS256);path="{path}";challenge="{new_challenge(session_id)}"'


def challenge_header(session_id: UUID, identifier: str) -> str:
    return f'"{new_challenge(session_id)}";id="{identifier}"'


def binding_identifier(session_id: UUID, key: str) -> str:
    """The browser's name for a binding. It has the key in it: at a refresh, there may be no cookie that has the key.

    It also tells a second key for the same session from the first one.
    """
    return f"{session_id}.{key}"


def read_identifier(identifier: str) -> tuple[UUID, str]:
    """The session and the key in a `binding_identifier`. Raises ValueError."""
    session_id, _, key = identifier.partition(".")
    return UUID(session_id), key


def session_config(session_id: UUID, key: str) -> dict[str, Any]:
    """Which cookie the browser has to have before it sends a request, and where it gets the cookie.

    `attributes` are those of `accounts.browser.cookies.set_cookie`. The paths left out do not read the session.
    """
    excluded = [settings.STATIC_URL, "/health", reverse("accounts:device-register")]
    return {
        "session_identifier": binding_identifier(session_id, key),
        "refresh_url": reverse("accounts:device-refresh"),
        "scope": {
            "include_site": False,
            "scope_specification": [{"type": "exclude", "domain": "*", "path": path} for path in excluded],
        },
        "credentials": [
            {
                "type": "cookie",
                "name": cookie_name(session_id),
                "attributes": f"Path=/; Secure; HttpOnly; SameSite={conf.cookie_samesite}",
            }
        ],
    }


def end_of_binding(identifier: str) -> dict[str, Any]:
    """Makes the browser forget the key of this binding."""
    return {"session_identifier": identifier, "continue": False}


def unquoted(header: str) -> str:
    """The value of a header. The draft puts it in quotation marks, Chromium does not."""
    return header.strip().removeprefix('"').removesuffix('"')
