"""Sign-out here and at the API, also while the API or the database fails."""

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from accounts.rotation import token_requests
from accounts.signals import session_ended
from tests.browsers import Browser, cookies_set, records_away
from tests.demo_api.server import DemoApi, Fault, Gate

API_FAILURES = {
    "500": Fault.answer(500, {"message": "Out of ink."}),
    "404": Fault.answer(404, {"message": "There is nothing here."}),
    "HTML": Fault.answer(200, b"<h1>Hello</h1>", "text/html"),
    "a redirect": Fault.answer(302, headers={"Location": "/auth/login"}),
    "a reset": Fault.reset(),
    "a lost response": Fault.lose_answer(),
    "a response that takes forever": Fault.dribble(0.05),
}


def end_reason() -> str:
    return SessionRecord.objects.get().end_reason


def revoked(api: DemoApi) -> list[str]:
    """The refresh tokens that were sent to the API's sign-out."""
    return [json.loads(call.body)["refreshToken"] for call in api.calls if call.path == "/auth/logout"]


def test_it_ends_the_session_here_and_at_the_api_and_deletes_the_cookie(signed_in: Browser, api: DemoApi) -> None:
    refresh_token = signed_in.session().tokens.refresh

    response = signed_in.sign_out()

    assert (response.status_code, response["Location"]) == (302, "/")
    cookie = cookies_set(response)["session"]
    assert (cookie.value, cookie["max-age"], cookie["path"]) == ("", 0, "/")
    assert response["Cache-Control"] == "private, no-store"
    assert end_reason() == EndReason.SIGNED_OUT
    assert SessionRecord.objects.get().sealed == ""
    assert revoked(api) == [refresh_token]
    assert signed_in.open_page().status_code == 302


def test_the_cookie_is_deleted_with_the_attributes_it_was_set_with(browser: Browser, settings: Settings) -> None:
    """A browser ignores the deletion of a `__Host-` cookie without Secure."""
    settings.API_SESSION_COOKIE_NAME = "__Host-session"
    settings.API_SESSION_COOKIE_SECURE = True
    browser.sign_in()

    cookie = cookies_set(browser.sign_out())["__Host-session"]

    assert (cookie.value, cookie["max-age"]) == ("", 0)
    assert cookie["secure"] is True
    assert (cookie["path"], cookie["domain"]) == ("/", "")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_only_a_post_signs_out(signed_in: Browser, api: DemoApi, method: str) -> None:
    assert signed_in.client.generic(method, "/accounts/logout/").status_code == 405

    assert signed_in.is_signed_in()
    assert not revoked(api)


def test_a_form_of_another_site_signs_nobody_out(signed_in: Browser, api: DemoApi) -> None:
    browser = Browser(signed_in.take(), csrf_checks=True)

    response = browser.sign_out()

    assert response.status_code == 403
    assert "The form was not accepted" in response.text
    assert not cookies_set(response)
    assert not revoked(api)
    assert signed_in.is_signed_in()


def test_the_form_on_the_protected_page_does(signed_in: Browser) -> None:
    browser = Browser(signed_in.take(), csrf_checks=True)
    page = browser.open_page().text
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert token
    assert 'action="/accounts/logout/"' in page

    response = browser.post("/accounts/logout/", {"csrfmiddlewaretoken": token[1]})

    assert response.status_code == 302
    assert end_reason() == EndReason.SIGNED_OUT


def test_a_script_gets_no_page(signed_in: Browser) -> None:
    response = signed_in.post("/accounts/logout/", headers={"Accept": "application/json"})

    assert (response.status_code, response.content) == (204, b"")
    assert cookies_set(response)["session"].value == ""


def test_a_cookie_copied_before_no_longer_rotates(signed_in: Browser, api: DemoApi) -> None:
    thief = signed_in.copy()
    signed_in.sign_out()
    api.forget_calls()

    response = thief.open_page()

    assert response.status_code == 302
    assert response["Location"] == "/accounts/login/?next=%2Fprotected%2F&ended=1"
    assert [(call.path, call.status) for call in api.calls] == [("/protected-route", 401)]


def test_a_copy_of_a_newer_generation_is_out_too(signed_in: Browser, api: DemoApi) -> None:
    """Another tab has the newest pair, and that pair is revoked."""
    other_tab = signed_in.copy()
    api.expire_access_tokens()
    assert other_tab.open_page().status_code == 200

    signed_in.sign_out()

    assert revoked(api) == [other_tab.session().tokens.refresh]
    assert not other_tab.is_signed_in()


def test_a_page_that_is_just_rotating_does_not_bring_the_session_back(signed_in: Browser, api: DemoApi) -> None:
    other_tab = signed_in.copy()
    api.expire_access_tokens()
    with Gate() as gate, ThreadPoolExecutor() as threads:
        api.fail("POST", "/auth/refresh", Fault.hold_after(gate))
        page = threads.submit(other_tab.open_page)
        assert gate.reached.wait(30)
        signed_in.sign_out()
        gate.release()
        response = page.result(30)

    assert response.status_code == 302
    assert not cookies_set(response)
    assert len(revoked(api)) == 2, "the pair that came too late was not revoked"


@pytest.mark.parametrize("fault", API_FAILURES.values(), ids=API_FAILURES)
def test_it_works_while_the_api_fails(
    signed_in: Browser, api: DemoApi, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(token_requests, "_REVOCATION_SECONDS", 0.5)
    thief = signed_in.copy()
    api.fail("POST", "/auth/logout", fault)

    response = signed_in.sign_out()

    assert response.status_code == 302
    assert cookies_set(response)["session"].value == ""
    assert end_reason() == EndReason.SIGNED_OUT
    api.expire_access_tokens()
    assert not thief.is_signed_in()
    assert api.count("POST", "/auth/refresh") == 0


def test_it_works_while_the_api_is_not_there(signed_in: Browser, api: DemoApi) -> None:
    thief = signed_in.copy()
    api.stop_serving()

    response = signed_in.sign_out()

    assert (response.status_code, response["Location"]) == (302, "/")
    assert not signed_in.take().get("session")
    api.start_serving()
    api.expire_access_tokens()
    assert not thief.is_signed_in()


def test_it_works_without_the_records(signed_in: Browser, api: DemoApi) -> None:
    """The record stays, but the API refuses the next rotation of a copy."""
    thief = signed_in.copy()

    with records_away():
        response = signed_in.sign_out()

    assert response.status_code == 302
    assert not signed_in.take().get("session")
    assert len(revoked(api)) == 1
    assert not thief.is_signed_in()
    assert end_reason() == EndReason.REFUSED


def test_it_does_so_where_every_request_looks_at_the_record(
    signed_in: Browser, api: DemoApi, settings: Settings
) -> None:
    settings.API_SESSION_CHECK = "every-request"

    with records_away():
        response = signed_in.sign_out()

    assert response.status_code == 302
    assert not signed_in.take().get("session")
    assert len(revoked(api)) == 1


def test_a_receiver_that_fails_keeps_nobody_in(signed_in: Browser, api: DemoApi) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("the receiver fails")

    session_ended.connect(fail)
    try:
        response = signed_in.sign_out()
    finally:
        session_ended.disconnect(fail)

    assert response.status_code == 302
    assert not signed_in.take().get("session")
    assert len(revoked(api)) == 1


@pytest.mark.parametrize("cookies", [{}, {"session": "junk"}], ids=["no cookie", "a cookie that no key opens"])
def test_signing_out_of_nothing_is_harmless(browser: Browser, api: DemoApi, cookies: dict[str, str]) -> None:
    browser.put(cookies)

    assert browser.sign_out().status_code == 302

    assert not browser.take().get("session")
    assert not api.calls


def test_twice_is_once(signed_in: Browser, api: DemoApi) -> None:
    second_tab = signed_in.copy()
    signed_in.sign_out()

    assert second_tab.sign_out().status_code == 302

    assert not second_tab.take().get("session")
    assert end_reason() == EndReason.SIGNED_OUT
