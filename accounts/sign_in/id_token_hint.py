"""The ID token, kept for one use: to tell the provider who signs out (`id_token_hint`, RP-Initiated Logout section 2).

It lives in a sealed cookie that the browser sends to the addresses of the sign-out alone, so no other request pays for
it, and no server remembers it.
"""

from collections.abc import Mapping

from django.http import HttpResponseBase
from django.urls import reverse

from accounts.conf import conf
from accounts.session.sealing import CannotOpen, Purpose, open_sealed, seal

_MAX_COOKIE_BYTES = 4096 - 200
# As sessions do, it outlives the browser. How long the session will last nobody knows: rotation carries it on.
_KEEP_SECONDS = 30 * 24 * 3600


def set_id_token_cookie(response: HttpResponseBase, id_token: str) -> None:
    """Set the cookie. A token that is too large for one is left out: then the provider asks its user."""
    text = seal(Purpose.SIGN_OUT_HINT, id_token.encode())
    if id_token and len(text) <= _MAX_COOKIE_BYTES:
        _set(response, text, _KEEP_SECONDS)
    else:
        delete_id_token_cookie(response)


def read_id_token_cookie(cookies: Mapping[str, str]) -> str:
    """The ID token; empty where there is none."""
    try:
        return open_sealed(Purpose.SIGN_OUT_HINT, cookies.get(_name(), "")).decode()
    except (CannotOpen, UnicodeDecodeError):
        return ""


def delete_id_token_cookie(response: HttpResponseBase) -> None:
    _set(response, "", 0)


def _name() -> str:
    # A cookie with a path must not have the prefix __Host- (RFC 6265bis section 4.1.3.2).
    return f"{conf.cookie_name.removeprefix('__Host-').removeprefix('__Secure-')}-id-token"


def _set(response: HttpResponseBase, value: str, max_age: int) -> None:
    response.set_cookie(
        _name(),
        value,
        max_age=max_age,
        path=reverse("accounts:logout"),
        secure=conf.cookie_secure,
        httponly=True,
        samesite="Strict",
    )
