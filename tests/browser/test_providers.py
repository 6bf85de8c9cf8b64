"""Signing in at a provider, in a real browser: a real OAuth 2.0 server with pages of its own, and the site as deployed.

The site is `localhost` and the provider `127.0.0.1`, so to the browser they are two sites, as in the world.
"""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import ADA, PATIENCE_MS, STATION
from tests.browser.looks import find_flaws
from tests.browser.watch import Watch
from tests.demo_api.server import DEMO_USERS, Fault, Gate
from tests.load.processes import wait_until
from tests.load.site import Site
from tests.real_apis.apis import OAuthProvider

pytestmark = pytest.mark.browser

ROUTE = "/protected-route"
TABS = 20
#: Chromium's own limit of connections to one host.
AT_ONCE = 6
COOKIE = {"API_SESSION_COOKIE_SECURE": "true", "API_SESSION_COOKIE_NAME": "__Host-session"}
WITH_A_WAY_BACK = "/protected/?from=a+link&to=%2F"


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[OAuthProvider]:
    """Its access tokens live until a test says otherwise. It asks its users each time whether the site may."""
    with OAuthProvider(access_ttl=3600) as provider:
        yield provider


@pytest.fixture(scope="module")
def deployed(
    chromium: Browser, shared_provider: OAuthProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The site's address. After the browser, so that without one nothing is started."""
    site = Site(
        database_url=f"sqlite:///{tmp_path_factory.mktemp('site') / 'db.sqlite3'}",
        api_url=shared_provider.url,
        workers=2,
        threads=8,
        environment={
            **shared_provider.site_environment,
            **COOKIE,
            "ALLOWED_HOSTS": "localhost,127.0.0.1",
            "API_READ_TIMEOUT": "60",
            "API_SESSION_LEEWAY": "30",
        },
    )
    site.migrate()
    url = f"http://localhost:{site.port}"
    shared_provider.register_site(url)
    with site:
        yield url


@pytest.fixture
def provider(shared_provider: OAuthProvider) -> Iterator[OAuthProvider]:
    """The provider of the deployed site, well and with an empty list of calls."""
    shared_provider.forget_calls()
    yield shared_provider
    shared_provider.heal()
    shared_provider.start_serving()


@pytest.fixture
def person(chromium: Browser, deployed: str, provider: OAuthProvider) -> Iterator[BrowserContext]:
    """A browser that has never been here. Paths are relative to the site."""
    with chromium.new_context(base_url=deployed, viewport={"width": 1200, "height": 800}) as context:
        context.set_default_timeout(PATIENCE_MS)
        yield context


@pytest.fixture
def watch(person: BrowserContext) -> Watch:
    return Watch(person)


@pytest.fixture
def page(person: BrowserContext, watch: Watch) -> Page:
    """Its first tab."""
    return person.new_page()


def test_the_whole_journey(page: Page, person: BrowserContext, provider: OAuthProvider, watch: Watch) -> None:
    # By way of the provider's own pages, and to the page that was asked for.
    sign_in(page, WITH_A_WAY_BACK)
    expect(page).to_have_url(WITH_A_WAY_BACK)
    expect_data(page)
    before = session_cookie(person)
    assert before
    assert sign_in_cookies(person) == []

    # The access token expires: the same page, a new cookie, one refresh.
    provider.expire_access_tokens()
    provider.forget_calls()
    page.reload()
    expect_data(page)
    expect(page.get_by_text("rotated 1 time")).to_be_visible()
    assert session_cookie(person) != before
    assert [call.status for call in provider.calls if call.path == ROUTE] == [401, 200]
    assert (provider.count_refreshes(), provider.count_refreshes(200)) == (1, 1)

    # A script sees the CSRF token, which is made for that, and nothing of the session.
    visible = page.evaluate("document.cookie")
    assert [cookie.split("=")[0] for cookie in visible.split("; ")] == ["__Host-csrftoken"]
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]

    # Out: here, what the provider has given us, and at the provider itself; and home again.
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("/")
    assert session_cookie(person) == ""
    assert provider.count(*provider.revoke_call, 200) == 1
    page.goto("/protected/")
    press_sign_in(page)
    expect(page.get_by_label("Password")).to_be_visible()
    assert watch.complaints == []


def test_twenty_tabs_at_the_moment_of_expiry_share_one_refresh(
    page: Page, person: BrowserContext, provider: OAuthProvider
) -> None:
    sign_in(page)
    provider.expire_access_tokens()
    provider.forget_calls()

    with Gate() as gate:
        provider.fail(*provider.refresh_call, Fault.hold_before(gate))
        # Each at an address of its own: Chromium asks for the same one only once at a time.
        page.evaluate("count => { while (count) window.open(`/protected/?tab=${count--}`); }", TABS)
        wait_until(lambda: provider.count("GET", ROUTE, 401) == AT_ONCE, "as many as can have met a 401")
        gate.release()
        # To ask the first one anything is how Playwright hears of the others.
        wait_until(lambda: page.evaluate("true") and len(person.pages) == TABS + 1, "all tabs are there")
        for tab in set(person.pages) - {page}:
            expect(tab.get_by_role("heading", name="Protected page")).to_be_visible()
            expect(tab.get_by_text("rotated 1 time")).to_be_visible()

    assert provider.count_refreshes() == 1
    page.reload()
    expect(page.get_by_text("rotated 1 time")).to_be_visible()
    assert provider.count_refreshes() == 1
    assert provider.reuses == 0


def test_a_sign_in_that_is_declined_has_a_page_and_can_be_tried_again(
    page: Page, person: BrowserContext, watch: Watch
) -> None:
    page.goto(WITH_A_WAY_BACK)
    press_sign_in(page)
    fill_in(page)
    page.get_by_role("button", name="Cancel").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("You are not signed in")
    expect(page.get_by_text("The sign-in was declined")).to_be_visible()
    assert session_cookie(person) == ""
    assert sign_in_cookies(person) == []
    assert find_flaws(page) == []

    page.get_by_role("link", name="Sign in again").click()
    press_sign_in(page)
    allow(page)
    expect(page).to_have_url(WITH_A_WAY_BACK)
    expect_data(page)
    # Chromium complains of every page with such a status.
    assert [text for text in watch.complaints if "status of 403" not in text] == []


def test_a_sign_in_that_the_provider_ends_is_over_with_words_and_can_begin_again(
    page: Page, person: BrowserContext, provider: OAuthProvider, watch: Watch
) -> None:
    sign_in(page, WITH_A_WAY_BACK)
    provider.revoke_all()

    page.reload()

    expect(page.get_by_role("status")).to_have_text("Your session has ended. Please sign in again.")
    assert session_cookie(person) == ""
    assert find_flaws(page) == []
    press_sign_in(page)
    allow(page)  # the provider still knows who it is
    expect(page).to_have_url(WITH_A_WAY_BACK)
    expect_data(page)
    assert watch.complaints == []


def test_a_provider_that_is_away_costs_a_page_and_not_the_session(
    page: Page, person: BrowserContext, provider: OAuthProvider
) -> None:
    sign_in(page)
    before = session_cookie(person)
    provider.expire_access_tokens()
    provider.forget_calls()
    provider.stop_serving()

    answer = page.reload()

    assert answer is not None
    assert answer.status == 503
    expect(page.get_by_text("it is safe to try again")).to_be_visible()
    assert session_cookie(person) == before
    provider.start_serving()

    def try_again() -> bool:
        with page.expect_navigation() as navigation:
            page.get_by_role("link", name="Try again").click()
        return navigation.value.status == 200

    wait_until(try_again, "the pause after the failure is over")
    expect_data(page)
    assert session_cookie(person) != before
    assert provider.count_refreshes() == 1


def test_two_tabs_that_sign_in_at_the_same_time_both_arrive(
    page: Page, person: BrowserContext, provider: OAuthProvider, watch: Watch
) -> None:
    first, second = page, person.new_page()
    for number, tab in enumerate((first, second)):
        tab.goto(f"/protected/?tab={number}")
        press_sign_in(tab)
        expect(tab.get_by_label("Password")).to_be_visible()
    assert len(sign_in_cookies(person)) == 2

    fill_in(second)
    allow(second)
    expect(second).to_have_url("/protected/?tab=1")
    # The provider has given its form another CSRF token meanwhile; the page that it was on its way to is the same.
    first.reload()
    fill_in(first)
    allow(first)
    expect(first).to_have_url("/protected/?tab=0")

    assert sign_in_cookies(person) == []
    provider.expire_access_tokens()
    provider.forget_calls()
    for tab in (first, second):
        tab.reload()
        expect_data(tab)
    assert provider.count_refreshes() == 1
    assert watch.complaints == []


def test_it_works_without_scripts(chromium: Browser, deployed: str, provider: OAuthProvider) -> None:
    with chromium.new_context(base_url=deployed, java_script_enabled=False) as person:
        person.set_default_timeout(PATIENCE_MS)
        page = person.new_page()

        sign_in(page, WITH_A_WAY_BACK)
        expect(page).to_have_url(WITH_A_WAY_BACK)
        expect_data(page)
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("/")

        assert session_cookie(person) == ""
        page.goto("/protected/")
        press_sign_in(page)
        expect(page.get_by_label("Password")).to_be_visible()


def test_the_pages_on_the_way_in_and_out_fit_and_can_be_read(page: Page, provider: OAuthProvider, watch: Watch) -> None:
    page.goto(WITH_A_WAY_BACK)
    expect(page.get_by_role("button", name="Sign in at 127.0.0.1")).to_be_visible()
    flaws = find_flaws(page)
    press_sign_in(page)
    fill_in(page)
    allow(page)
    # The page that leads on to the provider's sign-out, as long as that does not answer.
    page.route("**/accounts/logout/provider/", lambda route: route.fulfill(status=204))
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out here")
    flaws += find_flaws(page)

    page.unroute("**/accounts/logout/provider/")
    page.get_by_role("link", name="Sign out at 127.0.0.1").click()
    page.wait_for_url("/")

    assert flaws == []
    assert watch.complaints == []


def sign_in(page: Page, path: str = "/protected/") -> None:
    """Open this page, and do what it and the provider ask; until it has been loaded."""
    page.goto(path)
    press_sign_in(page)
    fill_in(page)
    allow(page)
    page.wait_for_url(path)


def press_sign_in(page: Page) -> None:
    """The button of the site's own page, which leads to the provider."""
    page.get_by_role("button", name="Sign in at 127.0.0.1").click()


def fill_in(page: Page) -> None:
    """The provider's form."""
    page.get_by_label("Username").fill(ADA)
    page.get_by_label("Password").fill(DEMO_USERS[ADA])
    page.get_by_role("button", name="Sign in").click()


def allow(page: Page) -> None:
    """What the provider asks next: may the site know who it is?"""
    page.get_by_role("button", name="Authorize").click()


def expect_data(page: Page) -> None:
    expect(page.get_by_role("heading", name="Protected page")).to_be_visible()
    expect(page.get_by_role("rowheader", name=STATION)).to_be_visible()
    expect(page.get_by_role("banner")).to_contain_text(f"Signed in as Ada {ADA}")


def session_cookie(person: BrowserContext) -> str:
    """The value of the session cookie; empty where there is none."""
    return next((cookie["value"] for cookie in person.cookies() if cookie["name"] == "__Host-session"), "")


def sign_in_cookies(person: BrowserContext) -> list[str]:
    """The names of the cookies of sign-ins under way."""
    return [cookie["name"] for cookie in person.cookies() if "-sign-in-" in cookie["name"]]
