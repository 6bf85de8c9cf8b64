"""The journey in front of a real SimpleJWT API, with rotation and blacklist, in a real browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import ADA, PATIENCE_MS, expect_data
from tests.browser.watch import Watch
from tests.demo_api.server import DEMO_USERS
from tests.load.site import Site
from tests.real_apis.apis import SimpleJwtApi

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def api() -> Iterator[SimpleJwtApi]:
    with SimpleJwtApi(access_ttl=3600) as api:
        yield api


@pytest.fixture(scope="module")
def deployed(chromium: Browser, api: SimpleJwtApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """After the browser, so that without one nothing is started."""
    database = f"sqlite:///{tmp_path_factory.mktemp('site') / 'db.sqlite3'}"
    site = Site(database_url=database, api_url=api.url, workers=1, environment=api.site_environment)
    site.migrate()
    with site:
        yield site


def test_the_whole_journey(chromium: Browser, deployed: Site, api: SimpleJwtApi) -> None:
    with chromium.new_context(base_url=deployed.url) as person:
        person.set_default_timeout(PATIENCE_MS)
        watch = Watch(person)
        page = person.new_page()

        page.goto("/protected/")
        fill_in(page, "low-tide")
        expect(page.get_by_role("alert")).to_have_text("No active account found with the given credentials")
        fill_in(page, DEMO_USERS[ADA])
        expect(page).to_have_url("/protected/")
        expect_data(page)

        api.expire_access_tokens()
        page.reload()
        expect_data(page)
        expect(page.get_by_text("rotated 1 time")).to_be_visible()
        assert api.count_refreshes() == api.count_refreshes(200) == 1

        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url("/")
        assert api.count(*api.revoke_call, 200) == 1
        page.goto("/protected/")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert api.reuses == 0
        assert watch.complaints == []


def fill_in(page: Page, password: str) -> None:
    page.get_by_label("User name").fill(ADA)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
