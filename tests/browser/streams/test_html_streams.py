"""Streamed pages in a real browser: what the user sees, and what becomes of the cookie."""

import json
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from tests.browser.conftest import ADA, PATIENCE_MS, expect_data, sign_in
from tests.browser.streams.helpers import (
    GRACE,
    POST,
    ROUTE,
    STREAM,
    UPDATE,
    cookie,
    expect_picked_up_without_another_refresh,
    generation,
    hold_rows,
    rows,
    wait_for,
)
from tests.browser.watch import Watch
from tests.demo_api.server import DemoApi, Fault, Gate
from tests.load.processes import wait_until
from tests.load.site import Site

pytestmark = pytest.mark.browser


@pytest.mark.firefox
def test_rows_can_be_seen_before_the_next_one_is_made(page: Page, api: DemoApi, watch: Watch) -> None:
    with Gate() as two, Gate() as three:
        hold_rows(api, None, two, three)
        page.goto(STREAM, wait_until="commit")
        expect(page.locator("main li")).to_have_count(1)
        expect(page.locator("main li").first).to_be_visible()
        assert api.count("GET", ROUTE) == 1
        expect(page.get_by_text("That was all.")).to_have_count(0)
        two.release()
        expect(page.locator("main li")).to_have_count(2)
        assert api.count("GET", ROUTE) == 2
        three.release()
        expect(page.get_by_text("That was all.")).to_be_visible()
    assert rows(page) == 3
    assert watch.count("/session/update/") == 0
    assert watch.complaints == []


@pytest.mark.firefox
def test_a_token_that_dies_in_mid_stream_is_replaced_before_the_stream_ends(
    page: Page, person: BrowserContext, api: DemoApi, watch: Watch
) -> None:
    before = cookie(person)
    with Gate() as two, Gate() as three:
        # Of the second row's two calls one is refused; the third row's waits, and so the stream stays open.
        hold_rows(api, None, two, None, three)
        page.goto(STREAM, wait_until="commit")
        expect(page.locator("main li")).to_have_count(1)
        api.expire_access_tokens()
        with page.expect_response(UPDATE) as update:
            two.release()
        assert update.value.status == 204
        assert three.reached.wait(60)
        wait_for(page, "window.updates === 1")
        assert rows(page) == 2
        after = cookie(person)
        assert after not in ("", before)
        assert generation(page) == 1
        expect(page.locator("session-update")).to_have_count(0)
        three.release()
        expect(page.get_by_text("That was all.")).to_be_visible()

    assert rows(page) == 3
    assert watch.count("/session/update/") == 1
    page.reload()
    expect(page.get_by_text("That was all.")).to_be_visible()
    expect_picked_up_without_another_refresh(page, api)
    assert watch.complaints == []


def test_the_session_update_is_posted_as_designed(page: Page, api: DemoApi) -> None:
    with Gate() as two:
        hold_rows(api, None, two)
        page.goto(STREAM, wait_until="commit")
        expect(page.locator("main li")).to_have_count(1)
        api.expire_access_tokens()
        with page.expect_response(UPDATE) as update:
            two.release()

    request = update.value.request
    assert request.method == "POST"
    assert list(json.loads(request.post_data or "")) == ["session"]
    headers = request.all_headers()
    assert headers["content-type"] == "application/json"
    assert headers["x-csrftoken"]
    assert update.value.status == 204
    assert "no-store" in update.value.all_headers()["cache-control"]
    expect(page.get_by_text("That was all.")).to_be_visible()


@pytest.mark.firefox
@pytest.mark.parametrize("gateway", [False, True], ids=["no connection", "502 of a gateway"])
def test_a_session_update_that_fails_on_the_way_is_posted_again(
    page: Page, person: BrowserContext, api: DemoApi, gateway: bool
) -> None:
    failed: list[str] = []

    def fail_once(route: Route) -> None:
        if failed:
            route.continue_()
        else:
            failed.append(route.request.url)
            if gateway:
                route.fulfill(status=502, body="<h1>Bad gateway</h1>")
            else:
                route.abort("connectionfailed")

    person.route(UPDATE, fail_once)
    before = cookie(person)
    with Gate() as two:
        hold_rows(api, None, two)
        page.goto(STREAM, wait_until="commit")
        expect(page.locator("main li")).to_have_count(1)
        api.expire_access_tokens()
        with page.expect_response(
            lambda response: "/session/update/" in response.url and response.status != 502
        ) as update:
            two.release()

    assert len(failed) == 1
    assert update.value.status == 204
    wait_for(page, "window.updates === 1")
    expect(page.locator("session-update")).to_have_count(0)
    assert cookie(person) not in ("", before)
    expect_picked_up_without_another_refresh(page, api)


@pytest.mark.parametrize("status", [400, 403])
def test_a_refused_session_update_is_dropped_and_the_next_page_picks_up(
    page: Page, person: BrowserContext, api: DemoApi, watch: Watch, status: int
) -> None:
    person.route(UPDATE, lambda route: route.fulfill(status=status, json={"detail": "no"}))
    with Gate() as two:
        hold_rows(api, None, two)
        page.goto(STREAM, wait_until="commit")
        expect(page.locator("main li")).to_have_count(1)
        api.expire_access_tokens()
        with page.expect_response(UPDATE):
            two.release()

    expect(page.get_by_text("That was all.")).to_be_visible()
    expect(page.locator("session-update")).to_have_count(0)
    assert page.evaluate("window.updates") == 0
    assert watch.count("/session/update/") == 1
    expect_picked_up_without_another_refresh(page, api)


@pytest.mark.firefox
def test_three_tabs_that_stream_over_an_expiry_share_one_refresh(
    page: Page, person: BrowserContext, api: DemoApi, watch: Watch
) -> None:
    tabs = [page, person.new_page(), person.new_page()]
    second: list[Gate] = []
    with ExitStack() as stack, Gate() as refresh:
        for number, tab in enumerate(tabs):
            held = Gate()
            stack.callback(held.release)
            hold_rows(api, None, held)
            tab.goto(f"/protected/stream/?rows=2&delay=0&tab={number}", wait_until="commit")
            expect(tab.locator("main li")).to_have_count(1)
            assert held.reached.wait(60)
            second.append(held)
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.hold_before(refresh))
        for held in second:
            held.release()
        wait_until(lambda: api.count("GET", ROUTE, 401) == len(tabs), "every tab has met a 401")
        refresh.release()
        for tab in tabs:
            expect(tab.get_by_text("That was all.")).to_be_visible()
            wait_for(tab, "window.updates === 1")

    assert api.count("POST", "/auth/refresh") == 1
    for tab in tabs:
        tab.reload()
        expect(tab.get_by_text("That was all.")).to_be_visible()
    expect_picked_up_without_another_refresh(page, api)
    assert watch.count("/session/update/") == len(tabs)
    assert watch.complaints == []


@pytest.mark.firefox
def test_back_and_forward_post_no_session_update_twice(page: Page, api: DemoApi, watch: Watch) -> None:
    with Gate() as two:
        hold_rows(api, None, two)
        page.goto(STREAM, wait_until="commit")
        expect(page.locator("main li")).to_have_count(1)
        api.expire_access_tokens()
        with page.expect_response(UPDATE):
            two.release()
    expect(page.get_by_text("That was all.")).to_be_visible()
    page.goto("/")

    for step in (page.go_back, page.go_forward, page.go_back):
        step(wait_until="commit")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_text("That was all.")).to_be_visible()
    expect(page.locator("main li")).to_have_count(3)
    page.reload()
    expect(page.get_by_text("That was all.")).to_be_visible()

    assert watch.count("/session/update/") == 1
    expect_picked_up_without_another_refresh(page, api)
    assert watch.complaints == []


@pytest.mark.firefox
def test_signing_out_in_another_tab_ends_the_stream_with_the_way_back(
    page: Page, person: BrowserContext, api: DemoApi
) -> None:
    with Gate() as two:
        hold_rows(api, None, two)
        page.goto(STREAM, wait_until="commit")
        expect(page.locator("main li")).to_have_count(1)
        assert two.reached.wait(60)
        other = person.new_page()
        other.goto("/protected/")
        other.get_by_role("button", name="Sign out").click()
        other.wait_for_url("/")
        two.release()
        expect(page.get_by_text("Your session has ended. So this page ends here.")).to_be_visible()

    page.get_by_role("link", name="Sign in again").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert "next=%2Fprotected%2Fstream%2F" in page.url


def test_without_scripts_the_next_page_picks_up(chromium: Browser, deployed: Site, api: DemoApi) -> None:
    with chromium.new_context(base_url=deployed.url, java_script_enabled=False) as person:
        person.set_default_timeout(PATIENCE_MS)
        watch = Watch(person)
        page = person.new_page()
        sign_in(page)
        api.forget_calls()
        before = cookie(person)
        with Gate() as two:
            hold_rows(api, None, two)
            page.goto(STREAM, wait_until="commit")
            assert two.reached.wait(60)
            api.expire_access_tokens()
            two.release()
            wait_until(lambda: api.count("GET", ROUTE, 200) >= 2, "the stream goes on")
            page.wait_for_load_state()
        assert cookie(person) == before
        assert watch.count("/session/update/") == 0

        page.goto("/protected/")

        expect_data(page)
        expect(page.get_by_text("rotated 1 time")).to_be_visible()
        assert cookie(person) not in ("", before)
        for path in ("/protected/script/", "/protected/events/"):
            page.goto(path)
            expect(page.locator("noscript .notice")).to_be_visible()
        page.goto("/protected/")
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url("/")
        assert api.count("POST", "/auth/refresh") == 1
        assert api.reuses == 0


@pytest.mark.firefox
def test_a_page_that_was_left_before_its_script_could_post_is_caught_up_with(page: Page, api: DemoApi) -> None:
    page.route(UPDATE, lambda route: route.abort())
    with Gate() as two:
        hold_rows(api, None, two)
        page.goto(STREAM, wait_until="commit")
        expect(page.locator("main li")).to_have_count(1)
        api.expire_access_tokens()
        with page.expect_request(UPDATE):
            two.release()
        page.get_by_role("link", name="Home", exact=True).click()
        page.wait_for_url("/")

    expect_picked_up_without_another_refresh(page, api)


def test_the_session_update_of_one_user_does_nothing_in_the_browser_of_another(
    page: Page, person: BrowserContext, chromium: Browser, deployed: Site, api: DemoApi
) -> None:
    held: list[str] = []

    def keep(route: Route) -> None:
        held.append(route.request.post_data or "")
        route.abort("accessdenied")

    person.route(UPDATE, keep)
    with Gate() as two:
        hold_rows(api, None, two)
        page.goto(STREAM, wait_until="commit")
        expect(page.locator("main li")).to_have_count(1)
        api.expire_access_tokens()
        with page.expect_request(UPDATE):
            two.release()
        wait_until(lambda: page.evaluate("true") and bool(held), "the session update is on its way")
    person.unroute(UPDATE)

    with chromium.new_context(base_url=deployed.url) as another:
        another.set_default_timeout(PATIENCE_MS)
        theirs = another.new_page()
        sign_in(theirs, GRACE)
        theirs.goto("/protected/script/")
        before = cookie(another)

        status, text = theirs.evaluate(POST, held[0])

        assert status == 400
        assert list(json.loads(text)) == ["detail"]
        assert cookie(another) == before
        theirs.goto("/protected/")
        expect(theirs.get_by_text(GRACE)).to_be_visible()
        expect(theirs.get_by_text(ADA)).to_have_count(0)
        # It is valid in its own browser.
        assert page.evaluate(POST, held[0]) == [204, ""]
