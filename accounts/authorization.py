"""A sign-in under way at the provider: what the browser has to bring back, so that the code it comes with counts.

It lives in a sealed, short-lived cookie of the browser's. Each sign-in has one of its own, so those of several tabs do
not disturb each other, and no server has to remember anything.
"""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from django.http import HttpResponseBase

from accounts.conf import conf
from accounts.sealing import CannotOpen, Purpose, open_sealed, seal

#: How long a person may take at the provider's pages.
SIGN_IN_SECONDS = 15 * 60

# Every cookie travels with every request, so those of sign-ins that were given up must not pile up.
_MOST_AT_ONCE = 5
_LONGEST_NEXT = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """One authorization request (RFC 6749 section 4.1.1).

    `state` ties the answer to this browser, `nonce` the ID token to this request, and `code_verifier` the code to who
    asked for it (RFC 7636). `next` is where the visitor wants to go, `begun_at` in seconds since the epoch.
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    redirect_uri: str
    next: str
    begun_at: float

    @classmethod
    def begin(cls, *, redirect_uri: str, next: str) -> "AuthorizationRequest":
        return cls(
            state=secrets.token_hex(16),
            nonce=secrets.token_urlsafe(16),
            code_verifier=secrets.token_urlsafe(32),
            redirect_uri=redirect_uri,
            next=next if len(next) <= _LONGEST_NEXT else "",
            begun_at=time.time(),
        )

    @classmethod
    def read(cls, cookies: Mapping[str, str], state: str) -> "AuthorizationRequest | None":
        """The request that `state` belongs to; None where this browser began none such, or too long ago."""
        request = _open(cookies.get(_name(state), ""))
        if request is None or not secrets.compare_digest(request.state.encode(), state.encode()):
            return None
        return request if abs(time.time() - request.begun_at) <= SIGN_IN_SECONDS else None

    def remember(self, response: HttpResponseBase, *, presented: Mapping[str, str]) -> None:
        """Set the cookie, and delete the oldest of the `presented` ones where there are too many."""
        names = [name for name in presented if name.startswith(_name(""))]
        names.sort(key=lambda name: _begun_at(presented[name]), reverse=True)
        for name in names[_MOST_AT_ONCE - 1 :]:
            _set(response, name, "", 0)
        _set(response, _name(self.state), self._seal(), SIGN_IN_SECONDS)

    def forget(self, response: HttpResponseBase) -> None:
        """Delete the cookie: an answer counts once."""
        _set(response, _name(self.state), "", 0)

    def _seal(self) -> str:
        fields = [self.state, self.nonce, self.code_verifier, self.redirect_uri, self.next, self.begun_at]
        return seal(Purpose.AUTHORIZATION, json.dumps(fields).encode())


def _open(text: str) -> AuthorizationRequest | None:
    try:
        state, nonce, code_verifier, redirect_uri, next_, begun_at = json.loads(
            open_sealed(Purpose.AUTHORIZATION, text)
        )
    except (CannotOpen, ValueError, TypeError):
        return None
    return AuthorizationRequest(
        state=state,
        nonce=nonce,
        code_verifier=code_verifier,
        redirect_uri=redirect_uri,
        next=next_,
        begun_at=begun_at,
    )


def _begun_at(text: str) -> float:
    request = _open(text)
    return request.begun_at if request else 0.0


def _name(state: str) -> str:
    return f"{conf.cookie_name}-sign-in-{state[:8]}"


def _set(response: HttpResponseBase, name: str, value: str, max_age: int) -> None:
    # Lax, whatever the session's cookie is: the browser comes back from another site.
    response.set_cookie(
        name, value, max_age=max_age, path="/", secure=conf.cookie_secure, httponly=True, samesite="Lax"
    )
