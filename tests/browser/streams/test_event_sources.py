"""Server-sent events in a real browser: what the script gets, and what becomes of the cookie."""

import json

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.streams.helpers import (
    EVENTS,
    FOLLOW,
    ROUTE,
    UPDATE,
    cookie,
    expect_picked_up_without_another_refresh,
    generation,
    hold_rows,
    wait_for,
)
from tests.browser.watch import Watch
from tests.demo_api.server import DemoApi, Fault, Gate

pytestmark = [pytest.mark.browser, pytest.mark.firefox]


def test_an_event_source_updates_the_session_before_the_stream_ends_and_does_not_reconnect(
    page: Page, person: BrowserContext, api: DemoApi, watch: Watch
) -> None:
    page.goto("/protected/script/")
    before = cookie(person)
    with Gate() as two, Gate() as three:
        hold_rows(api, None, two, None, three)
        page.evaluate(FOLLOW, EVENTS)
        wait_for(page, "window.heard.includes('row 1')")
        assert api.count("GET", ROUTE) == 1
        api.expire_access_tokens()
        with page.expect_response(UPDATE) as update:
            two.release()
        assert update.value.status == 204
        wait_for(page, "window.updates === 1")
        assert three.reached.wait(60)
        assert cookie(person) not in ("", before)
        assert generation(page) == 1
        assert page.evaluate("window.heard") == ["row 1", "row 2", "session-update"]
        expect(page.locator("session-update")).to_have_count(0)
        three.release()
        wait_for(page, "window.source.readyState === EventSource.CLOSED")

    # Cut off by the end of the answer, it asks once more, is told that there is no more, and stops.
    heard = page.evaluate("window.heard")
    assert heard[:5] == ["row 1", "row 2", "session-update", "row 3", "end"]
    assert set(heard[5:]) == {"cut off"}
    assert watch.count("/protected/events/") == 2
    assert api.count("GET", ROUTE) == 4
    page.reload()
    expect_picked_up_without_another_refresh(page, api)
    assert watch.complaints == []


def test_an_event_source_that_was_cut_off_resumes_where_it_was(page: Page, api: DemoApi, watch: Watch) -> None:
    page.goto("/protected/script/")
    hold_rows(api, None)
    # It comes back in 1 to 2 seconds, and not in 5 to 10.
    api.fail("GET", ROUTE, Fault.answer(500, {"message": "Out of ink."}, headers={"Retry-After": "1"}))

    page.evaluate(FOLLOW, EVENTS)
    wait_for(page, "window.source.readyState === EventSource.CLOSED")

    heard = page.evaluate("window.heard.filter(it => it !== 'cut off')")
    assert heard.pop(1).startswith("failure ")
    assert heard == ["row 1", "row 2", "row 3", "end"]
    assert watch.count("/protected/events/") == 3
    assert api.count("GET", ROUTE, 200) == 3
    assert generation(page) == 0


def test_an_event_source_is_told_when_the_session_ends(page: Page, person: BrowserContext, api: DemoApi) -> None:
    page.goto("/protected/script/")
    with Gate() as two:
        hold_rows(api, None, two)
        page.evaluate(FOLLOW, EVENTS)
        assert two.reached.wait(60)
        other = person.new_page()
        other.goto("/protected/")
        other.get_by_role("button", name="Sign out").click()
        other.wait_for_url("/")
        two.release()
        wait_for(page, "window.heard.some(it => it.startsWith('failure'))")

    (failure,) = [it for it in page.evaluate("window.heard") if it.startswith("failure")]
    told = json.loads(failure.removeprefix("failure "))
    assert told["detail"] == "Your session has ended."
    assert told["login"].startswith("/accounts/login/?")
    # It reconnects once, and is told that this was all.
    wait_for(page, "window.source.readyState === EventSource.CLOSED")


def test_the_page_of_the_events_shows_them_as_they_come_and_says_why_they_end(
    page: Page, person: BrowserContext, api: DemoApi, watch: Watch
) -> None:
    status, rows = page.get_by_role("status"), page.locator("#events li")
    before = cookie(person)
    with Gate() as two:
        hold_rows(api, None, two)
        page.goto(EVENTS)
        expect(rows).to_have_count(1)
        expect(status).to_have_text("Live: new events appear below.")
        api.expire_access_tokens()
        with page.expect_response(UPDATE) as update:
            two.release()
        assert update.value.status == 204
    expect(status).to_have_text("That was all.")
    expect(rows).to_have_count(3)
    wait_for(page, "window.updates === 1")
    assert cookie(person) not in ("", before)
    assert (generation(page), api.count("POST", "/auth/refresh")) == (1, 1)

    api.fail("GET", ROUTE, Fault.answer(403, {"message": "no"}))
    page.get_by_role("button", name="Begin again").click()
    expect(status).to_have_text(
        "The service behind this site has refused this. The events have stopped. Reload the page to begin again."
    )
    assert watch.complaints == []

    with Gate() as two:
        hold_rows(api, None, two)
        page.get_by_role("button", name="Begin again").click()
        assert two.reached.wait(60)
        other = person.new_page()
        other.goto("/")
        other.get_by_role("button", name="Sign out").click()
        expect(other.get_by_role("link", name="Sign in", exact=True).first).to_be_visible()
        two.release()
        expect(status).to_contain_text("Your session has ended.")
    page.get_by_role("link", name="Sign in again").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert "next=%2Fprotected%2Fevents%2F" in page.url
