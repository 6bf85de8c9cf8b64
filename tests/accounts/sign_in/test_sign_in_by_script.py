"""A script that signs in: it gets the session as JSON, or `detail` with a status. CSRF checks are on."""

import json
from typing import Any

import pytest
from pytest_django import Settings

from tests.browsers import ADA, Answer, Browser, cookies_set
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault

LOGIN = "/accounts/login/"
CREDENTIALS = {"username": ADA, "password": DEMO_USERS[ADA]}
#: How a script names itself, and how it sends its fields.
SCRIPTS: dict[str, dict[str, Any]] = {
    "JSON": {"content_type": "application/json", "headers": {"Accept": "application/json"}},
    "JSON with a charset": {"content_type": "application/json; charset=utf-8", "headers": {"Accept": "*/*"}},
    "a form": {"headers": {"Accept": "application/json, text/plain, */*"}},
    "a form by fetch": {"headers": {"Accept": "*/*", "Sec-Fetch-Mode": "cors"}},
}
HTMX = {"HX-Request": "true", "Accept": "*/*", "Sec-Fetch-Mode": "cors"}
NO_CREDENTIALS = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[1]",
    "a text": b'"ada"',
    "null": b"null",
    "nested beyond measure": b"[" * 100_000,
    "half a surrogate pair": b'{"username": "ada", "password": "\\ud800"}',
    "not UTF-8": b'{"username": "\xff", "password": "x"}',
    "too large": json.dumps({"username": "ada", "password": "x" * 70_000}).encode(),
    "no fields": b"{}",
    "an empty password": b'{"username": "ada", "password": ""}',
    "a number for a name": b'{"username": 7, "password": "x"}',
    "an object for a password": b'{"username": "ada", "password": {"a": 1}}',
    "NUL in the name": b'{"username": "a\\u0000b", "password": "x"}',
}


@pytest.fixture
def front_end(api: DemoApi, transactional_db: None) -> Browser:
    """A browser with a front end that has no page of ours, and has its CSRF token from /accounts/session/."""
    browser = Browser(csrf_checks=True)
    browser.client.defaults["HTTP_X_CSRFTOKEN"] = browser.get("/accounts/session/").json()["csrf_token"]
    return browser


def send(browser: Browser, script: dict[str, Any], **fields: str) -> Answer:
    return browser.post(LOGIN, {**CREDENTIALS, **fields}, **script)


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
class TestAScript:
    def test_gets_the_session(self, front_end: Browser, script: dict[str, Any]) -> None:
        response = send(front_end, script)

        assert response.status_code == 200
        assert response.json()["user"] == {"id": 1, "name": ADA, "email": ADA}
        assert set(response.json()) == set(front_end.get("/accounts/session/").json())
        assert "no-store" in response["Cache-Control"]
        assert DEMO_USERS[ADA] not in response.text
        assert front_end.is_signed_in()

    def test_gets_401_for_wrong_credentials(self, front_end: Browser, api: DemoApi, script: dict[str, Any]) -> None:
        response = send(front_end, script, password="low-tide")

        assert response.status_code == 401
        assert list(response.json()) == ["detail"]
        assert response.json()["detail"] in front_end.post(LOGIN, {**CREDENTIALS, "password": "low-tide"}).text
        assert not cookies_set(response)

    def test_gets_400_for_a_missing_field(self, front_end: Browser, api: DemoApi, script: dict[str, Any]) -> None:
        response = send(front_end, script, password="")

        assert (response.status_code, response.json()) == (400, {"detail": "password: This field is required."})
        assert not api.calls

    def test_gets_429_with_the_time_to_wait(
        self, front_end: Browser, settings: Settings, script: dict[str, Any]
    ) -> None:
        settings.SIGN_IN_LIMIT_PER_USER = "1/10 minutes"
        send(front_end, script, password="low-tide")

        response = send(front_end, script)

        assert response.status_code == 429
        assert "Too many attempts" in response.json()["detail"]
        assert 0 < int(response["Retry-After"]) <= 600

    @pytest.mark.parametrize(("fault", "status"), [(Fault.answer(500), 503), (Fault.answer(200, b"null"), 502)])
    def test_is_told_that_the_api_fails(
        self, front_end: Browser, api: DemoApi, script: dict[str, Any], fault: Fault, status: int
    ) -> None:
        api.fail("POST", "/auth/login", fault)

        response = send(front_end, script)

        assert response.status_code == status
        assert response.json()["detail"].startswith("The service that checks your password")
        assert ("Retry-After" in response) == (status == 503)
        assert send(front_end, script).status_code == 200

    def test_needs_the_csrf_token(self, front_end: Browser, api: DemoApi, script: dict[str, Any]) -> None:
        del front_end.client.defaults["HTTP_X_CSRFTOKEN"]

        response = send(front_end, script)

        assert response.status_code == 403
        assert not api.calls


@pytest.mark.parametrize("body", NO_CREDENTIALS.values(), ids=NO_CREDENTIALS)
def test_json_without_credentials_is_a_400(front_end: Browser, api: DemoApi, body: bytes) -> None:
    response = front_end.post(LOGIN, body, **SCRIPTS["JSON"])

    assert response.status_code == 400
    assert response.json()["detail"]
    assert not api.calls


def test_a_script_signs_out_and_in_again_with_the_same_token(front_end: Browser) -> None:
    send(front_end, SCRIPTS["JSON"])

    assert front_end.post("/accounts/logout/", headers={"Accept": "application/json"}).status_code == 204
    assert not front_end.get("/accounts/session/").json()["authenticated"]
    assert send(front_end, SCRIPTS["JSON"]).json()["authenticated"]
    assert front_end.is_signed_in()


def test_htmx_gets_pages_as_before(front_end: Browser) -> None:
    assert 'role="alert"' in send(front_end, {"headers": HTMX}, password="low-tide").text
    assert send(front_end, {"headers": HTMX})["Location"] == "/protected/"
