"""The API's event streams, through the proxy and through a view: quiet ones, broken ones, and browsers that leave."""

import http.client
import re
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.load.browser import Browser
from tests.load.site import Site
from tests.protected.sockets.conftest import SiteWithQuickHeartbeats
from tests.protected.sockets.raw_requests import ROUTE, THREADS, opened, read_to
from tests.protected.sockets.scripted_api import FRAMINGS, PATIENCE_SECONDS, ApiConnection, ScriptedApi

EVENTS = f"{ROUTE}/events"
ADDRESSES = {"the proxy": f"/protected/api{EVENTS}", "a view": "/view/"}
#: The heartbeat is sent each second: longer than the API may be silent in other responses.
READ_SECONDS = "0.5"


@pytest.fixture(scope="module")
def site(scripted_api: ScriptedApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = SiteWithQuickHeartbeats(
        database_url=f"sqlite:///{tmp_path_factory.mktemp('events') / 'db.sqlite3'}",
        api_url=scripted_api.url,
        workers=1,
        threads=THREADS,
        environment={"API_READ_TIMEOUT": READ_SECONDS, "API_PROXY_ALLOW": f"GET {ROUTE}"},
    )
    site.migrate()
    with site:
        yield site


@pytest.fixture(params=list(ADDRESSES.values()), ids=list(ADDRESSES))
def address(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def begin(connection: ApiConnection, framing: str = "chunked") -> None:
    connection.framing = framing
    connection.send("HTTP/1.1 200 So\r\nContent-Type: text/event-stream\r\nConnection: close\r\n")
    connection.send(FRAMINGS[framing].format(length=0) + "\r\n")


def without_comments(body: bytes) -> bytes:
    """What an EventSource makes of the body: no comments, and no time for reconnecting."""
    return re.sub(rb"(?m)^(:.*|retry: \d+)(\r\n|\n|\r)", b"", body)


class TestAQuietStream:
    @pytest.mark.parametrize("framing", ["chunked", "until it closes"])
    def test_has_headers_at_once_and_heartbeats_while_the_api_is_quiet(
        self, browser: Browser, scripted_api: ScriptedApi, address: str, framing: str
    ) -> None:
        beaten = threading.Event()

        def script(connection: ApiConnection) -> None:
            begin(connection, framing)
            for number in range(2):
                assert beaten.wait(PATIENCE_SECONDS), "no heartbeat"
                beaten.clear()
                connection.piece(b"id: %d\ndata: x\n\n" % number)
            connection.end()

        with scripted_api.scripted(EVENTS, script), opened(browser, address) as response:
            assert response.headers["Content-Type"] == "text/event-stream"
            body = read_to(response, b"retry: ")
            for number in range(2):
                body += read_to(response, b": heartbeat")
                beaten.set()
                body += read_to(response, b"id: %d\ndata: x\n\n" % number)
            body += response.read()
        assert b"id: 0\ndata: x\n\nid: 1\ndata: x\n\n" in without_comments(body).replace(b"\n\n\n", b"\n\n")

    def test_is_not_cut_where_a_line_or_a_chunk_is_incomplete(
        self, browser: Browser, scripted_api: ScriptedApi, address: str
    ) -> None:
        beaten = threading.Event()

        def script(connection: ApiConnection) -> None:
            begin(connection)
            connection.send(b"7\r\ndata: a")  # without the line end of the chunk
            assert beaten.wait(PATIENCE_SECONDS)
            connection.send(b"\r\n")
            connection.piece(b"b\n\n")
            connection.end()

        with scripted_api.scripted(EVENTS, script), opened(browser, address) as response:
            body = read_to(response, b": heartbeat")
            body += read_to(response, b": heartbeat")
            beaten.set()
            body += response.read()

        assert b"data: ab\n\n" in body

    def test_a_browser_that_leaves_frees_the_connection_to_the_api(
        self, browser: Browser, scripted_api: ScriptedApi, address: str
    ) -> None:
        left = threading.Event()

        def script(api: ApiConnection) -> None:
            begin(api)
            assert api.rfile.read(1) == b""
            left.set()

        with scripted_api.scripted(EVENTS, script):
            connection = http.client.HTTPConnection("127.0.0.1", browser.port, timeout=PATIENCE_SECONDS)
            with closing(connection):
                connection.request("GET", address, headers={"Cookie": browser.jar.header()})
                read_to(connection.getresponse(), b"retry: ")
            assert left.wait(PATIENCE_SECONDS), "the connection to the API is still open"

    def test_an_api_that_sends_no_headers_is_waited_for_as_before(
        self, browser: Browser, scripted_api: ScriptedApi, address: str
    ) -> None:
        over = threading.Event()

        def script(connection: ApiConnection) -> None:
            over.wait(PATIENCE_SECONDS)

        with scripted_api.scripted(EVENTS, script):
            response = browser.open(address, as_script=True)
            over.set()

        assert response.status == 503


class TestABrokenStream:
    def test_never_looks_complete_and_says_when_to_reconnect(self, browser: Browser, scripted_api: ScriptedApi) -> None:
        def script(connection: ApiConnection) -> None:
            begin(connection)
            connection.piece(b"data: whole\n\ndata: half")  # and no more

        with scripted_api.scripted(EVENTS, script), opened(browser, ADDRESSES["the proxy"]) as response:
            body = read_to(response, b"data: whole\n\n")
            with pytest.raises(http.client.IncompleteRead) as broken:
                response.read()

        body += broken.value.partial
        assert body.count(b"retry: ") == 2
        assert b"half" not in body

    def test_ends_with_an_event_in_a_view(self, browser: Browser, scripted_api: ScriptedApi) -> None:
        def script(connection: ApiConnection) -> None:
            begin(connection)
            connection.piece(b"data: whole\n\ndata: half")

        with scripted_api.scripted(EVENTS, script), opened(browser, ADDRESSES["a view"]) as response:
            body = response.read()

        assert b"data: whole\n\nevent: failure\n" in body
        assert body.count(b"retry: ") == 2
        assert b"half" not in body


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_any_line_end_arrives_with_the_event(
    browser: Browser, scripted_api: ScriptedApi, address: str, line_end: bytes
) -> None:
    arrived = threading.Event()
    event = b"data: a" + line_end + b"data: b" + line_end * 2

    def script(connection: ApiConnection) -> None:
        begin(connection)
        for byte in event:
            connection.piece(bytes([byte]))
        assert arrived.wait(PATIENCE_SECONDS), "the event is held back"
        connection.piece(event)
        connection.end()

    with scripted_api.scripted(EVENTS, script), opened(browser, address) as response:
        body = b""
        while event[:-1] not in without_comments(body):
            piece = response.read1(65_536)
            assert piece
            body += piece
        body += read_to(response, b": heartbeat")
        arrived.set()
        body += response.read()

    lines = re.split(rb"\r\n|\n|\r", body)
    assert [line for line in lines if line.startswith(b"data")] == [b"data: a", b"data: b"] * 2
