"""The site as it is deployed: gunicorn's processes, and the cookie with all of its flags, in a real browser."""

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.conftest import PATIENCE_MS, expect_data, sign_in
from tests.demo_api.server import DemoApi
from tests.load.site import Site

pytestmark = pytest.mark.browser

ACCESS_SECONDS = 3
#: The storm goes without them.
COOKIE = {"API_SESSION_COOKIE_SECURE": "true", "API_SESSION_COOKIE_NAME": "__Host-session"}


@pytest.fixture(scope="module")
def short_lived() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=ACCESS_SECONDS) as api:
        yield api


@pytest.fixture(scope="module")
def deployed(chromium: Browser, short_lived: DemoApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """After the browser, so that without one nothing is started."""
    database = f"sqlite:///{tmp_path_factory.mktemp('site') / 'db.sqlite3'}"
    site = Site(database_url=database, api_url=short_lived.url, workers=2, threads=4, environment=COOKIE)
    site.migrate()
    with site:
        yield site


def test_a_token_that_runs_out_is_renewed_before_the_call(
    chromium: Browser, deployed: Site, short_lived: DemoApi
) -> None:
    with chromium.new_context(base_url=deployed.url) as person:
        person.set_default_timeout(PATIENCE_MS)
        page = person.new_page()
        sign_in(page)
        (before,) = [cookie for cookie in person.cookies() if cookie["name"] == "__Host-session"]
        time.sleep(ACCESS_SECONDS)
        short_lived.forget_calls()

        page.reload()

        expect(page.get_by_role("heading", name="Protected page")).to_be_visible()
        expect_data(page)
        assert [(call.path, call.status) for call in short_lived.calls] == [
            ("/auth/refresh", 200),
            ("/protected-route", 200),
        ]
        (after,) = [cookie for cookie in person.cookies() if cookie["name"] == "__Host-session"]
        assert after["value"] != before["value"]
        assert (after["httpOnly"], after["secure"], after["sameSite"], after["path"]) == (True, True, "Lax", "/")
        assert "__Host-session" not in page.evaluate("document.cookie")


def test_an_address_that_leads_nowhere_has_a_page_in_the_sites_look(chromium: Browser, deployed: Site) -> None:
    with chromium.new_context(base_url=deployed.url) as person:
        page = person.new_page()

        answer = page.goto("/nowhere/")

        assert answer is not None
        assert answer.status == 404
        expect(page.get_by_role("heading", level=1)).to_have_text("There is no page at this address")
        expect(page.get_by_role("link", name="API session")).to_be_visible()
