"""A sign-in under way at the provider: what the browser has to bring back, so that the code it comes with counts.

It lives in a sealed, short-lived cookie of the browser's. Each sign-in has one of its own, so those of several tabs do
not disturb each other, and no server has to remember anything.
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

from accounts.conf import conf
from accounts.session.sealing import CannotOpen, Purpose, open_sealed, seal

#: How long a person may take at the provider's pages.
SIGN_IN_SECONDS = 15 * 60

# Every cookie travels with every request, and servers refuse headers that grow too long. So there is not room for many
# sign-ins that were given up, and the oldest go first.
_MAX_AT_ONCE = 5
_ROOM_BYTES = 2048
_MAX_NEXT_BYTES = 1000
_STATE_IN_NAME = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationRequest:
    """One authorization request (RFC 6749 section 4.1.1).

    `code_verifier` is its one secret (RFC 7636); what else has to match follows from it, one way only. `next` is where
    the visitor wants to go, `begun_at` in seconds since the epoch.
    """

    code_verifier: str = field(repr=False)
    next: str
    begun_at: float

    @classmethod
    def begin(cls, next: str) -> "AuthorizationRequest":
        fits = len(next.encode(errors="replace")) <= _MAX_NEXT_BYTES
        return cls(code_verifier=secrets.token_urlsafe(32), next=next if fits else "", begun_at=int(time.time()))

    @property
    def state(self) -> str:
        """Ties the answer to this browser."""
        return self._derive("state").hex()

    @property
    def nonce(self) -> str:
        """Ties the ID token to this request."""
        return base64.urlsafe_b64encode(self._derive("nonce")).decode().rstrip("=")

    @classmethod
    def read(cls, cookies: Mapping[str, str], state: str) -> "AuthorizationRequest | None":
        """The request that `state` belongs to; None where this browser began none such, or too long ago."""
        request = _open(cookies.get(_name(state), ""))
        if request is None or not secrets.compare_digest(request.state.encode(), state.encode(errors="replace")):
            return None
        return request if abs(time.time() - request.begun_at) <= SIGN_IN_SECONDS else None

    def remember(self, response: HttpResponseBase, *, presented: Mapping[str, str]) -> None:
        """Set the cookie, and delete the oldest of the `presented` ones where there are too many."""
        name, text = _name(self.state), self._seal()
        prefix = _name("")
        older = [
            known for known in presented if known.startswith(prefix) and _STATE_IN_NAME.fullmatch(known, len(prefix))
        ]
        older.sort(key=lambda known: _begun_at(presented[known]), reverse=True)
        room = _ROOM_BYTES - len(name) - len(text)
        for number, known in enumerate(older, 2):
            room -= len(known) + len(presented[known])
            if number > _MAX_AT_ONCE or room < 0:
                _set(response, known, "", 0)
        _set(response, name, text, SIGN_IN_SECONDS)

    def forget(self, response: HttpResponseBase) -> None:
        """Delete the cookie: an answer counts once."""
        _set(response, _name(self.state), "", 0)

    def _derive(self, use: str) -> bytes:
        return hashlib.sha256(f"{use}:{self.code_verifier}".encode()).digest()[:16]

    def _seal(self) -> str:
        fields = [self.code_verifier, self.next, self.begun_at]
        return seal(Purpose.AUTHORIZATION, json.dumps(fields, ensure_ascii=False).encode(errors="replace"))


def _open(text: str) -> AuthorizationRequest | None:
    try:
        code_verifier, next_, begun_at = json.loads(open_sealed(Purpose.AUTHORIZATION, text))
    except (CannotOpen, ValueError, TypeError):
        return None
    return AuthorizationRequest(code_verifier=code_verifier, next=next_, begun_at=begun_at)


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
