"""The CSRF token of templates: one that Django accepts, and another one on each page."""

import re

import pytest
from django.core.cache import cache
from django.http import HttpResponse
from django.middleware.csrf import CSRF_ALLOWED_CHARS
from django.template import engines
from django.urls import path
from django.views.decorators.cache import cache_page
from django.views.decorators.csrf import csrf_protect
from pytest_django import Settings

from accounts.api_client import ApiRequest
from config.urls import urlpatterns as site
from tests.browsers import Browser
from tests.demo_api.server import DemoApi

_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="([^"]*)"')
_SECRET = "aZ09" * 8


def form(request: ApiRequest) -> HttpResponse:
    """It depends on the session, and its template does not look at the user."""
    request.api_session.is_signed_in()
    return HttpResponse(engines["django"].from_string("{% csrf_token %}").render({}, request))


urlpatterns = [
    path("cached/", cache_page(60)(form)),
    # As Django's documentation says.
    path("cached/protected/", cache_page(60)(csrf_protect(form))),
    *site,
]


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


def test_the_first_page_sets_the_cookie_and_later_ones_renew_it() -> None:
    browser = Browser(csrf_checks=True)
    first = browser.get("/accounts/login/")
    secret = first.cookies["csrftoken"].value
    again = browser.get("/accounts/login/")

    assert len(secret) == 32
    assert again.cookies["csrftoken"].value == secret
    assert "Cookie" in again["Vary"]
    token = _FIELD.findall(again.text)[0]
    assert browser.post("/accounts/login/", {"csrfmiddlewaretoken": token}).status_code != 403


def test_a_signed_in_browser_gets_the_cookie_again_with_each_rotation(signed_in: Browser, api: DemoApi) -> None:
    secret = signed_in.get("/").cookies["csrftoken"].value
    later = [signed_in.get(page) for page in ("/", "/protected/")]
    api.expire_access_tokens()
    # The second of these confirms the rotation, which writes the session, too.
    rotated, confirmed, after = [signed_in.get("/protected/") for _ in range(3)]

    pages = (*later, rotated, confirmed, after)
    assert [len(_FIELD.findall(page.text)) for page in pages] == [1] * 5
    assert ["csrftoken" in page.cookies for page in pages] == [False, False, True, True, False]
    assert rotated.cookies["csrftoken"].value == secret
    assert "Cookie" in later[0]["Vary"]


def test_each_page_renews_a_cookie_whose_age_the_site_sets(signed_in: Browser, settings: Settings) -> None:
    settings.CSRF_COOKIE_AGE = 3600
    pages = [signed_in.get("/") for _ in range(3)]

    assert [page.cookies["csrftoken"]["max-age"] for page in pages] == [3600] * 3


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("page", ["/cached/", "/cached/protected/"])
def test_the_cache_gives_nobody_the_token_of_another_browser(signed_in: Browser, page: str) -> None:
    cache.clear()
    signed_in.get("/")
    pages = [browser.get(page) for browser in (signed_in, Browser({"csrftoken": _SECRET}))]

    assert [len(_FIELD.findall(found.text)) for found in pages] == [1, 1]
    assert pages[0].text != pages[1].text


def test_a_page_without_a_form_sets_no_cookie() -> None:
    assert "csrftoken" not in Browser().get("/").cookies
