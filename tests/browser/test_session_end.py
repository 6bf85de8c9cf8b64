"""The notice that the session is about to end, on a page that has been open for long."""

from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import sign_in
from tests.browser.looks import find_flaws

pytestmark = [pytest.mark.browser, pytest.mark.firefox]

DAY_SECONDS = 86400  # API_SESSION_MAX_AGE of this site


def test_it_comes_without_taking_the_focus_and_goes_after_a_sign_in_in_another_tab(page: Page) -> None:
    page.clock.install()
    sign_in(page)
    notice = page.locator(".session-end > div")
    session: dict[str, Any] = {"authenticated": True, "session_expires_in": 299}
    asked = []

    def respond(route: Route) -> None:
        asked.append(session["session_expires_in"])
        route.fulfill(json=session)

    page.route("**/accounts/session/", respond)
    expect(notice).to_be_hidden()
    button = page.get_by_role("button", name="Sign out")
    button.focus()

    page.clock.fast_forward((DAY_SECONDS - 300) * 1000)

    expect(notice).to_contain_text("Your session ends in less than 5 minutes. Sign in again in a new tab")
    expect(button).to_be_focused()
    assert find_flaws(page) == []
    session["session_expires_in"] = 59
    page.clock.fast_forward(240_000)
    expect(notice).to_contain_text("less than a minute")
    page.clock.fast_forward(60_000)
    expect(notice).to_contain_text("Your session has ended.")
    assert asked == [299, 59]

    session["session_expires_in"] = DAY_SECONDS  # somebody has signed in in another tab
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(notice).to_be_hidden()
