"""/accounts/session/: the present session as JSON, without any token."""

import json
from typing import Any

import pytest
from django.http import HttpResponse

from accounts.models import EndReason, SessionRecord
from tests.browsers import ADA, Browser, cookies_set, let_a_minute_pass_in_records, records_away
from tests.demo_api.server import DemoApi

SIGNED_OUT = {
    "authenticated": False,
    "user": None,
    "access_expires_in": None,
    "refresh_expires_in": None,
    "session_expires_in": None,
    "generation": None,
    "is_bound_to_device": None,
}


def session_in(response: HttpResponse) -> Any:
    """The JSON without the CSRF token, which differs from response to response."""
    data = json.loads(response.content)
    assert data.pop("csrf_token")
    return data


def test_it_returns_the_user_and_the_remaining_seconds(signed_in: Browser) -> None:
    response = signed_in.get("/accounts/session/")

    assert response.status_code == 200
    data = session_in(response)
    assert set(data) == set(SIGNED_OUT)
    assert data["authenticated"] is True
    assert data["user"] == {"id": 1, "name": ADA, "email": ADA}
    assert data["generation"] == 0
    assert data["is_bound_to_device"] is False
    assert 0 < data["access_expires_in"] <= 60 < data["refresh_expires_in"] <= 1800


def test_it_holds_no_token_and_no_part_of_the_cookie(signed_in: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    signed_in.open_page()
    session = signed_in.session()

    text = signed_in.get("/accounts/session/").text

    for secret in (session.tokens.access, session.tokens.refresh, session.secret.hex(), str(session.id)):
        assert secret not in text
    assert signed_in.take()["session"] not in text


@pytest.mark.parametrize("cookies", [{}, {"session": "junk"}], ids=["no cookie", "a cookie that no key decrypts"])
def test_it_returns_no_user_without_a_session(browser: Browser, api: DemoApi, cookies: dict[str, str]) -> None:
    browser.put(cookies)

    response = browser.get("/accounts/session/")

    assert (response.status_code, session_in(response)) == (200, SIGNED_OUT)
    assert not cookies_set(response)
    assert not api.calls


def test_it_returns_no_user_after_sign_out(signed_in: Browser) -> None:
    signed_in.sign_out()

    assert session_in(signed_in.get("/accounts/session/")) == SIGNED_OUT


def test_an_expired_access_token_does_not_end_the_session(signed_in: Browser, api: DemoApi) -> None:
    signed_in.age(120)
    api.forget_calls()

    data = signed_in.get("/accounts/session/").json()

    assert data["authenticated"] is True
    assert data["access_expires_in"] == 0
    assert not api.calls, "the view does not call the API"


def test_it_confirms_a_session_that_was_rotated(signed_in: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    signed_in.open_page()

    response = signed_in.get("/accounts/session/")

    assert response.json()["generation"] == 1
    assert signed_in.session().confirmed
    assert signed_in.record().confirmed == 1


def test_it_works_unconfirmed_while_the_database_is_unavailable(signed_in: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    signed_in.open_page()

    with records_away():
        response = signed_in.get("/accounts/session/")

    assert response.json()["generation"] == 1
    assert not cookies_set(response)
    assert signed_in.is_signed_in()
    assert signed_in.session().confirmed


def test_an_unconfirmed_cookie_of_an_ended_session_returns_no_user(signed_in: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    signed_in.open_page()
    SessionRecord.objects.end(signed_in.session().id, EndReason.SIGNED_OUT)
    let_a_minute_pass_in_records()

    response = signed_in.get("/accounts/session/")

    assert session_in(response) == SIGNED_OUT
    assert cookies_set(response)["session"].value == ""


def test_no_cache_stores_the_response(signed_in: Browser) -> None:
    response = signed_in.get("/accounts/session/")

    assert response["Cache-Control"] == "private, no-store"
    assert "Cookie" in response["Vary"]


class TestTheCsrfToken:
    def test_a_front_end_without_a_page_of_ours_can_sign_out_with_it(self, signed_in: Browser) -> None:
        front_end = Browser({"session": signed_in.take()["session"]}, csrf_checks=True)
        assert front_end.sign_out().status_code == 403

        token = front_end.get("/accounts/session/").json()["csrf_token"]

        headers = {"Accept": "application/json", "X-CSRFToken": token}
        assert front_end.post("/accounts/logout/", headers=headers).status_code == 204
        assert session_in(front_end.get("/accounts/session/")) == SIGNED_OUT

    def test_only_our_own_origin_can_read_it(self, browser: Browser) -> None:
        response = browser.get("/accounts/session/", headers={"Origin": "https://evil.example"})

        assert "csrftoken" in response.cookies
        assert "Access-Control-Allow-Origin" not in response
        assert response["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_only_get_is_allowed(signed_in: Browser, method: str) -> None:
    assert signed_in.client.generic(method, "/accounts/session/").status_code == 405
