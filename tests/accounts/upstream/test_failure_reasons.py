"""The log says what was wrong with a call to the API, in words that quote nothing of the response."""

import errno
import gzip
import logging
import os
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from pytest_django import Settings
from urllib3.exceptions import ProtocolError

from accounts.api_client import ApiClient
from accounts.exceptions import ApiUnavailable
from accounts.streaming import PassThroughBody
from accounts.upstream.calls import ApiAnswer
from accounts.upstream.failure_reasons import describe_failure
from accounts.upstream.transport import AnswerLost, NotSent
from tests.accounts.upstream.scripted_api import (
    SOON_SECONDS,
    Api,
    Script,
    dribble,
    hear_and_reset,
    keep_silent,
    reset,
    say_and_hang_up,
    whole,
)
from tests.browsers import Browser
from tests.demo_api.server import DemoApi, Fault

SECRET = b"tarpaulin-and-oakum"
HEAD = b"HTTP/1.1 200 OK\r\nSet-Cookie: token=" + SECRET + b"\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ZIPPED = gzip.compress(SECRET * 100)

#: What is wrong in the head: the body has not begun.
HEADS: dict[str, tuple[Script, str]] = {
    "reset": (reset, "the connection was reset"),
    "hung up": (say_and_hang_up(b""), "the connection was closed before a response came"),
    "another protocol": (say_and_hang_up(b"SSH-2.0-" + SECRET + b"\r\n"), "the response is not one of HTTP"),
    "another version": (say_and_hang_up(b"HTTP/2 200\r\n\r\n" + SECRET), "the response is not one of HTTP"),
    "an odd status": (say_and_hang_up(b"HTTP/1.1 0200 " + SECRET + b"\r\n"), "the response is not one of HTTP"),
    "cut off in the head": (say_and_hang_up(HEAD + b"Content-Length: 2\r\n"), "the head is cut off"),
    "cut off in a header": (say_and_hang_up(HEAD + b"Content-Length: 2"), "the head is cut off"),
    "a long header": (say_and_hang_up(HEAD + b"X: " + SECRET * 10_000 + b"\r\n\r\n"), "a line is too long"),
    "many headers": (say_and_hang_up(HEAD + b"A: b\r\n" * 1000 + b"\r\n"), "the head has too many headers"),
    "no header": (say_and_hang_up(HEAD + SECRET + b"\r\n\r\n{}"), "a line of the head is no header"),
    "two lengths": (
        say_and_hang_up(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
        "there are different Content-Length headers",
    ),
    "no length": (say_and_hang_up(HEAD + b"Content-Length: " + SECRET + b"\r\n\r\n{}"), "Content-Length is no number"),
    "chunked twice": (
        say_and_hang_up(HEAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n2\r\n{}\r\n0\r\n\r\n"),
        "Transfer-Encoding says chunked twice",
    ),
    "chunked twice in one": (
        say_and_hang_up(HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        "Transfer-Encoding says chunked twice",
    ),
    "another coding": (
        say_and_hang_up(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        "Transfer-Encoding says more than chunked",
    ),
    "not chunked": (
        say_and_hang_up(HEAD + b"Transfer-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"),
        "Transfer-Encoding is not chunked",
    ),
}
BODIES: dict[str, tuple[Script, str]] = {
    "cut off": (
        say_and_hang_up(HEAD + b"Content-Length: 50\r\n\r\n" + SECRET),
        f"the body is cut off after {len(SECRET)} of 50 bytes",
    ),
    "a chunk cut off": (say_and_hang_up(CHUNKED + b"50\r\n" + SECRET), "the chunked body is cut off"),
    "no last chunk": (say_and_hang_up(CHUNKED + b"13\r\n" + SECRET + b"\r\n"), "the chunked body is cut off"),
    "no chunk": (say_and_hang_up(CHUNKED + SECRET + b"\r\n"), "a chunk has no valid length"),
    "a chunk in another notation": (
        say_and_hang_up(CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n"),
        "a chunk has no valid length",
    ),
    "a long line of a chunk": (
        say_and_hang_up(CHUNKED + b"2;" + SECRET * 10_000 + b"\r\n{}\r\n0\r\n\r\n"),
        "a line is too long",
    ),
    "a chunk below zero": (say_and_hang_up(CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n"), "a chunk has no valid length"),
    "not compressed": (say_and_hang_up(whole(SECRET, "Content-Encoding: gzip")), "the compressed body is damaged"),
    "compressed and cut short": (
        say_and_hang_up(whole(ZIPPED[:-5], "Content-Encoding: gzip")),
        "the compressed body is cut short",
    ),
}
DAMAGES = HEADS | BODIES


def texts(error: BaseException, log: pytest.LogCaptureFixture) -> str:
    return f"{error} {error!r} {log.text}"


@pytest.mark.parametrize(("script", "reason"), DAMAGES.values(), ids=DAMAGES)
class TestDamage:
    def test_a_token_request(
        self, ask: Callable[..., ApiAnswer], caplog: pytest.LogCaptureFixture, script: Script, reason: str
    ) -> None:
        with Api(script) as api, pytest.raises(AnswerLost) as caught:
            ask(api.url)

        assert str(caught.value) == reason
        assert SECRET.decode() not in texts(caught.value, caplog)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_views_call(
        self,
        client: Callable[[str], ApiClient],
        caplog: pytest.LogCaptureFixture,
        script: Script,
        reason: str,
        method: str,
    ) -> None:
        with Api(script) as api, pytest.raises(ApiUnavailable) as caught:
            client(api.url).request(method, "/")

        assert str(caught.value) == f"no response: {reason}"
        assert SECRET.decode() not in texts(caught.value, caplog)


@pytest.mark.parametrize(("script", "reason"), BODIES.values(), ids=BODIES)
def test_a_body_that_is_passed_on(client: Callable[[str], ApiClient], script: Script, reason: str) -> None:
    with Api(script) as api, pytest.raises(ApiUnavailable) as caught:
        list(PassThroughBody(client(api.url).get("/", stream=True), decoded=True))

    assert str(caught.value) == f"the response breaks off: {reason}"
    # The server logs it with all that is linked to it.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


class TestNoConnection:
    def test_it_is_refused(
        self, ask: Callable[..., ApiAnswer], client: Callable[[str], ApiClient], refused_url: str
    ) -> None:
        with pytest.raises(NotSent, match="the connection is refused"):
            ask(refused_url)
        with pytest.raises(ApiUnavailable, match="no response: the connection is refused"):
            client(refused_url).get("/")

    def test_nobody_takes_it(self, ask: Callable[..., ApiAnswer], full_url: str, settings: Settings) -> None:
        settings.API_CONNECT_TIMEOUT = SOON_SECONDS

        with pytest.raises(NotSent, match="no connection in time"):
            ask(full_url)

    def test_the_host_has_no_address(self, ask: Callable[..., ApiAnswer]) -> None:
        with pytest.raises(NotSent, match="the host name has no address"):
            ask("http://api.invalid")

    def test_no_network_leads_there(self) -> None:
        error = requests.ConnectionError(ProtocolError("Connection aborted.", OSError(errno.ENETUNREACH, "10.0.0.1")))

        assert describe_failure(error) == f"no connection: {os.strerror(errno.ENETUNREACH)}"

    @pytest.mark.parametrize(
        ("script", "reason"),
        [
            (
                say_and_hang_up(b"HTTP/1.1 400 " + SECRET + b"\r\n\r\n"),
                "TLS fails: (WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE)",
            ),
            (say_and_hang_up(b""), "TLS fails: UNEXPECTED_EOF_WHILE_READING|the connection was reset"),
            (hear_and_reset, "the connection was reset|TLS fails"),
        ],
        ids=["no TLS", "hung up", "reset"],
    )
    def test_the_tls_handshake_fails(self, ask: Callable[..., ApiAnswer], script: Script, reason: str) -> None:
        with Api(script, greet=True) as api, pytest.raises(NotSent) as caught:
            ask(api.url.replace("http:", "https:"))

        assert re.match(reason, str(caught.value))

    def test_an_address_that_cannot_be_called(self, ask: Callable[..., ApiAnswer]) -> None:
        with pytest.raises(NotSent, match="the address cannot be called"):
            ask("http://a\tpi:8000")


class TestTime:
    def test_no_data_in_time(self, ask: Callable[..., ApiAnswer], certificate: Path | None, settings: Settings) -> None:
        settings.API_READ_TIMEOUT = SOON_SECONDS
        with Api(keep_silent, certificate=certificate) as api, pytest.raises(AnswerLost, match="no data in time"):
            ask(api.url)

    def test_a_body_that_stalls(self, ask: Callable[..., ApiAnswer], settings: Settings) -> None:
        settings.API_READ_TIMEOUT = SOON_SECONDS
        head = HEAD + b"Content-Length: 50\r\n\r\n"

        def script(connection: socket.socket, closing: threading.Event) -> None:
            connection.sendall(head)
            keep_silent(connection, closing)

        with Api(script) as api, pytest.raises(AnswerLost, match="no data in time"):
            ask(api.url)

    def test_the_deadline(self, ask: Callable[..., ApiAnswer], certificate: Path | None) -> None:
        script = dribble(HEAD + b"Content-Length: 5000\r\n\r\n", b"x")
        with Api(script, certificate=certificate) as api, pytest.raises(AnswerLost, match="the deadline passed"):
            ask(api.url, SOON_SECONDS)


class TestLog:
    """What an operator reads."""

    def test_a_page_whose_session_cannot_refresh(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        api.expire_access_tokens()
        api.fail(
            "POST", "/auth/refresh", Fault.answer(200, SECRET, headers={"Content-Length": "900", "Connection": "close"})
        )

        assert signed_in.open_page().status_code == 503

        assert f"AnswerLost: the body is cut off after {len(SECRET)} of 900 bytes" in caplog.text
        assert SECRET.decode() not in caplog.text

    def test_a_sign_in(self, browser: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture) -> None:
        api.fail("POST", "/auth/login", Fault.answer(200, SECRET, headers={"Transfer-Encoding": "chunked, chunked"}))

        assert browser.sign_in().status_code == 503

        assert "sign-in: Transfer-Encoding says chunked twice" in caplog.text

    def test_a_sign_in_without_a_second_token(
        self, browser: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        api.fail("POST", "/auth/login", Fault.answer(200, {"accessToken": SECRET.decode(), "user": {"id": 7}}))

        assert browser.sign_in().status_code == 502

        (record,) = [record for record in caplog.records if record.name == "accounts.sign_in.views"]
        assert record.levelno == logging.ERROR
        assert "no refresh token" in record.getMessage()
        assert SECRET.decode() not in caplog.text
