"""A response that the API sends before it has read the whole request counts. Its connection is not used again."""

import errno
import fcntl
import os
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.api_client import ApiClient
from accounts.upstream.calls import ApiCall
from accounts.upstream.transport import AnswerLost, call_once
from tests.accounts.upstream.scripted_api import PATIENCE_SECONDS, SOON_SECONDS, Api, Script, reset, whole

#: More than the send and receive buffers of a connection hold.
LARGE = os.urandom(1_000_000) * 16
REFUSAL = b'{"message": "no"}'


def send_early(connection: socket.socket, status: str) -> None:
    """Send a response to a request of which little has been read, and wait until the other side has it."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.recv(1000)
    connection.sendall(whole(REFUSAL, status=status))
    while struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, b"\0" * 4))[0]:
        time.sleep(0.001)


def refuse_and(end: Script, status: str = "413 Too Large") -> Script:
    def script(connection: socket.socket, closing: threading.Event) -> None:
        send_early(connection, status)
        end(connection, closing)

    return script


def close(connection: socket.socket, closing: threading.Event) -> None:
    """There are unread bytes, so the system resets the connection."""
    connection.close()


def stay(connection: socket.socket, closing: threading.Event) -> None:
    closing.wait(PATIENCE_SECONDS)


class Upload:
    """A body that is read once, piece by piece."""

    def __init__(self) -> None:
        self._left = len(LARGE)

    def __len__(self) -> int:
        return self._left

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.read, b"")

    def read(self, size: int = 16_384) -> bytes:
        size = min(size, self._left)
        self._left -= size
        return bytes(size)


BODIES: dict[str, Callable[[], object]] = {
    "bytes": lambda: LARGE,
    "an upload": Upload,
    "pieces": lambda: (LARGE[:16_000] for _ in range(1000)),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("end", [close, reset])
def test_the_response_of_an_api_that_then_hangs_up_is_read(
    client: Callable[[str], ApiClient], certificate: Path | None, body: Callable[[], object], end: Script
) -> None:
    with Api(refuse_and(end), greet=True, certificate=certificate) as api:
        response = client(api.url).post("/", data=body())

        assert (response.status_code, response.json()) == (413, {"message": "no"})


def test_so_is_that_of_an_api_that_reads_no_more(client: Callable[[str], ApiClient], settings: Settings) -> None:
    settings.API_CONNECT_TIMEOUT = SOON_SECONDS
    with Api(refuse_and(stay), greet=True) as api:
        assert client(api.url).post("/", data=LARGE).status_code == 413


@pytest.mark.parametrize("end", [close, reset])
def test_so_is_that_to_a_sign_in(settings: Settings, certificate: Path | None, end: Script) -> None:
    with Api(refuse_and(end, "401 Unauthorized"), greet=True, certificate=certificate) as api:
        settings.API_BASE_URL = api.url
        call = ApiCall(method="POST", path="/auth/login", form={"password": "x" * len(LARGE)})
        answer = call_once(call, address="", ends_at=time.monotonic() + PATIENCE_SECONDS)

    assert (answer.status, answer.message()) == (401, "no")


@pytest.mark.parametrize("end", [close, reset])
def test_without_a_response_the_call_is_lost(settings: Settings, certificate: Path | None, end: Script) -> None:
    def script(connection: socket.socket, closing: threading.Event) -> None:
        connection.recv(1000)
        end(connection, closing)

    with Api(script, greet=True, certificate=certificate) as api:
        settings.API_BASE_URL = api.url
        call = ApiCall(method="POST", path="/auth/login", form={"password": "x" * len(LARGE)})
        with pytest.raises(AnswerLost):
            call_once(call, address="", ends_at=time.monotonic() + PATIENCE_SECONDS)


def test_a_connection_with_half_a_request_is_not_used_again(
    client: Callable[[str], ApiClient], certificate: Path | None
) -> None:
    """The browser breaks off its upload when the early response has arrived. The API still waits for the rest."""
    refused = threading.Event()
    heard: list[bytes] = []

    def script(connection: socket.socket, closing: threading.Event) -> None:
        if api.requests:
            connection.sendall(whole(b"{}"))
        elif not refused.is_set():
            send_early(connection, "413 Too Large")
            refused.set()
            while piece := connection.recv(65_536):
                heard.append(piece)

    def pieces() -> Iterator[bytes]:
        yield b"x" * 1000
        assert refused.wait(PATIENCE_SECONDS)
        raise ConnectionResetError(errno.ECONNRESET, "the browser")

    with Api(script, greet=True, certificate=certificate) as api:
        assert client(api.url).post("/", data=pieces()).status_code == 413
        assert client(api.url).get("/").status_code == 200

        assert api.connections == 2
        assert b"GET" not in b"".join(heard)
