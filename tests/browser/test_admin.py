"""The admin's pages of sessions in a real browser: under the site's own policy, in both themes."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.browser.conftest import ADA, PATIENCE_MS, PATIENCE_SECONDS, PROJECT, sign_in
from tests.browser.looks import find_violations
from tests.demo_api.server import DemoApi
from tests.environment import clean_environment
from tests.load.processes import wait_until
from tests.load.site import Site

pytestmark = pytest.mark.browser

STAFF, PASSWORD = "harbour-master", "lantern-and-bell"
LIST = "/admin/accounts/sessionrecord/"


@pytest.fixture(scope="module")
def api() -> Iterator[DemoApi]:
    with DemoApi(access_ttl=3600) as api:
        yield api


@pytest.fixture(scope="module")
def deployed(chromium: Browser, api: DemoApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """After the browser, so that without one nothing is started. It has a staff user."""
    database = f"sqlite:///{tmp_path_factory.mktemp('site') / 'db.sqlite3'}"
    site = Site(database_url=database, api_url=api.url, workers=2, threads=4)
    site.migrate()
    subprocess.run(
        [sys.executable, "manage.py", "createsuperuser", "--noinput", f"--username={STAFF}", "--email=h@example.com"],
        cwd=PROJECT,
        env=clean_environment(DEBUG="true", DATABASE_URL=database, DJANGO_SUPERUSER_PASSWORD=PASSWORD),
        check=True,
        capture_output=True,
    )
    with site:
        yield site


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def staff(chromium: Browser, deployed: Site, theme: str) -> Iterator[BrowserContext]:
    with chromium.new_context(base_url=deployed.url, color_scheme=theme) as person:  # type: ignore[arg-type]
        person.set_default_timeout(PATIENCE_MS)
        yield person


@pytest.fixture
def complaints(staff: BrowserContext) -> list[str]:
    """What the browser objects to: a policy that is not kept, a file that is not there, an error in a script."""
    heard: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            heard.append(message.text)

    staff.on("console", listen)
    staff.on("weberror", lambda error: heard.append(str(error.error)))
    return heard


def open_list(staff: BrowserContext) -> Page:
    page = staff.new_page()
    page.goto(f"/admin/login/?next={LIST}")
    page.get_by_label("Username").fill(STAFF)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(LIST)
    return page


def obstacles(page: Page) -> list[str]:
    """What axe-core finds in the way of people with disabilities, once the page is whole."""
    page.wait_for_load_state()
    found = find_violations(page)
    return [f"{page.url}: {it['id']}: {it['help']}: {[node['target'] for node in it['nodes']]}" for it in found]


def test_staff_look_at_a_session_and_end_it(
    chromium: Browser, deployed: Site, api: DemoApi, staff: BrowserContext, theme: str, complaints: list[str]
) -> None:
    with chromium.new_context(base_url=deployed.url) as person:
        person.set_default_timeout(PATIENCE_MS)
        user = person.new_page()
        sign_in(user)
        api.expire_access_tokens()
        user.reload()
        page = open_list(staff)

        def has_been_written() -> bool:
            page.reload()
            return "No session was rotated" not in page.content()

        wait_until(has_been_written, "an event has been written", seconds=PATIENCE_SECONDS)
        chart = page.get_by_role("img", name="Rotations per hour, by outcome")
        expect(chart).to_be_visible()
        colour = chart.locator("rect.rotated").last.evaluate("bar => getComputedStyle(bar).fill")
        assert colour == {"light": "rgb(65, 120, 147)", "dark": "rgb(129, 212, 250)"}[theme]

        page.get_by_role("link", name=ADA).first.click()
        timeline = page.get_by_role("group", name="Events, the newest first")
        expect(timeline.get_by_role("row", name="rotated (on a 401)")).to_be_visible()
        expect(timeline.get_by_role("row", name="signed in")).to_be_visible()

        page.goto(f"{LIST}?state=active")
        page.get_by_role("checkbox", name="Select this object for an action").first.check()
        page.get_by_label("Action:").select_option("End selected sessions")
        page.get_by_role("button", name="Go").click()
        expect(page.get_by_role("table", name="Sessions to end").get_by_role("link", name=ADA)).to_be_visible()
        page.get_by_role("button", name="Yes, end it").click()
        expect(page.get_by_text("1 session ended.")).to_be_visible()

        api.expire_access_tokens()
        user.reload()
        expect(user.get_by_role("button", name="Sign in")).to_be_visible()
    assert complaints == []


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_in_the_way_of_anybody(
    chromium: Browser, deployed: Site, staff: BrowserContext, width: int
) -> None:
    with chromium.new_context(base_url=deployed.url) as person:
        person.set_default_timeout(PATIENCE_MS)
        sign_in(person.new_page())
    page = open_list(staff)
    page.set_viewport_size({"width": width, "height": 800})

    if width == 1280:
        assert page.locator(".results").evaluate("list => list.scrollWidth - list.clientWidth") == 0, "it fits"
    found = obstacles(page)
    page.get_by_role("link", name=ADA).first.click()
    expect(page.get_by_role("group", name="Events, the newest first")).to_be_visible()
    found += obstacles(page)
    page.goto(f"{LIST}?q=nobody")
    found += obstacles(page)
    page.goto(f"{LIST}?state=active")
    page.get_by_role("checkbox", name="Select this object for an action").first.check()
    page.get_by_label("Action:").select_option("End selected sessions")
    page.get_by_role("button", name="Go").click()
    expect(page.get_by_role("button", name="Yes, end")).to_be_visible()
    found += obstacles(page)

    assert found == []
