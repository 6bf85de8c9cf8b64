"""/accounts/session/: what a script may know of the present session, which is never a token."""

import pytest

from accounts.models import EndReason, SessionRecord
from tests.browsers import ADA, Browser, cookies_set, let_databases_clock_move_on, records_away
from tests.demo_api.server import DemoApi

NOBODY = {
    "authenticated": False,
    "user": None,
    "access_expires_in": None,
    "refresh_expires_in": None,
    "generation": None,
}


def test_it_says_who_is_signed_in_and_for_how_long(signed_in: Browser) -> None:
    response = signed_in.get("/accounts/session/")

    assert response.status_code == 200
    said = response.json()
    assert set(said) == set(NOBODY)
    assert said["authenticated"] is True
    assert said["user"] == {"id": 1, "name": ADA, "email": ADA}
    assert said["generation"] == 0
    assert 0 < said["access_expires_in"] <= 60 < said["refresh_expires_in"] <= 1800


def test_it_holds_no_token_and_no_part_of_the_cookie(signed_in: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    signed_in.open_page()
    session = signed_in.session()

    text = signed_in.get("/accounts/session/").text

    for secret in (session.tokens.access, session.tokens.refresh, session.secret.hex(), str(session.id)):
        assert secret not in text
    assert signed_in.take()["session"] not in text


@pytest.mark.parametrize("cookies", [{}, {"session": "junk"}], ids=["no cookie", "a cookie that no key opens"])
def test_it_says_that_nobody_is_signed_in(browser: Browser, api: DemoApi, cookies: dict[str, str]) -> None:
    browser.put(cookies)

    response = browser.get("/accounts/session/")

    assert (response.status_code, response.json()) == (200, NOBODY)
    assert not cookies_set(response)
    assert not api.calls


def test_it_says_so_after_signing_out(signed_in: Browser) -> None:
    signed_in.sign_out()

    assert signed_in.get("/accounts/session/").json() == NOBODY


def test_an_expired_access_token_is_no_end(signed_in: Browser, api: DemoApi) -> None:
    signed_in.age(120)
    api.forget_calls()

    said = signed_in.get("/accounts/session/").json()

    assert said["authenticated"] is True
    assert said["access_expires_in"] == 0
    assert not api.calls, "looking at it asks the API nothing"


def test_it_confirms_a_session_that_was_rotated(signed_in: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    signed_in.open_page()

    response = signed_in.get("/accounts/session/")

    assert response.json()["generation"] == 1
    assert signed_in.session().confirmed
    assert signed_in.record().confirmed == 1


def test_it_works_unconfirmed_while_the_records_are_away(signed_in: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    signed_in.open_page()

    with records_away():
        response = signed_in.get("/accounts/session/")

    assert response.json()["generation"] == 1
    assert not cookies_set(response)
    assert signed_in.is_signed_in()
    assert signed_in.session().confirmed


def test_an_ended_session_that_has_to_look_at_its_record_is_nobody(signed_in: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    signed_in.open_page()
    SessionRecord.objects.end(signed_in.session().id, EndReason.SIGNED_OUT)
    let_databases_clock_move_on()

    response = signed_in.get("/accounts/session/")

    assert response.json() == NOBODY
    assert cookies_set(response)["session"].value == ""


def test_nobody_keeps_the_answer(signed_in: Browser) -> None:
    response = signed_in.get("/accounts/session/")

    assert response["Cache-Control"] == "private, no-store"
    assert "Cookie" in response["Vary"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_it_is_for_looking_only(signed_in: Browser, method: str) -> None:
    assert signed_in.client.generic(method, "/accounts/session/").status_code == 405
