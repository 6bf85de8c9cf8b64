"""The API as tests hold it: `with DemoApi() as api:`, its calls on record, and its bad days to order."""

import socket
import threading
from collections import Counter
from collections.abc import Callable

from tests.demo_api.contract import Contract
from tests.demo_api.faults import Fault, FaultPlan, Gate
from tests.demo_api.handler import ApiHandler
from tests.demo_api.listener import ApiServer
from tests.demo_api.messages import Call
from tests.demo_api.state import SignIns
from tests.demo_api.tokens import TokenKind
from tests.demo_api.users import DEMO_USERS

__all__ = ["DEMO_USERS", "Call", "DemoApi", "Fault", "Gate"]


class DemoApi:
    """
    A strict token-pair API on a real port, in threads of this process.

    All times are seconds. `port=0` takes a free one and keeps it. `log` gets one line a request (method, path,
    status); `keep_calls=False` keeps no record of them, for a server that runs for days. Starting raises `OSError`
    when the port is taken.
    """

    def __init__(
        self,
        port: int = 0,
        access_ttl: float = 60,
        refresh_ttl: float = 1800,
        *,
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
        self._contract = Contract(self._sign_ins, refused_status=refused_status, has_logout=has_logout, tokens=tokens)
        self._faults = FaultPlan()
        self._processing_seconds = processing_seconds
        self._host = host
        self._port = port
        self._keep_calls = keep_calls
        self._log = log
        self._calls: list[Call] = []
        self._lock = threading.Lock()
        self._server: ApiServer | None = None
        self._reserved: socket.socket | None = None

    def __enter__(self) -> "DemoApi":
        self.start_serving()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_serving()
        self._release_port()

    def start_serving(self) -> None:
        """Listen, on the same port as the last time. Does nothing while it serves already."""
        if self._server:
            return
        server = ApiServer(
            (self._host, self._port),
            ApiHandler,
            answer=self._contract.answer,
            faults=self._faults,
            record=self._record,
            now=self._sign_ins.now,
            processing_seconds=self._processing_seconds,
        )
        self._release_port()
        self._port = server.server_port
        self._server = server
        server.start()

    def stop_serving(self) -> None:
        """Go away: connections are refused, open ones break, a request under way gets no answer. The state stays."""
        if self._server:
            self._server.stop()
            self._server = None
            self._reserved = _reserve_port(self._host, self._port)

    @property
    def port(self) -> int:
        if not self._port:
            raise RuntimeError("The demo API has no port yet: start it first.")
        return self._port

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.port}"

    @property
    def calls(self) -> list[Call]:
        """The calls so far, in order of completion. A call is here before its answer leaves."""
        with self._lock:
            return list(self._calls)

    def count(self, method: str, path: str, status: int | None = None) -> int:
        """How many calls of exactly this path (no query); with `status`, those so answered, faults too."""
        return sum(call.method == method and call.path == path and status in (None, call.status) for call in self.calls)

    def forget_calls(self) -> None:
        with self._lock:
            self._calls.clear()

    def fail(self, method: str, path_prefix: str, fault: Fault, times: int | None = 1) -> None:
        """Let the next `times` such calls meet this fault (None: all, until `heal`). First registered, first used."""
        self._faults.add(method, path_prefix, fault, times)

    def heal(self) -> None:
        """No more faults. A request that waits at a gate goes on waiting."""
        self._faults.clear()

    def expire_access_tokens(self) -> None:
        """Every access token issued so far counts as expired from now on, whatever its `exp` says."""
        self._sign_ins.expire_access_tokens()

    def revoke_all(self) -> None:
        """End every sign-in, as an operator would."""
        self._sign_ins.revoke_all()

    def advance_clock(self, seconds: float) -> None:
        """Let time pass, for the API alone."""
        self._sign_ins.clock_offset += seconds

    @property
    def reuses(self) -> int:
        """How often a spent refresh token came back, outside the grace."""
        return self._sign_ins.reuses

    @property
    def refresh_spends(self) -> Counter[str]:
        """How often each refresh token was accepted, by its `jti`; an opaque token is its own."""
        return self._sign_ins.spends()

    def _record(self, call: Call) -> None:
        if self._keep_calls:
            with self._lock:
                self._calls.append(call)
        if self._log:
            path = call.path.encode("unicode_escape").decode("ascii")  # a terminal obeys control characters
            self._log(f"{call.method} {path} {call.status or '-'}")

    def _release_port(self) -> None:
        if self._reserved:
            self._reserved.close()
            self._reserved = None


def _reserve_port(host: str, port: int) -> socket.socket | None:
    """
    Keep a port ours while nothing listens on it.

    Otherwise the kernel may give it to anybody's outgoing connection meanwhile, even to one that is just trying to
    reach it, and we could not come back.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reserved.bind((host, port))
    except OSError:
        reserved.close()
        return None
    return reserved
