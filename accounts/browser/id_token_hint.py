"""The ID token, kept for the sign-out: `id_token_hint` of OpenID Connect RP-Initiated Logout section 2.

It is in a sealed cookie that the browser sends only to the sign-out URLs. So it adds nothing to other requests, and the
server stores nothing. A rotation replaces it if the provider sends a newer one (OpenID Connect Core 12.2).
"""

from collections.abc import Mapping

from django.http import HttpResponseBase
from django.urls import reverse

from accounts.browser.cookies import set_cookie
from accounts.conf import conf
from accounts.session.sealing import CannotOpen, Purpose, open_sealed, seal

_MAX_COOKIE_BYTES = 4096 - 200
# Like the session, it outlives the browser process. The end of the session is unknown, because rotation prolongs it.
_KEEP_SECONDS = 30 * 24 * 3600


def set_id_token_cookie(response: HttpResponseBase, id_token: str) -> None:
    """Set the cookie. A token that is too large is left out: then the provider asks the user."""
    text = seal(Purpose.SIGN_OUT_HINT, id_token.encode())
    if id_token and len(text) <= _MAX_COOKIE_BYTES:
        _set_cookie(response, text, _KEEP_SECONDS)
    else:
        delete_id_token_cookie(response)


def read_id_token_cookie(cookies: Mapping[str, str]) -> str:
    """The ID token; empty if there is none."""
    try:
        return open_sealed(Purpose.SIGN_OUT_HINT, cookies.get(_cookie_name(), "")).decode()
    except (CannotOpen, UnicodeDecodeError):
        return ""


def delete_id_token_cookie(response: HttpResponseBase) -> None:
    _set_cookie(response, "", 0)


def _cookie_name() -> str:
    # A cookie with a path must not have the prefix __Host- (RFC 6265bis section 4.1.3.2).
    return f"{conf.cookie_name.removeprefix('__Host-').removeprefix('__Secure-')}-id-token"


def _set_cookie(response: HttpResponseBase, value: str, max_age: int) -> None:
    set_cookie(response, _cookie_name(), value, max_age, path=reverse("accounts:logout"), samesite="Strict")
