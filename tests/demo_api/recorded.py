"""What is the same for every API in the tests: a real port, a record of its calls, and its bad days to order."""

import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from tests.demo_api.faults import Fault, FaultPlan
from tests.demo_api.gateway import Gateway
from tests.demo_api.handler import ApiHandler
from tests.demo_api.listener import ApiServer
from tests.demo_api.messages import Answer, Call, Request


class RecordedApi(ABC):
    """
    Serves what `answer` makes of each request, in threads of this process.

    `port=0` takes a free one and keeps it. `log` gets one line a request (method, path, status); `keep_calls=False`
    keeps no record of them, for a server that runs for days. `now` is the clock of the answers, in seconds since 1970.
    Starting raises `OSError` when the port is taken.
    """

    #: Method and path of the call that signs in, for `count` and `fail`; so for the others.
    sign_in_call: tuple[str, str]
    refresh_call: tuple[str, str]
    revoke_call: tuple[str, str]

    def __init__(
        self,
        answer: Callable[[Request], Answer],
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        now: Callable[[], float] = time.time,
        processing_seconds: float = 0.0,
        keep_calls: bool = True,
        log: Callable[[str], None] | None = None,
    ) -> None:
        self._answer = answer
        self._faults = FaultPlan()
        self._now = now
        self._processing_seconds = processing_seconds
        self._host = host
        self._port = port
        self._keep_calls = keep_calls
        self._log = log
        self._calls: list[Call] = []
        self._lock = threading.Lock()
        self._server: ApiServer | None = None
        self._reserved: socket.socket | None = None

    def __enter__(self) -> Self:
        self.start_serving()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_serving()
        self._release_port()

    @property
    @abstractmethod
    def site_environment(self) -> dict[str, str]:
        """The environment variables that point a site at this API."""

    @abstractmethod
    def expire_access_tokens(self) -> None:
        """Every access token issued so far counts as expired from now on, whatever its `exp` says."""

    @abstractmethod
    def revoke_all(self) -> None:
        """End every sign-in, as an operator would: no token issued so far opens anything."""

    @property
    @abstractmethod
    def reuses(self) -> int:
        """How often a spent refresh token came back and was refused."""

    @property
    @abstractmethod
    def refresh_spends(self) -> Counter[str]:
        """How often each refresh token was accepted, by a name that stands for it."""

    def register_site(self, url: str) -> None:  # noqa: B027  # most kinds of API do not ask which site it is
        """Let the site at this address sign people in."""

    def start_serving(self) -> None:
        """Listen, on the same port as the last time. Does nothing while it serves already."""
        if self._server:
            return
        server = ApiServer(
            (self._host, self._port),
            ApiHandler,
            answer=self._answer,
            faults=self._faults,
            record=self._record,
            now=self._now,
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
            self._reserved = reserve_port(self._host, self._port)

    @property
    def port(self) -> int:
        if not self._port:
            raise RuntimeError("The API has no port yet: start it first.")
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

    def count_refreshes(self, status: int | None = None) -> int:
        """How many refreshes were asked for; with `status`, those so answered, faults too."""
        return sum(self.is_refresh(call) and status in (None, call.status) for call in self.calls)

    def is_refresh(self, call: Call | Request) -> bool:
        """Does this call ask for a refresh?"""
        return (call.method, call.path) == self.refresh_call

    def forget_calls(self) -> None:
        with self._lock:
            self._calls.clear()

    def fail(self, method: str, path_prefix: str, fault: Fault, times: int | None = 1) -> None:
        """Let the next `times` such calls meet this fault (None: all, until `heal`). First registered, first used."""
        self._faults.add(method, path_prefix, fault, times)

    @contextmanager
    def behind_gateway(self, gateway: Gateway) -> Iterator[None]:
        """Meanwhile the gateway answers every call, whatever its path, and the API sees none (`Call.fault` says so)."""
        self._faults.gateway = gateway
        try:
            yield
        finally:
            self._faults.gateway = None

    def heal(self) -> None:
        """No more faults, and no gateway. A request that waits at a gate goes on waiting."""
        self._faults.clear()

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


def reserve_port(host: str, port: int) -> socket.socket | None:
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
