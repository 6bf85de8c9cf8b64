"""The button that shows the password, which only a browser with scripts has."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import ADA
from tests.demo_api.server import DEMO_USERS

pytestmark = [pytest.mark.browser, pytest.mark.firefox]


def test_the_password_can_be_shown_and_is_hidden_again_when_it_is_sent(page: Page) -> None:
    page.goto("/accounts/login/")
    name, password, button = (
        page.get_by_label("Email"),
        page.get_by_label("Password"),
        page.get_by_role("button", name="Show password"),
    )
    expect(name).to_be_focused()
    page.keyboard.type(ADA)
    password.fill(DEMO_USERS[ADA])
    expect(button).to_have_attribute("aria-pressed", "false")

    page.keyboard.press("Tab")
    page.keyboard.press("Space")

    expect(button).to_have_attribute("aria-pressed", "true")
    expect(password).to_have_attribute("type", "text")

    # The type at the moment of the submission: this listener is called after the page's own.
    page.evaluate("""document.querySelector(".sign-in").addEventListener("submit",
        event => sessionStorage.setItem("type", event.target.elements.password.type))""")
    password.press("Enter")
    page.wait_for_url("/protected/")

    assert page.evaluate("sessionStorage.getItem('type')") == "password"


def test_without_javascript_there_is_no_button(chromium: Browser, site: str) -> None:
    with chromium.new_context(base_url=site, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/accounts/login/")

        expect(page.get_by_label("Password")).to_be_visible()
        expect(page.get_by_role("button", name="Show password")).to_have_count(0)
