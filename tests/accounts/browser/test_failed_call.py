"""With DEBUG, a 502 or 503 page names the call to the API, its status and the setting; without, nothing of this."""

import re

import pytest
from django.http import HttpResponse
from django.urls import include, path
from pytest_django import Settings

import config.urls
from accounts.api_client import ApiRequest
from tests.accounts.at_provider import begin
from tests.accounts.odd_provider import OddProvider
from tests.browsers import Answer, Browser, records_away
from tests.demo_api.server import DemoApi, Fault

SECRET = "0123456789abcdef" * 4
HEADING = "For the developer"


def order(request: ApiRequest) -> HttpResponse:
    response = request.api.get("/orders/7", params={"secret": SECRET})
    if "late" in request.GET:
        request.api.get("/protected-route")
    response.raise_for_status()
    return HttpResponse(response.json()["item"])


def by_key(request: ApiRequest) -> HttpResponse:
    request.api.get(f"/keys/{SECRET}").raise_for_status()
    return HttpResponse()


urlpatterns = [path("order/", order), path("key/", by_key), path("", include(config.urls))]


@pytest.fixture(autouse=True)
def _developers_machine(settings: Settings) -> None:
    settings.DEBUG = True
    settings.ROOT_URLCONF = __name__


def note(response: Answer) -> str:
    """The text of the note to the developer."""
    [found] = re.findall(rf"<h2>{HEADING}</h2>(.*?)</div>", response.text, re.DOTALL)
    return " ".join(re.sub("<[^>]+>", "", found).split())


RESPONSES = {
    "404": (404, {"message": "No."}, 502),
    "403": (403, {"message": "No."}, 502),
    "no JSON": (200, b"<h1>Hello</h1>", 502),
    "a redirect": (302, b"", 502),
    "500": (500, {"message": "No."}, 503),
}


@pytest.mark.parametrize(("status", "body", "shown"), RESPONSES.values(), ids=RESPONSES)
def test_it_names_call_status_and_setting(
    signed_in: Browser, api: DemoApi, status: int, body: dict[str, str] | bytes, shown: int
) -> None:
    api.fail("GET", "/orders/7", Fault.answer(status, body, headers={"Location": f"/?{SECRET}"}))

    response = signed_in.get("/order/")

    assert response.status_code == shown
    assert f"was GET /orders/7. The response had status {status}." in note(response)
    assert f"API_BASE_URL is {api.url}." in note(response)
    assert SECRET not in response.text


def test_it_names_the_call_that_the_view_could_not_use(signed_in: Browser) -> None:
    assert "was GET /orders/7. The response had status 404." in note(signed_in.get("/order/?late=1"))


def test_without_a_response_it_says_so(signed_in: Browser, api: DemoApi) -> None:
    api.stop_serving()

    response = signed_in.get("/order/")

    assert response.status_code == 503
    assert "was GET /orders/7. There was no complete response." in note(response)


def test_it_names_the_refresh_if_that_failed(signed_in: Browser, api: DemoApi) -> None:
    api.routes["GET", "/orders/7"] = {"item": "Anchor"}
    api.expire_access_tokens()
    api.fail("POST", "/auth/refresh", Fault.answer(500))

    first, second = signed_in.get("/order/"), signed_in.get("/order/")

    assert [first.status_code, second.status_code] == [503, 503]
    assert "was POST /auth/refresh. The response had status 500." in note(first)
    assert "was GET /orders/7. The response had status 401." in note(second), "nobody refreshes during the pause"


def test_a_request_without_a_call_says_so(signed_in: Browser, settings: Settings) -> None:
    settings.API_SESSION_CHECK = "every-request"

    with records_away():
        response = signed_in.get("/order/")

    assert response.status_code == 503
    assert note(response).startswith("This request made no call to the API.")


def test_no_token_is_shown(signed_in: Browser, api: DemoApi) -> None:
    session = signed_in.session()

    response = signed_in.get("/key/")

    assert "was GET /keys/…. The response had status 404." in note(response)
    for secret in (SECRET, session.tokens.access, session.tokens.refresh, signed_in.take()["session"]):
        assert secret not in response.text


@pytest.mark.parametrize(("status", "shown"), [(404, 502), (500, 503)])
def test_the_sign_in_form_names_the_call_too(browser: Browser, api: DemoApi, status: int, shown: int) -> None:
    api.fail("POST", "/auth/login", Fault.answer(status, b"<h1>Not Found</h1>", "text/html"))

    response = browser.sign_in()

    assert response.status_code == shown
    assert f"was POST /auth/login. The response had status {status}." in note(response)
    assert HEADING not in browser.get("/accounts/login/").text


def test_the_pages_of_a_sign_in_at_the_provider_name_the_call_too(odd_provider: OddProvider, newcomer: Browser) -> None:
    callback = odd_provider.come_back(begin(newcomer))
    odd_provider.stop_serving()

    response = newcomer.get(callback)

    assert response.status_code == 503
    assert "There was no complete response." in note(response)


def test_a_wrong_password_has_no_note(browser: Browser) -> None:
    assert HEADING not in browser.sign_in(password="wrong").text


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_without_debug_there_is_nothing_of_this(
    signed_in: Browser, api: DemoApi, settings: Settings, accept: str
) -> None:
    signed_in.get("/order/")
    settings.DEBUG = False

    response = signed_in.get("/order/", headers={"Accept": accept})

    assert response.status_code == 502
    for word in (HEADING, "/orders/7", "API_BASE_URL", api.url):
        assert word not in response.text
