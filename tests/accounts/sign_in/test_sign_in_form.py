"""The sign-in form: where the focus is, what a screen reader hears, what stays, and the links below it."""

import re

import pytest
from pytest_django import Settings

from tests.browsers import ADA, Browser


def focused(text: str) -> str:
    """The name of the field that has the focus."""
    [field] = re.findall(r"<input[^>]* autofocus[^>]*>", text)
    return str(re.findall(r'name="(\w+)"', field)[0])


@pytest.mark.parametrize(
    ("typed", "focus", "invalid"),
    [
        (None, "username", 0),
        ({"username": "", "password": ""}, "username", 2),
        ({"username": ADA, "password": ""}, "password", 1),
        ({"username": "", "password": "harbour"}, "username", 1),
        ({"username": ADA, "password": "wrong"}, "password", 0),
    ],
)
def test_the_focus_is_where_one_goes_on(
    browser: Browser, typed: dict[str, str] | None, focus: str, invalid: int
) -> None:
    text = (browser.get("/accounts/login/") if typed is None else browser.post("/accounts/login/", typed)).text

    assert focused(text) == focus
    assert text.count('aria-invalid="true"') == invalid
    assert text.count('autocomplete="username"') == text.count('autocomplete="current-password"') == 1
    if typed is not None:
        assert (f'value="{ADA}"' in text) == (typed["username"] == ADA)
        assert "harbour" not in text
        assert "wrong" not in re.sub("Wrong", "", text)


def test_wrong_credentials_describe_both_fields(browser: Browser) -> None:
    text = browser.sign_in(password="wrong").text

    assert 'role="alert" id="sign-in-error"' in text
    assert 'aria-describedby="id_password_errors sign-in-error"' in text


def test_forgot_password_and_register_are_links_where_they_are_set(browser: Browser, settings: Settings) -> None:
    text = browser.get("/accounts/login/").text
    assert "Forgot password?" not in text
    assert "Register" not in text

    settings.FORGOT_PASSWORD_URL, settings.REGISTER_URL = "/forgot/", "https://id.example.com/new?site=1&a=b"
    text = browser.get("/accounts/login/").text
    assert '<a href="/forgot/">Forgot password?</a>' in text
    assert '<a href="https://id.example.com/new?site=1&amp;a=b">Register</a>' in text


def test_the_sign_in_page_has_no_link_to_itself_in_its_header(browser: Browser) -> None:
    assert ">Sign in</a>" not in browser.get("/accounts/login/").text


def test_the_name_of_the_site_is_a_setting(browser: Browser, settings: Settings) -> None:
    settings.SITE_NAME = "Harbour & Sons"

    text = browser.get("/").text

    assert "<title>Home · Harbour &amp; Sons</title>" in text
    assert 'height="28">Harbour &amp; Sons</a>' in text
    assert "/admin/" not in text
