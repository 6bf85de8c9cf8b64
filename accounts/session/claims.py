"""The claims that API_USER_CLAIMS names: what the API says of a user in its tokens, such as roles, groups or a tenant.

They are kept with the session, and renewed with the tokens. A claim is stored under the source that it came from, so
that a refresh renews exactly the claims of the sources that its response has.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from accounts.conf import conf
from accounts.exceptions import ApiMisbehaved
from accounts.session.tokens import User, unverified_claims

logger = logging.getLogger(__name__)

#: A cookie has at most 4,096 bytes, and encryption makes a third more of each byte. So much leaves room for two tokens
#: of ordinary size, and the session stays in one cookie.
MAX_CLAIMS_BYTES = 1024


class ClaimsTooLarge(ApiMisbehaved):
    """The claims that API_USER_CLAIMS names do not fit into the session."""


def with_claims(user: User, access_token: str, id_token: str, fields: Mapping[str, Any]) -> User:
    """`user` with the claims in a response of the API: of the access token, the ID token, or other fields of the user.

    The claims of a source that the response does not have stay as they are: an opaque access token, no ID token. A
    claim that is missing in a source that the response has is gone. Raises ClaimsTooLarge.
    """
    if not conf.user_claims:
        return replace(user, claims_by_source={})
    token, id_claims = unverified_claims(access_token), unverified_claims(id_token)
    nested = token.get("user")
    sources = {
        "access": {**nested, **token} if isinstance(nested, Mapping) else token,
        # An ID token of a refresh is about the same user (OpenID Connect Core 12.2).
        "id": id_claims if user.has_id(id_claims.get("sub")) else {},
        "fields": fields,
    }
    kept: dict[str, dict[str, Any]] = {}
    wanted = list(conf.user_claims)
    for name, source in sources.items():
        found = _find_all(wanted, source) if source else _pick(wanted, user.claims_by_source.get(name, {}))
        # The first source counts. An older value of another source must not come back when this one has none any more.
        wanted = [claim for claim in wanted if claim not in found]
        if found:
            kept[name] = found
    _check_size(kept)
    return replace(user, claims_by_source=kept)


def renewed_claims(user: User, access_token: str, id_token: str, fields: Mapping[str, Any]) -> User:
    """`user` with the claims that came with a new pair. Claims that are too large must not lose the pair."""
    try:
        return with_claims(user, access_token, id_token, fields)
    except ClaimsTooLarge as error:
        # Fewer permissions than the user has, never more.
        logger.error("a session goes on without claims after its rotation: %s", error)
        return replace(user, claims_by_source={})


def lacks_claims(user: User) -> bool:
    """Whether a claim of API_USER_CLAIMS has not been found yet."""
    return not set(conf.user_claims) <= set(user.claims)


def _find_all(names: Iterable[str], source: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name in names for value in _find(name, source)}


def _pick(names: Iterable[str], claims: Mapping[str, Any]) -> dict[str, Any]:
    return {name: claims[name] for name in names if name in claims}


def _find(name: str, source: Any) -> list[Any]:
    """The value of the claim with exactly this name, or else at the path `a.b` in nested claims; [] without one."""
    if name in source:
        return [source[name]]
    for part in name.split("."):
        if not isinstance(source, Mapping) or part not in source:
            return []
        source = source[part]
    return [source]


def _check_size(claims: Mapping[str, object]) -> None:
    try:
        size = len(json.dumps(claims, separators=(",", ":")))
    except (ValueError, RecursionError) as error:
        raise ClaimsTooLarge("the claims that API_USER_CLAIMS names are nested too deeply.") from error
    if size > MAX_CLAIMS_BYTES:
        raise ClaimsTooLarge(
            f"the claims that API_USER_CLAIMS names have {size} bytes as JSON; the limit is {MAX_CLAIMS_BYTES} "
            "(MAX_CLAIMS_BYTES in accounts/session/claims.py). Name fewer claims, or ask the API for shorter ones."
        )
