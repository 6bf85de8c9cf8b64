"""A person's way through the site, in a real browser."""

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import ADA, STATION, expect_data, fill_in, sign_in
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault, Gate
from tests.load.processes import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.firefox]


def session_cookie(context: BrowserContext) -> str:
    """The value of the session cookie; empty where there is none."""
    return next((cookie["value"] for cookie in context.cookies() if cookie["name"] == "session"), "")


def test_the_whole_journey(page: Page, person: BrowserContext, api: DemoApi) -> None:
    # To the sign-in page, and with a wrong password no further.
    page.goto("/protected/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    fill_in(page, ADA, "low-tide")
    expect(page.get_by_role("alert")).to_have_text("Wrong e-mail address or password.")
    expect(page.get_by_label("Email")).to_have_value(ADA)
    expect(page.get_by_label("Password")).to_have_value("")

    # With the right one to the page that was asked for.
    fill_in(page, ADA, DEMO_USERS[ADA])
    expect(page).to_have_url("/protected/")
    expect_data(page)
    before = session_cookie(person)
    assert before

    # The access token expires: the same page, a new cookie, one refresh.
    api.expire_access_tokens()
    api.forget_calls()
    page.reload()
    expect(page).to_have_url("/protected/")
    expect_data(page)
    expect(page.get_by_text("rotated 1 time")).to_be_visible()
    assert session_cookie(person) not in ("", before)
    assert [(call.path, call.status) for call in api.calls] == [
        ("/protected-route", 401),
        ("/auth/refresh", 200),
        ("/protected-route", 200),
    ]

    # Again: now it is good for a while.
    api.forget_calls()
    page.reload()
    expect_data(page)
    assert [(call.path, call.status) for call in api.calls] == [("/protected-route", 200)]

    # A script sees the CSRF token, which is made for that, and nothing of the session.
    visible = page.evaluate("document.cookie")
    assert [cookie.split("=")[0] for cookie in visible.split("; ")] == ["csrftoken"]
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]

    # Out, here and at the API, and the page asks again.
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url("/")
    # On a busy machine, Firefox has listed the deleted cookie for a moment, with the empty value.
    wait_until(lambda: session_cookie(person) == "", "the session cookie is gone")
    assert api.count("POST", "/auth/logout", 204) == 1
    page.goto("/protected/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_three_tabs_at_the_moment_of_expiry_share_one_refresh(page: Page, person: BrowserContext, api: DemoApi) -> None:
    sign_in(page)
    tabs = [page, person.new_page(), person.new_page()]
    for number, tab in enumerate(tabs):
        # Each at an address of its own: Chromium asks for the same one only once at a time.
        tab.goto(f"/protected/?tab={number}")
    api.expire_access_tokens()
    api.forget_calls()

    with Gate() as gate:
        api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
        for tab in tabs:
            tab.evaluate("setTimeout(() => location.reload())")
        wait_until(lambda: api.count("GET", "/protected-route", 401) == len(tabs), "every tab has met a 401")
        gate.release()
        for tab in tabs:
            expect(tab.get_by_text("rotated 1 time")).to_be_visible()
            expect_data(tab)

    assert api.count("POST", "/auth/refresh") == 1
    assert api.reuses == 0
    for tab in tabs:
        tab.reload()
        expect_data(tab)
    assert api.count("POST", "/auth/refresh") == 1


def test_an_api_that_is_away_costs_a_page_and_not_the_session(page: Page, person: BrowserContext, api: DemoApi) -> None:
    sign_in(page)
    before = session_cookie(person)
    api.expire_access_tokens()
    api.stop_serving()

    answer = page.reload()

    assert answer is not None
    assert answer.status == 503
    expect(page.get_by_text("it is safe to try again")).to_be_visible()
    assert session_cookie(person) == before
    api.start_serving()

    def try_again() -> bool:
        with page.expect_navigation() as navigation:
            page.get_by_role("link", name="Try again").click()
        return navigation.value.status == 200

    wait_until(try_again, "the pause after the failure is over")
    expect_data(page)
    assert session_cookie(person) != before
    assert api.count("POST", "/auth/login") == 1


def test_the_browsers_history_shows_nothing_after_signing_out(page: Page, api: DemoApi) -> None:
    sign_in(page)
    page.get_by_role("link", name="Home", exact=True).click()
    page.get_by_role("link", name="Protected page", exact=True).click()
    expect_data(page)
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url("/")
    shown = []

    for step in [page.go_back] * 3 + [page.go_forward] * 3:
        # No longer than that: a page from the browser's own cache is shown again without being loaded.
        step(wait_until="commit")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        shown.append(STATION in page.locator("body").inner_text())

    assert not any(shown), shown


def test_the_keyboard_is_enough(page: Page, api: DemoApi) -> None:
    page.goto("/protected/")
    expect(page.get_by_label("Email")).to_be_focused()
    page.keyboard.type(ADA)
    tab_to(page, "Password")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()

    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type(DEMO_USERS[ADA])
    tab_to(page, "Sign in")
    page.keyboard.press("Enter")

    expect_data(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to(page, "row by row")
    page.goto("/protected/")
    tab_to(page, "Sign out")
    page.keyboard.press("Space")
    expect(page).to_have_url("/")


def tab_to(page: Page, name: str) -> None:
    """Press Tab until the field, button or link of this name has the focus, and see that the focus can be seen."""
    for _ in range(20):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if focused.count() and focused.evaluate("it => it.labels?.[0]?.textContent ?? it.textContent") == name:
            assert focused.evaluate("it => getComputedStyle(it).outlineStyle") != "none"
            return
    pytest.fail(f"the Tab key does not lead to {name!r}")
