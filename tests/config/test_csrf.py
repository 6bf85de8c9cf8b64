"""The CSRF token of templates: one that Django accepts, and another one on each page."""

import re

from django.middleware.csrf import CSRF_ALLOWED_CHARS
from pytest_django import Settings

from tests.browsers import Browser
from tests.demo_api.server import DemoApi

_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="([^"]*)"')
_SECRET = "aZ09" * 8


def test_each_page_has_another_token_and_django_accepts_them() -> None:
    browser = Browser({"csrftoken": _SECRET}, csrf_checks=True)
    tokens = [_FIELD.findall(browser.get("/accounts/login/").text)[0] for _ in range(40)]

    masks = [token[:32] for token in tokens]
    assert all(len(token) == 64 for token in tokens)
    assert len(set(masks)) == 40
    # A character that never came would be missing in 1280 random ones once in 17 million runs.
    assert set("".join(masks)) == set(CSRF_ALLOWED_CHARS)
    for token in tokens[:3]:
        response = browser.post("/accounts/login/", {"csrfmiddlewaretoken": token})
        assert response.status_code != 403
    for wrong in (tokens[0][:32] + tokens[1][32:], "a" * 64):
        assert browser.post("/accounts/login/", {"csrfmiddlewaretoken": wrong}).status_code == 403


def test_the_first_page_sets_the_cookie_and_later_ones_of_a_visitor_renew_it() -> None:
    browser = Browser(csrf_checks=True)
    first = browser.get("/accounts/login/")
    secret = first.cookies["csrftoken"].value
    again = browser.get("/accounts/login/")

    assert len(secret) == 32
    assert again.cookies["csrftoken"].value == secret
    assert "Cookie" in again["Vary"]
    token = _FIELD.findall(again.text)[0]
    assert browser.post("/accounts/login/", {"csrfmiddlewaretoken": token}).status_code != 403


def test_a_signed_in_browser_gets_the_cookie_again_with_each_new_session_cookie(
    signed_in: Browser, api: DemoApi, settings: Settings
) -> None:
    token = signed_in.get("/").cookies["csrftoken"].value
    for address in ("/", "/protected/"):
        page = signed_in.get(address)
        assert "Sign out" in page.text
        assert "csrftoken" not in page.cookies
        assert page["Vary"] == "Cookie"
    api.expire_access_tokens()
    rotated = signed_in.open_page()
    assert {"session", "csrftoken"} <= set(rotated.cookies)
    assert rotated.cookies["csrftoken"].value == token
    signed_in.open_page()
    assert "csrftoken" not in signed_in.open_page().cookies

    # A cookie that does not live for long is renewed by each page, as in Django.
    settings.CSRF_COOKIE_AGE = 3600
    assert signed_in.open_page().cookies["csrftoken"]["max-age"] == 3600


def test_a_page_without_a_form_sets_no_cookie() -> None:
    assert "csrftoken" not in Browser().get("/").cookies
