"""One site for all tests of this folder: gunicorn with a single worker, in front of a scripted API."""

import threading
from collections.abc import Iterator

import pytest

from tests.demo_api.server import DemoApi
from tests.load.browser import Browser
from tests.load.site import Site
from tests.protected.sockets.raw_requests import ROUTE, THREADS
from tests.protected.sockets.scripted_api import ScriptedApi


class SiteWithQuickHeartbeats(Site):
    def command(self) -> list[str]:
        return [
            "tests.protected.sockets.quick_heartbeats" if part == "config.wsgi" else part for part in super().command()
        ]


@pytest.fixture(scope="package")
def demo() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=600) as demo:
        yield demo


@pytest.fixture(scope="package")
def scripted_api(demo: DemoApi) -> Iterator[ScriptedApi]:
    with ScriptedApi(demo.port) as scripted_api:
        thread = threading.Thread(target=scripted_api.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield scripted_api
        finally:
            scripted_api.shutdown()
            thread.join()


@pytest.fixture(scope="package")
def site(scripted_api: ScriptedApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One worker, so that its memory is the site's, and a test notices every thread that hangs."""
    site = SiteWithQuickHeartbeats(
        database_url=f"sqlite:///{tmp_path_factory.mktemp('wire') / 'db.sqlite3'}",
        api_url=scripted_api.url,
        workers=1,
        threads=THREADS,
        environment={"API_READ_TIMEOUT": "30", "API_PROXY_ALLOW": f"GET {ROUTE}, POST {ROUTE}"},
    )
    site.migrate()
    with site:
        yield site


@pytest.fixture
def api(demo: DemoApi) -> Iterator[DemoApi]:
    """The demo API behind the site, without faults and with an empty list of calls."""
    demo.forget_calls()
    yield demo
    demo.heal()


@pytest.fixture
def browser(site: Site, api: DemoApi) -> Browser:
    """A browser in which Ada has signed in."""
    browser = Browser(site.port)
    browser.sign_in()
    api.forget_calls()
    return browser
