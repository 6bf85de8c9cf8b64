"""Middlewares of one's own that look at the user, demand a session or call the API: their errors are no 500."""

from collections.abc import Callable

import pytest
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import path
from pytest_django import Settings

from accounts.api_client import ApiRequest
from config.urls import urlpatterns as site
from tests.browsers import Browser, cookies_set, records_away
from tests.demo_api.server import DemoApi, Fault


def looks(request: ApiRequest) -> None:
    str(request.user)


def demands(request: ApiRequest) -> None:
    request.api_session.require_verified()


def calls(request: ApiRequest) -> None:
    request.api.get("/protected-route").raise_for_status()


def marks(request: ApiRequest) -> None:
    request.user.device = "phone"


def fails(request: ApiRequest) -> None:
    raise LookupError("a defect")


ACTS = {act.__name__: act for act in (looks, demands, calls, marks, fails)}


class OwnMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: ApiRequest) -> HttpResponseBase:
        ACTS.get(request.GET.get("before", ""), str)(request)
        response = self.get_response(request)
        ACTS.get(request.GET.get("after", ""), str)(request)
        return response


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


def rotates(request: ApiRequest) -> HttpResponse:
    calls(request)
    return HttpResponse(f"{request.user.device} {request.user.claims}")


urlpatterns = [path("hello/", hello), path("rotates/", rotates), *site]
pytestmark = pytest.mark.urls(__name__)


@pytest.fixture(autouse=True)
def middleware(settings: Settings) -> None:
    settings.API_SESSION_CHECK = "every-request"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.OwnMiddleware"]


@pytest.mark.parametrize("debug", [False, True])
def test_the_database_away_is_a_503(signed_in: Browser, settings: Settings, debug: bool) -> None:
    settings.DEBUG = debug
    with records_away():
        pages = [
            signed_in.get(f"/hello/?{when}={act}")
            for when in ("before", "after")
            for act in ("looks", "demands", "calls")
        ]
        script = signed_in.get("/hello/?before=looks", headers={"Accept": "application/json"})

    assert {page.status_code for page in [*pages, script]} == {503}
    assert all(page["Retry-After"] for page in [*pages, script])
    assert not any(cookies_set(page) for page in pages)
    assert "detail" in script.json()
    assert signed_in.get("/hello/?before=looks&after=calls").status_code == 200


def test_so_it_is_with_djangos_own_that_demands_a_sign_in_everywhere(signed_in: Browser, settings: Settings) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE[:-1], "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    browser = signed_in.copy()

    with records_away():
        assert browser.get("/hello/").status_code == 503
        assert browser.get("/accounts/login/?switch=1").status_code == 200
        assert browser.get("/accounts/sessions/").status_code == 503

    assert browser.get("/hello/").status_code == 200
    with records_away():
        assert browser.sign_out()["Location"] == "/"
    assert not browser.take().get("session")


def test_no_session_leads_to_the_sign_in_page_and_a_defect_is_a_500(browser: Browser) -> None:
    for query in ("before=demands", "after=demands", "before=calls"):
        assert browser.get(f"/hello/?{query}")["Location"].startswith("/accounts/login/?next=%2Fhello%2F")
    assert browser.get("/hello/?before=fails").status_code == 500
    assert browser.get("/hello/?after=fails").status_code == 500


def test_a_failure_of_the_api_is_a_502_or_503(signed_in: Browser, api: DemoApi) -> None:
    for status, shown in ((503, 503), (404, 502)):
        api.fail("GET", "/protected-route", Fault.answer(status))
        assert signed_in.get("/hello/?before=calls").status_code == shown


def test_what_it_keeps_at_the_user_is_there_after_a_rotation(
    signed_in: Browser, api: DemoApi, settings: Settings
) -> None:
    settings.API_USER_CLAIMS = ["email"]
    api.expire_access_tokens()

    page = signed_in.get("/rotates/?before=marks")

    assert signed_in.session().generation == 1
    assert page.text == "phone {'email': 'ada@example.com'}"
