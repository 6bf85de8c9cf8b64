"""Reading an API's event stream: over TLS too, it may be quiet for longer than other responses."""

import errno
import re
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import responses
from pytest_django import Settings

from accounts import api_client
from accounts.api_client import ApiClient
from accounts.exceptions import ApiMisbehaved, ApiUnavailable
from accounts.upstream import connections, event_stream
from accounts.upstream.event_stream import EVENT_END, LINE_END, is_event_stream, read_events
from tests.accounts.upstream.scripted_api import Api, Script, reset, say

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()


@pytest.fixture(autouse=True)
def quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat comes later than the timeout of a read."""
    settings.API_READ_TIMEOUT = 0.3
    monkeypatch.setattr(event_stream, "HEARTBEAT_SECONDS", 0.4)


class Spoken:
    """A script that sends the next part each time when it is told to."""

    def __init__(self, *parts: bytes) -> None:
        self._parts, self._next = parts, threading.Semaphore(0)

    def go_on(self) -> None:
        self._next.release()

    def __call__(self, connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(CHUNKED)
        for part in self._parts:
            while not self._next.acquire(timeout=0.05):
                if closing.is_set():
                    return
            connection.sendall(part)


def pieces(client: Callable[[str], ApiClient], api: Api, end: re.Pattern[bytes] = EVENT_END) -> Iterator[bytes | None]:
    response = client(api.url).get("/", stream=True)
    assert is_event_stream(response)
    return read_events(response.raw, end)


def test_waits_longer_than_the_timeout_of_a_read(client: Callable[[str], ApiClient], certificate: Path | None) -> None:
    spoken = Spoken(b"9\r\ndata: 1\n\n", b"\r\n", b"9\r\ndata: 2\n\n\r\n", b"0\r\n\r\n")
    with Api(spoken, certificate=certificate) as api:
        stream = pieces(client, api)
        assert [next(stream), next(stream)] == [None, None]
        spoken.go_on()
        assert next(stream) == b"data: 1\n\n"
        assert next(stream) is None
        # The line end of the chunk is no news.
        spoken.go_on()
        assert [next(stream), next(stream)] == [None, None]
        spoken.go_on()
        assert next(stream) == b"data: 2\n\n"
        assert next(stream) is None
        spoken.go_on()
        assert list(stream) == []
        # The connection can be used again.
        spoken.go_on()
        assert next(pieces(client, api)) == b"data: 1\n\n"
        assert api.connections == 1


def test_what_arrived_with_the_headers_is_read_at_once(client: Callable[[str], ApiClient]) -> None:
    with Api(say(CHUNKED + b"12\r\ndata: 1\n\ndata: 2\n\n\r\n0\r\n\r\n")) as api:
        assert list(pieces(client, api)) == [b"data: 1\n\ndata: 2\n\n"]


def test_a_length_is_the_end_of_the_stream(client: Callable[[str], ApiClient]) -> None:
    with Api(say(f"{HEAD}Content-Length: 9\r\n\r\ndata: 1\n\n".encode())) as api:
        assert list(pieces(client, api)) == [b"data: 1\n\n"]
    with Api(say(f"{HEAD}Content-Length: 0\r\n\r\n".encode())) as api:
        assert list(pieces(client, api)) == []


def break_in_a_chunk(connection: socket.socket, closing: threading.Event) -> None:
    connection.sendall(CHUNKED + b"99\r\ndata: 1\n\ndata: 2")
    connection.shutdown(socket.SHUT_WR)


def break_with_a_reset(connection: socket.socket, closing: threading.Event) -> None:
    connection.sendall(CHUNKED + b"9\r\ndata: 1\n\n\r\n")
    closing.wait(0.1)
    reset(connection, closing)


def send_no_chunk(connection: socket.socket, closing: threading.Event) -> None:
    connection.sendall(CHUNKED + b"9\r\ndata: 1\n\n\r\nnot a length\r\n")


@pytest.mark.parametrize("script", [break_in_a_chunk, break_with_a_reset, send_no_chunk])
def test_a_stream_that_breaks_off_is_no_end(client: Callable[[str], ApiClient], script: Script) -> None:
    with Api(script) as api:
        stream = pieces(client, api)
        assert next(stream) == b"data: 1\n\n"
        with pytest.raises(ApiUnavailable):
            list(stream)


def test_a_connection_that_the_system_gives_up_is_not_a_quiet_one(client: Callable[[str], ApiClient]) -> None:
    """TCP keepalive got no reply. Python has the same exception for this as for its own timeouts."""

    class GivenUp:
        def settimeout(self, seconds: float) -> None: ...

        def recv(self, size: int) -> bytes:
            raise OSError(errno.ETIMEDOUT, "Connection timed out")

    with Api(say(CHUNKED)) as api:
        response = client(api.url).get("/", stream=True)
        response.raw._original_response.fp.raw._socket = GivenUp()
        with pytest.raises(ApiUnavailable):
            next(read_events(response.raw, EVENT_END))


def test_a_response_that_a_test_has_made_can_be_read(client: Callable[[str], ApiClient]) -> None:
    with responses.RequestsMock() as api:
        api.get("http://api.test/", b"data: 1\n\n", content_type="text/event-stream")
        response = client("http://api.test").get("/", stream=True)

        assert is_event_stream(response)
        assert list(read_events(response.raw, EVENT_END)) == [b"data: 1\n\n"]


def test_an_api_that_sends_half_lines_and_no_more_gets_heartbeats(client: Callable[[str], ApiClient]) -> None:
    def whisper(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(CHUNKED)
        while not closing.wait(0.05):
            connection.sendall(b"1\r\nx\r\n")

    with Api(whisper) as api:
        stream = pieces(client, api, LINE_END)
        assert [next(stream), next(stream)] == [None, None]
        stream.close()  # type: ignore[attr-defined]


def test_an_event_without_an_end_is_not_held_in_memory(
    client: Callable[[str], ApiClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "MAX_ANSWER_BYTES", 100_000)
    with Api(say(CHUNKED + b"20000\r\n" + b"x" * 0x20000)) as api, pytest.raises(ApiMisbehaved):
        list(pieces(client, api))


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace("200 OK", "404 Not Found"),
        HEAD.replace("event-stream", "plain"),
        f"{HEAD}Content-Encoding: gzip\r\n",
    ],
)
def test_other_responses_are_no_event_streams(client: Callable[[str], ApiClient], head: str) -> None:
    with Api(say(f"{head}Content-Length: 0\r\n\r\n".encode())) as api:
        response: requests.Response = client(api.url).get("/", stream=True)
        assert not is_event_stream(response)


def test_streams_beyond_the_pool_end_without_a_warning(
    client: Callable[[str], ApiClient], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    adapter = connections.Adapter(pool_maxsize=1)
    monkeypatch.setattr(api_client, "pooled_adapter", lambda: adapter)
    with Api(Spoken(), certificate=None) as api:
        streams = [client(api.url).get("/", stream=True) for _ in range(3)]
        for stream in streams:
            stream.close()
    assert not caplog.records


def test_what_came_with_the_headers_is_kept_in_the_smaller_buffer(
    client: Callable[[str], ApiClient], certificate: Path | None
) -> None:
    event = b"data: %b\n\n" % (b"x" * 3000)
    body = b"%x\r\n%b\r\n" % (len(event), event) * 2 + b"0\r\n\r\n"

    def script(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(CHUNKED + body)

    with Api(script, certificate=certificate) as api:
        assert b"".join(piece for piece in pieces(client, api) if piece) == event * 2
