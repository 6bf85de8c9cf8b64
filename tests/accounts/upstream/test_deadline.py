"""Deadlines hold over real sockets, whatever the API does."""

import socket
import threading
import time
from collections.abc import Callable

import pytest
from pytest_django import Settings

from accounts.api_client import ApiClient
from accounts.exceptions import ApiUnavailable
from accounts.upstream.calls import ApiAnswer
from accounts.upstream.transport import AnswerLost, NotSent
from tests.accounts.upstream.scripted_api import (
    PATIENCE_SECONDS,
    SOON_SECONDS,
    Api,
    Script,
    dribble,
    keep_silent,
    reset,
    say,
    whole,
)


class TestDeadline:
    @pytest.mark.parametrize(
        "script",
        [
            keep_silent,
            dribble(b"", b"HTTP/1.1 200 OK" + b"K" * 10_000),
            dribble(b"HTTP/1.1 200 ", b"O"),
            dribble(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
            dribble(b"HTTP/1.1 200 OK\r\nX-Header: ", b"x"),
            dribble(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
            dribble(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"x"),
            dribble(b'HTTP/1.1 200 OK\r\n\r\n{"accessToken": ', b" "),
            dribble(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
            dribble(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
        ],
        ids=[
            "silence",
            "from the first byte",
            "status line",
            "100 and no end",
            "a header",
            "headers",
            "body with its length",
            "body without a length",
            "chunks",
            "trailers",
        ],
    )
    def test_an_api_that_dribbles_loses_its_answer_at_the_deadline(
        self, ask: Callable[..., ApiAnswer], script: Script
    ) -> None:
        with Api(script) as api:
            started = time.monotonic()
            with pytest.raises(AnswerLost):
                ask(api.url, SOON_SECONDS)

            assert SOON_SECONDS <= time.monotonic() - started < PATIENCE_SECONDS
            assert len(api.requests) == 1
            assert api.is_left_alone()

    @pytest.mark.parametrize(
        "script",
        [
            dribble(b"HTTP/1.1 200 OK\r\nX-Header: ", b"x"),
            dribble(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"x"),
            dribble(b'HTTP/1.1 200 OK\r\n\r\n{"data": ', b" "),
            dribble(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
            dribble(b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        ],
        ids=["a header", "body with its length", "body without a length", "chunks", "hints"],
    )
    def test_so_does_the_answer_to_a_views_call(
        self, client: Callable[..., ApiClient], settings: Settings, script: Script
    ) -> None:
        settings.API_CONNECT_TIMEOUT, settings.API_READ_TIMEOUT = 0.1, SOON_SECONDS
        with Api(script) as api:
            started = time.monotonic()
            with pytest.raises(ApiUnavailable, match="in time"):
                client(api.url).get("/")

            assert SOON_SECONDS <= time.monotonic() - started < PATIENCE_SECONDS
            assert api.is_left_alone()

    def test_a_whole_answer_counts_however_late(self, ask: Callable[..., ApiAnswer]) -> None:
        """It may hold the only valid token pair: the API has consumed the old one."""
        with Api(dribble(b'HTTP/1.1 200 OK\r\n\r\n{"refreshToken": "r1"}', b" ")) as api:
            assert ask(api.url, SOON_SECONDS).json_object() == {"refreshToken": "r1"}

    def test_the_read_timeout_may_come_first(self, ask: Callable[..., ApiAnswer], settings: Settings) -> None:
        settings.API_READ_TIMEOUT = SOON_SECONDS

        with Api(keep_silent) as api, pytest.raises(AnswerLost):
            ask(api.url, 1000)

    def test_an_answer_that_dribbles_in_before_the_deadline_counts(self, ask: Callable[..., ApiAnswer]) -> None:
        def script(connection: socket.socket, closing: threading.Event) -> None:
            for byte in whole(b"{}"):
                connection.sendall(bytes([byte]))
                closing.wait(0.001)

        with Api(script) as api:
            assert ask(api.url).body == b"{}"

    def test_one_that_has_passed_already_sends_nothing(self, ask: Callable[..., ApiAnswer]) -> None:
        with Api(say(whole(b"{}"))) as api:
            with pytest.raises(NotSent):
                ask(api.url, -1)

            assert api.is_left_alone()
            assert api.requests == []

    def test_calls_leave_no_thread_behind(self, ask: Callable[..., ApiAnswer], refused_url: str) -> None:
        before = set(threading.enumerate())
        with Api(say(whole(b"{}"))) as api:
            ask(api.url, 1000)
        with Api(reset) as api, pytest.raises(AnswerLost):
            ask(api.url, 1000)
        with pytest.raises(NotSent):
            ask(refused_url, 1000)

        left = set(threading.enumerate()) - before
        for thread in left:
            thread.join(PATIENCE_SECONDS)
        assert not any(thread.is_alive() for thread in left)
