"""What a page or the API asks of a sign-in: that it is recent, or of a certain kind (`max_age`, `acr_values`).

Both are parameters of OpenID Connect Core 3.1.2.1. An API asks for them as RFC 9470 says.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from accounts.exceptions import SignInRequired
from accounts.session.api_session import ApiSession

#: A sign-in that takes the user back to the page is this old at most when the page looks at it.
MIN_AGE_SECONDS = 60
# The largest 32-bit number; some providers take no larger one.
_MAX_AGE_SECONDS = 2**31 - 1
_ACR_VALUES = re.compile(r"[\x21-\x7e]+( [\x21-\x7e]+)*")
_MAX_ACR_VALUES = 500
_PARAMETER = re.compile(r"""([A-Za-z_]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """`max_age` is in seconds; None for a sign-in of any age. `acr_values` are separated by spaces; "" for any kind."""

    max_age: int | None = None
    acr_values: str = ""

    def __bool__(self) -> bool:
        return self.max_age is not None or bool(self.acr_values)

    def is_met(self, session: ApiSession) -> bool:
        """Whether the sign-in of `session` is recent enough and of the right kind.

        A `max_age` below a minute counts as a minute: the way back to the page takes time.
        """
        user = session.user
        signed_in_at = session.signed_in_at if user.authenticated_at is None else user.authenticated_at
        is_recent = self.max_age is None or time.time() - signed_in_at <= max(self.max_age, MIN_AGE_SECONDS)
        return is_recent and (not self.acr_values or user.acr in self.acr_values.split())

    def parameters(self) -> dict[str, str]:
        """As parameters of the sign-in page or of an authorization request. `read_freshness` reads them."""
        found = {} if self.max_age is None else {"max_age": str(self.max_age)}
        return {**found, "acr_values": self.acr_values} if self.acr_values else found


ANY_SIGN_IN = Freshness()


class FreshSignInRequired(SignInRequired):
    """The user has to sign in again, although they may be signed in: the sign-in is not as `freshness` asks.

    `reason` is as in SessionEnded, if the session has ended, or else empty. With `again`, the sign-in is as `freshness`
    asks, as far as this site knows, but the API does not accept it.
    """

    def __init__(self, freshness: Freshness, *, reason: str = "", again: bool = False) -> None:
        super().__init__("a recent sign-in, or one of another kind, is required")
        self.freshness = freshness
        self.reason = reason
        self.again = again


def read_freshness(fields: Mapping[str, str]) -> Freshness:
    """What the parameters `max_age` and `acr_values` ask for. Values that are no such parameters count as missing."""
    age, acr_values = str(fields.get("max_age") or ""), str(fields.get("acr_values") or "")
    is_number = age.isascii() and age.isdecimal() and len(age) <= 10
    is_list = len(acr_values) <= _MAX_ACR_VALUES and _ACR_VALUES.fullmatch(acr_values)
    return Freshness(
        max_age=min(int(age), _MAX_AGE_SECONDS) if is_number else None, acr_values=acr_values if is_list else ""
    )


def read_challenge(www_authenticate: str) -> Freshness | None:
    """What the API asks for in the WWW-Authenticate header of a 401 (RFC 9470 section 3); None for any other 401.

    If it does not say how recent or of which kind, a sign-in of the last minute counts.
    """
    if "insufficient_user_authentication" not in www_authenticate:
        return None
    found = [
        (name.lower(), re.sub(r"\\(.)", r"\1", quoted) or plain)
        for name, quoted, plain in _PARAMETER.findall(www_authenticate)
    ]
    # There may be several challenges, each with an `error`, such as Bearer and DPoP.
    if ("error", "insufficient_user_authentication") not in found:
        return None
    return read_freshness(dict(found)) or Freshness(max_age=MIN_AGE_SECONDS)
