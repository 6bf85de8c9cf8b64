"""HTTP to the API over real sockets: deadlines that hold, and the difference between not sent and answer lost."""

import gzip
import itertools
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest
import responses
from django.conf import settings as django_settings
from django.test import RequestFactory
from pytest_django import Settings

from accounts.api import ApiClient
from accounts.browser.session import BrowserSession
from accounts.exceptions import ApiUnavailable
from accounts.session.api_session import ApiSession
from accounts.session.tokens import TokenPair, User
from accounts.upstream.calls import ApiAnswer, ApiCall
from accounts.upstream.transport import AnswerLost, Deadline, NotSent, call_once, pooled_adapter, prepare
from tests.accounts.doctor.gateway import Gateway, make_certificate
from tests.browsers import Browser
from tests.demo_api.server import DemoApi

CALL = ApiCall(method="POST", path="/auth/refresh", json={"refreshToken": "r0"})
SOON_SECONDS = 0.3
PATIENCE_SECONDS = 10.0
#: Between two bytes of an API that dribbles: far below every timeout, so that only the deadline can end it.
DRIBBLE_SECONDS = 0.02

Script = Callable[[socket.socket, threading.Event], object]


def say(answer: bytes) -> Script:
    """Send `answer`, and wait for the next request."""
    return lambda connection, closing: connection.sendall(answer)


def say_and_hang_up(answer: bytes) -> Script:
    def script(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)

    return script


def dribble(beginning: bytes, forever: bytes) -> Script:
    """Send `beginning`, and then `forever`, byte by byte, until the other side has enough."""

    def script(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(beginning)
        for byte in itertools.cycle(forever):
            if closing.wait(DRIBBLE_SECONDS):
                return
            connection.sendall(bytes([byte]))

    return script


def keep_silent(connection: socket.socket, closing: threading.Event) -> None:
    """Read on, so that the other side's end is noticed, and say nothing."""
    while connection.recv(65_536):
        pass


def hear_and_reset(connection: socket.socket, closing: threading.Event) -> None:
    connection.recv(1)
    reset(connection, closing)


def reset(connection: socket.socket, closing: threading.Event) -> None:
    """With a linger time of zero, closing sends RST instead of FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def whole(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Api:
    """Listens on a free port and does to each request what its script says. `greet` does so before any request."""

    def __init__(self, script: Script, *, greet: bool = False) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._script, self._greet = script, greet
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(PATIENCE_SECONDS)
        self._listener.close()
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        assert self.is_left_alone()

    def is_left_alone(self) -> bool:
        """Whether all connections end before patience does."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, PATIENCE_SECONDS)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self._open.add(connection)
                self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self._greet:
                self._script(connection, self._closing)
            while request := self._read(connection):
                self.requests.append(request)
                self._script(connection, self._closing)
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            piece = connection.recv(65_536)
            if not piece:
                return b""
            request += piece
        head, _, body = request.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        while lengths and len(body) < int(lengths[0].partition(b":")[2]):
            body += connection.recv(65_536)
        return head + b"\r\n\r\n" + body


@pytest.fixture
def ask(settings: Settings) -> Callable[..., ApiAnswer]:
    """Sends CALL to an API, all of it within so many seconds."""

    def ask(url: str, seconds: float = PATIENCE_SECONDS, *, address: str = "") -> ApiAnswer:
        settings.API_BASE_URL = url
        return call_once(CALL, address=address, ends_at=time.monotonic() + seconds)

    return ask


@pytest.fixture
def client(settings: Settings) -> Callable[[str], ApiClient]:
    """`request.api` of a browser that is signed in at the API of this address."""

    def client(url: str, token: str = "a0") -> ApiClient:
        settings.API_BASE_URL = url
        pair = TokenPair(access=token, refresh="r0", received_at=0.0, access_expires_at=None, refresh_expires_at=None)
        session = ApiSession.begin(User(id=7, name="Ada"), pair)
        request = RequestFactory().get("/")
        request.COOKIES[settings.API_SESSION_COOKIE_NAME] = session.seal_for_cookie()
        return ApiClient(BrowserSession(request))

    return client


@pytest.fixture
def refused_url() -> Iterator[str]:
    """An address at which nobody listens, and that nobody else gets meanwhile."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{reserved.getsockname()[1]}"


@pytest.fixture
def full_url() -> Iterator[str]:
    """An address whose queue is full: connecting gets no answer at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(address)
        with socket.socket() as another:
            another.settimeout(SOON_SECONDS)
            if another.connect_ex(address) == 0:
                pytest.skip("this system takes more connections than a queue has room for")
        yield f"http://127.0.0.1:{address[1]}"
        for connection in waiting:
            connection.close()


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


def _printed_by(program: str) -> str:
    """What a program in a process of its own prints: one that may fork, since it has no threads."""
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=django_settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout


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
        """It may hold the only living pair of tokens: the API has spent the old one."""
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

    def test_one_that_is_over_does_not_take_that_of_the_next_exchange_along(self) -> None:
        """A connection is back in the pool a moment before its exchange is over, and may be in use again by then."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.settimeout(PATIENCE_SECONDS)
            following = Deadline(time.monotonic() + SOON_SECONDS)
            with Deadline(time.monotonic() + PATIENCE_SECONDS) as first:
                first.watch(ours)
                following.watch(ours)

            assert theirs.recv(1) == b"", "it ends at the following one's deadline"

    def test_calls_that_come_first_at_once_share_one_thread(self) -> None:
        program = """if True:
            import os, socket, threading, time
            from accounts.upstream.transport import Deadline

            def begin(together):
                with socket.socket() as guard, Deadline(time.monotonic() + 60) as deadline:
                    together.wait()
                    deadline.watch(guard)
                    together.wait()

            def count():
                together = threading.Barrier(8)
                threads = [threading.Thread(target=begin, args=[together]) for _ in range(8)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                return sum(thread.name == "deadlines" for thread in threading.enumerate())

            for _ in range(20):
                child = os.fork()
                if child == 0:
                    os._exit(count())
                print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """

        assert _printed_by(program).split() == ["1"] * 20

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
        """Whoever is in between on the network has one like that."""
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

            # Sent once: whether it may be sent again is not the transport's to decide.
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


class TestWhatIsLeftOut:
    """What `requests` does by itself, and what would carry one user's secrets elsewhere."""

    @pytest.fixture
    def trap(self) -> Iterator[Api]:
        """Somewhere that no request should go."""
        with Api(say(whole(b"{}"))) as trap:
            yield trap

    @pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
    def test_redirects_are_not_followed(self, ask: Callable[..., ApiAnswer], trap: Api, status: str) -> None:
        with Api(say(whole(b"", f"Location: {trap.url}/", status=f"{status} Elsewhere"))) as api:
            answer = ask(api.url)

        assert (answer.status, trap.requests) == (int(status), [])

    def test_pooled_redirects_are_not_followed(self, settings: Settings, trap: Api) -> None:
        with Api(say(whole(b"", f"Location: {trap.url}/", status="302 Elsewhere"))) as api:
            settings.API_BASE_URL = api.url
            answer = pooled_adapter().send(prepare("GET", "/", headers={}), timeout=PATIENCE_SECONDS)

        assert (answer.status_code, trap.requests) == (302, [])

    def test_users_of_the_pool_do_not_share_cookies(self, client: Callable[..., ApiClient]) -> None:
        with Api(say(whole(b"{}", "Set-Cookie: who=ada; Path=/"))) as api:
            client(api.url, "token-of-ada").get("/")
            client(api.url, "token-of-grace").get("/")
            client(api.url, "token-of-grace").post("/", json={})

        assert len(api.requests) == 3
        assert all(b"cookie" not in request.lower() for request in api.requests)
        assert b"Bearer token-of-grace" in api.requests[1]

    def test_calls_of_their_own_keep_no_cookies(self, ask: Callable[..., ApiAnswer]) -> None:
        with Api(say(whole(b"{}", "Set-Cookie: who=ada; Path=/"))) as api:
            ask(api.url)
            ask(api.url)

        assert all(b"cookie" not in request.lower() for request in api.requests)

    @pytest.fixture
    def environment(self, trap: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """All that `requests` would take from the environment."""
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, trap.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login ada password tide-table\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    @pytest.mark.usefixtures("environment")
    def test_the_environment_does_not_count(self, ask: Callable[..., ApiAnswer], trap: Api) -> None:
        with Api(say(whole(b"{}"))) as api:
            ask(api.url)

        assert trap.connections == 0
        assert b"authorization" not in api.requests[0].lower()

    @pytest.mark.usefixtures("environment")
    def test_nor_does_it_for_the_pool(self, client: Callable[..., ApiClient], trap: Api) -> None:
        with Api(say(whole(b"{}"))) as api:
            client(api.url).get("/")

        assert trap.connections == 0
        assert b"Authorization: Bearer a0" in api.requests[0]


class TestPool:
    def test_connections_are_kept_alive(self, client: Callable[..., ApiClient]) -> None:
        with Api(say(whole(b"{}"))) as api:
            for _ in range(5):
                client(api.url).get("/")

            assert (len(api.requests), api.connections) == (5, 1)

    def test_an_interim_answer_does_not_leave_one_users_data_to_another(self, client: Callable[..., ApiClient]) -> None:
        """Hints are sent while the answer is still being made. Taken for it, they free the connection too early."""

        def script(connection: socket.socket, closing: threading.Event) -> None:
            (whose,) = re.findall(rb"Bearer (\S+)", api.requests[-1])
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            closing.wait(DRIBBLE_SECONDS)
            connection.sendall(whole(whose))

        with Api(script) as api:
            users = ["ada", "grace", "ada", "guest"]

            assert [client(api.url, user).get("/").text for user in users] == users
            assert api.connections == 1

    def test_an_answer_with_a_wrong_head_leaves_no_connection(self, client: Callable[..., ApiClient]) -> None:
        with Api(say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ")) as api:
            with pytest.raises(ApiUnavailable):
                client(api.url).get("/")

            assert api.is_left_alone()

    def test_the_log_quotes_no_head(self, client: Callable[..., ApiClient], caplog: pytest.LogCaptureFixture) -> None:
        head = b"HTTP/1.1 200 OK\r\nThis is no header\r\nSet-Cookie: token=r1\r\nContent-Length: 2\r\n\r\n{}"
        with Api(say(head)) as api, pytest.raises(ApiUnavailable) as caught:
            client(api.url).get("/")

        assert "r1" not in caplog.text
        assert "r1" not in f"{caught.value} {caught.value.__cause__}"

    def test_a_child_process_has_a_pool_of_its_own(self) -> None:
        program = """if True:
            import os
            from accounts.upstream.transport import pooled_adapter
            parents = pooled_adapter()
            child = os.fork()
            if child == 0:
                os._exit(0 if pooled_adapter() is not parents else 1)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            print(status, pooled_adapter() is parents)
        """

        assert _printed_by(program) == "0 True\n"


class TestPrepare:
    @pytest.fixture(autouse=True)
    def base_url(self, settings: Settings) -> None:
        settings.API_BASE_URL = "https://api.example.com/v1/"

    @pytest.mark.parametrize(
        ("path", "url"),
        [
            ("/", "https://api.example.com/v1/"),
            ("/tides?at=noon", "https://api.example.com/v1/tides?at=noon"),
            ("/a b/é", "https://api.example.com/v1/a%20b/%C3%A9"),
            ("//evil.example", "https://api.example.com/v1//evil.example"),
            ("/\\evil.example", "https://api.example.com/v1/%5Cevil.example"),
            ("/@evil.example", "https://api.example.com/v1/@evil.example"),
            ("/a\r\nHost: evil.example", "https://api.example.com/v1/a%0D%0AHost:%20evil.example"),
        ],
        ids=["root", "query", "any script", "two slashes", "backslash", "at", "line end"],
    )
    def test_a_path_is_one_under_the_base_url(self, path: str, url: str) -> None:
        assert prepare("GET", path, headers={}).url == url

    @pytest.mark.parametrize(
        "path",
        ["", "tides", "@evil.example", ".evil.example", ":8080/", "https://evil.example/", " /tides"],
        ids=repr,
    )
    def test_one_that_does_not_start_with_a_slash_is_refused(self, path: str) -> None:
        with pytest.raises(ValueError, match="slash"):
            prepare("GET", path, headers={})

    @pytest.mark.parametrize(
        "path",
        ["/../admin", "/tides/../../admin", "/..", "/%2e%2e/admin", "/.%2E/admin", "/tides/%2E%2e/../admin"],
    )
    def test_none_leads_out_of_the_base_url(self, path: str) -> None:
        try:
            url = prepare("GET", path, headers={}).url
        except ValueError:
            return
        assert url is not None
        assert url.startswith("https://api.example.com/v1/")
        assert "/../" not in f"{url}/"

    def test_the_callers_headers_come_last(self) -> None:
        request = prepare("GET", "/", headers={"Accept": "text/csv"}, address="2001:db8::1")

        assert request.headers["Accept"] == "text/csv"
        assert request.headers["X-Forwarded-For"] == "2001:db8::1"
        assert "python-requests" not in str(request.headers)

    def test_without_an_address_none_is_told(self) -> None:
        assert "X-Forwarded-For" not in prepare("GET", "/", headers={}).headers


class TestInterception:
    """Other people's tests answer for the API with `responses`, whichever way it is called."""

    @responses.activate
    def test_a_call_of_its_own(self, ask: Callable[..., ApiAnswer]) -> None:
        responses.post("https://api.example.com/auth/refresh", json={"message": "no"}, status=401)

        answer = ask("https://api.example.com")

        assert (answer.status, answer.json_object()) == (401, {"message": "no"})
        assert responses.calls[0].request.body == b'{"refreshToken": "r0"}'

    @responses.activate
    def test_a_call_that_gets_no_answer(self, ask: Callable[..., ApiAnswer]) -> None:
        responses.post("https://api.example.com/auth/refresh", body=TimeoutError())

        with pytest.raises(AnswerLost):
            ask("https://api.example.com")

    @responses.activate
    def test_a_call_over_the_pool(self, client: Callable[..., ApiClient]) -> None:
        responses.get("https://api.example.com/tides", json=[1, 2])

        assert client("https://api.example.com").get("/tides").json() == [1, 2]
        assert responses.calls[0].request.headers["Authorization"] == "Bearer a0"


def test_connections_to_addresses_that_are_asked_no_more_go(settings: Settings) -> None:
    with ExitStack() as stack:
        apis = [stack.enter_context(DemoApi()) for _ in range(20)]
        for api in apis:
            settings.API_BASE_URL = api.url
            request = prepare("GET", "/protected-route", headers={}, address="")
            answer = pooled_adapter().send(request, timeout=PATIENCE_SECONDS)
            assert (answer.status_code, bool(answer.content)) == (401, True)

        assert 0 < len([port for port in connected_ports() if port in {urlsplit(api.url).port for api in apis}]) < 10


def connected_ports() -> list[int]:
    """The ports at the other ends of this machine's connections, from proc_pid_net(5)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = "01"
    return [int(row[2].partition(":")[2], 16) for row in rows if row[3] == established]
