"""The API as tests hold it: `with DemoApi() as api:`, its calls on record, and its bad days to order."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.demo_api.contract import Contract, Routes
from tests.demo_api.faults import Fault, Gate
from tests.demo_api.messages import Call
from tests.demo_api.recorded import RecordedApi
from tests.demo_api.state import SignIns
from tests.demo_api.tokens import TokenKind
from tests.demo_api.users import DEMO_USERS

__all__ = ["DEMO_USERS", "Call", "DemoApi", "Fault", "Gate"]


class DemoApi(RecordedApi):
    """
    A strict token-pair API on a real port, in threads of this process. All times are seconds.

    `routes` are calls of your own (see `Routes`): `{("GET", "/orders"): [{"id": 7}]}`. They need the access token. A
    test can change them at any time. `port`, `host`, `keep_calls` and `log` are those of `RecordedApi`.
    """

    sign_in_call = ("POST", "/auth/login")
    refresh_call = ("POST", "/auth/refresh")
    revoke_call = ("POST", "/auth/logout")

    def __init__(
        self,
        port: int = 0,
        access_ttl: float = 60,
        refresh_ttl: float = 1800,
        *,
        routes: Routes | None = None,
        grace_seconds: float = 0.0,
        refused_status: int = 401,
        has_logout: bool = True,
        bound: bool = False,
        tokens: TokenKind = "jwt",
        clock_offset: float = 0.0,
        processing_seconds: float = 0.0,
        host: str = "127.0.0.1",
        keep_calls: bool = True,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self._sign_ins = SignIns(
            access_ttl=access_ttl,
            refresh_ttl=refresh_ttl,
            grace_seconds=grace_seconds,
            bound=bound,
            tokens=tokens,
            clock_offset=clock_offset,
        )
        self._routes = dict(routes or {})
        contract = Contract(
            self._sign_ins, self._routes, refused_status=refused_status, has_logout=has_logout, tokens=tokens
        )
        super().__init__(
            contract.answer,
            port=port,
            host=host,
            now=self._sign_ins.now,
            processing_seconds=processing_seconds,
            keep_calls=keep_calls,
            log=log,
        )

    @property
    def site_environment(self) -> dict[str, str]:
        return {"API_BASE_URL": self.url, "API_DIALECT": "token-pair"}

    @property
    def routes(self) -> Routes:
        """The calls of your own, to be changed in place."""
        return self._routes

    @property
    def claims(self) -> dict[str, Any]:
        """Further claims of the access tokens to come, to be changed in place. Opaque tokens have none."""
        return self._sign_ins.claims

    def expire_access_tokens(self) -> None:
        self._sign_ins.expire_access_tokens()

    def revoke_all(self) -> None:
        self._sign_ins.revoke_all()

    def stop_rotating(self) -> None:
        """Until `heal`, a refresh leaves the refresh token as it is and returns it again."""
        self._sign_ins.rotates = False

    def issue_dead_access_tokens(self) -> None:
        """Until `heal`, sign-ins and refreshes succeed, and every call with the new access token gets a 401."""
        self._sign_ins.issues_dead_access_tokens = True

    def heal(self) -> None:
        super().heal()
        self._sign_ins.rotates = True
        self._sign_ins.issues_dead_access_tokens = False

    def advance_clock(self, seconds: float) -> None:
        """Let time pass, for the API alone."""
        self._sign_ins.clock_offset += seconds

    @property
    def open_sign_ins(self) -> int:
        """How many sign-ins have not been revoked."""
        return self._sign_ins.count_open()

    @property
    def reuses(self) -> int:
        """How often a spent refresh token came back, outside the grace."""
        return self._sign_ins.reuses

    @property
    def refresh_spends(self) -> Counter[str]:
        """How often each refresh token was accepted, by its `jti`; an opaque token is its own."""
        return self._sign_ins.spends()
