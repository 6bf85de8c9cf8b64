"""What the API gives at sign-in: who it is, and a token pair, dated by our own clock."""

import math
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt

from accounts.exceptions import ApiMisbehaved

# RFC 6749 appendix A.12 and A.17 allow visible ASCII. An access token goes into a header, so nothing else may pass.
_TOKEN = re.compile(r"[\x21-\x7e]+")
_MAX_LIFE_SECONDS = 10 * 365 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who signed in, in the API's words. `email` is empty where the API does not tell."""

    id: int | str
    name: str
    email: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """What the API gave one signed-in browser. Never printed, never changed.

    Times are seconds since the epoch by our own clock; an expiry of None means that the API did not tell.
    """

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    received_at: float
    access_expires_at: float | None
    refresh_expires_at: float | None

    def access_seconds_left(self) -> float | None:
        """Seconds until the access token runs out, negative afterwards; None when the API did not tell."""
        return None if self.access_expires_at is None else self.access_expires_at - time.time()

    def refresh_seconds_left(self) -> float | None:
        """Seconds until the refresh token runs out, negative afterwards; None when the API did not tell."""
        return None if self.refresh_expires_at is None else self.refresh_expires_at - time.time()

    def refresh_expiry(self) -> datetime | None:
        """When the refresh token runs out, as an aware datetime; None when the API did not tell."""
        return None if self.refresh_expires_at is None else datetime.fromtimestamp(self.refresh_expires_at, UTC)


def receive_pair(
    access: object,
    refresh: object,
    *,
    access_expires_in: object = None,
    refresh_expires_in: object = None,
    previous: TokenPair | None = None,
) -> TokenPair:
    """Check what the API sent, and date it by our own clock.

    `*_expires_in` are seconds as the answer gives them (RFC 6749 section 5.1), or None: then a JWT's own `exp - iat`
    counts, and for an opaque token nothing is known. An answer to a refresh that brings no refresh token, or the same
    one again, keeps the `previous` one and its expiry (RFC 6749 section 6). Raises ApiMisbehaved where the tokens are
    missing or are no tokens.
    """
    if previous is not None and refresh in (None, previous.refresh):
        refresh = previous.refresh
        known = previous.refresh_expires_at
    else:
        known = None
    if not (_is_token(access) and _is_token(refresh)):
        raise ApiMisbehaved("the API's answer holds no usable pair of tokens")
    now = time.time()
    access_life = _life(access, access_expires_in)
    refresh_life = _life(None if known is not None else refresh, refresh_expires_in)
    return TokenPair(
        access=str(access),
        refresh=str(refresh),
        received_at=now,
        access_expires_at=None if access_life is None else now + access_life,
        refresh_expires_at=known if refresh_life is None else now + refresh_life,
    )


def unverified_claims(token: object) -> dict[str, Any]:
    """The claims of a JWT that the API has just handed to us over its own connection; {} for an opaque token.

    The signature is the API's to check, not ours: the token is a credential for the API, and TLS vouches for the rest.
    """
    try:
        claims = jwt.decode(str(token), options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return {}
    return claims


def _is_token(value: object) -> bool:
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def _life(token: object, expires_in: object) -> float | None:
    """Seconds that a token lives, None if unknown. Never the API's absolute `exp`: its clock is not ours."""
    if expires_in is not None:
        return _seconds(expires_in, at_most=_MAX_LIFE_SECONDS)
    claims = unverified_claims(token) if token is not None else {}
    issued, expires = _seconds(claims.get("iat")), _seconds(claims.get("exp"))
    if issued is None or expires is None:
        return None
    return _seconds(expires - issued, at_most=_MAX_LIFE_SECONDS)


def _seconds(value: object, *, at_most: float = float("inf")) -> float | None:
    """`value` as seconds; None for what is no sensible time (some APIs send numbers as strings)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return min(seconds, at_most) if 0 <= seconds < math.inf else None
