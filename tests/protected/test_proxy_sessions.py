"""The proxy for browser scripts: expired tokens, ended sessions and visitors."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from accounts.rotation.ending import end_session
from protected import proxy
from tests.browsers import ADA, GRACE, Browser, cookies_set, wait_until
from tests.demo_api.server import DemoApi, Fault, Gate
from tests.protected.proxy_calls import EVERYTHING, PROXY, ROUTE, TO_SIGN_IN, body_of, call_proxy


class TestAnExpiredToken:
    def test_is_refreshed_and_the_call_repeated(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING
        api.expire_access_tokens()
        api.forget_calls()
        body = b'{"level": 2.310}'

        response = call_proxy(signed_in, f"{PROXY}?a=1", method="POST", body=body, HTTP_IDEMPOTENCY_KEY="7")

        assert (response.status_code, response.content) == (201, b'{"data": {"level": 2.310}}')
        first, refresh, second = api.calls
        assert [(call.path, call.status) for call in (first, refresh, second)] == [
            (ROUTE, 401),
            ("/auth/refresh", 200),
            (ROUTE, 201),
        ]
        assert first.body == second.body == body
        assert first.query == second.query == "a=1"
        assert first.headers["idempotency-key"] == second.headers["idempotency-key"] == "7"
        assert first.headers["authorization"] != second.headers["authorization"]
        assert cookies_set(response)["session"].value
        assert response["Cache-Control"] == "private, no-store"
        assert signed_in.session().generation == 1

    def test_five_calls_at_once_share_one_refresh(self, signed_in: Browser, api: DemoApi) -> None:
        tabs = [signed_in.copy() for _ in range(5)]
        api.expire_access_tokens()

        def call(tab: Browser) -> int:
            try:
                return call_proxy(tab, PROXY).status_code
            finally:
                connections.close_all()

        with Gate() as gate, ThreadPoolExecutor(len(tabs)) as pool:
            api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
            responses = [pool.submit(call, tab) for tab in tabs]
            wait_until(lambda: api.count("GET", ROUTE, 401) == len(tabs))
            gate.release()
            assert [each.result() for each in responses] == [200] * 5

        assert api.count("POST", "/auth/refresh") == 1
        assert {tab.session().generation for tab in tabs} == {1}
        assert api.reuses == 0

    def test_a_401_for_a_new_token_is_the_apis_own(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", ROUTE, Fault.answer(401, {"message": "no"}), times=3)
        api.expire_access_tokens()

        first, second = call_proxy(signed_in, PROXY), call_proxy(signed_in, PROXY)

        for response in (first, second):
            assert (response.status_code, body_of(response)) == (401, {"message": "no"})
            assert "Retry-After" not in response
        assert signed_in.session().generation == 1
        api.heal()
        assert signed_in.is_signed_in()

    def test_a_large_upload_that_is_sent_again_gets_the_apis_401(
        self, signed_in: Browser, api: DemoApi, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(proxy, "MAX_REPEATED_BODY_BYTES", 9)
        settings.API_PROXY_ALLOW = EVERYTHING
        api.expire_access_tokens()
        api.fail("POST", ROUTE, Fault.answer(401, {"message": "no"}), times=None)
        body = bytes(10)

        first, second = (call_proxy(signed_in, PROXY, method="POST", body=body) for _ in range(2))

        assert (first.status_code, first["Retry-After"]) == (401, "1")
        assert (second.status_code, body_of(second)) == (401, {"message": "no"})
        assert api.count("POST", "/auth/refresh") == 1
        api.heal()
        assert signed_in.is_signed_in()


class TestWithoutASession:
    def test_a_script_is_told_where_to_sign_in(self, browser: Browser, api: DemoApi) -> None:
        scripts: list[dict[str, Any]] = [
            {"HTTP_ACCEPT": "application/json"},
            {"HTTP_ACCEPT": "*/*", "HTTP_SEC_FETCH_MODE": "cors"},
        ]
        for headers in scripts:
            response = call_proxy(browser, PROXY, HTTP_REFERER="http://testserver/protected/script/?a=1", **headers)

            assert response.status_code == 401
            assert body_of(response) == {
                "detail": "You are not signed in.",
                "login": f"{TO_SIGN_IN}%2Fprotected%2Fscript%2F%3Fa%3D1",
            }
        assert api.calls == []

    def test_htmx_is_sent_to_the_sign_in_page(self, browser: Browser) -> None:
        response = call_proxy(
            browser,
            PROXY,
            HTTP_ACCEPT="*/*",
            HTTP_HX_REQUEST="true",
            HTTP_HX_CURRENT_URL="http://testserver/protected/script/",
        )

        assert response.status_code == 401
        assert response["HX-Redirect"] == f"{TO_SIGN_IN}%2Fprotected%2Fscript%2F"

    def test_a_navigation_is_sent_to_the_sign_in_page(self, browser: Browser) -> None:
        response = call_proxy(browser, PROXY, HTTP_ACCEPT="text/html", HTTP_SEC_FETCH_MODE="navigate")

        assert response.status_code == 302
        assert response["Location"] == f"{TO_SIGN_IN}%2Fprotected%2Fapi%2Fprotected-route"

    def test_no_other_site_is_used_as_the_way_back(self, browser: Browser) -> None:
        response = call_proxy(browser, PROXY, HTTP_REFERER="https://evil.example/protected/")

        assert body_of(response)["login"] == f"{TO_SIGN_IN}%2F"

    def test_a_script_is_told_that_the_session_has_ended(self, signed_in: Browser, api: DemoApi) -> None:
        api.revoke_all()
        htmx, person = signed_in.copy(), signed_in.copy()

        response = call_proxy(signed_in, PROXY)

        assert response.status_code == 401
        assert body_of(response)["detail"] == "Your session has ended."
        assert body_of(response)["login"].endswith("&ended=1")
        assert cookies_set(response)["session"]["max-age"] == 0
        told = call_proxy(htmx, PROXY, HTTP_ACCEPT="*/*", HTTP_HX_REQUEST="true")
        assert told["HX-Redirect"].endswith("&ended=1")
        told = call_proxy(person, PROXY, HTTP_ACCEPT="text/html")
        assert (told.status_code, told["Location"][-8:]) == (302, "&ended=1")

    def test_a_session_that_staff_ended_ends_at_its_next_rotation(self, signed_in: Browser, api: DemoApi) -> None:
        end_session(SessionRecord.objects.get().id, EndReason.REVOKED)
        api.expire_access_tokens()

        assert call_proxy(signed_in, PROXY).status_code == 401

    def test_a_post_is_told_where_to_sign_in(self, browser: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_PROXY_ALLOW = EVERYTHING

        response = call_proxy(browser, PROXY, method="POST", body=b"{}")

        assert response.status_code == 401
        assert set(body_of(response)) == {"detail", "login"}


def test_users_do_not_get_each_others_tokens(signed_in: Browser, api: DemoApi) -> None:
    grace = Browser()
    grace.sign_in(GRACE)
    api.forget_calls()

    for _ in range(3):
        assert call_proxy(signed_in, PROXY).status_code == 200
        assert call_proxy(grace, PROXY).status_code == 200

    bearers = [call.headers["authorization"] for call in api.calls]
    assert bearers == [f"Bearer {each.session().tokens.access}" for each in (signed_in, grace)] * 3
    assert ADA in signed_in.open_page().text
