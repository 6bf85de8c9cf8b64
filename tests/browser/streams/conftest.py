"""The site as it is deployed, for streams in a real browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.conftest import PATIENCE_MS, sign_in
from tests.browser.watch import Watch
from tests.demo_api.server import DemoApi
from tests.load.site import Site

#: Counts the `session-updated` events of a page, from before its first byte.
LISTEN = """
  window.updates = 0;
  document.addEventListener("session-updated", () => { window.updates += 1; });
"""


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=600) as demo:
        yield demo


@pytest.fixture(scope="module")
def deployed(chromium: Browser, demo: DemoApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two workers, so that one meets the rotations of the other. Without a browser, it does not start."""
    site = Site(
        database_url=f"sqlite:///{tmp_path_factory.mktemp('streams') / 'db.sqlite3'}",
        api_url=demo.url,
        workers=2,
        threads=6,
        environment={"API_READ_TIMEOUT": "60", "API_SESSION_LEEWAY": "30"},
    )
    site.migrate()
    with site:
        yield site


@pytest.fixture
def api(demo: DemoApi) -> Iterator[DemoApi]:
    """The API behind the deployed site, well and with an empty list of calls."""
    demo.forget_calls()
    yield demo
    demo.heal()


@pytest.fixture
def person(web_browser: Browser, deployed: Site, api: DemoApi) -> Iterator[BrowserContext]:
    with web_browser.new_context(base_url=deployed.url) as context:
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(LISTEN)
        yield context


@pytest.fixture
def watch(person: BrowserContext) -> Watch:
    return Watch(person)


@pytest.fixture
def page(person: BrowserContext, watch: Watch, api: DemoApi) -> Page:
    """A tab in which Ada has signed in."""
    page = person.new_page()
    sign_in(page)
    api.forget_calls()
    return page
