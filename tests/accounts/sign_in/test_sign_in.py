"""Sign-in with name and password: the response, the cookie, wrong credentials, and the redirect to `next`."""

import pytest
from pytest_django import Settings

from accounts.models import SessionRecord
from tests.accounts.sign_in.helpers import FOREIGN_PLACES, OWN_PLACES, sent_to
from tests.browsers import ADA, GRACE, Browser, cookies_set
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault

WRONG = "Wrong e-mail address or password."
PAGE = "/protected/"


class TestTheWayIn:
    def test_it_leads_to_the_protected_page(self, browser: Browser, api: DemoApi) -> None:
        response = browser.sign_in()

        assert (response.status_code, response["Location"]) == (302, PAGE)
        page = browser.open_page()
        assert page.status_code == 200
        assert "North Pier" in page.text
        assert ADA in page.text
        assert [(call.method, call.path, call.status) for call in api.calls] == [
            ("POST", "/auth/login", 200),
            ("GET", "/protected-route", 200),
        ]

    def test_the_api_gets_name_and_password_as_they_were_typed(self, browser: Browser, api: DemoApi) -> None:
        browser.sign_in(f" {ADA} ", "  two  blanks  ")

        assert sent_to(api, "/auth/login") == [{"email": ADA, "password": "  two  blanks  "}]

    def test_the_api_may_call_the_name_something_else(self, browser: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_USERNAME_FIELD = "login"

        browser.sign_in()

        assert sent_to(api, "/auth/login") == [{"login": ADA, "password": DEMO_USERS[ADA]}]

    @pytest.mark.parametrize(
        ("name", "secure"), [("session", False), ("__Host-session", True)], ids=["development", "production"]
    )
    def test_no_script_and_no_other_site_gets_at_the_cookie(
        self, browser: Browser, settings: Settings, name: str, secure: bool
    ) -> None:
        settings.API_SESSION_COOKIE_NAME = name
        settings.API_SESSION_COOKIE_SECURE = secure

        response = browser.sign_in()

        assert list(cookies_set(response)) == [name]
        cookie = response.cookies[name]
        assert cookie["httponly"] is True
        assert bool(cookie["secure"]) is secure
        assert (cookie["samesite"], cookie["path"], cookie["domain"]) == ("Lax", "/", "")
        assert 0 < int(cookie["max-age"]) <= 1800, "not the refresh token's lifetime"
        assert response["Cache-Control"] == "private, no-store"

    def test_the_record_holds_what_staff_want_to_see_and_no_token(self, browser: Browser) -> None:
        browser.post(
            "/accounts/login/", {"username": ADA, "password": DEMO_USERS[ADA]}, headers={"User-Agent": "Quay/1.0"}
        )

        record = browser.record()
        assert (record.user_id, record.user_name) == ("1", ADA)
        assert (record.address, record.user_agent) == ("127.0.0.1", "Quay/1.0")
        assert (record.generation, record.sealed, record.ended_at) == (0, "", None)

    def test_the_page_is_kept_by_no_cache(self, browser: Browser) -> None:
        assert "no-store" in browser.get("/accounts/login/")["Cache-Control"]

    def test_it_names_the_field_as_the_api_does(self, browser: Browser, settings: Settings) -> None:
        assert "Email" in browser.get("/accounts/login/").text

        settings.API_USERNAME_FIELD = "login"

        assert "User name" in browser.get("/accounts/login/").text


class TestWrongCredentials:
    def test_the_page_says_what_the_api_says_and_keeps_the_name_alone(self, browser: Browser) -> None:
        response = browser.sign_in(ADA, "wrong-password")

        assert response.status_code == 200
        assert WRONG in response.text
        assert f'value="{ADA}"' in response.text
        assert "wrong-password" not in response.text
        assert not cookies_set(response)
        assert not SessionRecord.objects.exists()

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 423])
    def test_every_4xx_with_a_message_of_the_api_is_for_the_user(
        self, browser: Browser, api: DemoApi, status: int
    ) -> None:
        api.fail("POST", "/auth/login", Fault.answer(status, {"message": "Ask the <b>harbour</b> master."}))

        response = browser.sign_in()

        assert response.status_code == 200
        assert "Ask the &lt;b&gt;harbour&lt;/b&gt; master." in response.text
        assert not cookies_set(response)

    def test_they_leave_the_session_that_was_there_before(self, signed_in: Browser) -> None:
        before = signed_in.session()

        response = signed_in.sign_in(GRACE, "wrong-password")

        assert not cookies_set(response)
        assert signed_in.session() == before
        assert signed_in.is_signed_in()

    @pytest.mark.parametrize(("username", "password"), [("", "x"), (ADA, ""), ("", ""), ("   ", "x")], ids=repr)
    def test_an_incomplete_form_never_reaches_the_api(
        self, browser: Browser, api: DemoApi, username: str, password: str
    ) -> None:
        response = browser.post("/accounts/login/", {"username": username, "password": password})

        assert response.status_code == 200
        assert "This field is required." in response.text
        assert not api.calls


class TestWhereItLeads:
    @pytest.mark.parametrize("place", OWN_PLACES.values(), ids=OWN_PLACES)
    def test_back_to_a_place_of_our_own(self, browser: Browser, place: str) -> None:
        page = browser.get("/accounts/login/", data={"next": place})
        assert 'name="next"' in page.text

        response = browser.sign_in(next=place)

        assert response.status_code == 302
        assert response["Location"] == place.replace("ä", "%C3%A4")

    @pytest.mark.parametrize("place", FOREIGN_PLACES.values(), ids=FOREIGN_PLACES)
    def test_never_to_a_place_of_others(self, browser: Browser, place: str) -> None:
        response = browser.sign_in(next=place)

        assert (response.status_code, response["Location"]) == (302, PAGE)
        again = browser.get("/accounts/login/", data={"next": place})
        assert (again.status_code, again["Location"]) == (302, PAGE), "redirected there when signed in already"

    def test_whatever_host_a_proxy_says_was_asked_for(self, browser: Browser) -> None:
        form = {"username": ADA, "password": DEMO_USERS[ADA], "next": "http://evil.example/"}

        response = browser.post("/accounts/login/", form, headers={"X-Forwarded-Host": "evil.example"})

        assert (response.status_code, response["Location"]) == (302, PAGE)

    def test_over_https_not_back_to_http(self, browser: Browser) -> None:
        form = {"username": ADA, "password": DEMO_USERS[ADA], "next": "http://testserver/protected/stream/"}

        response = browser.post("/accounts/login/", form, secure=True)

        assert response["Location"] == PAGE

    def test_the_form_keeps_the_place_through_a_wrong_password(self, browser: Browser) -> None:
        response = browser.sign_in(ADA, "wrong-password", next="/protected/?rows=3")

        assert 'value="/protected/?rows=3"' in response.text
