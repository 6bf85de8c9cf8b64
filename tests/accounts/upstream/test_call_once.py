"""A call on a connection of its own: the response as a whole, NotSent or AnswerLost."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.upstream.calls import ApiAnswer
from accounts.upstream.transport import AnswerLost, NotSent
from tests.accounts.doctor.gateway import Gateway, make_certificate
from tests.accounts.upstream.scripted_api import (
    SOON_SECONDS,
    Api,
    Script,
    dribble,
    hear_and_reset,
    keep_silent,
    reset,
    say,
    say_and_hang_up,
    whole,
)
from tests.browsers import Browser
from tests.demo_api.server import DemoApi


class TestAnswer:
    def test_it_is_read_to_its_end(self, ask: Callable[..., ApiAnswer]) -> None:
        with Api(say(whole(b'{"message": "no"}', "Retry-After: 7", "X-Name: a", "X-Name: b", status="401 No"))) as api:
            answer = ask(api.url)

        assert (answer.status, answer.body) == (401, b'{"message": "no"}')
        assert answer.headers["retry-after"] == "7"
        assert answer.headers["x-name"] == "a, b"

    @pytest.mark.parametrize(
        "raw",
        [
            whole(b"body"),
            whole(gzip.compress(b"body"), "Content-Encoding: gzip"),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nbody",
            b"HTTP/1.0 200 OK\r\n\r\nbody",
            b"HTTP/1.1 100 Continue\r\n\r\n" + whole(b"body"),
            b"HTTP/1.1 103 Early Hints\r\nLink: </tide.css>\r\n\r\n" * 2 + b"HTTP/1.1 102 So\r\n\r\n" + whole(b"body"),
            whole(b"body", "Content-Length: 4"),
        ],
        ids=[
            "with its length",
            "gzip",
            "chunked",
            "to the end of the connection",
            "HTTP/1.0",
            "after a 100",
            "after hints",
            "with its length twice",
        ],
    )
    def test_any_framing_will_do(self, ask: Callable[..., ApiAnswer], raw: bytes) -> None:
        with Api(say_and_hang_up(raw)) as api:
            assert ask(api.url).body == b"body"

    @pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
    def test_one_without_a_body_has_an_empty_one(self, ask: Callable[..., ApiAnswer], status: str) -> None:
        with Api(say(f"HTTP/1.1 {status}\r\n\r\n".encode())) as api:
            assert ask(api.url).body == b""

    @pytest.mark.parametrize(
        "raw",
        [
            whole(b"x" * 3_000_000),
            whole(gzip.compress(b"x" * 20_000_000), "Content-Encoding: gzip"),
            b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3_000_000,
        ],
        ids=["long", "deflated", "without an end"],
    )
    def test_more_than_a_megabyte_is_not_read(self, ask: Callable[..., ApiAnswer], raw: bytes) -> None:
        with Api(say(raw)) as api:
            assert ask(api.url).body == b"x" * 1024 * 1024
            assert api.is_left_alone()

    def test_what_is_sent(self, ask: Callable[..., ApiAnswer]) -> None:
        with Api(say(whole(b"{}"))) as api:
            ask(api.url + "/v1/", address="203.0.113.5")

        head, _, body = api.requests[0].partition(b"\r\n\r\n")
        request_line, *headers = head.decode().split("\r\n")
        assert request_line == "POST /v1/auth/refresh HTTP/1.1"
        assert body == b'{"refreshToken": "r0"}'
        assert "X-Forwarded-For: 203.0.113.5" in headers
        assert "Accept: application/json" in headers
        assert "Content-Type: application/json" in headers

    def test_each_call_has_a_connection_of_its_own_and_leaves_none(self, ask: Callable[..., ApiAnswer]) -> None:
        with Api(say(whole(b"{}"))) as api:
            for _ in range(3):
                ask(api.url)
                assert api.is_left_alone()

            assert api.connections == 3


class TestNotSent:
    def test_a_refused_connection(self, ask: Callable[..., ApiAnswer], refused_url: str) -> None:
        with pytest.raises(NotSent):
            ask(refused_url)

    def test_a_connection_that_is_never_established(
        self, ask: Callable[..., ApiAnswer], full_url: str, settings: Settings
    ) -> None:
        settings.API_CONNECT_TIMEOUT = SOON_SECONDS

        with pytest.raises(NotSent):
            ask(full_url, 1000)

    @pytest.mark.parametrize(
        "script",
        [
            keep_silent,
            dribble(b"\x16\x03\x03\x40\x00", b"\x02"),
            say_and_hang_up(b""),
            say_and_hang_up(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            hear_and_reset,
        ],
        ids=["silence", "dribbled", "hung up", "no TLS", "reset"],
    )
    def test_a_tls_handshake_that_comes_to_nothing(self, ask: Callable[..., ApiAnswer], script: Script) -> None:
        with Api(script, greet=True) as api:
            with pytest.raises(NotSent):
                ask(api.url.replace("http:", "https:"), SOON_SECONDS)

            assert api.is_left_alone()

    def test_an_api_whose_certificate_nobody_vouches_for(
        self, ask: Callable[..., ApiAnswer], signed_in: Browser, api: DemoApi, settings: Settings, tmp_path: Path
    ) -> None:
        """An attacker on the network between the site and the API has such a certificate."""
        api.expire_access_tokens()
        api.forget_calls()

        with Gateway(api.url, certificate=make_certificate(tmp_path / "certificate.pem")) as between:
            settings.API_BASE_URL = between.url
            with pytest.raises(NotSent):
                ask(between.url)
            pages = [signed_in.open_page().status_code, signed_in.sign_in().status_code]

        assert pages == [503, 503]
        assert api.calls == [], "neither a token nor a password has left"

    def test_it_does_not_tell_what_was_not_sent(self, ask: Callable[..., ApiAnswer], refused_url: str) -> None:
        with pytest.raises(NotSent) as caught:
            ask(refused_url)

        assert "r0" not in f"{caught.value} {caught.value.__cause__}"


class TestAnswerLost:
    @pytest.mark.parametrize(
        "script",
        [
            reset,
            say_and_hang_up(b""),
            say_and_hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"),
            say_and_hang_up(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
            say_and_hang_up(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"),
            say_and_hang_up(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"),
            say_and_hang_up(whole(b"no gzip", "Content-Encoding: gzip")),
            say_and_hang_up(b"SSH-2.0-OpenSSH_9.2\r\n"),
            say_and_hang_up(b"\x00" * 100),
            say_and_hang_up(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
            say_and_hang_up(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 1000 + b"\r\n"),
            say_and_hang_up(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
            say_and_hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} "),
            say_and_hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}"),
            say_and_hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: 0_2\r\n\r\n{}"),
            say_and_hang_up(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
            say_and_hang_up(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n"),
            say_and_hang_up(b"HTTP/1.1 200 OK\r\nThis is no header\r\nContent-Length: 2\r\n\r\n{}"),
        ],
        ids=[
            "reset",
            "hung up",
            "body cut",
            "chunk cut",
            "last chunk missing",
            "no chunks",
            "no gzip",
            "another protocol",
            "zeros",
            "an endless header",
            "too many headers",
            "hints alone",
            "two lengths",
            "a length below zero",
            "a length that is no number in HTTP",
            "another coding",
            "a chunk below zero",
            "a line that is no header",
        ],
    )
    def test_no_whole_answer_after_sending(self, ask: Callable[..., ApiAnswer], script: Script) -> None:
        with Api(script) as api:
            with pytest.raises(AnswerLost):
                ask(api.url)

            # Sent once: the caller decides whether it may be sent again.
            assert len(api.requests) == 1
            assert api.is_left_alone()

    @pytest.mark.parametrize("status", [b"200", b"400", b"401", b"404"])
    @pytest.mark.parametrize("rest", [b"", b" OK", b" OK\r\n", b" OK\r\nContent-Len", b" OK\r\nContent-Length: 50\r\n"])
    def test_a_head_that_was_cut_off_has_no_body_that_says_anything(
        self, ask: Callable[..., ApiAnswer], status: bytes, rest: bytes
    ) -> None:
        # The standard library takes it for a whole one. A dialect demands a body, in the API's own words.
        with Api(say_and_hang_up(b"HTTP/1.1 " + status + rest)) as api:
            try:
                answer = ask(api.url)
            except AnswerLost:
                return
            assert answer.body == b""

    def test_it_does_not_tell_what_was_sent(self, ask: Callable[..., ApiAnswer]) -> None:
        with Api(reset) as api, pytest.raises(AnswerLost) as caught:
            ask(api.url)

        assert "r0" not in f"{caught.value} {caught.value.__cause__}"
