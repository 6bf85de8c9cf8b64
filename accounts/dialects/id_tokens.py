"""The JWTs that an OpenID provider signs for this client: the ID token of a sign-in, and logout tokens."""

import hmac
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from jwt.types import Options

from accounts.conf import conf
from accounts.dialects.discovery import Provider, check_signature, current_provider, general_algorithm
from accounts.exceptions import ApiMisbehaved
from accounts.text import clean_text

#: Clock difference allowed for `exp` and `iat`. A nonce or `jti` prevents a second use.
LEEWAY_SECONDS = 300
#: Older logout tokens are refused, so a `jti` has to be remembered only for this time.
MAX_LOGOUT_TOKEN_AGE_SECONDS = 24 * 3600

_MAX_ACR = 200
_LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
# Explicit typing is only recommended: some providers send the usual "JWT", or nothing.
_LOGOUT_TYPES = ("logout+jwt", "application/logout+jwt", "jwt", "")

# check_signature checks the signature. Without it, PyJWT checks only what is named here.
_CLAIM_CHECKS: Options = {
    "verify_signature": False,
    "verify_exp": True,
    "verify_nbf": True,
    "verify_iat": True,
    "verify_aud": True,
    "verify_iss": True,
    "verify_sub": True,
}
# What the operator is told, and the provider that sent a logout token.
_WHY_REFUSED = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "its iat or nbf is in the future",
    jwt.InvalidAudienceError: "its aud is not this client",
    jwt.InvalidIssuedAtError: "its iat is no time",
    jwt.InvalidIssuerError: "its iss is another issuer",
    jwt.exceptions.InvalidSubjectError: "its sub is no text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogoutToken:
    """A valid logout token. `sid` is the session at the provider and `sub` the user there; one of them may be empty."""

    sid: str
    sub: str
    jti: str


def verify_id_token(id_token: str, nonce: str) -> dict[str, Any]:
    """The claims of the ID token of a sign-in, after all checks of OpenID Connect Core 3.1.3.7.

    Raises ApiUnavailable or ApiMisbehaved.
    """
    provider = current_provider()
    check_signature(provider, id_token)
    claims = _decode(provider, id_token, "ID token", require=["iss", "sub", "aud", "exp", "iat"])
    if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), nonce.encode()):
        raise ApiMisbehaved("the provider's ID token is for another sign-in: its nonce differs")
    if not claims["sub"]:
        raise ApiMisbehaved("the provider's ID token has an empty sub")
    if claims.get("azp", conf.oauth_client_id) != conf.oauth_client_id:
        raise ApiMisbehaved("the provider's ID token was made for another client")
    return claims


def read_authentication(claims: Mapping[str, Any]) -> tuple[float | None, str]:
    """When the user signed in at the provider, by our own clock, and how: `auth_time` and `acr` of a verified ID token.

    None and "" if the provider does not say. The provider's clock only says how long before `iat` it was.
    """
    auth_time, acr = claims.get("auth_time"), clean_text(claims.get("acr"), _MAX_ACR)
    if isinstance(auth_time, bool) or not isinstance(auth_time, int | float) or not math.isfinite(auth_time):
        return None, acr
    return time.time() - max(0.0, float(claims["iat"]) - auth_time), acr


def check_renewed_id_token(claims: Mapping[str, Any]) -> None:
    """Check the ID token of a refresh (OpenID Connect Core 12.2), except its `sub`, which a rotation compares.

    TLS proves that the provider sent it (3.1.3.7, rule 6): a refresh does not depend on the provider's keys. Raises
    ApiMisbehaved if it is of another issuer or for another client.
    """
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if claims.get("iss") != conf.oauth_issuer:
        raise ApiMisbehaved("the ID token of a refresh is of another issuer")
    if conf.oauth_client_id not in audiences or claims.get("azp", conf.oauth_client_id) != conf.oauth_client_id:
        raise ApiMisbehaved("the ID token of a refresh was made for another client")


def verify_logout_token(logout_token: str) -> LogoutToken:
    """A logout token after all checks of OpenID Connect Back-Channel Logout 2.6, except that its `jti` is new.

    Raises ApiUnavailable or ApiMisbehaved. The signature is checked last, because only that costs time.
    """
    provider = current_provider()
    claims = _decode(provider, logout_token, "logout token", require=["iss", "aud", "exp", "iat", "jti"])
    header = jwt.get_unverified_header(logout_token)
    algorithm = general_algorithm(header.get("alg"))
    offered = [general_algorithm(name) for name in provider.id_token_algorithms]
    sub, sid, jti, events = claims.get("sub", ""), claims.get("sid", ""), claims["jti"], claims.get("events")
    refusals = {
        "its typ is not logout+jwt": str(header.get("typ") or "").lower() not in _LOGOUT_TYPES,
        "the discovery document does not list its alg": bool(offered) and algorithm not in offered,
        "it has a nonce": "nonce" in claims,
        "its events do not have the logout": not _has_logout(events),
        "its jti is no text": not isinstance(jti, str) or not jti,
        "it has no usable sid or sub": not (isinstance(sid, str) and isinstance(sub, str) and (sid or sub)),
        "it is more than a day old": int(claims["iat"]) < time.time() - MAX_LOGOUT_TOKEN_AGE_SECONDS,
    }
    for why, is_refused in refusals.items():
        if is_refused:
            raise ApiMisbehaved(f"the provider's logout token: {why}")
    check_signature(provider, logout_token, name="logout token")
    return LogoutToken(sid=sid, sub=sub, jti=jti)


def _has_logout(events: object) -> bool:
    return isinstance(events, Mapping) and isinstance(events.get(_LOGOUT_EVENT), Mapping)


def _decode(provider: Provider, token: str, name: str, *, require: Iterable[str]) -> dict[str, Any]:
    """The claims of `token`, for this client and of this provider, and valid now. Raises ApiMisbehaved."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            audience=conf.oauth_client_id,
            issuer=provider.issuer,
            leeway=LEEWAY_SECONDS,
            options={**_CLAIM_CHECKS, "require": list(require)},
        )
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise ApiMisbehaved(f"the provider's {name}: {_why_refused(error)}") from error
    return claims


def _why_refused(error: Exception) -> str:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"it has no {error.claim}"
    return next((why for kind, why in _WHY_REFUSED.items() if isinstance(error, kind)), "it cannot be read")
