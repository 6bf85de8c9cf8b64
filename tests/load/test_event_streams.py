"""Many event streams in one worker that is replaced, while the session rotates."""

import itertools
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo_api.messages import Answer, Request
from tests.demo_api.server import DemoApi
from tests.load.browser import Browser
from tests.load.event_sources import EventSource, following
from tests.load.processes import stop_process, wait_until
from tests.load.servers import GeventSite, UvicornSite

pytestmark = pytest.mark.storm

PROXIED, OWN = "/protected/api/protected-route/events", "/protected/events/?rows=1000&delay=0.5"
OWN_STREAMS = 5
STREAMS = [*[PROXIED] * 20, *[OWN] * OWN_STREAMS]


class Gevent(GeventSite):
    def command(self) -> list[str]:
        return ["tests.load.quick_shutdown" if part == "config.wsgi" else part for part in super().command()]

    def replace(self) -> None:
        self.reload()

    def stop(self) -> None:
        """At once: `replace` has shown how the streams end."""
        if self._process is not None:
            stop_process(self._process, signal.SIGINT)
            self._process = None


class Uvicorn(UvicornSite):
    def command(self) -> list[str]:
        return [part.replace("config.asgi", "tests.load.quick_shutdown_asgi") for part in super().command()]

    def replace(self) -> None:
        """There is no other worker meanwhile."""
        self.restart()


@pytest.fixture
def api() -> Iterator[DemoApi]:
    over = threading.Event()

    def events(request: Request) -> Answer:
        first = int(request.headers.get("last-event-id", "0")) + 1
        return Answer(200, headers={"Content-Type": "text/event-stream"}, stream=count_from(first))

    def count_from(first: int) -> Iterator[bytes]:
        for number in itertools.count(first):
            yield b"id: %d\ndata: {}\n\n" % number
            if over.wait(0.5):
                return

    with DemoApi(access_ttl=3600, routes={("GET", "/protected-route/events"): events}) as api:
        yield api
        over.set()


@pytest.mark.parametrize(("kind", "workers"), [(Gevent, 1), (Uvicorn, 0)])
def test_streams_end_at_a_shutdown_and_go_on_in_the_next_process(
    kind: type[Gevent | Uvicorn], workers: int, api: DemoApi, tmp_path: Path
) -> None:
    """No event is missing, no session is lost, and all end with the session."""
    site = kind(
        database_url=f"sqlite:///{tmp_path / 'db.sqlite3'}",
        api_url=api.url,
        workers=workers,
        preload=False,
        environment={"API_SESSION_LEEWAY": "30", "API_READ_TIMEOUT": "20", "LOG_LEVEL": "ERROR"},
    )
    site.migrate()
    with site:
        browser = Browser(site.port)
        browser.sign_in()
        with following(browser, STREAMS) as sources:
            wait_until(lambda: all(source.last >= 2 for source in sources), "all streams have events")
            api.expire_access_tokens()
            assert browser.open().status == 200
            before = [source.last for source in sources]
            site.replace()
            wait_until(lambda: all(map(has_gone_on, sources, before)), "all streams go on")
            assert browser.open().status == 200
            assert browser.sign_out().status == 302
            own = sources[-OWN_STREAMS:]
            wait_until(lambda: all(source.stopped_by for source in own), "the site's own streams end with the session")
    assert not [vars(source) for source in sources if source.out_of_order or source.broken]
    assert {source.stopped_by for source in own} <= {204, 401}
    assert api.reuses == 0
    assert api.count("POST", "/auth/refresh") == 1


def has_gone_on(source: EventSource, before: int) -> bool:
    return source.connected > 1 and source.last > before
