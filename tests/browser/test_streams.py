"""What only a browser's scripts can show: the session update in a streamed page, and calls through this site."""

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import sign_in
from tests.demo_api.server import DemoApi

pytestmark = pytest.mark.browser


def session(page: Page) -> dict[str, object]:
    """What the site tells a script about the present session."""
    answer: dict[str, object] = page.evaluate("fetch('/accounts/session/').then(answer => answer.json())")
    return answer


def test_a_session_that_rotates_in_mid_stream_reaches_the_cookie(
    page: Page, person: BrowserContext, api: DemoApi
) -> None:
    sign_in(page)
    before = {cookie["name"]: cookie["value"] for cookie in person.cookies()}["session"]

    with page.expect_response("**/accounts/session/update/") as update:
        page.goto("/protected/stream/?rows=3&delay=1", wait_until="commit")
        expect(page.locator("main li")).not_to_have_count(0)
        api.expire_access_tokens()

    assert update.value.status == 204
    expect(page.get_by_text("That was all.")).to_be_visible()
    after = {cookie["name"]: cookie["value"] for cookie in person.cookies()}["session"]
    assert after != before
    expect(page.locator("session-update")).to_have_count(0)
    assert session(page)["generation"] == 1
    page.goto("/protected/")
    assert api.count("POST", "/auth/refresh") == 1


def test_a_script_calls_the_api_through_this_site_with_nothing_but_the_cookie(page: Page, api: DemoApi) -> None:
    sign_in(page)
    page.goto("/protected/script/")
    api.expire_access_tokens()

    page.get_by_role("button", name="Call the API five times at once").click()

    lines = page.locator("#responses li")
    expect(lines).to_have_count(5)
    assert all("→ 200," in line for line in lines.all_inner_texts())
    expect(page.locator("#visible")).to_contain_text('"generation": 1')
    expect(page.locator("#visible")).to_contain_text("document.cookie: nothing of the session")
    assert api.count("POST", "/auth/refresh") == 1
