"""The authorization request of a sign-in at the provider, kept in a sealed, short-lived cookie until the callback.

Each sign-in has its own cookie, so several tabs can sign in at once, and the server stores nothing until the callback.
"""

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.http import HttpResponseBase

from accounts.browser.cookies import set_cookie
from accounts.browser.next_page import MAX_NEXT_BYTES, shorten
from accounts.conf import conf
from accounts.session.api_session import SessionIdentity
from accounts.session.freshness import ANY_SIGN_IN, Freshness, read_freshness
from accounts.session.sealing import CannotOpen, Purpose, open_sealed, seal
from accounts.text import clean_text
from accounts.upstream.dpop import new_key, thumbprint

#: How long the same callback may arrive again and leads to the same session: a reload, or a repetition by a proxy.
REPEAT_SECONDS = 2 * 60
#: How long the user may take on the provider's pages.
SIGN_IN_SECONDS = 15 * 60

#: Parameters that this site decides, and fields of its sign-in page: OAUTH_SIGN_IN_PARAMETERS cannot have these.
RESERVED_PARAMETERS = frozenset(
    {
        *("response_type", "response_mode", "client_id", "redirect_uri", "scope", "state", "nonce"),
        *("code_challenge", "code_challenge_method", "dpop_jkt", "request", "request_uri"),
        *("client_secret", "client_assertion", "client_assertion_type"),
        *("next", "switch", "again", "ended", "csrfmiddlewaretoken"),
    }
)
_MAX_PARAMETER = 255

# The browser sends each cookie with each request, and servers refuse long headers. So only a few abandoned sign-ins
# are kept, and the oldest are deleted first.
_MAX_COOKIES = 5
_MAX_COOKIES_BYTES = 4096
# As JSON. A cookie with a longer one would be too large.
_MAX_NEXT_BYTES = MAX_NEXT_BYTES + 50
_STATE_CHARACTERS = 8
_STATE_IN_NAME = re.compile(rf"[0-9a-f]{{{_STATE_CHARACTERS}}}")


def further_parameters(fields: Mapping[str, str]) -> dict[str, str]:
    """The parameters of OAUTH_SIGN_IN_PARAMETERS in the query or the form of the sign-in page."""
    names = [name for name in conf.oauth_sign_in_parameters if name not in RESERVED_PARAMETERS]
    values = {name: clean_text(fields.get(name), _MAX_PARAMETER) for name in names}
    return {name: value for name, value in values.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """One authorization request (RFC 6749 section 4.1.1).

    `code_verifier` is its secret (RFC 7636). `state` and `nonce` are derived from it with a one-way function.
    `next` is the page to show after the sign-in, `begun_at` is in seconds since the epoch. `freshness` is what the page
    asks of the sign-in. `dpop_key` is the key that the tokens will be bound to; empty for bearer tokens. It is not
    derived from `code_verifier`, which the provider gets.
    """

    code_verifier: str = field(repr=False)
    next: str
    begun_at: float
    freshness: Freshness = ANY_SIGN_IN
    dpop_key: str = field(default="", repr=False)

    @classmethod
    def begin(cls, next: str, freshness: Freshness = ANY_SIGN_IN) -> "AuthorizationRequest":
        next = shorten(next)
        fits = len(_to_json(next)) <= _MAX_NEXT_BYTES
        return cls(
            code_verifier=secrets.token_urlsafe(32),
            next=next if fits else "",
            begun_at=int(time.time()),
            freshness=freshness,
            dpop_key=new_key() if conf.oauth_dpop else "",
        )

    @property
    def state(self) -> str:
        """Binds the response to this browser."""
        return self._derive("state").hex()

    @property
    def binding(self) -> dict[str, str]:
        """The parameter that binds the code to `dpop_key` (RFC 9449 section 10); {} without one."""
        return {"dpop_jkt": thumbprint(self.dpop_key)} if self.dpop_key else {}

    @property
    def session_identity(self) -> SessionIdentity:
        """The identity of the session that this sign-in begins."""
        return SessionIdentity.derive(id_from=self.code_verifier, secret_from=self.code_verifier)

    @property
    def nonce(self) -> str:
        """Binds the ID token to this request."""
        return base64.urlsafe_b64encode(self._derive("nonce")).decode().rstrip("=")

    @classmethod
    def read(cls, cookies: Mapping[str, str], state: str) -> "AuthorizationRequest | None":
        """The request with this `state`; None if this browser has no cookie for it, or it is too old."""
        text = cookies.get(_cookie_name(state)) or cookies.get(_repetition_cookie_name(state), "")
        request = _open(text)
        if request is None or not secrets.compare_digest(request.state.encode(), state.encode(errors="replace")):
            return None
        return request if abs(time.time() - request.begun_at) <= SIGN_IN_SECONDS else None

    def remember(self, response: HttpResponseBase, *, presented: Mapping[str, str]) -> None:
        """Set the cookie, and delete the oldest of the `presented` ones if there are too many."""
        _set_newest(response, _cookie_name(self.state), self._seal(), SIGN_IN_SECONDS, presented)

    def forget(self, response: HttpResponseBase) -> None:
        """Delete the cookie."""
        _set_cookie(response, _cookie_name(self.state), "", 0)

    def keep_for_repetition(self, response: HttpResponseBase, *, presented: Mapping[str, str]) -> None:
        """Replace the cookie by another one, which a repetition of the same callback needs and which expires soon.

        Delete the oldest of these in `presented` if there are too many.
        """
        self.forget(response)
        _set_newest(response, _repetition_cookie_name(self.state), self._seal(), REPEAT_SECONDS, presented)

    def _derive(self, use: str) -> bytes:
        return hashlib.sha256(f"{use}:{self.code_verifier}".encode()).digest()[:16]

    def _seal(self) -> str:
        return seal(Purpose.AUTHORIZATION, _to_json(self._fields()))

    def _fields(self) -> list[object]:
        # Older releases cannot read a fourth field, so ordinary sign-ins do not have it.
        fields: list[object] = [self.code_verifier, self.next, self.begun_at]
        if self.dpop_key:
            return [*fields, self.freshness.parameters(), self.dpop_key]
        return [*fields, self.freshness.parameters()] if self.freshness else fields


def _to_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="replace")


def _open(text: str) -> AuthorizationRequest | None:
    try:
        code_verifier, next_, begun_at, *more = json.loads(open_sealed(Purpose.AUTHORIZATION, text))
    except (CannotOpen, ValueError, TypeError):
        return None
    return AuthorizationRequest(
        code_verifier=code_verifier,
        next=next_,
        begun_at=begun_at,
        freshness=read_freshness(more[0] if more else {}),
        dpop_key=more[1] if len(more) > 1 else "",
    )


def _begun_at(text: str) -> float:
    request = _open(text)
    return request.begun_at if request else 0.0


def _cookie_name(state: str) -> str:
    return f"{conf.cookie_name}-sign-in-{state[:_STATE_CHARACTERS]}"


def _repetition_cookie_name(state: str) -> str:
    return f"{conf.cookie_name}-callback-{state[:_STATE_CHARACTERS]}"


def _set_newest(response: HttpResponseBase, name: str, text: str, max_age: int, presented: Mapping[str, str]) -> None:
    """Set a cookie, and delete the oldest of the `presented` ones of its kind if there are too many."""
    prefix = name[:-_STATE_CHARACTERS]
    others = [
        other
        for other in presented
        if other != name and other.startswith(prefix) and _STATE_IN_NAME.fullmatch(other, len(prefix))
    ]
    others.sort(key=lambda other: _begun_at(presented[other]), reverse=True)
    room = _MAX_COOKIES_BYTES - len(name) - len(text)
    for number, other in enumerate(others, 2):
        room -= len(other) + len(presented[other])
        if number > _MAX_COOKIES or room < 0:
            _set_cookie(response, other, "", 0)
    _set_cookie(response, name, text, max_age)


def _set_cookie(response: HttpResponseBase, name: str, value: str, max_age: int) -> None:
    # Lax even if the session cookie is Strict: the browser comes back from another site.
    set_cookie(response, name, value, max_age, samesite="Lax")
