"""Two ways to write a token: signed (JWT), or a random string. Either way the API looks its id up in its state."""

import secrets
from typing import Any, Literal, Protocol

import jwt

TokenKind = Literal["jwt", "opaque", "opaque-no-expiry"]

SHORT_LIFE_SECONDS = 10


class Mint(Protocol):
    """Makes tokens and knows its own again."""

    def mint(self, *, now: float, life: float, claims: dict[str, Any]) -> tuple[str, str, float]:
        """A new token, its id, and when it expires (seconds since 1970, by the API's clock)."""

    def identify(self, token: str) -> str | None:
        """The id of a token of ours, be it expired; None for anything else."""


class JwtMint:
    """HS256, with a key that no other instance has."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def mint(self, *, now: float, life: float, claims: dict[str, Any]) -> tuple[str, str, float]:
        # Whole seconds, as most APIs write them. A short life keeps its fraction: cut down to whole seconds,
        # a token for one second could be dead on arrival.
        issued_at = now if life < SHORT_LIFE_SECONDS else int(now)
        expires_at = issued_at + life
        token_id = secrets.token_urlsafe(12)
        claims = {**claims, "jti": token_id, "iat": issued_at, "exp": expires_at}
        return jwt.encode(claims, self._key, algorithm="HS256"), token_id, expires_at

    def identify(self, token: str) -> str | None:
        # Expiry is for the caller to judge; `iat` may lie in the future when the API's clock is off.
        unchecked = {"verify_exp": False, "verify_iat": False}
        try:
            token_id = jwt.decode(token, self._key, algorithms=["HS256"], options=unchecked)["jti"]  # type: ignore[arg-type]
        except (jwt.InvalidTokenError, ValueError, RecursionError):  # not text, or a header nested a thousand deep
            return None
        return str(token_id)


class OpaqueMint:
    """Random strings, which say nothing: the token is its own id."""

    def mint(self, *, now: float, life: float, claims: dict[str, Any]) -> tuple[str, str, float]:
        token = secrets.token_urlsafe(32)
        return token, token, now + life

    def identify(self, token: str) -> str | None:
        return token
