"""/accounts/sessions/: the user's own sessions, and how one of them ends others."""

import re
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.history.background_writer import BackgroundWriter
from accounts.models import EndReason, EventKind, SessionEvent, SessionRecord, user_key
from accounts.session.tokens import User
from accounts.sign_in.own_sessions import MAX_LISTED
from tests.accounts.history.test_events import told
from tests.browsers import ADA, GRACE, Answer, Browser, records_away
from tests.demo_api.server import DemoApi

PAGE = "/accounts/sessions/"
JSON = {"HTTP_ACCEPT": "application/json"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5) AppleWebKit/605 Version/18.5 Mobile/15E148 Safari/604.1"


def sign_in(username: str, user_agent: str = FIREFOX, *, address: str = "127.0.0.1") -> Browser:
    browser = Browser()
    browser.client.defaults.update(HTTP_USER_AGENT=user_agent, REMOTE_ADDR=address)
    browser.sign_in(username)
    return browser


@pytest.fixture
def desk(api: DemoApi, transactional_db: None) -> Browser:
    """A browser in which Ada has signed in."""
    return sign_in(ADA)


@pytest.fixture
def phone(desk: Browser) -> Browser:
    """Another one, in which she has signed in later."""
    return sign_in(ADA, SAFARI, address="2001:db8::7")


@pytest.fixture
def grace(desk: Browser) -> Browser:
    return sign_in(GRACE)


def listed(browser: Browser) -> list[str]:
    """The ids on the page, in its order."""
    page = browser.get(PAGE)
    assert page.status_code == 200
    return re.findall(r'name="end" value="([0-9a-f-]{36})"', page.text)


def ids(*browsers: Browser) -> list[str]:
    return [str(browser.session().id) for browser in browsers]


def reason(session_id: str | UUID) -> str:
    return SessionRecord.objects.get(pk=session_id).end_reason


def in_words(page: Answer) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.text).split())


class TestTheList:
    def test_it_shows_the_users_own_sessions_and_marks_this_one(
        self, desk: Browser, phone: Browser, grace: Browser, api: DemoApi
    ) -> None:
        over, expired = sign_in(ADA), sign_in(ADA)
        over.sign_out()
        SessionRecord.objects.filter(pk=expired.session().id).update(expires_at=timezone.now())

        text = in_words(desk.get(PAGE))

        began = f"{desk.record().signed_in_at:%Y-%m-%d %H:%M} UTC"
        assert f"Firefox 140, Linux this session 127.0.0.1 {began} now Sign out" in text
        began = f"{phone.record().signed_in_at:%Y-%m-%d %H:%M} UTC"
        assert f"Safari 18, iOS 2001:db8::7 {began} {began} End" in text
        assert listed(desk) == ids(desk, phone)
        assert listed(phone) == ids(phone, desk)
        assert listed(grace) == ids(grace)

    def test_a_script_gets_json(self, desk: Browser, phone: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        phone.open_page()
        record = phone.record()

        found = desk.get(PAGE, **JSON).json()

        assert [list(session) for session in found["sessions"]] == [
            ["id", "current", "browser", "address", "signed_in_at", "last_used_at", "is_bound_to_device"]
        ] * 2
        assert found["more"] == 0
        other = found["sessions"][1]
        assert (other["id"], other["current"], other["browser"]) == (str(record.pk), False, "Safari 18, iOS")
        assert record.last_rotated_at
        assert other["last_used_at"][:23] == record.last_rotated_at.isoformat()[:23]

    def test_the_last_used_come_first_after_this_one(self, desk: Browser, phone: Browser, api: DemoApi) -> None:
        third = sign_in(ADA)
        assert listed(desk) == ids(desk, third, phone)
        api.expire_access_tokens()

        assert phone.is_signed_in()

        assert listed(desk) == ids(desk, phone, third)

    def test_a_thousand_sessions(self, desk: Browser) -> None:
        fields = {"user_id": "1", "user_key": desk.record().user_key, "user_name": ADA}
        SessionRecord.objects.bulk_create(SessionRecord(id=uuid4(), **fields) for _ in range(1000))

        with CaptureQueriesContext(connection) as queries:
            page = desk.get(PAGE)

        assert len(queries) == 4, "the check of this session, its record, the list, and how many more there are"
        assert page.text.count('<th scope="row"') == MAX_LISTED
        assert "951 more sessions of yours, used less recently, are not shown." in in_words(page)
        assert desk.post(PAGE, {"end": "others"}, **JSON).json()["ended"] == 1000
        assert listed(desk) == ids(desk)

    def test_the_page_is_not_kept_by_any_cache(self, desk: Browser) -> None:
        assert desk.get(PAGE)["Cache-Control"] == "private, no-store"


class TestWhoseSessions:
    def test_those_of_another_api_are_not_listed(self, desk: Browser, settings: Settings) -> None:
        with DemoApi(access_ttl=60) as other_api:
            settings.API_BASE_URL = other_api.url
            there = sign_in(ADA)
            assert there.record().user_id == desk.record().user_id

            assert listed(there) == ids(there)
            assert listed(desk) == ids(desk), "also where the site meanwhile has another API"

            answer = there.post(PAGE, {"end": "others"})
        assert answer.status_code == 302
        assert desk.record().ended_at is None

    def test_without_a_user_id_it_is_this_one_alone(self, desk: Browser, phone: Browser) -> None:
        SessionRecord.objects.update(user_id="", user_key=user_key(User(id="", name="Ada")))

        assert listed(desk) == ids(desk)
        assert desk.post(PAGE, {"end": "others"}, **JSON).json()["ended"] == 0
        assert desk.post(PAGE, {"end": ids(phone)[0]}, **JSON).status_code == 404
        assert phone.record().ended_at is None

    def test_a_session_of_an_earlier_release_joins_at_its_next_rotation(
        self, desk: Browser, phone: Browser, api: DemoApi
    ) -> None:
        SessionRecord.objects.update(user_key="")
        page = desk.get(PAGE)
        assert "They appear here after this session is next renewed." in in_words(page)
        assert listed(desk) == ids(desk)
        api.expire_access_tokens()

        assert desk.is_signed_in()
        assert listed(desk) == ids(desk)
        assert phone.is_signed_in()

        assert listed(desk) == ids(desk, phone)

    def test_an_id_says_who_the_user_is_unless_it_is_empty_or_may_be_cut(self) -> None:
        def key(id_: int | str) -> str:
            return user_key(User(id=id_, name="Ada"))

        assert key(1) == key("1") != key(2)
        assert key(0) != ""
        assert key("a" * 254) not in ("", key("a" * 253))
        assert {key(""), key("a" * 255)} == {""}


class TestEndingOne:
    def test_the_other_browser_is_signed_out_at_its_next_rotation_and_its_tokens_are_revoked(
        self, event_writer: BackgroundWriter[SessionEvent], desk: Browser, phone: Browser, grace: Browser, api: DemoApi
    ) -> None:
        [phones] = ids(phone)

        answer = desk.post(PAGE, {"end": phones})

        assert (answer.status_code, answer["Location"]) == (302, PAGE)
        assert reason(phones) == EndReason.ENDED_ELSEWHERE
        event = told(event_writer)[-1]
        assert (event.kind, str(event.session_id), event.address) == (EventKind.ENDED_ELSEWHERE, phones, "127.0.0.1")
        text = in_words(desk.get(PAGE))
        assert "You ended the session in Safari 18, iOS. That browser is signed out within a minute." in text
        assert listed(desk) == ids(desk)
        assert phone.is_signed_in(), "until its access token expires"
        api.expire_access_tokens()
        api.forget_calls()
        assert phone.open_page()["Location"] == "/accounts/login/?next=%2Fprotected%2F&ended=1"
        assert [(call.path, call.status) for call in api.calls] == [("/protected-route", 401), ("/auth/logout", 204)]
        assert not phone.take().get("session")
        assert desk.is_signed_in()
        assert grace.is_signed_in()

    def test_where_every_request_is_checked_it_is_signed_out_at_once(
        self, settings: Settings, desk: Browser, phone: Browser
    ) -> None:
        settings.API_SESSION_CHECK = "every-request"
        assert "A browser whose session you end is signed out at once." in in_words(desk.get(PAGE))

        desk.post(PAGE, {"end": ids(phone)[0]})

        assert not phone.is_signed_in()

    def test_where_the_lifetime_of_tokens_is_unknown_the_page_names_no_time(
        self, desk: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("accounts.session.tokens.TokenPair.access_lifetime", lambda tokens: None)

        assert "you end is signed out when its session is next renewed." in in_words(desk.get(PAGE))

    def test_to_end_this_session_is_to_sign_out(self, desk: Browser, phone: Browser, api: DemoApi) -> None:
        [desks] = ids(desk)
        api.forget_calls()

        answer = desk.post(PAGE, {"end": desks})

        assert (answer.status_code, answer["Location"]) == (302, "/")
        assert reason(desks) == EndReason.SIGNED_OUT
        assert [(call.path, call.status) for call in api.calls] == [("/auth/logout", 204)]
        assert not desk.take().get("session")
        [phones] = ids(phone)
        assert phone.post(PAGE, {"end": phones}, **JSON).status_code == 204
        assert reason(phones) == EndReason.SIGNED_OUT

    def test_any_other_id_ends_nothing_and_tells_nothing(self, desk: Browser, phone: Browser, grace: Browser) -> None:
        over, expired = sign_in(ADA), sign_in(ADA)
        [ended_id] = ids(over)
        over.sign_out()
        SessionRecord.objects.filter(pk=expired.session().id).update(expires_at=timezone.now() - timedelta(seconds=1))
        malformed = (ids(phone)[0][:-1], "'; DROP TABLE accounts_sessionrecord; --\x00", "1", "é" * 10_000)
        detail = "Nothing ended: none of your active sessions has this id."

        for target in (str(uuid4()), *ids(grace, expired), ended_id, *malformed):
            answer = desk.post(PAGE, {"end": target}, **JSON)
            assert (answer.status_code, answer.json()) == (404, {"ended": 0, "detail": detail}), target

        assert SessionRecord.objects.filter(ended_at=None).count() == 4
        assert desk.post(PAGE, {"end": ended_id})["Location"] == PAGE
        assert detail in in_words(desk.get(PAGE))

    def test_a_form_that_says_nothing_is_refused(self, desk: Browser) -> None:
        for form in ({}, {"end": ""}, {"end": " "}, {"other": "others"}):
            assert desk.post(PAGE, form).status_code == 400
            answer = desk.post(PAGE, form, **JSON)
            assert (answer.status_code, list(answer.json())) == (400, ["detail"])


class TestEndingAllOthers:
    def test_only_this_session_of_the_user_is_left(self, desk: Browser, phone: Browser, grace: Browser) -> None:
        third = sign_in(ADA)

        answer = desk.post(PAGE, {"end": "others"})

        assert (answer.status_code, answer["Location"]) == (302, PAGE)
        assert "You ended 2 other sessions. Each browser is signed out within a minute." in in_words(desk.get(PAGE))
        assert {reason(pk) for pk in ids(phone, third)} == {EndReason.ENDED_ELSEWHERE}
        assert {reason(pk) for pk in ids(desk, grace)} == {""}
        assert desk.post(PAGE, {"end": "others"}, **JSON).json() == {
            "ended": 0,
            "detail": "Nothing ended: you have no other active session.",
        }


class TestWhoMay:
    def test_it_needs_the_csrf_token(self, desk: Browser, phone: Browser) -> None:
        desk.client.handler.enforce_csrf_checks = True

        assert desk.post(PAGE, {"end": "others"}).status_code == 403
        assert desk.get(f"{PAGE}?end=others").status_code == 200
        assert desk.client.put(PAGE).status_code in (403, 405)
        assert phone.record().ended_at is None
        token = desk.get("/accounts/session/").json()["csrf_token"]
        assert desk.post(PAGE, {"end": "others"}, HTTP_X_CSRFTOKEN=token).status_code == 302
        assert phone.record().ended_at is not None

    def test_nobody_who_is_signed_out(self, browser: Browser) -> None:
        assert browser.get(PAGE)["Location"] == "/accounts/login/?next=%2Faccounts%2Fsessions%2F"
        for answer in (browser.get(PAGE, **JSON), browser.post(PAGE, {"end": "others"}, **JSON)):
            assert (answer.status_code, answer.json()["detail"]) == (401, "You are not signed in.")

    def test_no_session_that_has_ended(self, desk: Browser, phone: Browser) -> None:
        assert phone.is_signed_in()
        desk.post(PAGE, {"end": ids(phone)[0]})
        thief = phone.copy()

        assert thief.get(PAGE).status_code == 302
        answer = phone.post(PAGE, {"end": "others"}, **JSON)

        assert (answer.status_code, answer.json()["detail"]) == (401, "Your session has ended.")
        assert desk.record().ended_at is None

    def test_while_the_database_is_unavailable_the_page_says_so(self, desk: Browser, phone: Browser) -> None:
        with records_away():
            assert desk.get(PAGE).status_code == 503
            answer = desk.post(PAGE, {"end": "others"})

        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        assert listed(desk) == ids(desk, phone)
