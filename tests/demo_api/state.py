"""What the API knows of its sign-ins: a family of tokens each, which lives and dies together. Nothing of HTTP."""

import hmac
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.demo_api.messages import Pair
from tests.demo_api.tokens import JwtMint, Mint, OpaqueMint, TokenKind
from tests.demo_api.users import DEMO_USERS, user_claim


class Refused(Exception):
    """Wrong credentials, or a token that opens nothing (any more). The text is for people."""


class StillValid(Exception):
    """Asked to refresh while the access token is good. No refusal: nothing was spent."""


@dataclass(slots=True)
class SignIn:
    """One family of tokens: all that descend from one login."""

    email: str
    revoked: bool = False


@dataclass(slots=True)
class AccessToken:
    sign_in: SignIn
    expires_at: float


@dataclass(slots=True)
class RefreshToken:
    sign_in: SignIn
    expires_at: float
    issued_with: str
    spent_at: float | None = None
    successor: Pair | None = None


class SignIns:
    """
    Every sign-in and token since the start, under one lock. Nothing is ever forgotten: it is a demo.

    Lives, grace and clock offset are in seconds. `clock_offset` may be changed at any time: time passes for the API.
    So may `rotates` (without it, a refresh leaves the refresh token as it is and returns it again), and
    `issues_dead_access_tokens` (those of the next sign-ins and refreshes count as expired, whatever their `exp` says).
    """

    def __init__(
        self,
        *,
        access_ttl: float,
        refresh_ttl: float,
        grace_seconds: float = 0.0,
        bound: bool = False,
        tokens: TokenKind = "jwt",
        clock_offset: float = 0.0,
    ) -> None:
        self.access_ttl = access_ttl
        self.refresh_ttl = refresh_ttl
        self.clock_offset = clock_offset
        self.reuses = 0
        self.rotates = True
        self.issues_dead_access_tokens = False
        self.claims: dict[str, Any] = {}
        self._grace_seconds = grace_seconds
        self._bound = bound
        self._mint: Mint = JwtMint() if tokens == "jwt" else OpaqueMint()
        self._access: dict[str, AccessToken] = {}
        self._refresh: dict[str, RefreshToken] = {}
        self._spends: Counter[str] = Counter()
        self._lock = threading.Lock()

    def now(self) -> float:
        return time.time() + self.clock_offset

    def sign_in(self, email: str, password: str) -> Pair:
        expected = DEMO_USERS.get(email, "")
        # `surrogatepass`: JSON can spell text that UTF-8 cannot.
        matches = hmac.compare_digest(expected.encode(), password.encode("utf-8", "surrogatepass"))
        if not (expected and matches):
            raise Refused("Wrong e-mail address or password.")
        with self._lock:
            return self._issue(SignIn(email))

    def refresh(self, access: str, refresh: str) -> Pair:
        """
        The next pair, for a spent refresh token. Raises `Refused` or `StillValid`.

        The refresh token is judged first, and a spent one ends its sign-in whatever came along with it: it has been
        copied, and who of the two holds the original nobody can tell (RFC 9700 section 4.14).
        """
        with self._lock:
            refresh_id = self._mint.identify(refresh) or ""
            token = self._living(refresh_id)
            access_id = self._mint.identify(access) or ""
            self._check_companion(token, access_id)
            self._spends[refresh_id] += 1
            if not self.rotates:
                access, token.issued_with = self._issue_access(token.sign_in)
                return Pair(access, refresh)
            if token.successor is None:
                token.successor = self._issue(token.sign_in)
                token.spent_at = self.now()
            return token.successor

    def sign_out(self, refresh: str) -> None:
        """End the sign-in that this refresh token belongs to, be it spent or expired. Unknown ones are ignored."""
        with self._lock:
            if token := self._refresh.get(self._mint.identify(refresh) or ""):
                token.sign_in.revoked = True

    def whose(self, access: str) -> str:
        """The e-mail address behind a good access token. Raises `Refused`."""
        with self._lock:
            token = self._access.get(self._mint.identify(access) or "")
            if token is None:
                raise Refused("This access token is not one of ours.")
            if token.sign_in.revoked:
                raise Refused("This sign-in has been ended.")
            if token.expires_at <= self.now():
                raise Refused("The access token has expired.")
            return token.sign_in.email

    def expire_access_tokens(self) -> None:
        with self._lock:
            for token in self._access.values():
                token.expires_at = 0.0

    def revoke_all(self) -> None:
        with self._lock:
            for token in self._refresh.values():
                token.sign_in.revoked = True

    def spends(self) -> Counter[str]:
        with self._lock:
            return Counter(self._spends)

    def count_open(self) -> int:
        with self._lock:
            return len({id(token.sign_in) for token in self._refresh.values() if not token.sign_in.revoked})

    def _issue(self, sign_in: SignIn) -> Pair:
        access, access_id = self._issue_access(sign_in)
        subject = {"sub": str(user_claim(sign_in.email)["id"])}
        refresh, refresh_id, ends_at = self._mint.mint(now=self.now(), life=self.refresh_ttl, claims=subject)
        self._refresh[refresh_id] = RefreshToken(sign_in, ends_at, issued_with=access_id)
        return Pair(access, refresh)

    def _issue_access(self, sign_in: SignIn) -> tuple[str, str]:
        """An access token and its id."""
        user = user_claim(sign_in.email)
        claims = {**self.claims, "sub": str(user["id"]), "user": user}
        access, access_id, ends_at = self._mint.mint(now=self.now(), life=self.access_ttl, claims=claims)
        self._access[access_id] = AccessToken(sign_in, 0.0 if self.issues_dead_access_tokens else ends_at)
        return access, access_id

    def _living(self, refresh_id: str) -> RefreshToken:
        token = self._refresh.get(refresh_id)
        if token is None:
            raise Refused("This refresh token is not one of ours.")
        if token.spent_at is not None and not self._in_grace(token.spent_at):
            self.reuses += 1
            token.sign_in.revoked = True
            raise Refused("This refresh token has been used before: the sign-in is ended.")
        if token.sign_in.revoked:
            raise Refused("This sign-in has been ended.")
        if token.expires_at <= self.now():
            raise Refused("The refresh token has expired.")
        return token

    def _in_grace(self, spent_at: float) -> bool:
        return self._grace_seconds > 0 and self.now() < spent_at + self._grace_seconds

    def _check_companion(self, token: RefreshToken, access_id: str) -> None:
        access = self._access.get(access_id)
        if access is None or access.sign_in is not token.sign_in:
            raise Refused("The access token is not one of this sign-in.")
        if self._bound and access_id != token.issued_with:
            raise Refused("The refresh token was issued with another access token.")
        if access.expires_at > self.now():
            raise StillValid("The access token is still valid.")
