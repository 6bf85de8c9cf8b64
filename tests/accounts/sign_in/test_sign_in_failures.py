"""Sign-in while the API or the database fails."""

import json
import secrets

import pytest
from pytest_django import Settings

from accounts.models import SessionRecord
from tests.accounts.sign_in.helpers import sent_to, signed_in_email
from tests.browsers import ADA, GRACE, Browser, cookies_set, records_away
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault

NOT_ANSWERING = "The service that checks your password is not answering."
UNUSABLE = "The service that checks your password sent a response that this site cannot use."

UNAVAILABLE = {
    "500": Fault.answer(500, {"message": "Out of ink."}),
    "502 in HTML": Fault.answer(502, b"<h1>Bad Gateway</h1>", "text/html"),
    "503": Fault.answer(503),
    "429": Fault.answer(429, {"message": "Slow down."}),
    "408": Fault.answer(408, {"message": "Too slow."}),
    "425": Fault.answer(425),
    "a reset": Fault.reset(),
    "a lost response": Fault.lose_answer(),
    "a response that takes forever": Fault.dribble(0.05),
    "no gzip, though it says so": Fault.answer(200, b"plain", headers={"Content-Encoding": "gzip"}),
    "half a response": Fault.answer(200, b'{"acc', headers={"Content-Length": "900", "Connection": "close"}),
}
UNUSABLE_RESPONSES = {
    "HTML with 200": Fault.answer(200, b"<h1>Welcome</h1>", "text/html"),
    "nothing with 200": Fault.answer(200),
    "nothing with 204": Fault.answer(204),
    "a list": Fault.answer(200, b"[1, 2]"),
    "null": Fault.answer(200, b"null"),
    "no JSON at all": Fault.answer(200, b"\xff\xfe{"),
    "nested beyond measure": Fault.answer(200, b"[" * 100_000),
    "an error in a 200": Fault.answer(200, {"error": "server_error"}),
    "an error in a 201, with tokens": Fault.answer(201, {"error": "x", "accessToken": "a", "refreshToken": "r"}),
    "no refresh token": Fault.answer(200, {"accessToken": "a"}),
    "no access token": Fault.answer(200, {"refreshToken": "r"}),
    "numbers for tokens": Fault.answer(200, {"accessToken": 1, "refreshToken": 2}),
    "an empty token": Fault.answer(200, {"accessToken": "", "refreshToken": "r"}),
    "401 without JSON": Fault.answer(401, b"<h1>Unauthorized</h1>", "text/html"),
    "401 with nothing": Fault.answer(401),
    "401 with a message that is no text": Fault.answer(401, {"message": {"code": 7}}),
    "404 in HTML": Fault.answer(404, b"<h1>Not Found</h1>", "text/html"),
    "a redirect": Fault.answer(302, headers={"Location": "/protected-route"}),
    "a redirect that keeps the method": Fault.answer(307, headers={"Location": "/auth/login"}),
}
# Tokens that the site cannot use are given back.
UNUSABLE_PAIRS = {
    "a token with a line break": Fault.answer(200, {"accessToken": "a\r\nX-Evil: 1", "refreshToken": "r"}),
    "a token that is not ASCII": Fault.answer(200, {"accessToken": "\u00e4", "refreshToken": "r"}),
}


class TestAnApiThatDoesNotAnswer:
    @pytest.mark.parametrize("fault", UNAVAILABLE.values(), ids=UNAVAILABLE)
    def test_the_visitor_is_asked_to_try_again(
        self, browser: Browser, api: DemoApi, settings: Settings, fault: Fault
    ) -> None:
        settings.API_CONNECT_TIMEOUT, settings.API_READ_TIMEOUT = 0.1, 0.4
        api.fail("POST", "/auth/login", fault)

        response = browser.sign_in()

        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0
        assert NOT_ANSWERING in response.text
        assert f'value="{ADA}"' in response.text
        assert DEMO_USERS[ADA] not in response.text
        assert not cookies_set(response)
        assert not SessionRecord.objects.exists()
        settings.API_READ_TIMEOUT = 10
        assert browser.sign_in().status_code == 302

    def test_not_there_at_all(self, browser: Browser, api: DemoApi) -> None:
        api.stop_serving()

        response = browser.sign_in()

        assert (response.status_code, response["Retry-After"]) == (503, "5")
        assert NOT_ANSWERING in response.text
        assert f'value="{ADA}"' in response.text
        api.start_serving()
        assert browser.sign_in().status_code == 302

    @pytest.mark.parametrize(("asked", "told"), [("7", "7"), ("0", "1"), ("86400", "60"), ("soon", "5")])
    def test_retry_after_is_the_apis_own_within_reason(
        self, browser: Browser, api: DemoApi, asked: str, told: str
    ) -> None:
        api.fail("POST", "/auth/login", Fault.answer(503, headers={"Retry-After": asked}))

        assert browser.sign_in()["Retry-After"] == told

    def test_a_developer_is_told_how_to_start_the_demo_api(
        self, browser: Browser, api: DemoApi, settings: Settings
    ) -> None:
        settings.DEBUG = True
        hint = f"--port {api.port}"
        assert hint not in browser.get("/accounts/login/").text
        api.stop_serving()

        assert hint in browser.get("/accounts/login/").text
        assert hint in browser.sign_in().text
        settings.DEBUG = False
        assert hint not in browser.sign_in().text

    def test_nobody_is_told_to_start_an_api_that_lives_elsewhere(self, browser: Browser, settings: Settings) -> None:
        settings.DEBUG = True
        settings.API_BASE_URL = "https://api.example.com/v1"

        response = browser.get("/accounts/login/")

        assert response.status_code == 200
        assert "--port" not in response.text

    def test_it_costs_nobody_the_session_that_was_there_before(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("POST", "/auth/login", Fault.reset())

        assert signed_in.sign_in(GRACE).status_code == 503

        assert signed_in_email(signed_in) == ADA
        assert signed_in.is_signed_in()


class TestAnApiThatSendsUnusableResponses:
    @pytest.mark.parametrize("fault", UNUSABLE_RESPONSES.values(), ids=UNUSABLE_RESPONSES)
    def test_nobody_is_signed_in(self, browser: Browser, api: DemoApi, fault: Fault) -> None:
        api.fail("POST", "/auth/login", fault)

        response = browser.sign_in()

        assert response.status_code == 502
        assert UNUSABLE in response.text
        assert f'value="{ADA}"' in response.text
        assert not cookies_set(response)
        assert not SessionRecord.objects.exists()
        assert len(api.calls) == 1, "a redirect was followed, or the call repeated"

    def test_tokens_too_large_for_any_cookie_are_given_back(self, browser: Browser, api: DemoApi) -> None:
        refresh_token = secrets.token_urlsafe(20_000)
        api.fail("POST", "/auth/login", Fault.answer(200, {"accessToken": "a", "refreshToken": refresh_token}))

        response = browser.sign_in()

        assert response.status_code == 502
        assert not cookies_set(response)
        assert not SessionRecord.objects.exists()
        assert sent_to(api, "/auth/logout") == [{"refreshToken": refresh_token}]


class TestTheDatabaseUnavailable:
    def test_the_pair_is_given_back_to_the_api(self, browser: Browser, api: DemoApi) -> None:
        with records_away():
            response = browser.sign_in()

        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0
        assert f'value="{ADA}"' in response.text
        assert not cookies_set(response)
        assert [(call.path, call.status) for call in api.calls] == [("/auth/login", 200), ("/auth/logout", 204)]
        assert browser.sign_in().status_code == 302

    def test_the_session_that_was_there_before_stays(self, signed_in: Browser) -> None:
        before = signed_in.session()

        with records_away():
            assert signed_in.sign_in(GRACE).status_code == 503

        assert signed_in.session() == before
        assert signed_in.is_signed_in()

    @pytest.mark.parametrize("fault", UNUSABLE_PAIRS.values(), ids=UNUSABLE_PAIRS)
    def test_a_pair_that_cannot_be_used_is_revoked(self, browser: Browser, api: DemoApi, fault: Fault) -> None:
        api.fail("POST", "/auth/login", fault)

        response = browser.sign_in()

        assert (response.status_code, UNUSABLE in response.text) == (502, True)
        assert [(call.method, call.path) for call in api.calls] == [("POST", "/auth/login"), ("POST", "/auth/logout")]
        assert json.loads(api.calls[1].body) == {"refreshToken": "r"}

    @pytest.mark.parametrize("status", [200, 201])
    def test_an_error_in_a_success_is_the_apis_refusal(self, browser: Browser, api: DemoApi, status: int) -> None:
        refusal = {"error": "invalid_credentials", "message": "Wrong name or password."}
        api.fail("POST", "/auth/login", Fault.answer(status, refusal))

        response = browser.sign_in()

        assert (response.status_code, "Wrong name or password." in response.text) == (200, True)
        assert not SessionRecord.objects.exists()
