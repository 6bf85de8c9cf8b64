"""Signing in: the way in, what an API can answer to it, and what becomes of the session that was there before."""

import json
import re
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.dispatch import Signal
from django.http import HttpResponse
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from accounts.signals import session_ended, session_started
from tests.browsers import ADA, GRACE, Browser, cookies_set, records_away
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault, Gate

WRONG = "Wrong e-mail address or password."
NOT_ANSWERING = "The service that checks your password is not answering."
UNUSABLE = "The service that checks your password sent a response that this site cannot use."
PAGE = "/protected/"

OWN_PLACES = {
    "a path": "/protected/?rows=3#end",
    "a path in other letters": "/protected/ä/?q=%2F",
    "our own address": "http://testserver/protected/",
    "the home page": "/",
}
FOREIGN_PLACES = {
    "another host without a scheme": "//evil.example",
    "three slashes": "///evil.example",
    "another host": "https://evil.example/protected/",
    "a script": "javascript:alert(1)",
    "a script in capitals": "JaVaScRiPt:alert(1)",
    "data": "data:text/html,hello",
    "backslashes": r"\\evil.example",
    "slash and backslash": r"/\evil.example",
    "backslash and slash": r"\/evil.example",
    "a tab between the slashes": "/\t/evil.example",
    "a line break between the slashes": "/\n/evil.example",
    "a space first": " //evil.example",
    "a control character first": "\x08//evil.example",
    "no slashes after the scheme": "https:evil.example",
    "a scheme and three slashes": "https:///evil.example",
    "our name as user": "https://testserver@evil.example/",
    "our name as a part": "http://testserver.evil.example/",
    "an address that is none": "http://[::1",
    "another port": "http://testserver:81/",
    "too long to be meant": "/" + "a" * 5000,
}


UNAVAILABLE = {
    "500": Fault.answer(500, {"message": "Out of ink."}),
    "502 in HTML": Fault.answer(502, b"<h1>Bad Gateway</h1>", "text/html"),
    "503": Fault.answer(503),
    "429": Fault.answer(429, {"message": "Slow down."}),
    "408": Fault.answer(408, {"message": "Too slow."}),
    "425": Fault.answer(425),
    "a reset": Fault.reset(),
    "an answer that got lost": Fault.lose_answer(),
    "an answer that takes forever": Fault.dribble(0.05),
    "no gzip, though it says so": Fault.answer(200, b"plain", headers={"Content-Encoding": "gzip"}),
    "half an answer": Fault.answer(200, b'{"acc', headers={"Content-Length": "900", "Connection": "close"}),
}
UNUSABLE_ANSWERS = {
    "HTML with 200": Fault.answer(200, b"<h1>Welcome</h1>", "text/html"),
    "nothing with 200": Fault.answer(200),
    "nothing with 204": Fault.answer(204),
    "a list": Fault.answer(200, b"[1, 2]"),
    "null": Fault.answer(200, b"null"),
    "no JSON at all": Fault.answer(200, b"\xff\xfe{"),
    "nested beyond measure": Fault.answer(200, b"[" * 100_000),
    "no refresh token": Fault.answer(200, {"accessToken": "a"}),
    "no access token": Fault.answer(200, {"refreshToken": "r"}),
    "numbers for tokens": Fault.answer(200, {"accessToken": 1, "refreshToken": 2}),
    "an empty token": Fault.answer(200, {"accessToken": "", "refreshToken": "r"}),
    "a token with a line break": Fault.answer(200, {"accessToken": "a\r\nX-Evil: 1", "refreshToken": "r"}),
    "a token that is not ASCII": Fault.answer(200, {"accessToken": "\u00e4", "refreshToken": "r"}),
    "401 without JSON": Fault.answer(401, b"<h1>Unauthorized</h1>", "text/html"),
    "401 with nothing": Fault.answer(401),
    "401 with a message that is no text": Fault.answer(401, {"message": {"code": 7}}),
    "404 in HTML": Fault.answer(404, b"<h1>Not Found</h1>", "text/html"),
    "a redirect": Fault.answer(302, headers={"Location": "/protected-route"}),
    "a redirect that keeps the method": Fault.answer(307, headers={"Location": "/auth/login"}),
}
MALFORMED = {
    "no fields": "",
    "NUL in the name": "username=ada%00&password=secret-word",
    "NUL in the password": "username=ada&password=secret-word%00",
    "a name of 10,000 characters": f"username={'a' * 10_000}&password=secret-word",
    "a password of 10,000 characters": f"username=ada&password={'secret-word' * 1_000}",
    "half a surrogate pair": "username=%ED%A0%80&password=secret-word%ED%A0%80",
    "not UTF-8": "username=%FF%FE&password=secret-word%FF",
    "emoji": "username=%F0%9F%8C%8A&password=secret-word%F0%9F%94%91",
    "line breaks": "username=ada%0D%0AX-Evil:%201&password=secret-word%0D%0A",
    "fields twice": "username=ada&username=eve&password=secret-word&password=x",
    "a percent sign alone": "username=%&password=secret-word%",
    "NUL in the place to go on to": "username=ada&password=secret-word&next=%2F%00",
}
# How many proxies are trusted, X-Forwarded-For, the peer's address, and what the API is told.
ADDRESSES = {
    "no proxy": (0, "", "198.51.100.7", "198.51.100.7"),
    "no proxy, and a forged header": (0, "203.0.113.9", "198.51.100.7", "198.51.100.7"),
    "one proxy": (1, "203.0.113.9", "10.0.0.1", "203.0.113.9"),
    "one proxy, and a forged header": (1, "192.0.2.66, 203.0.113.9", "10.0.0.1", "203.0.113.9"),
    "two proxies": (2, "192.0.2.66, 203.0.113.9, 10.0.0.2", "10.0.0.1", "203.0.113.9"),
    "one proxy that says nothing": (1, "", "10.0.0.1", "10.0.0.1"),
    "one proxy that says nonsense": (1, "unknown", "10.0.0.1", None),
    "IPv6": (1, "2001:DB8::0:1", "10.0.0.1", "2001:db8::1"),
    "a Unix socket": (0, "", "", None),
    "a Unix socket behind a proxy": (1, "203.0.113.9", "", "203.0.113.9"),
}


def bodies(api: DemoApi, path: str) -> list[dict[str, str]]:
    """What the API was sent there."""
    return [json.loads(call.body) for call in api.calls if call.path == path]


def who(browser: Browser) -> str | None:
    """Whom the site takes this browser's user for."""
    user = browser.get("/accounts/session/").json()["user"]
    return user["email"] if user else None


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

        assert bodies(api, "/auth/login") == [{"email": ADA, "password": "  two  blanks  "}]

    def test_the_api_may_call_the_name_something_else(self, browser: Browser, api: DemoApi, settings: Settings) -> None:
        settings.API_USERNAME_FIELD = "login"

        browser.sign_in()

        assert bodies(api, "/auth/login") == [{"login": ADA, "password": DEMO_USERS[ADA]}]

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
        assert 0 < int(cookie["max-age"]) <= 1800, "the refresh token's life"
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
        assert (again.status_code, again["Location"]) == (302, PAGE), "nor when signed in already"

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


class TestSignedInAlready:
    def test_a_visitor_is_sent_on(self, signed_in: Browser) -> None:
        response = signed_in.get("/accounts/login/", data={"next": "/protected/?rows=3"})

        assert (response.status_code, response["Location"]) == (302, "/protected/?rows=3")

    @pytest.mark.parametrize(
        "ended_by", ["sign-out elsewhere", "sign-in elsewhere", "staff", "the API", "a lost record"]
    )
    def test_one_whose_session_was_ended_elsewhere_is_not_sent_to_and_fro(
        self, signed_in: Browser, api: DemoApi, ended_by: str
    ) -> None:
        elsewhere = signed_in.copy()
        endings: dict[str, Callable[[], object]] = {
            "sign-out elsewhere": elsewhere.sign_out,
            "sign-in elsewhere": elsewhere.sign_in,
            "staff": lambda: SessionRecord.objects.end(signed_in.session().id, EndReason.REVOKED),
            "the API": api.revoke_all,
            "a lost record": lambda: SessionRecord.objects.all().delete(),
        }
        endings[ended_by]()
        api.expire_access_tokens()

        to_sign_in = signed_in.open_page()
        sign_in_page = signed_in.get(to_sign_in["Location"])

        assert to_sign_in.status_code == 302
        assert to_sign_in["Location"] == "/accounts/login/?next=%2Fprotected%2F&ended=1"
        assert sign_in_page.status_code == 200
        assert "Your session has ended." in sign_in_page.text
        assert signed_in.sign_in(next=PAGE).status_code == 302
        assert signed_in.is_signed_in()

    def test_with_the_records_away_a_visitor_is_not_sent_to_and_fro_either(self, signed_in: Browser) -> None:
        with records_away():
            assert signed_in.get("/accounts/login/")["Location"] == PAGE
            assert signed_in.open_page().status_code == 200

    @pytest.mark.parametrize("value", ["", "junk", "2.junk", "A" * 500])
    def test_a_cookie_that_no_key_opens_is_nobodys_and_stays(self, browser: Browser, value: str) -> None:
        browser.put({"session": value})

        to_sign_in = browser.open_page()
        page = browser.get(to_sign_in["Location"])

        assert to_sign_in["Location"] == "/accounts/login/?next=%2Fprotected%2F"
        assert page.status_code == 200
        assert not cookies_set(to_sign_in)
        assert not cookies_set(page)


class TestOverAnOldSession:
    def test_every_sign_in_has_an_id_and_a_secret_of_its_own(self, signed_in: Browser) -> None:
        first = signed_in.session()

        signed_in.sign_in()

        second = signed_in.session()
        assert second.id != first.id
        assert second.secret != first.secret

    def test_it_ends_the_old_one_here_and_at_the_api(self, signed_in: Browser, api: DemoApi) -> None:
        old = signed_in.session()
        stale = signed_in.copy()
        api.forget_calls()

        signed_in.sign_in(GRACE)

        record = SessionRecord.objects.get(pk=old.id)
        assert record.end_reason == EndReason.REPLACED
        assert bodies(api, "/auth/logout") == [{"refreshToken": old.tokens.refresh}]
        assert not stale.is_signed_in()
        assert who(signed_in) == GRACE

    def test_it_revokes_the_newest_pair_of_the_old_one(self, signed_in: Browser, api: DemoApi) -> None:
        other_tab = signed_in.copy()
        api.expire_access_tokens()
        assert other_tab.open_page().status_code == 200
        api.forget_calls()

        signed_in.sign_in()

        assert bodies(api, "/auth/logout") == [{"refreshToken": other_tab.session().tokens.refresh}]

    def test_it_works_while_the_api_cannot_end_the_old_one(self, signed_in: Browser, api: DemoApi) -> None:
        old = signed_in.session()
        api.fail("POST", "/auth/logout", Fault.reset())

        assert signed_in.sign_in(GRACE).status_code == 302

        assert SessionRecord.objects.get(pk=old.id).end_reason == EndReason.REPLACED
        assert who(signed_in) == GRACE

    def test_a_page_of_the_old_one_that_is_just_rotating_touches_no_cookie(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        other_tab = signed_in.copy()
        api.expire_access_tokens()
        with Gate() as gate, ThreadPoolExecutor() as threads:
            api.fail("POST", "/auth/refresh", Fault.hold_after(gate))
            page = threads.submit(other_tab.open_page)
            assert gate.reached.wait(30)
            signed_in.sign_in(GRACE)
            api.forget_calls()
            gate.release()
            response = page.result(30)

        assert response.status_code == 302
        assert not cookies_set(response)
        assert api.count("POST", "/auth/logout", 204) == 1, "for the pair that came too late"


def late_write(browser: Browser, api: DemoApi) -> HttpResponse:
    """An answer that carries the next generation of this browser's session."""
    api.expire_access_tokens()
    answer = browser.copy().open_page()
    assert cookies_set(answer)["session"].value
    return answer


def late_deletion(browser: Browser, api: DemoApi) -> HttpResponse:
    """An answer that deletes this browser's session, because the API has refused it."""
    api.revoke_all()
    answer = browser.copy().open_page()
    assert cookies_set(answer)["session"].value == ""
    return answer


@pytest.mark.parametrize("late", [late_write, late_deletion])
class TestLateAnswersOfTheOldSession:
    """They were sent before the new sign-in, and reach the browser after it."""

    def test_they_leave_the_new_one_alone(
        self, signed_in: Browser, api: DemoApi, late: Callable[[Browser, DemoApi], HttpResponse]
    ) -> None:
        on_its_way = late(signed_in, api)
        signed_in.sign_in(GRACE)
        new = signed_in.session().id

        signed_in.receive(on_its_way)

        assert signed_in.is_signed_in()
        assert who(signed_in) == GRACE
        assert signed_in.session().id == new

    def test_the_new_one_goes_on_rotating(
        self, signed_in: Browser, api: DemoApi, late: Callable[[Browser, DemoApi], HttpResponse]
    ) -> None:
        on_its_way = late(signed_in, api)
        signed_in.sign_in(GRACE)
        signed_in.receive(on_its_way)

        for generation in (1, 2):
            api.expire_access_tokens()
            assert signed_in.is_signed_in()
            assert signed_in.session().generation == generation
            assert signed_in.is_signed_in()
        assert who(signed_in) == GRACE

    def test_the_first_page_makes_good_what_they_did(
        self, signed_in: Browser, api: DemoApi, late: Callable[[Browser, DemoApi], HttpResponse]
    ) -> None:
        on_its_way = late(signed_in, api)
        signed_in.sign_in(GRACE)
        signed_in.receive(on_its_way)
        assert signed_in.is_signed_in()

        signed_in.drop(f"session-new-{signed_in.session().id.hex[:8]}")

        assert who(signed_in) == GRACE

    def test_a_browser_that_asks_for_nothing_for_a_while_is_still_signed_in(
        self, signed_in: Browser, api: DemoApi, late: Callable[[Browser, DemoApi], HttpResponse]
    ) -> None:
        on_its_way = late(signed_in, api)
        answer = cookies_set(signed_in.sign_in(GRACE))
        [name] = [name for name in answer if name.startswith("session-new-")]
        signed_in.receive(on_its_way)

        ten_minutes = 600
        if int(answer[name]["max-age"]) < ten_minutes:
            signed_in.drop(name)

        assert who(signed_in) == GRACE

    def test_signing_out_of_the_new_one_leaves_nothing_behind(
        self, signed_in: Browser, api: DemoApi, late: Callable[[Browser, DemoApi], HttpResponse]
    ) -> None:
        on_its_way = late(signed_in, api)
        signed_in.sign_in(GRACE)
        new = signed_in.session().id
        signed_in.receive(on_its_way)

        signed_in.sign_out()

        assert not any(name.startswith("session") for name in signed_in.take())
        assert SessionRecord.objects.get(pk=new).end_reason == EndReason.SIGNED_OUT


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

        assert who(signed_in) == ADA
        assert signed_in.is_signed_in()


class TestAnApiThatAnswersNonsense:
    @pytest.mark.parametrize("fault", UNUSABLE_ANSWERS.values(), ids=UNUSABLE_ANSWERS)
    def test_nobody_is_signed_in(self, browser: Browser, api: DemoApi, fault: Fault) -> None:
        api.fail("POST", "/auth/login", fault)

        response = browser.sign_in()

        assert response.status_code == 502
        assert UNUSABLE in response.text
        assert f'value="{ADA}"' in response.text
        assert not cookies_set(response)
        assert not SessionRecord.objects.exists()
        assert len(api.calls) == 1, "nothing was followed, and nothing repeated"

    def test_tokens_too_large_for_any_cookie_are_given_back(self, browser: Browser, api: DemoApi) -> None:
        refresh_token = secrets.token_urlsafe(20_000)
        api.fail("POST", "/auth/login", Fault.answer(200, {"accessToken": "a", "refreshToken": refresh_token}))

        response = browser.sign_in()

        assert response.status_code == 502
        assert not cookies_set(response)
        assert not SessionRecord.objects.exists()
        assert bodies(api, "/auth/logout") == [{"refreshToken": refresh_token}]


class TestMalformedForms:
    @pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
    def test_they_come_back_with_words(self, browser: Browser, body: str) -> None:
        response = browser.post("/accounts/login/", body, content_type="application/x-www-form-urlencoded")

        assert response.status_code == 200
        assert 'role="alert"' in response.text or 'aria-invalid="true"' in response.text
        assert "secret-word" not in response.text
        assert not cookies_set(response)
        assert not SessionRecord.objects.exists()

    @pytest.mark.parametrize(
        "content_type", ["application/json", "text/plain", "multipart/form-data; boundary=x", "multipart/form-data"]
    )
    def test_so_does_what_is_no_form(self, browser: Browser, api: DemoApi, content_type: str) -> None:
        response = browser.post("/accounts/login/", '{"username": "ada"}', content_type=content_type)

        assert response.status_code in (200, 400)
        assert not api.calls

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
    def test_other_methods_are_not_allowed(self, browser: Browser, api: DemoApi, method: str) -> None:
        assert browser.client.generic(method, "/accounts/login/").status_code == 405
        assert not api.calls


class TestTheRecordsAway:
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


def fail(**_: object) -> None:
    raise RuntimeError("the receiver fails")


@pytest.mark.parametrize("signal", [session_started, session_ended], ids=["started", "ended"])
def test_a_receiver_that_fails_keeps_nobody_out(signed_in: Browser, signal: Signal) -> None:
    """It hears of what has happened; the session at the API has begun, and the old one is over."""
    signal.connect(fail)
    try:
        response = signed_in.sign_in(GRACE)
    finally:
        signal.disconnect(fail)

    assert response.status_code == 302
    assert who(signed_in) == GRACE


class TestTheAddressOfTheBrowser:
    @pytest.mark.parametrize(("proxies", "header", "peer", "told"), ADDRESSES.values(), ids=ADDRESSES)
    def test_the_api_is_told_it_with_every_call(
        self,
        browser: Browser,
        api: DemoApi,
        settings: Settings,
        proxies: int,
        header: str,
        peer: str,
        told: str | None,
    ) -> None:
        settings.TRUSTED_PROXY_COUNT = proxies
        headers = {"X-Forwarded-For": header} if header else {}
        form = {"username": ADA, "password": DEMO_USERS[ADA]}

        browser.post("/accounts/login/", form, headers=headers, REMOTE_ADDR=peer)
        api.expire_access_tokens()
        assert browser.get(PAGE, headers=headers, REMOTE_ADDR=peer).status_code == 200
        browser.post("/accounts/logout/", headers=headers, REMOTE_ADDR=peer)

        assert [(call.path, call.headers.get("x-forwarded-for")) for call in api.calls] == [
            ("/auth/login", told),
            ("/protected-route", told),
            ("/auth/refresh", told),
            ("/protected-route", told),
            ("/auth/logout", told),
        ]
        assert SessionRecord.objects.get().address == told


class TestForgedForms:
    def test_a_form_of_another_site_signs_nobody_in(self, api: DemoApi, transactional_db: None) -> None:
        browser = Browser(csrf_checks=True)

        response = browser.sign_in()

        assert response.status_code == 403
        assert "The form was not accepted" in response.text
        assert "site.css" in response.text, "in the site's own look"
        assert not cookies_set(response)
        assert not api.calls

    def test_our_own_form_does(self, api: DemoApi, transactional_db: None) -> None:
        browser = Browser(csrf_checks=True)
        page = browser.get("/accounts/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert token

        response = browser.sign_in(csrfmiddlewaretoken=token[1])

        assert (response.status_code, response["Location"]) == (302, PAGE)
