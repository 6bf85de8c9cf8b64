"""Kept-alive connections that died while they were idle: a NAT forgot them, or resets them at the first byte."""

import ctypes
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_django import Settings

from accounts.api_client import ApiClient
from accounts.exceptions import ApiUnavailable
from accounts.upstream import connections
from accounts.upstream.connections import MAX_IDLE_SECONDS
from accounts.upstream.transport import pooled_adapter, prepare
from tests.accounts.upstream.scripted_api import SOON_SECONDS, Api, keep_silent, reset, whole

_SO_ATTACH_FILTER = 26
SAFE = ["GET", "HEAD", "OPTIONS"]
UNSAFE = ["POST", "PUT", "PATCH", "DELETE"]


class Network:
    """An API behind a device that keeps a table of connections, like a NAT."""

    def __init__(self) -> None:
        self.connections: list[socket.socket] = []
        self.how: Callable[[socket.socket, threading.Event], object] | None = None
        #: How many requests came over forgotten connections.
        self.met = 0
        self._forgotten: set[socket.socket] = set()

    def respond(self, connection: socket.socket, closing: threading.Event) -> None:
        if connection in self._forgotten and self.how:
            self.met += 1
            self.how(connection, closing)
            return
        self.connections.append(connection)
        connection.sendall(whole(b"{}"))

    def forget(self, how: Callable[[socket.socket, threading.Event], object] | None) -> None:
        """Every present connection is dead at its next request. None: it loses all packets."""
        self.how = how
        self._forgotten = set(self.connections)
        if how is None:
            for connection in self._forgotten:
                lose_all_packets(connection)


def lose_all_packets(connection: socket.socket) -> None:
    """The system drops what arrives for this socket, and acknowledges nothing (socket(7))."""
    filter_nothing_passes = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(filter_nothing_passes))
    connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def kept_pool() -> Any:
    return pooled_adapter().get_connection_with_tls_context(prepare("GET", "/", headers={}), verify=True)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def api(network: Network) -> Iterator[Api]:
    with Api(network.respond) as api:
        yield api


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets the pool believe that so many seconds have passed."""
    ahead = 0.0

    def wait(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds

    monkeypatch.setattr(connections, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + ahead))
    return wait


@pytest.fixture
def fill(client: Callable[[str], ApiClient], api: Api) -> Callable[[int], None]:
    """Opens so many connections at once, and leaves them to the pool."""

    def fill(number: int) -> None:
        held = [client(api.url).get("/", stream=True) for _ in range(number)]
        assert [response.content for response in held] == [b"{}"] * number
        assert api.connections == number

    return fill


@pytest.mark.parametrize("how", [keep_silent, reset, None], ids=["silence", "reset", "lost packets"])
@pytest.mark.parametrize("method", [*SAFE, *UNSAFE])
def test_one_that_was_idle_for_long_is_not_used(
    client: Callable[[str], ApiClient],
    api: Api,
    network: Network,
    fill: Callable[[int], None],
    wait: Callable[[float], None],
    method: str,
    how: Callable[[socket.socket, threading.Event], object] | None,
) -> None:
    fill(10)
    network.forget(how)
    wait(MAX_IDLE_SECONDS + 0.1)

    for _ in range(10):
        assert client(api.url).request(method, "/").status_code == 200

    # After a HEAD, none is used again.
    assert (network.met, api.connections) == (0, 20 if method == "HEAD" else 11)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_one_that_was_not_idle_for_long_is_used(
    client: Callable[[str], ApiClient],
    api: Api,
    fill: Callable[[int], None],
    wait: Callable[[float], None],
    method: str,
) -> None:
    fill(1)
    wait(MAX_IDLE_SECONDS / 2)

    assert client(api.url).request(method, "/").status_code == 200

    assert api.connections == 1


@pytest.mark.parametrize("method", SAFE)
def test_after_a_reset_a_safe_call_is_repeated_over_a_new_one(
    client: Callable[[str], ApiClient], api: Api, network: Network, fill: Callable[[int], None], method: str
) -> None:
    fill(10)
    network.forget(reset)

    for _ in range(10):
        assert client(api.url).request(method, "/").status_code == 200

    assert network.met == 1, "the other nine are not tried"


def test_the_repetition_never_uses_a_kept_one(
    client: Callable[[str], ApiClient],
    api: Api,
    network: Network,
    fill: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another thread may put one back at this moment."""
    fill(2)
    network.forget(reset)
    pool = kept_pool()
    monkeypatch.setattr(type(pool), "_trusted_from", property(lambda _: 0.0, lambda *_: None))

    assert client(api.url).get("/").status_code == 200

    assert (network.met, api.connections) == (1, 3)
    assert client(api.url).get("/").status_code == 200
    assert api.connections == 3, "the new one is kept"


def test_several_that_keep_silent_cost_one_timeout(
    client: Callable[[str], ApiClient], api: Api, network: Network, fill: Callable[[int], None], settings: Settings
) -> None:
    settings.API_READ_TIMEOUT = SOON_SECONDS
    fill(10)
    network.forget(keep_silent)

    with pytest.raises(ApiUnavailable, match="in time"):
        client(api.url).get("/")
    for method in ("GET", "POST") * 5:
        assert client(api.url).request(method, "/").status_code == 200

    assert network.met == 1


def test_the_system_probes_idle_ones(fill: Callable[[int], None]) -> None:
    fill(1)
    pool = kept_pool()
    kept = pool._get_conn()

    options = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        *((socket.IPPROTO_TCP, getattr(socket, name)) for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")),
    ]
    assert [kept.sock.getsockopt(*option) for option in options] == [1, 10, 3, 3]
    pool._put_conn(kept)
