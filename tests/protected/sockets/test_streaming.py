"""Streams and large bodies: each piece is passed on at once, and none is held in memory."""

import http.client
import re
import socket
import threading
from pathlib import Path

import pytest

from accounts.streaming import HEARTBEAT_SECONDS
from tests.demo_api.server import DemoApi, Fault, Gate
from tests.load.browser import GRACE, Browser
from tests.load.site import Site
from tests.protected.sockets.raw_requests import (
    DOWNLOAD,
    EXPORT,
    MEGABYTE,
    PROXIED,
    PROXY,
    ROUTE,
    head_of,
    opened,
    read_to,
    send_raw,
)
from tests.protected.sockets.scripted_api import FRAMINGS, PATIENCE_SECONDS, ApiConnection, ScriptedApi

LARGE_MEGABYTES = 120
#: How much a worker may grow while a large body passes through it.
GROWTH_MEGABYTES = 40
HEARTBEAT = b": heartbeat\n\n"


def memory_megabytes(worker: int) -> float:
    """What the worker holds of the machine's memory now."""
    (line,) = re.findall(r"VmRSS:\s*(\d+) kB", Path(f"/proc/{worker}/status").read_text())
    return int(line) / 1024


class TestPieces:
    @pytest.mark.parametrize(
        ("page", "first", "row", "last"),
        [
            ("stream", b"<h1>Streamed page</h1>", b"</li>", b"That was all."),
            ("events", b"retry:", b"id: 1", b"event: end"),
        ],
        ids=["a page", "events"],
    )
    def test_a_row_arrives_before_the_next_one_is_made(
        self, browser: Browser, api: DemoApi, page: str, first: bytes, row: bytes, last: bytes
    ) -> None:
        with Gate() as one, Gate() as two:
            api.fail("GET", ROUTE, Fault.hold_before(one))
            api.fail("GET", ROUTE, Fault.hold_before(two))
            with opened(browser, f"/protected/{page}/?rows=2&delay=0") as response:
                assert row not in read_to(response, first)
                assert api.count("GET", ROUTE) == 0
                one.release()
                assert last not in read_to(response, row)
                assert two.reached.wait(PATIENCE_SECONDS)
                assert api.count("GET", ROUTE) == 1
                two.release()
                assert last in response.read()

    @pytest.mark.parametrize("framing", FRAMINGS)
    @pytest.mark.parametrize("path", [DOWNLOAD, PROXIED], ids=["a download", "a script's call"])
    def test_the_first_piece_arrives_before_the_api_sends_the_next(
        self, browser: Browser, scripted_api: ScriptedApi, path: str, framing: str
    ) -> None:
        seen = threading.Event()

        def script(connection: ApiConnection) -> None:
            connection.begin(framing, 10)
            connection.piece(b"first")
            assert seen.wait(PATIENCE_SECONDS), "the first piece does not arrive"
            connection.piece(b"other")
            connection.end()

        with scripted_api.scripted(EXPORT, script), opened(browser, path) as response:
            assert response.read1(65_536) == b"first"
            seen.set()
            assert response.read() == b"other"

    @pytest.mark.parametrize("framing", ["chunked", "with a length"])
    @pytest.mark.parametrize("path", [DOWNLOAD, PROXIED], ids=["a download", "a script's call"])
    def test_half_a_response_never_looks_complete(
        self, browser: Browser, scripted_api: ScriptedApi, path: str, framing: str
    ) -> None:
        def script(connection: ApiConnection) -> None:
            connection.begin(framing, 2000)
            connection.piece(b"x" * 1000)  # and no more

        with scripted_api.scripted(EXPORT, script):
            try:
                response = browser.open(path)
            except http.client.IncompleteRead:
                pass
            else:
                assert response.status >= 500
        assert browser.open().status == 200

    def test_a_length_beside_chunks_is_not_passed_on(
        self, site: Site, browser: Browser, scripted_api: ScriptedApi
    ) -> None:
        """With both, the chunks count (RFC 9112 section 6.3). A browser would wait for bytes that never come."""

        def script(connection: ApiConnection) -> None:
            connection.framing = "chunked"
            connection.send(
                "HTTP/1.1 200 So\r\nConnection: close\r\nContent-Length: 100\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            connection.piece(b"whole")
            connection.end()

        with scripted_api.scripted(EXPORT, script):
            assert send_raw(site, head_of(browser, "GET", PROXIED)) == (200, b"whole")

    def test_an_upload_is_passed_on_before_all_of_it_has_arrived(
        self, site: Site, browser: Browser, scripted_api: ScriptedApi
    ) -> None:
        arrived = threading.Event()
        received = []

        def script(connection: ApiConnection) -> None:
            received.append(connection.rfile.read(MEGABYTE))
            arrived.set()
            received.append(connection.rfile.read(connection.length - MEGABYTE))
            connection.respond(201, b"{}")

        body = bytes(range(256)) * (4 * MEGABYTE // 256)
        head = head_of(browser, "POST", PROXY, f"Content-Length: {len(body)}", "Content-Type: application/octet-stream")
        with (
            scripted_api.scripted(ROUTE, script),
            socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_SECONDS) as connection,
        ):
            connection.sendall(head + body[: 2 * MEGABYTE])
            assert arrived.wait(PATIENCE_SECONDS), "the API has not seen what was sent"
            connection.sendall(body[2 * MEGABYTE :])
            with http.client.HTTPResponse(connection) as response:
                response.begin()
                assert (response.status, response.read()) == (201, b"{}")
        assert b"".join(received) == body


class TestHeartbeats:
    def test_a_quiet_stream_sends_them_until_its_session_ends(self, site: Site, api: DemoApi) -> None:
        ada, grace = Browser(site.port), Browser(site.port)
        ada.sign_in()
        grace.sign_in(GRACE)
        with Gate() as gate:
            api.fail("GET", ROUTE, Fault.hold_after(gate))
            with opened(grace, "/protected/events/?rows=2&delay=60") as ended:
                assert gate.reached.wait(PATIENCE_SECONDS)
                grace.sign_out()
                gate.release()
                with opened(ada, "/protected/events/?rows=2&delay=1.1") as quiet:
                    until_end, until_sign_out = quiet.read(), ended.read()

        assert HEARTBEAT_SECONDS == 10, "this site sends them each second"
        assert until_end.count(HEARTBEAT) == 1
        assert until_end.index(b"id: 1") < until_end.index(HEARTBEAT) < until_end.index(b"id: 2")
        assert until_end.index(b"id: 2") < until_end.index(b"event: end")
        assert b"id: 1" in until_sign_out
        assert HEARTBEAT not in until_sign_out
        assert b"event: failure" in until_sign_out
        assert b"Your session has ended." in until_sign_out
        assert b"id: 2" not in until_sign_out


class TestMemory:
    @pytest.mark.parametrize("framing", ["chunked", "with a length"])
    @pytest.mark.parametrize("path", [DOWNLOAD, PROXIED], ids=["a download", "a script's call"])
    def test_a_large_response_is_not_held(
        self, site: Site, browser: Browser, scripted_api: ScriptedApi, path: str, framing: str
    ) -> None:
        def script(connection: ApiConnection) -> None:
            connection.begin(framing, LARGE_MEGABYTES * MEGABYTE)
            for _ in range(LARGE_MEGABYTES):
                connection.piece(b"x" * MEGABYTE)
            connection.end()

        (worker,) = site.workers
        before = most = memory_megabytes(worker)
        size = 0
        with scripted_api.scripted(EXPORT, script), opened(browser, path) as response:
            while piece := response.read(4 * MEGABYTE):
                size += len(piece)
                most = max(most, memory_megabytes(worker))

        assert size == LARGE_MEGABYTES * MEGABYTE
        assert most - before < GROWTH_MEGABYTES

    def test_a_large_upload_is_not_held(self, site: Site, browser: Browser, scripted_api: ScriptedApi) -> None:
        received = 0

        def script(connection: ApiConnection) -> None:
            nonlocal received
            while received < connection.length:
                received += len(connection.rfile.read(MEGABYTE))
            connection.respond(201, b"{}")

        (worker,) = site.workers
        before = most = memory_megabytes(worker)
        head = head_of(browser, "POST", PROXY, f"Content-Length: {LARGE_MEGABYTES * MEGABYTE}")
        with (
            scripted_api.scripted(ROUTE, script),
            socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE_SECONDS) as connection,
        ):
            connection.sendall(head)
            for _ in range(LARGE_MEGABYTES):
                connection.sendall(b"x" * MEGABYTE)
                most = max(most, memory_megabytes(worker))
            with http.client.HTTPResponse(connection) as response:
                response.begin()
                assert response.status == 201

        assert received == LARGE_MEGABYTES * MEGABYTE
        assert most - before < GROWTH_MEGABYTES
