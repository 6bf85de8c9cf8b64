"""A request that Django's CSRF check refuses: a script is told why, and a form gets a page."""

import pytest
from pytest_django import Settings

from tests.browsers import Browser
from tests.demo_api.server import DemoApi

TOKEN = "k" * 32
#: Headers of a request, and the word for its fault.
FAULTS = {
    "no token": ({"Origin": "https://testserver"}, "CSRF token"),
    "a wrong token": ({"Origin": "https://testserver", "X-CSRFToken": "d" * 32}, "CSRF token"),
    "another origin": ({"Origin": "https://evil.example", "X-CSRFToken": TOKEN}, "Origin of the request is not"),
    "a sandbox": ({"Origin": "null", "X-CSRFToken": TOKEN}, "Origin of the request is not"),
    "plain HTTP": ({"Origin": "http://testserver", "X-CSRFToken": TOKEN}, "Origin of the request is not"),
    "another referer": ({"Referer": "https://evil.example/", "X-CSRFToken": TOKEN}, "Referer of the request is not"),
    "an insecure referer": ({"Referer": "http://testserver/", "X-CSRFToken": TOKEN}, "Referer of the request is not"),
    "no address": ({"Referer": "about:blank", "X-CSRFToken": TOKEN}, "Referer of the request is not"),
    "neither": ({"X-CSRFToken": TOKEN}, "no Origin and no Referer"),
}
ADDRESSES = ["/accounts/logout/", "/accounts/login/", "/protected/api/protected-route"]


@pytest.fixture
def victim(signed_in: Browser, settings: Settings) -> Browser:
    settings.API_PROXY_ALLOW = "POST /protected-route"
    return Browser({**signed_in.take(), "csrftoken": TOKEN}, csrf_checks=True)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(("headers", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_script_is_told_what_is_wrong(
    victim: Browser, api: DemoApi, address: str, headers: dict[str, str], fault: str
) -> None:
    api.forget_calls()

    response = victim.post(address, secure=True, headers={"Accept": "application/json", **headers})

    assert response.status_code == 403
    assert list(response.json()) == ["detail"]
    assert fault in response.json()["detail"]
    assert not api.calls


@pytest.mark.parametrize(("headers", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_form_gets_a_page(victim: Browser, headers: dict[str, str], fault: str) -> None:
    response = victim.post("/accounts/logout/", secure=True, headers={"Accept": "text/html", **headers})

    assert response.status_code == 403
    assert "The form was not accepted" in response.text
    assert fault not in response.text.replace("no valid CSRF token", "")
