"""Browsers that disconnect, and session updates that never arrive."""

import threading
from contextlib import ExitStack

import pytest

from tests.demo_api.server import DemoApi, Fault, Gate
from tests.load.browser import Browser
from tests.load.processes import wait_until
from tests.protected.sockets.raw_requests import (
    DOWNLOAD,
    EXPORT,
    MEGABYTE,
    PROXIED,
    PROXY,
    ROUTE,
    THREADS,
    opened,
    read_to,
)
from tests.protected.sockets.scripted_api import PATIENCE_SECONDS, ApiConnection, ScriptedApi


class TestDisconnects:
    @pytest.mark.parametrize("framing", ["chunked", "until it closes"])
    @pytest.mark.parametrize("path", [DOWNLOAD, PROXIED], ids=["a download", "a script's call"])
    def test_closes_the_connection_to_the_api(
        self, browser: Browser, scripted_api: ScriptedApi, path: str, framing: str
    ) -> None:
        broken = threading.Semaphore(0)

        def script(connection: ApiConnection) -> None:
            connection.begin(framing, 0)
            try:
                while True:
                    connection.piece(b"x" * 65_536)
            except OSError:
                broken.release()
                raise

        with scripted_api.scripted(EXPORT, script):
            with ExitStack() as tabs:
                for tab in [tabs.enter_context(opened(browser, path)) for _ in range(THREADS)]:
                    assert len(tab.read(MEGABYTE)) == MEGABYTE
            for _ in range(THREADS):
                assert broken.acquire(timeout=PATIENCE_SECONDS), "the API still sends"
        assert [tab.answer().status for tab in browser.open_tabs(THREADS)] == [200] * THREADS

    @pytest.mark.parametrize("page", ["stream", "events"])
    def test_leaves_no_thread_behind(self, browser: Browser, api: DemoApi, page: str) -> None:
        with ExitStack() as tabs:
            for _ in range(THREADS):
                tab = tabs.enter_context(opened(browser, f"/protected/{page}/?rows=500&delay=0.2"))
                assert tab.read1(1)

        with Gate() as gate:
            api.fail("GET", f"{ROUTE}/rows/", Fault.hold_before(gate), times=None)
            calls = browser.open_tabs(THREADS, f"{PROXY}/rows/1")
            wait_until(lambda: gate.arrivals == THREADS, "every thread serves again", seconds=PATIENCE_SECONDS)
            gate.release()
            assert [call.answer().status for call in calls] == [200] * THREADS


class TestLostSessionUpdates:
    def test_a_page_whose_script_does_not_run(self, browser: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        assert b"<session-update " in browser.open("/protected/stream/?rows=1&delay=0").body

        assert browser.open().status == 200

        assert api.count("POST", "/auth/refresh") == 1

    def test_an_event_without_a_listener(self, browser: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        assert b"event: session-update" in browser.open("/protected/events/?rows=1&delay=0").body

        assert browser.open().status == 200

        assert api.count("POST", "/auth/refresh") == 1

    def test_a_file_whose_headers_are_lost(self, browser: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        lost = browser.open_tab(DOWNLOAD, receives=False).answer()
        assert lost.status == 200
        assert lost.session_cookies

        assert browser.open().status == 200

        assert api.count("POST", "/auth/refresh") == 1
        assert api.reuses == 0

    def test_a_page_that_is_closed_during_the_refresh(self, browser: Browser, api: DemoApi) -> None:
        with Gate() as gate:
            with opened(browser, "/protected/stream/?rows=1000&delay=0") as response:
                read_to(response, b"</li>")
                api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
                api.expire_access_tokens()
                assert gate.reached.wait(PATIENCE_SECONDS)
            gate.release()
            wait_until(lambda: api.count("POST", "/auth/refresh", 200) == 1, "the refresh has an response")

        assert browser.open().status == 200

        assert api.count("POST", "/auth/refresh") == 1
        assert api.reuses == 0
