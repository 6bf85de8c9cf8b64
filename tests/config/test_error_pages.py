"""The error pages: the request id to quote, who is signed in, and no second failure."""

import re
from collections.abc import Callable
from http import HTTPStatus

import pytest
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from pytest_django import Settings

import config.home
import config.urls
from tests.browsers import ADA, Answer, Browser, records_away
from tests.demo_api.server import DemoApi, Fault


def crash(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the pier has gone")


def forbid(request: HttpRequest) -> HttpResponse:
    raise PermissionDenied


handler403, handler500 = config.urls.handler403, config.urls.handler500
urlpatterns = [path("crash/", crash), path("forbid/", forbid), path("", include(config.urls))]

QUOTED = re.compile(r"quote the request id: <code>(\w+)</code>")
SIGN_OUT = 'action="/accounts/logout/"'


def not_the_api(status: int) -> Callable[[Browser, DemoApi], Answer]:
    def visit(browser: Browser, api: DemoApi) -> Answer:
        api.fail("GET", "/protected-route", Fault.answer(status, b"", "text/html"))
        return browser.get("/protected/")

    return visit


def forged(browser: Browser, api: DemoApi) -> Answer:
    return Browser(browser.take(), csrf_checks=True).post("/accounts/login/")


#: How to get there, the status, and whether the page can know who is signed in.
ERRORS: dict[str, tuple[Callable[[Browser, DemoApi], Answer], int, bool]] = {
    "400": (lambda browser, api: browser.get("/protected/stream/?rows=no"), 400, True),
    "400, another host": (lambda browser, api: browser.get("/", HTTP_HOST="evil.example"), 400, True),
    "400, another host, a form": (
        lambda browser, api: browser.post("/", HTTP_HOST="evil.example", headers={"Referer": "http://evil.example/"}),
        400,
        True,
    ),
    "403": (lambda browser, api: browser.get("/forbid/"), 403, True),
    "403, CSRF": (forged, 403, True),
    "404": (lambda browser, api: browser.get("/nowhere/"), 404, True),
    "500": (lambda browser, api: browser.get("/crash/"), 500, False),
    "502": (not_the_api(302), 502, True),
    "503": (not_the_api(500), 503, True),
}


@pytest.fixture(autouse=True)
def in_production(settings: Settings) -> None:
    settings.DEBUG = False
    settings.ROOT_URLCONF = __name__


@pytest.mark.parametrize(("visit", "status", "knows"), ERRORS.values(), ids=ERRORS)
def test_it_names_the_request_id_and_who_is_signed_in(
    signed_in: Browser, api: DemoApi, visit: Callable[[Browser, DemoApi], Answer], status: int, knows: bool
) -> None:
    signed_in.get("/")
    response = visit(signed_in, api)

    assert response.status_code == status
    assert QUOTED.findall(response.text) == [response["X-Request-ID"]]
    assert (f"Signed in as <strong>{ADA}</strong>" in response.text) == knows
    assert (SIGN_OUT in response.text) == knows
    if knows:
        assert response["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize("check", ["on-rotation", "every-request"])
def test_a_database_that_is_away_is_no_second_failure(
    signed_in: Browser, api: DemoApi, settings: Settings, check: str
) -> None:
    signed_in.get("/")
    settings.API_SESSION_CHECK = check
    signed_in.age(120)

    with records_away():
        pages = [signed_in.get(path) for path in ("/nowhere/", "/forbid/", "/", "/protected/", "/crash/")]

    assert [page.status_code for page in pages] == [404, 403, 200, 503, 500]
    assert [ADA in page.text for page in pages] == [True, True, True, True, False]


def test_a_visitor_is_offered_the_sign_in_with_the_way_back(browser: Browser) -> None:
    page = browser.get("/nowhere/?a=b")

    assert '<a href="/accounts/login/?next=%2Fnowhere%2F%3Fa%3Db">Sign in</a>' in page.text
    assert SIGN_OUT not in page.text
    assert not page.cookies, "a visitor gets no CSRF cookie from a page without a form"
    # The home page has nothing for a user who has just signed in.
    assert '<a href="/accounts/login/">Sign in</a>' in browser.get("/").text


def test_a_500_page_that_cannot_be_rendered_is_a_line_of_text(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: object) -> str:
        raise OSError("no templates")

    monkeypatch.setattr(config.home, "render_to_string", broken)

    response = browser.get("/crash/")

    assert response.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert response.text.endswith(f"Request id: {response['X-Request-ID']}")
    assert "no templates" in caplog.text
