"""How a deadline acts on sockets, over plain HTTP and over TLS: connecting, sending, reading, and the next exchange."""

import gc
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from pytest_django import Settings

from accounts.api_client import ApiClient
from accounts.exceptions import ApiUnavailable
from accounts.upstream.calls import ApiAnswer
from accounts.upstream.deadline import Deadline, current_deadline
from accounts.upstream.transport import AnswerLost, NotSent, pooled_adapter, prepare
from tests.accounts.upstream.scripted_api import (
    DRIBBLE_SECONDS,
    PATIENCE_SECONDS,
    SOON_SECONDS,
    THREAD_NAME,
    Api,
    Script,
    dribble,
    keep_silent,
    say,
    whole,
)

#: More than the send and receive buffers of a connection hold.
LARGE = b"x" * 32_000_000
OK = whole(b"{}")


@pytest.fixture
def send(settings: Settings) -> Callable[..., requests.Response]:
    """Sends a request over the pool; all its timeouts are long."""

    def send(api: Api, *, stream: bool = False, data: Any = None) -> requests.Response:
        settings.API_BASE_URL = api.url
        request = prepare("POST", "/", headers={}, data=data)
        response = pooled_adapter().send(request, stream=stream, timeout=PATIENCE_SECONDS)
        if not stream:
            _ = response.content
        return response

    return send


def soon() -> Deadline:
    return Deadline(time.monotonic() + SOON_SECONDS)


def never_read(connection: socket.socket, closing: threading.Event) -> None:
    closing.wait(PATIENCE_SECONDS)


def read_slowly(connection: socket.socket, closing: threading.Event) -> None:
    while not closing.wait(DRIBBLE_SECONDS) and connection.recv(16_384):
        pass


class TestOverTls:
    """`TestDeadline` shows the same over plain HTTP."""

    @pytest.mark.parametrize(
        "script",
        [
            keep_silent,
            dribble(b"HTTP/1.1 200 OK\r\nX-Header: ", b"x"),
            dribble(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"x"),
            dribble(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        ],
        ids=["silence", "a header", "body with its length", "chunks"],
    )
    def test_a_response_that_dribbles_is_lost_at_the_deadline(
        self, ask: Callable[..., ApiAnswer], trusted_certificate: Path, script: Script
    ) -> None:
        with Api(script, certificate=trusted_certificate) as api:
            started = time.monotonic()
            with pytest.raises(AnswerLost):
                ask(api.url, SOON_SECONDS)

            assert SOON_SECONDS <= time.monotonic() - started < PATIENCE_SECONDS
            assert len(api.requests) == 1
            assert api.is_left_alone()

    def test_so_is_the_response_to_a_views_call(
        self, client: Callable[..., ApiClient], settings: Settings, trusted_certificate: Path
    ) -> None:
        settings.API_CONNECT_TIMEOUT, settings.API_READ_TIMEOUT = SOON_SECONDS, SOON_SECONDS
        script = dribble(b'HTTP/1.1 200 OK\r\n\r\n{"data": ', b" ")
        with Api(script, certificate=trusted_certificate) as api:
            started = time.monotonic()
            with pytest.raises(ApiUnavailable, match="in time"):
                client(api.url).get("/")

            assert 2 * SOON_SECONDS <= time.monotonic() - started < PATIENCE_SECONDS

    def test_a_whole_response_counts_however_late(
        self, ask: Callable[..., ApiAnswer], trusted_certificate: Path
    ) -> None:
        """The bytes that are read at the deadline are still decrypted."""
        script = dribble(b'HTTP/1.1 200 OK\r\n\r\n{"refreshToken": "r1"}', b" ")
        with Api(script, certificate=trusted_certificate) as api:
            assert ask(api.url, SOON_SECONDS).json_object() == {"refreshToken": "r1"}


class TestConnecting:
    def test_a_tls_handshake_ends_at_the_deadline(self, ask: Callable[..., ApiAnswer], settings: Settings) -> None:
        settings.API_CONNECT_TIMEOUT = PATIENCE_SECONDS
        with Api(keep_silent, greet=True) as api:
            started = time.monotonic()
            with pytest.raises(NotSent):
                ask(api.url.replace("http:", "https:"), SOON_SECONDS)

            assert SOON_SECONDS <= time.monotonic() - started < PATIENCE_SECONDS
            assert api.is_left_alone()

    @pytest.fixture
    def resolve(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """The host of each request has these addresses, given as URLs."""

        def resolve(*urls: str) -> None:
            addresses = [("127.0.0.1", int(url.rpartition(":")[2])) for url in urls]
            found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)

        return resolve

    def test_all_addresses_of_a_host_share_one_deadline(
        self, ask: Callable[..., ApiAnswer], resolve: Callable[..., None], settings: Settings, full_url: str
    ) -> None:
        settings.API_CONNECT_TIMEOUT = PATIENCE_SECONDS
        resolve(*[full_url] * 100)
        started = time.monotonic()
        with pytest.raises(NotSent):
            ask(full_url, SOON_SECONDS)

        assert SOON_SECONDS <= time.monotonic() - started < PATIENCE_SECONDS

    def test_the_next_address_is_tried(
        self,
        ask: Callable[..., ApiAnswer],
        resolve: Callable[..., None],
        settings: Settings,
        full_url: str,
        refused_url: str,
    ) -> None:
        settings.API_CONNECT_TIMEOUT = SOON_SECONDS
        with Api(say(OK)) as api:
            resolve(refused_url, full_url, api.url)

            assert ask(api.url).status == 200

    def test_a_host_without_an_address_gets_nothing(self, ask: Callable[..., ApiAnswer]) -> None:
        with pytest.raises(NotSent):
            ask("http://api.invalid")


class TestSending:
    @pytest.mark.parametrize("script", [never_read, read_slowly])
    def test_a_large_body_that_the_api_does_not_read_in_time(
        self, send: Callable[..., requests.Response], certificate: Path | None, script: Script
    ) -> None:
        with Api(script, greet=True, certificate=certificate) as api:
            started = time.monotonic()
            with pytest.raises(requests.ConnectionError), soon():
                send(api, data=LARGE)

            assert SOON_SECONDS <= time.monotonic() - started < PATIENCE_SECONDS

    def test_a_body_in_pieces(self, send: Callable[..., requests.Response], certificate: Path | None) -> None:
        sent = 0

        def pieces() -> Iterator[bytes]:
            nonlocal sent
            while True:
                yield b"x" * 1000
                sent += 1
                time.sleep(DRIBBLE_SECONDS)

        with Api(never_read, greet=True, certificate=certificate) as api:
            with pytest.raises(requests.ConnectionError), soon():
                send(api, data=pieces())

            assert 0 < sent <= SOON_SECONDS / DRIBBLE_SECONDS + 1

    def test_a_response_that_came_first_is_read(
        self, send: Callable[..., requests.Response], certificate: Path | None
    ) -> None:
        def refuse(connection: socket.socket, closing: threading.Event) -> None:
            connection.sendall(whole(b"", status="413 Too Large"))
            never_read(connection, closing)

        with Api(refuse, greet=True, certificate=certificate) as api, soon():
            assert send(api, data=LARGE).status_code == 413

    def test_a_large_body_arrives_whole(self, send: Callable[..., requests.Response], certificate: Path | None) -> None:
        body = os.urandom(1_000_003)
        with Api(say(OK), certificate=certificate) as api, Deadline(time.monotonic() + PATIENCE_SECONDS):
            send(api, data=body)

        assert api.requests[0].partition(b"\r\n\r\n")[2] == body

    def test_the_timeout_may_come_before_the_deadline(
        self, client: Callable[..., ApiClient], settings: Settings, certificate: Path | None
    ) -> None:
        settings.API_CONNECT_TIMEOUT, settings.API_READ_TIMEOUT = SOON_SECONDS, 1000
        with Api(never_read, greet=True, certificate=certificate) as api:
            started = time.monotonic()
            with pytest.raises(ApiUnavailable):
                client(api.url).post("/", data=LARGE)

            assert time.monotonic() - started < PATIENCE_SECONDS

    def test_after_the_deadline_nothing_is_sent_on_a_new_connection(
        self, send: Callable[..., requests.Response], certificate: Path | None
    ) -> None:
        with Api(say(OK), certificate=certificate) as api:
            with pytest.raises(requests.ConnectionError), Deadline(time.monotonic()):
                send(api)

            assert api.requests == []

    def test_after_the_deadline_nothing_is_sent_on_a_kept_one(
        self, send: Callable[..., requests.Response], certificate: Path | None
    ) -> None:
        with Api(say(OK), certificate=certificate) as api:
            send(api)
            with pytest.raises(requests.ConnectionError), Deadline(time.monotonic()):
                send(api)

            assert api.is_left_alone()
            assert (len(api.requests), api.connections) == (1, 1)


class TestReading:
    def test_bytes_that_arrived_before_the_deadline_are_read_after_it(
        self, send: Callable[..., requests.Response], certificate: Path | None
    ) -> None:
        """A process that was suspended finds them when it resumes."""
        body = os.urandom(50_000)
        with Api(say(whole(body)), certificate=certificate) as api, soon():
            response = send(api, stream=True)
            time.sleep(SOON_SECONDS)

            assert response.content == body
            assert api.is_left_alone()

    def test_a_streamed_body_is_read_on_after_the_block(
        self, send: Callable[..., requests.Response], certificate: Path | None
    ) -> None:
        def script(connection: socket.socket, closing: threading.Event) -> None:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
            for _ in range(3):
                closing.wait(SOON_SECONDS)
                connection.sendall(b"x")

        with Api(script, certificate=certificate) as api:
            with soon():
                response = send(api, stream=True)

            assert response.content == b"xxx"

    def test_it_has_a_timeout_for_each_read(
        self, client: Callable[..., ApiClient], settings: Settings, certificate: Path | None
    ) -> None:
        settings.API_READ_TIMEOUT = SOON_SECONDS
        with Api(say(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nx"), certificate=certificate) as api:
            response = client(api.url).get("/", stream=True)
            started = time.monotonic()
            with pytest.raises(requests.ConnectionError, match="timed out"):
                _ = response.content

            assert time.monotonic() - started < PATIENCE_SECONDS


class TestNextExchange:
    def test_a_kept_connection_forgets_the_deadline_before(
        self, send: Callable[..., requests.Response], certificate: Path | None
    ) -> None:
        def script(connection: socket.socket, closing: threading.Event) -> None:
            if len(api.requests) > 1:
                closing.wait(2 * SOON_SECONDS)
            connection.sendall(OK)

        with Api(script, certificate=certificate) as api:
            with Deadline(time.monotonic() + SOON_SECONDS):
                send(api)

            assert send(api).status_code == 200
            with Deadline(time.monotonic() + PATIENCE_SECONDS):
                assert send(api).status_code == 200
            assert (len(api.requests), api.connections) == (3, 1)

    def test_it_obeys_its_own(self, send: Callable[..., requests.Response], certificate: Path | None) -> None:
        def script(connection: socket.socket, closing: threading.Event) -> None:
            if len(api.requests) > 1:
                keep_silent(connection, closing)
            connection.sendall(OK)

        with Api(script, certificate=certificate) as api:
            with Deadline(time.monotonic() + PATIENCE_SECONDS):
                send(api)
            started = time.monotonic()
            with pytest.raises(requests.ConnectionError), soon():
                send(api)

            assert SOON_SECONDS <= time.monotonic() - started < PATIENCE_SECONDS
            assert (len(api.requests), api.connections) == (2, 1)

    def test_a_block_inside_another_leaves_the_outer_deadline_in_force(self) -> None:
        with soon() as outer:
            with soon() as inner:
                assert current_deadline() is inner
            assert current_deadline() is outer
        assert current_deadline() is None

    def test_connections_need_no_thread_and_one_file_descriptor_each(
        self, send: Callable[..., requests.Response], certificate: Path | None
    ) -> None:
        with Api(say(OK), certificate=certificate) as api, Deadline(time.monotonic() + PATIENCE_SECONDS):
            held = [send(api, stream=True)]
            gc.collect()
            sockets, threads = open_sockets(), foreign_threads()
            held += [send(api, stream=True) for _ in range(10)]

            assert len(open_sockets() - sockets) == 20, "ten here, and ten at the API"
            assert foreign_threads() <= threads
            for response in held:
                response.close()


def open_sockets() -> set[str]:
    """The sockets of this process, one entry for each file descriptor (proc_pid_fd(5))."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.add(f"{link.name} {link.readlink()}")
    return {name for name in found if "socket:" in name}


def foreign_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name != THREAD_NAME}
