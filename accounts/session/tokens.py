"""The user and the token pair that the API returns at sign-in. Expiry times are by our own clock."""

import math
import re
import time
from dataclasses import dataclass, field
from typing import Any

import jwt

from accounts.exceptions import ApiMisbehaved

# RFC 6749 appendix A.12 and A.17 allow visible ASCII. An access token goes into a header, so nothing else is allowed.
_TOKEN = re.compile(r"[\x21-\x7e]+")
_MAX_LIFETIME_SECONDS = 10 * 365 * 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """The user who signed in, as the API describes them. `id` and `email` are empty if the API does not send them."""

    id: int | str
    name: str
    email: str = ""
    #: What `accounts.session.claims` keeps. Never printed.
    claims_by_source: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False, hash=False)
    #: When the user signed in at the provider, by our own clock (time.time()); None: when the session began.
    authenticated_at: float | None = field(default=None, repr=False, compare=False)
    #: How the user signed in there (`acr` of OpenID Connect); empty if it is not known.
    acr: str = field(default="", repr=False, compare=False)

    @property
    def claims(self) -> dict[str, Any]:
        """The claims that API_USER_CLAIMS names, by name, as far as the API sent them."""
        return {name: value for claims in self.claims_by_source.values() for name, value in claims.items()}

    def has_id(self, id_: object) -> bool:
        """Whether this user has this id. An empty id is none: two users without an id may be two people."""
        return self.id != "" and self.id == id_


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """The access token and the refresh token of one sign-in. Never printed, never changed.

    Times are seconds since the epoch by our own clock; an expiry of None means that it is unknown. `rejected_at` is the
    time of the API's last 401 to the access token that a refresh did not change; None if there was none.
    `refresh_is_final` says that the last refresh did not extend the time until which the user can stay signed in.
    `refresh_failed_at` is a time at which the user was there, but the API was unavailable; None if there was none.
    `dpop_key` is the private key that the tokens are bound to (`accounts.upstream.dpop`); empty for bearer tokens.
    """

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    received_at: float
    access_expires_at: float | None
    refresh_expires_at: float | None
    rejected_at: float | None = None
    refresh_is_final: bool = False
    refresh_failed_at: float | None = None
    dpop_key: str = field(default="", repr=False)

    @property
    def authorization(self) -> str:
        """The Authorization header of a call to the API."""
        return f"{'DPoP' if self.dpop_key else 'Bearer'} {self.access}"

    def access_seconds_left(self) -> float | None:
        """Seconds until the access token expires, negative afterwards; None if unknown."""
        return None if self.access_expires_at is None else self.access_expires_at - time.time()

    def has_expired(self) -> bool:
        """Whether the access token has expired by our own clock; False if its expiry is unknown."""
        return self.access_expires_at is not None and self.access_expires_at <= time.time()

    def used_until(self) -> float | None:
        """Until when the pair was surely in use, in seconds since the epoch; None if its lifetime is unknown."""
        return None if self.access_expires_at is None else max(self.access_expires_at, self.refresh_failed_at or 0.0)

    def access_lifetime(self) -> float | None:
        """How many seconds the access token is valid from its receipt; None if unknown."""
        return None if self.access_expires_at is None else self.access_expires_at - self.received_at

    def refresh_seconds_left(self) -> float | None:
        """Seconds until the refresh token expires, negative afterwards; None if unknown."""
        return None if self.refresh_expires_at is None else self.refresh_expires_at - time.time()

    def final_expiry(self) -> float | None:
        """When the refresh token expires, if no rotation can extend that; else None, also if it is unknown.

        A rotation comes too late if the access token outlives the refresh token.
        """
        outlived = (
            self.access_expires_at is not None
            and self.refresh_expires_at is not None
            and self.access_expires_at >= self.refresh_expires_at
        )
        return self.refresh_expires_at if outlived or self.refresh_is_final else None


class UnusablePair(ApiMisbehaved):
    """The API issued tokens that this site cannot use. `tokens` has them, to be revoked."""

    def __init__(self, message: str, tokens: TokenPair) -> None:
        super().__init__(message)
        self.tokens = tokens


def receive_pair(
    access: object,
    refresh: object,
    *,
    access_expires_in: object = None,
    refresh_expires_in: object = None,
    previous: TokenPair | None = None,
) -> TokenPair:
    """Check the tokens of a response, and set their expiry by our own clock.

    `*_expires_in` are the seconds from the response (RFC 6749 section 5.1). If it is None, 0 or no number, a JWT's own
    `exp - iat` counts; the expiry of an opaque token is then unknown. A JWT with both in one second has expired. If the
    response to a refresh has no refresh token, an empty one, or the same one again, the `previous` one and its expiry
    stay (RFC 6749 section 6).

    Raises ApiMisbehaved if a token is missing, or UnusablePair if one has characters that no token may have.
    """
    kept_expiry = None
    if previous is not None and (_is_empty(refresh) or refresh == previous.refresh):
        refresh = previous.refresh
        kept_expiry = previous.refresh_expires_at
    now = time.time()
    access_seconds = _lifetime(access, access_expires_in)
    refresh_seconds = _lifetime(None if kept_expiry is not None else refresh, refresh_expires_in)
    refresh_expires_at = kept_expiry if refresh_seconds is None else now + refresh_seconds
    tokens = TokenPair(
        access=str(access),
        refresh=str(refresh),
        received_at=now,
        access_expires_at=None if access_seconds is None else now + access_seconds,
        refresh_expires_at=refresh_expires_at,
        refresh_is_final=previous is not None and not _is_extended(refresh_expires_at, now, previous),
    )
    named = {"access token": access, "refresh token": refresh}
    for name, token in named.items():
        if _is_empty(token) or not isinstance(token, str):
            raise ApiMisbehaved(f"the API's response has no {name}")
    for name, token in named.items():
        if not is_token(token):
            raise UnusablePair(f"the {name} in the API's response has characters that no token may have", tokens)
    return tokens


def needs_refresh(tokens: TokenPair, left: float, for_seconds: float, *, early: bool) -> bool:
    """Whether to refresh before the next call. That saves the round trip of a call which would get a 401.

    The access token is valid for `left` seconds. `early` says whether the API refreshes tokens that are still valid.
    """
    if left <= 0:
        return True
    life = tokens.access_lifetime()
    if not early or left >= for_seconds or life is None:
        return False
    # A token whose whole life is shorter is replaced in the second half of its life, not by every request.
    return life > for_seconds or left < life / 2


def is_token(value: object) -> bool:
    """Whether `value` is text with only the characters that a token may have."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def unverified_claims(token: object) -> dict[str, Any]:
    """The claims of a JWT that the API has just sent over its own connection; {} for an opaque token.

    The signature is not checked here. The API checks it, because the token is a credential for the API. TLS proves that
    the API sent it.
    """
    try:
        claims = jwt.decode(str(token), options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError):
        return {}
    return claims


def _is_empty(value: object) -> bool:
    """Whether the response leaves `value` out: null, "", blank, false and 0 all mean that in some API."""
    return not value or (isinstance(value, str) and not value.strip())


def _is_extended(refresh_expires_at: float | None, now: float, previous: TokenPair) -> bool:
    """Whether the refresh token expires later than the previous one.

    Some APIs issue a new refresh token that expires with the first one. Their lifetimes are whole seconds, so later
    means: by at least half of the time between both responses.
    """
    if refresh_expires_at is None or previous.refresh_expires_at is None:
        return True
    return refresh_expires_at - previous.refresh_expires_at > (now - previous.received_at) / 2


def _lifetime(token: object, expires_in: object) -> float | None:
    """The lifetime of a token in seconds, None if unknown. Never the API's absolute `exp`: its clock is not ours."""
    lifetime = _to_seconds(expires_in)
    if not lifetime:
        claims = unverified_claims(token) if token is not None else {}
        issued, expires = _to_seconds(claims.get("iat")), _to_seconds(claims.get("exp"))
        lifetime = None if issued is None or expires is None else _to_seconds(expires - issued)
    return None if lifetime is None else min(lifetime, _MAX_LIFETIME_SECONDS)


def _to_seconds(value: object) -> float | None:
    """`value` as seconds, None if it is no sensible time. Some APIs send numbers as strings."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < math.inf else None
