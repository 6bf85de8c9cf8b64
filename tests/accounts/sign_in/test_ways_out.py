"""The ways out of a session that does not work: who is signed in, the sign-out, and the form for another account."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from tests.accounts.sign_in.helpers import sent_to, signed_in_email
from tests.browsers import ADA, GRACE, Answer, Browser, cookies_set, let_a_minute_pass_in_records, records_away
from tests.demo_api.server import DemoApi, Fault

ROUTE = "/protected-route"
REFRESH = "/auth/refresh"
SWITCH = "/accounts/login/?switch=1"
WANTED = "/protected/?rows=3"
CSRF_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')
PROMISES = ("still signed in", "othing is lost", "othing was changed")

#: Responses of the API to every call of a healthy session, and the status of the page.
WRONG_ACCOUNT = {
    **{
        str(status): (Fault.answer(status, {"message": "Not for you."}), 502)
        for status in (400, 402, 403, 405, 409, 410, 422, 423, 429, 451)
    },
    "404": (Fault.answer(404, {"message": "Not for you."}), 200),  # the page says what the API responded
    "403 in HTML": (Fault.answer(403, b"<h1>Forbidden</h1>", "text/html"), 502),
    "a redirect": (Fault.answer(302, headers={"Location": "https://portal.example/"}), 502),
    "304": (Fault.answer(304), 502),
    "nothing": (Fault.answer(204), 502),
    "no JSON": (Fault.answer(200, b"<h1>Welcome</h1>", "text/html"), 502),
    "500": (Fault.answer(500), 503),
    "503": (Fault.answer(503, headers={"Retry-After": "9"}), 503),
    "a reset": (Fault.reset(), 503),
}
#: Responses to every refresh from now on: no refusals that this site knows, and no pairs.
NEVER_AGAIN = {
    "200 of another kind": Fault.answer(200, {"whatever": 1}),
    "400 of another kind": Fault.answer(400, {"whatever": 1}),
    "403": Fault.answer(403, {"message": "Blocked."}),
    "500": Fault.answer(500),
    "a reset": Fault.reset(),
}


@pytest.fixture
def browser(api: DemoApi, transactional_db: None) -> Browser:
    """A browser that needs the CSRF token of a page, as real ones do."""
    return Browser(csrf_checks=True)


@pytest.fixture
def signed_in(browser: Browser) -> Browser:
    sign_in_on(browser, browser.get("/accounts/login/"), ADA)
    return browser


def sign_in_on(browser: Browser, page: Answer, username: str, **more: str) -> Answer:
    """Fill in the form of a page, and send it."""
    assert 'type="password"' in page.text
    return browser.sign_in(username, csrfmiddlewaretoken=CSRF_FIELD.findall(page.text)[-1], **more)


def sign_out_on(browser: Browser, page: Answer) -> Answer:
    """Press the sign-out button of a page."""
    form = re.search(r'<form method="post" action="/accounts/logout/">(.*?)</form>', page.text, re.DOTALL)
    assert form, "the page has no sign-out"
    token = CSRF_FIELD.search(form[1])
    assert token
    return browser.post("/accounts/logout/", {"csrfmiddlewaretoken": token[1]})


def assert_has_ways_out(page: Answer, *, wanted: str = "", user: str = ADA) -> None:
    assert user in page.text
    assert 'action="/accounts/logout/"' in page.text
    link = re.search(rf'href="({re.escape(SWITCH)}[^"]*)"', page.text)
    assert link
    assert wanted in link[1]
    for promise in PROMISES:
        assert promise not in page.text


def assert_has_none(page: Answer) -> None:
    assert "/accounts/logout/" not in page.text
    assert 'href="/accounts/login/' in page.text


class TestAHealthySessionWithTheWrongAccount:
    @pytest.mark.parametrize(("fault", "status"), WRONG_ACCOUNT.values(), ids=WRONG_ACCOUNT)
    def test_every_error_page_has_the_ways_out(
        self, signed_in: Browser, api: DemoApi, fault: Fault, status: int
    ) -> None:
        api.fail("GET", ROUTE, fault, times=None)

        page = signed_in.get(WANTED)

        assert page.status_code == status
        assert not cookies_set(page)
        assert_has_ways_out(page, wanted="next=%2Fprotected%2F%3Frows%3D3")
        assert sign_out_on(signed_in, page)["Location"] == "/"
        assert_has_none(signed_in.get("/"))

    def test_a_download_too(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", f"{ROUTE}/export.csv", Fault.answer(403, {"message": "Not for you."}))

        assert_has_ways_out(signed_in.get("/protected/download/"), wanted="download")

    def test_a_streamed_page_leads_to_them(self, signed_in: Browser, api: DemoApi) -> None:
        api.fail("GET", ROUTE, Fault.answer(403, {"message": "Not for you."}))

        page = b"".join(signed_in.get("/protected/stream/?rows=2&delay=0")).decode()

        assert f'href="{SWITCH}&amp;next=%2Fprotected%2Fstream%2F%3Frows%3D2%26delay%3D0"' in page
        assert 'href="/"' in page
        assert "stopped answering" not in page  # it has answered: with a refusal
        assert not any(promise in page for promise in PROMISES)

    def test_another_account_replaces_the_session_and_leads_back(self, signed_in: Browser, api: DemoApi) -> None:
        old = signed_in.session()
        api.fail("GET", ROUTE, Fault.answer(403, {"message": "Not for you."}))
        link = re.search(rf'href="({re.escape(SWITCH)}[^"]*)"', signed_in.get(WANTED).text)
        assert link
        form = signed_in.get(link[1].replace("&amp;", "&"))
        assert f'value="{WANTED}"' in form.text
        assert ADA in form.text
        api.forget_calls()

        answer = sign_in_on(signed_in, form, GRACE, next=WANTED)

        assert (answer.status_code, answer["Location"]) == (302, WANTED)
        assert signed_in_email(signed_in) == GRACE
        assert SessionRecord.objects.get(pk=old.id).end_reason == EndReason.REPLACED
        assert sent_to(api, "/auth/logout") == [{"refreshToken": old.tokens.refresh}]


@pytest.mark.parametrize("fault", NEVER_AGAIN.values(), ids=NEVER_AGAIN)
class TestASessionThatCanNeverRefreshAgain:
    def test_every_page_has_the_ways_out(self, signed_in: Browser, api: DemoApi, fault: Fault) -> None:
        api.expire_access_tokens()
        signed_in.age(61)
        api.fail("POST", REFRESH, fault, times=None)

        failed = signed_in.get(WANTED)

        assert failed.status_code == 503
        assert_has_ways_out(failed, wanted="rows")
        assert_has_ways_out(signed_in.get("/"))
        assert signed_in.get("/accounts/login/").status_code == 302
        assert 'type="password"' in signed_in.get(SWITCH).text

    def test_signing_out_works(self, signed_in: Browser, api: DemoApi, fault: Fault) -> None:
        api.expire_access_tokens()
        api.fail("POST", REFRESH, fault, times=None)
        session = signed_in.session()

        sign_out_on(signed_in, signed_in.open_page())

        assert SessionRecord.objects.get(pk=session.id).end_reason == EndReason.SIGNED_OUT
        assert_has_none(signed_in.get("/"))
        assert signed_in.open_page().status_code == 302

    def test_signing_in_works(self, signed_in: Browser, api: DemoApi, fault: Fault) -> None:
        api.expire_access_tokens()
        api.fail("POST", REFRESH, fault, times=None)
        signed_in.open_page()

        sign_in_on(signed_in, signed_in.get(f"{SWITCH}&next=/protected/"), ADA)

        assert signed_in.is_signed_in()


class TestTheSwitchPage:
    def test_it_says_whose_session_ends(self, signed_in: Browser) -> None:
        page = signed_in.get(f"{SWITCH}&next=/protected/")

        assert page.status_code == 200
        assert "this session ends" in page.text
        assert ADA in page.text
        assert sign_out_on(signed_in, page)["Location"] == "/"

    def test_for_a_visitor_it_is_the_sign_in_page(self, browser: Browser) -> None:
        page = browser.get(f"{SWITCH}&next=/protected/")

        assert page.status_code == 200
        assert "/accounts/logout/" not in page.text
        assert sign_in_on(browser, page, ADA, next="/protected/")["Location"] == "/protected/"

    def test_after_wrong_credentials_the_old_session_is_as_it_was(self, signed_in: Browser) -> None:
        before = signed_in.session()
        token = CSRF_FIELD.findall(signed_in.get(SWITCH).text)[-1]

        page = signed_in.sign_in(GRACE, "wrong-password", csrfmiddlewaretoken=token)

        assert "Wrong e-mail address or password." in page.text
        assert "this session ends" in page.text
        assert "Not signed in" not in page.text
        assert ADA in page.text
        assert signed_in.session() == before

    def test_a_session_that_was_ended_elsewhere_is_nobodys(self, signed_in: Browser) -> None:
        signed_in.get("/")  # which shows the message of the sign-in
        SessionRecord.objects.end(signed_in.session().id, EndReason.REVOKED)
        let_a_minute_pass_in_records()

        page = signed_in.get(SWITCH)

        assert page.status_code == 200
        assert ADA not in page.text
        assert not signed_in.take().get("session")

    def test_a_page_of_another_site_is_not_where_it_leads(self, signed_in: Browser) -> None:
        page = signed_in.get(f"{SWITCH}&next=https://evil.example/")

        assert sign_in_on(signed_in, page, GRACE, next="https://evil.example/")["Location"] == "/protected/"


class TestHome:
    def test_a_visitor_is_offered_the_sign_in(self, browser: Browser) -> None:
        page = browser.get("/")

        assert_has_none(page)
        assert not page.cookies

    def test_a_signed_in_user_is_not(self, signed_in: Browser, api: DemoApi) -> None:
        api.forget_calls()

        with CaptureQueriesContext(connection) as queries:
            page = signed_in.get("/")

        assert_has_ways_out(page)
        assert 'href="/accounts/login/"' not in page.text
        assert "Cookie" in page["Vary"]
        assert "no-store" in page["Cache-Control"]
        assert len(queries) == 0
        assert not api.calls

    @pytest.mark.parametrize("value", ["", "junk", "2.junk", "A" * 500])
    def test_an_unreadable_cookie_makes_a_visitor(self, browser: Browser, value: str) -> None:
        browser.put({"session": value})

        page = browser.get("/")

        assert_has_none(page)
        assert not cookies_set(page)

    def test_a_session_that_was_ended_elsewhere_makes_a_visitor(self, signed_in: Browser) -> None:
        SessionRecord.objects.end(signed_in.session().id, EndReason.REVOKED)
        let_a_minute_pass_in_records()
        signed_in.age(61)

        assert_has_none(signed_in.get("/"))

    @pytest.mark.parametrize("check", ["on-rotation", "every-request"])
    @pytest.mark.parametrize("age", [0, 61])
    def test_it_needs_neither_the_database_nor_the_api(
        self, signed_in: Browser, api: DemoApi, settings: Settings, check: str, age: int
    ) -> None:
        settings.API_SESSION_CHECK = check
        signed_in.age(age)
        api.stop_serving()

        with records_away():
            page = signed_in.get("/")

        assert page.status_code == 200
        assert_has_ways_out(page)
        assert not cookies_set(page)


@pytest.mark.parametrize("check", ["on-rotation", "every-request"])
def test_without_the_database_the_ways_out_work(
    signed_in: Browser, api: DemoApi, settings: Settings, check: str
) -> None:
    settings.API_SESSION_CHECK = check
    api.expire_access_tokens()
    signed_in.age(61)
    with records_away():
        page = signed_in.open_page()
        assert page.status_code == 503
        assert_has_ways_out(page)
        assert 'type="password"' in signed_in.get(SWITCH).text

        sign_out_on(signed_in, page)

    assert_has_none(signed_in.get("/"))
