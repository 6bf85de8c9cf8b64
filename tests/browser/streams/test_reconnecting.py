"""An EventSource in a real browser whose API is quiet, breaks off, is unavailable, and comes back."""

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Response

from tests.browser.conftest import PATIENCE_MS, PATIENCE_SECONDS, run_server, sign_in
from tests.browser.streams.helpers import FOLLOW, ROUTE, wait_for
from tests.browser.watch import Watch
from tests.demo_api.messages import Answer
from tests.demo_api.server import DemoApi, Fault
from tests.load.site import Site

pytestmark = pytest.mark.browser

EVENTS = f"{ROUTE}/events"
PROXIED = f"/protected/api{EVENTS}"
EVENT_STREAM = "text/event-stream"


@pytest.fixture(scope="module")
def deployed(chromium: Browser, demo: DemoApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(
        database_url=f"sqlite:///{tmp_path_factory.mktemp('events') / 'db.sqlite3'}",
        api_url=demo.url,
        workers=1,
        environment={"API_PROXY_ALLOW": f"GET {ROUTE}"},
    )
    site.migrate()
    with site:
        yield site


class ApiEvents:
    """An event stream of the API that sends one event when it may, and then breaks off when it must."""

    def __init__(self, api: DemoApi, number: int) -> None:
        self.speak, self.die = threading.Event(), threading.Event()
        self._event = b"id: %d\ndata: {}\n\n" % number
        reply = Answer(200, b"", {"Content-Type": EVENT_STREAM}, stream=self._stream())
        api.fail("GET", EVENTS, Fault("answer", reply=lambda _: reply))

    def _stream(self) -> Iterator[bytes]:
        assert self.speak.wait(PATIENCE_SECONDS)
        yield self._event
        self.die.wait(PATIENCE_SECONDS)
        raise ConnectionAbortedError("the API breaks off")


@pytest.mark.firefox
def test_it_outlives_an_api_that_breaks_off_and_comes_back(page: Page, api: DemoApi, watch: Watch) -> None:
    responses: list[Response] = []
    page.on("response", lambda it: responses.append(it) if PROXIED in it.url else None)
    first = ApiEvents(api, 1)
    page.goto("/protected/script/")
    page.evaluate(FOLLOW, PROXIED)
    wait_for(page, "window.source.readyState === EventSource.OPEN")
    assert page.evaluate("window.heard") == [], "the stream is open before the first event"
    first.speak.set()
    wait_for(page, "window.heard.includes('row 1')")

    # It comes back in 1 to 2 seconds. tests/protected/test_event_sources.py has an API that is unreachable.
    api.fail("GET", EVENTS, Fault.answer(503, headers={"Retry-After": "1"}), times=2)
    second = ApiEvents(api, 2)
    second.speak.set()
    first.die.set()
    wait_for(page, "window.heard.includes('row 2')")

    assert page.evaluate("window.source.readyState === EventSource.OPEN")
    assert {(it.status, it.headers["content-type"]) for it in responses} == {(200, EVENT_STREAM)}
    assert len(responses) == 4
    assert page.evaluate("window.heard") == ["row 1", "cut off", "cut off", "cut off", "row 2"]
    assert api.calls[-1].headers["last-event-id"] == "1"
    page.evaluate("window.source.close()")
    second.die.set()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_it_stops_when_the_api_refuses(page: Page, api: DemoApi, watch: Watch, status: int) -> None:
    api.fail("GET", EVENTS, Fault.answer(status, {"message": "no"}), times=None)
    page.goto("/protected/script/")

    page.evaluate(FOLLOW, PROXIED)
    wait_for(page, "window.source.readyState === EventSource.CLOSED")

    assert page.evaluate("window.heard") == ["cut off"]
    assert watch.count(PROXIED) == 1


def test_a_developers_server_sends_the_headers_at_once(
    chromium: Browser, api: DemoApi, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with (
        run_server(api.url, tmp_path_factory.mktemp("site"), API_PROXY_ALLOW=f"GET {ROUTE}") as url,
        chromium.new_context(base_url=url) as person,
    ):
        person.set_default_timeout(PATIENCE_MS)
        page = person.new_page()
        sign_in(page)
        events = ApiEvents(api, 1)
        page.goto("/protected/script/")

        page.evaluate(FOLLOW, PROXIED)
        wait_for(page, "window.source.readyState === EventSource.OPEN")

        assert page.evaluate("window.heard") == []
        events.speak.set()
        wait_for(page, "window.heard.includes('row 1')")
        assert page.evaluate("window.heard") == ["row 1"]
        page.evaluate("window.source.close()")
        events.die.set()
