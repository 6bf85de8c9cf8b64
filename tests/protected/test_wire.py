"""Streams, large bodies and odd request lines over real sockets: a browser's, gunicorn's, and the API's."""

import http.client
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

import pytest

from tests.demo_api.server import DemoApi, Fault, Gate
from tests.load.browser import GRACE, Browser
from tests.load.processes import wait_until
from tests.load.site import Site

PATIENCE_SECONDS = 60.0
THREADS = 6
MEGABYTE = 1024 * 1024
LARGE_MEGABYTES = 200
#: What a worker may grow by while all that passes through it.
GROWTH_MEGABYTES = 40
HEARTBEAT = b": heartbeat\n\n"
ROUTE = "/protected-route"
EXPORT = "/protected-route/export.csv"
DOWNLOAD = "/protected/download/"
PROXY = "/protected/api/protected-route"
PROXIED = f"{PROXY}/export.csv"
#: SO_LINGER with a time of zero: closing breaks the connection (RST).
BREAK = struct.pack("ii", 1, 0)
EXPIRED = b'{"message": "The access token has expired."}'

#: What a browser would never put into a request line, behind /protected/api.
EVASIONS = [
    "/protected-route/../auth/login",
    "/protected-route/..",
    "/protected-route/./rows/1",
    "/protected-route/%2e%2e/auth/login",
    "/protected-route/%2E./auth/login",
    "/protected-route/%252e%252e/auth/login",
    "/protected-route%2Frows%2F1",
    "/protected-route%2frows/1",
    "/protected-route%252Frows",
    "/protected-route//rows/1",
    "//protected-route",
    "///protected-route",
    "//evil.example/protected-route",
    "/http://evil.example/protected-route",
    "/http:%2F%2Fevil.example/protected-route",
    "/protected-route\\..\\auth\\login",
    "/protected-route%5C..%5Cauth",
    "/protected-route/%00",
    "/protected-route/%0D%0AX-Injected:%20yes",
    "/protected-route/%7F",
    "/protected-route/%FF",
    "/protected-route/%25",
    "/protected-routes",
    "/auth/login",
    "/auth/refresh",
]
#: Bytes that no request line may have: gunicorn says so before Django is asked.
CONTROLS = [b"/protected-route/\x00", b"/protected-route/\t..", b"/protected-route/\x7f", b"/protected-route/\rx"]

HEADS = {
    "chunked": "Transfer-Encoding: chunked\r\n",
    "with a length": "Content-Length: {length}\r\n",
    "until it closes": "",
}


class Wire(StreamRequestHandler):
    """One connection to the front of the API, for one request: it meets a test's play, or the demo API."""

    server: "Front"

    def handle(self) -> None:
        lines = []
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            lines.append(line)
        if not lines:
            return
        self.path = lines[0].split()[1].decode().partition("?")[0]
        self.length = 0
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                self.length = int(value)
        play = self.server.plays.get(self.path)
        if play is None:
            self._relay(lines)
        else:
            self.server.arrivals.append(self.path)
            play(self)

    def say(self, text: str | bytes) -> None:
        self.wfile.write(text if isinstance(text, bytes) else text.encode())

    def answer(self, status: int, body: bytes) -> None:
        self.say(f"HTTP/1.1 {status} So\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n")
        self.say(body)

    def begin(self, framing: str, length: int) -> None:
        """The head of an answer with a body of `length` bytes, which `piece` sends."""
        self.framing = framing
        self.say(f"HTTP/1.1 200 So\r\nConnection: close\r\n{HEADS[framing].format(length=length)}\r\n")

    def piece(self, body: bytes) -> None:
        self.say(b"%x\r\n%b\r\n" % (len(body), body) if self.framing == "chunked" else body)

    def end(self) -> None:
        if self.framing == "chunked":
            self.say("0\r\n\r\n")

    def _relay(self, head: list[bytes]) -> None:
        kept = [line for line in head[1:] if not line.lower().startswith(b"connection:")]
        with socket.create_connection(("127.0.0.1", self.server.behind), timeout=PATIENCE_SECONDS) as api:
            api.sendall(b"".join([head[0], *kept, b"Connection: close\r\n\r\n", self.rfile.read(self.length)]))
            while answer := api.recv(65_536):
                self.say(answer)


Play = Callable[[Wire], None]


class Front(ThreadingTCPServer):
    """Stands before the demo API, and plays the parts that a demo has not got."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self.plays: dict[str, Play] = {}
        self.arrivals: list[str] = []
        super().__init__(("127.0.0.1", 0), Wire)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: connections break here on purpose."""

    @contextmanager
    def playing(self, path: str, play: Play) -> Iterator[None]:
        self.arrivals.clear()
        self.plays[path] = play
        try:
            yield
        finally:
            del self.plays[path]


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=600) as demo:
        yield demo


@pytest.fixture(scope="module")
def front(demo: DemoApi) -> Iterator[Front]:
    with Front(demo.port) as front:
        thread = threading.Thread(target=front.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield front
        finally:
            front.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def site(front: Front, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One worker: its memory is the site's, and every thread that hangs is missed."""
    site = Site(
        database_url=f"sqlite:///{tmp_path_factory.mktemp('wire') / 'db.sqlite3'}",
        api_url=front.url,
        workers=1,
        threads=THREADS,
        environment={"API_READ_TIMEOUT": "30", "API_PROXY_ALLOW": f"GET {ROUTE}, POST {ROUTE}"},
    )
    site.migrate()
    with site:
        yield site


@pytest.fixture
def api(demo: DemoApi) -> Iterator[DemoApi]:
    """The API behind the site, well and with an empty list of calls."""
    demo.forget_calls()
    yield demo
    demo.heal()


@pytest.fixture
def person(site: Site, api: DemoApi) -> Browser:
    """Ada, signed in."""
    person = Browser(site.port)
    person.sign_in()
    api.forget_calls()
    return person


@contextmanager
def opened(person: Browser, path: str) -> Iterator[http.client.HTTPResponse]:
    """An answer that can be read while it comes. Leaving it early breaks the connection."""
    connection = http.client.HTTPConnection("127.0.0.1", person.port, timeout=PATIENCE_SECONDS)
    with closing(connection):
        connection.request("GET", path, headers={"Cookie": person.jar.header(), "Accept": "text/html"})
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, BREAK)
        with connection.getresponse() as answer:
            assert answer.status == 200
            yield answer


def read_to(answer: http.client.HTTPResponse, mark: bytes) -> bytes:
    """What has come up to the moment at which `mark` is among it."""
    read = b""
    while mark not in read:
        piece = answer.read1(65_536)
        assert piece, f"the answer ended without {mark!r}: {read!r}"
        read += piece
    return read


def send_raw(site: Site, request: bytes) -> tuple[int, bytes]:
    """Send these bytes; the status and the body of the answer."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(request)
        with http.client.HTTPResponse(connection) as answer:
            answer.begin()
            return answer.status, answer.read()


def head_of(person: Browser, method: str, path: str, *lines: str) -> bytes:
    """A script's request up to its body, for one answer."""
    token = person.jar.value("csrftoken")
    always = [
        "Connection: close",
        "Accept: application/json",
        f"Cookie: {person.jar.header()}",
        f"X-CSRFToken: {token}",
    ]
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *always, *lines, "", ""]).encode()


@dataclass(frozen=True, slots=True)
class Posted:
    """The answer to an upload."""

    status: int
    body: bytes


def post(person: Browser, body: bytes) -> Posted:
    """A script's upload through this site. The browser takes the answer's cookies."""
    with socket.create_connection(("127.0.0.1", person.port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(head_of(person, "POST", PROXY, f"Content-Length: {len(body)}") + body)
        with http.client.HTTPResponse(connection) as response:
            response.begin()
            person.jar.apply(response.headers.get_all("Set-Cookie") or [])
            return Posted(response.status, response.read())


def memory_megabytes(worker: int) -> float:
    """What the worker holds of the machine's memory now."""
    (line,) = re.findall(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{worker}/status").read_text())
    return int(line) / 1024


class TestPiecesAsTheyCome:
    @pytest.mark.parametrize(
        ("page", "first", "row", "last"),
        [
            ("stream", b"<h1>Streamed page</h1>", b"</li>", b"That was all."),
            ("events", b"retry:", b"id: 1", b"event: end"),
        ],
        ids=["a page", "events"],
    )
    def test_a_row_is_there_before_the_next_one_is_made(
        self, person: Browser, api: DemoApi, page: str, first: bytes, row: bytes, last: bytes
    ) -> None:
        with Gate() as one, Gate() as two:
            api.fail("GET", ROUTE, Fault.hold_before(one))
            api.fail("GET", ROUTE, Fault.hold_before(two))
            with opened(person, f"/protected/{page}/?rows=2&delay=0") as answer:
                assert row not in read_to(answer, first)
                assert api.count("GET", ROUTE) == 0
                one.release()
                assert last not in read_to(answer, row)
                assert two.reached.wait(PATIENCE_SECONDS)
                assert api.count("GET", ROUTE) == 1
                two.release()
                assert last in answer.read()

    @pytest.mark.parametrize("framing", HEADS)
    @pytest.mark.parametrize("path", [DOWNLOAD, PROXIED], ids=["a download", "a script's call"])
    def test_what_the_api_has_sent_is_there_before_it_sends_more(
        self, person: Browser, front: Front, path: str, framing: str
    ) -> None:
        seen = threading.Event()

        def play(wire: Wire) -> None:
            wire.begin(framing, 10)
            wire.piece(b"first")
            assert seen.wait(5), "the first piece does not arrive"
            wire.piece(b"other")
            wire.end()

        with front.playing(EXPORT, play), opened(person, path) as answer:
            assert answer.read1(65_536) == b"first"
            seen.set()
            assert answer.read() == b"other"

    @pytest.mark.parametrize("framing", ["chunked", "with a length"])
    @pytest.mark.parametrize("path", [DOWNLOAD, PROXIED], ids=["a download", "a script's call"])
    def test_half_an_answer_never_looks_like_a_whole_one(
        self, person: Browser, front: Front, path: str, framing: str
    ) -> None:
        def play(wire: Wire) -> None:
            wire.begin(framing, 2000)
            wire.piece(b"x" * 1000)  # and no more

        with front.playing(EXPORT, play):
            try:
                answer = person.open(path)
            except http.client.IncompleteRead:
                pass
            else:
                assert answer.status >= 500
        assert person.open().status == 200

    def test_a_length_that_chunks_overrule_is_not_passed_on(self, site: Site, person: Browser, front: Front) -> None:
        """With both, the chunks count (RFC 9112 section 6.3); a browser would wait for what never comes."""

        def play(wire: Wire) -> None:
            wire.framing = "chunked"
            wire.say(
                "HTTP/1.1 200 So\r\nConnection: close\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            wire.piece(b"whole")
            wire.end()

        with front.playing(EXPORT, play):
            assert send_raw(site, head_of(person, "GET", PROXIED)) == (200, b"whole")

    def test_a_body_goes_on_to_the_api_before_the_rest_of_it_has_come(
        self, site: Site, person: Browser, front: Front
    ) -> None:
        arrived = threading.Event()
        received = []

        def play(wire: Wire) -> None:
            received.append(wire.rfile.read(MEGABYTE))
            arrived.set()
            received.append(wire.rfile.read(wire.length - MEGABYTE))
            wire.answer(201, b"{}")

        body = bytes(range(256)) * (4 * MEGABYTE // 256)
        head = head_of(person, "POST", PROXY, f"Content-Length: {len(body)}", "Content-Type: application/octet-stream")
        with (
            front.playing(ROUTE, play),
            socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_SECONDS) as connection,
        ):
            connection.sendall(head + body[: 2 * MEGABYTE])
            assert arrived.wait(PATIENCE_SECONDS), "the API has not seen what was sent"
            connection.sendall(body[2 * MEGABYTE :])
            with http.client.HTTPResponse(connection) as answer:
                answer.begin()
                assert (answer.status, answer.read()) == (201, b"{}")
        assert b"".join(received) == body


class TestHeartbeats:
    def test_a_quiet_stream_says_that_it_lives_as_long_as_its_session_does(self, site: Site, api: DemoApi) -> None:
        ada, grace = Browser(site.port), Browser(site.port)
        ada.sign_in()
        grace.sign_in(GRACE)
        with (
            opened(ada, "/protected/events/?rows=2&delay=11") as quiet,
            opened(grace, "/protected/events/?rows=2&delay=60") as ended,
        ):
            read_to(quiet, b"id: 1")
            read_to(ended, b"id: 1")
            grace.sign_out()

            whole, cut = quiet.read(), ended.read()

        assert whole.count(HEARTBEAT) == 1
        assert whole.index(HEARTBEAT) < whole.index(b"id: 2") < whole.index(b"event: end")
        assert HEARTBEAT not in cut
        assert b"event: error" in cut
        assert b"Your session has ended." in cut
        assert b"id: 2" not in cut


class TestMemory:
    @pytest.mark.parametrize("framing", ["chunked", "with a length"])
    @pytest.mark.parametrize("path", [DOWNLOAD, PROXIED], ids=["a download", "a script's call"])
    def test_a_large_answer_passes_without_being_kept(
        self, site: Site, person: Browser, front: Front, path: str, framing: str
    ) -> None:
        def play(wire: Wire) -> None:
            wire.begin(framing, LARGE_MEGABYTES * MEGABYTE)
            for _ in range(LARGE_MEGABYTES):
                wire.piece(b"x" * MEGABYTE)
            wire.end()

        (worker,) = site.workers
        before = most = memory_megabytes(worker)
        size = 0
        with front.playing(EXPORT, play), opened(person, path) as answer:
            while piece := answer.read(4 * MEGABYTE):
                size += len(piece)
                most = max(most, memory_megabytes(worker))

        assert size == LARGE_MEGABYTES * MEGABYTE
        assert most - before < GROWTH_MEGABYTES

    def test_a_large_body_does_so_too(self, site: Site, person: Browser, front: Front) -> None:
        received = 0

        def play(wire: Wire) -> None:
            nonlocal received
            while received < wire.length:
                received += len(wire.rfile.read(MEGABYTE))
            wire.answer(201, b"{}")

        (worker,) = site.workers
        before = most = memory_megabytes(worker)
        head = head_of(person, "POST", PROXY, f"Content-Length: {LARGE_MEGABYTES * MEGABYTE}")
        with (
            front.playing(ROUTE, play),
            socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_SECONDS) as connection,
        ):
            connection.sendall(head)
            for _ in range(LARGE_MEGABYTES):
                connection.sendall(b"x" * MEGABYTE)
                most = max(most, memory_megabytes(worker))
            with http.client.HTTPResponse(connection) as answer:
                answer.begin()
                assert answer.status == 201

        assert received == LARGE_MEGABYTES * MEGABYTE
        assert most - before < GROWTH_MEGABYTES


class TestABrowserThatLeaves:
    @pytest.mark.parametrize("framing", ["chunked", "until it closes"])
    @pytest.mark.parametrize("path", [DOWNLOAD, PROXIED], ids=["a download", "a script's call"])
    def test_takes_the_connection_to_the_api_with_it(
        self, person: Browser, front: Front, path: str, framing: str
    ) -> None:
        broken = threading.Semaphore(0)

        def play(wire: Wire) -> None:
            wire.begin(framing, 0)
            try:
                while True:
                    wire.piece(b"x" * 65_536)
            except OSError:
                broken.release()
                raise

        with front.playing(EXPORT, play):
            with ExitStack() as tabs:
                for tab in [tabs.enter_context(opened(person, path)) for _ in range(THREADS)]:
                    assert len(tab.read(MEGABYTE)) == MEGABYTE
            for _ in range(THREADS):
                assert broken.acquire(timeout=PATIENCE_SECONDS), "the API still sends"
        assert [tab.answer().status for tab in person.open_tabs(THREADS)] == [200] * THREADS

    @pytest.mark.parametrize("page", ["stream", "events"])
    def test_leaves_no_thread_behind(self, person: Browser, api: DemoApi, page: str) -> None:
        with ExitStack() as tabs:
            for _ in range(THREADS):
                tab = tabs.enter_context(opened(person, f"/protected/{page}/?rows=500&delay=1"))
                assert tab.read1(1)

        with Gate() as gate:
            api.fail("GET", f"{ROUTE}/rows/", Fault.hold_before(gate), times=None)
            calls = person.open_tabs(THREADS, f"{PROXY}/rows/1")
            wait_until(lambda: gate.arrivals == THREADS, "every thread serves again", seconds=PATIENCE_SECONDS)
            gate.release()
            assert [call.answer().status for call in calls] == [200] * THREADS


class TestWhatIsNeverHandedOver:
    def test_a_page_whose_script_does_not_run(self, person: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        assert b"<session-update " in person.open("/protected/stream/?rows=1&delay=0").body

        assert person.open().status == 200

        assert api.count("POST", "/auth/refresh") == 1

    def test_an_event_that_nobody_listens_to(self, person: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        assert b"event: session-update" in person.open("/protected/events/?rows=1&delay=0").body

        assert person.open().status == 200

        assert api.count("POST", "/auth/refresh") == 1

    def test_a_file_whose_headers_get_lost(self, person: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        lost = person.open_tab(DOWNLOAD, receives=False).answer()
        assert lost.status == 200
        assert lost.session_cookies

        assert person.open().status == 200

        assert api.count("POST", "/auth/refresh") == 1
        assert api.reuses == 0

    def test_a_page_that_was_left_during_the_refresh(self, person: Browser, api: DemoApi) -> None:
        with Gate() as gate:
            with opened(person, "/protected/stream/?rows=1000&delay=0") as answer:
                read_to(answer, b"</li>")
                api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
                api.expire_access_tokens()
                assert gate.reached.wait(PATIENCE_SECONDS)
            gate.release()
            wait_until(lambda: api.count("POST", "/auth/refresh", 200) == 1, "the refresh has an answer")

        assert person.open().status == 200

        assert api.count("POST", "/auth/refresh") == 1
        assert api.reuses == 0


class TestRequestLines:
    @pytest.mark.parametrize("rest", EVASIONS)
    def test_what_could_mean_another_address_is_nowhere(
        self, site: Site, person: Browser, api: DemoApi, rest: str
    ) -> None:
        status, _ = send_raw(site, head_of(person, "GET", f"/protected/api{rest}"))

        assert status == 404
        assert api.calls == []

    @pytest.mark.parametrize("rest", CONTROLS, ids=repr)
    def test_bytes_that_no_address_may_have(self, site: Site, person: Browser, api: DemoApi, rest: bytes) -> None:
        status, _ = send_raw(site, head_of(person, "GET", "/protected/api@").replace(b"@", rest))

        assert status in (400, 404)
        assert api.calls == []

    @pytest.mark.parametrize("host", ["evil.example", "127.0.0.1:1"])
    def test_a_whole_url_leads_to_this_site_or_nowhere(
        self, site: Site, person: Browser, api: DemoApi, host: str
    ) -> None:
        status, _ = send_raw(site, head_of(person, "GET", f"http://{host}{PROXY}"))

        assert status in (200, 400, 404)
        assert len(api.calls) == (status == 200)

    def test_the_query_is_no_part_of_it(self, site: Site, person: Browser, api: DemoApi) -> None:
        status, _ = send_raw(site, head_of(person, "GET", f"{PROXY}?a=%2F..%2F&a=%252e&b=//x"))

        assert status == 200
        assert api.calls[-1].query == "a=%2F..%2F&a=%252e&b=//x"


class TestWhatIsRefused:
    def test_an_upgrade(self, site: Site, person: Browser, api: DemoApi) -> None:
        upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="]

        status, body = send_raw(site, head_of(person, "GET", PROXY, *upgrade).replace(b"Connection: close\r\n", b"", 1))

        assert status == 501
        assert "WebSocket" in json.loads(body)["detail"]
        assert api.calls == []

    def test_a_body_in_chunks(self, site: Site, person: Browser, api: DemoApi) -> None:
        status, body = send_raw(
            site, head_of(person, "POST", PROXY, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n"
        )

        assert status == 411
        assert "Content-Length" in json.loads(body)["detail"]
        assert api.calls == []

    def test_a_large_forged_body(self, site: Site, person: Browser, front: Front) -> None:
        size = 2 * MEGABYTE
        head = head_of(person, "POST", PROXY, f"Content-Length: {size}").replace(b"X-CSRFToken: ", b"X-CSRFToken: no")
        with front.playing(ROUTE, lambda wire: wire.answer(201, b"{}")):
            status, body = send_raw(site, head + b"x" * size)

            assert status == 403
            assert "X-CSRFToken" in json.loads(body)["detail"]
            assert front.arrivals == []

    def test_whose_answer_leaves_the_connection_usable(self, site: Site, person: Browser, api: DemoApi) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=PATIENCE_SECONDS)
        headers = {"Cookie": person.jar.header(), "Accept": "application/json"}
        with closing(connection):
            for method, path, status in [("POST", PROXY, 403), ("POST", f"{PROXY}s", 404), ("GET", PROXY, 200)]:
                connection.request(method, path, b"x" * 5000 if method == "POST" else None, headers)
                with connection.getresponse() as answer:
                    answer.read()
                    assert answer.status == status


class TestALargeBodyAndAnExpiredToken:
    @pytest.mark.parametrize("reads", [True, False], ids=["after the body", "before the body"])
    def test_it_is_to_be_sent_again_and_then_gets_through(
        self, person: Browser, front: Front, api: DemoApi, reads: bool
    ) -> None:
        body = b"x" * (3 * MEGABYTE)
        received = []

        def refuse(wire: Wire) -> None:
            if reads:
                wire.rfile.read(wire.length)
            wire.answer(401, EXPIRED)

        def accept(wire: Wire) -> None:
            received.append(wire.rfile.read(wire.length))
            wire.answer(201, b"{}")

        api.expire_access_tokens()
        with front.playing(ROUTE, refuse):
            first = post(person, body)
        with front.playing(ROUTE, accept):
            second = post(person, body)

        assert (first.status, second.status) == (401, 201)
        assert received == [body]
        assert api.count("POST", "/auth/refresh", 200) == 1

    def test_the_client_is_told_that_it_is_its_turn_and_not_to_sign_in(
        self, person: Browser, front: Front, api: DemoApi
    ) -> None:
        def refuse(wire: Wire) -> None:
            wire.rfile.read(wire.length)
            wire.answer(401, EXPIRED)

        api.expire_access_tokens()
        with front.playing(ROUTE, refuse):
            told = json.loads(post(person, b"x" * (2 * MEGABYTE)).body)

        assert "again" in told["detail"]
        assert "login" not in told
