"""The buttons on the page of a session: end it, or end all sessions of its user."""

import re
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone
from pytest_django import Settings

from accounts.admin.ending import MAX_ENDED_AT_ONCE
from accounts.models import EndReason, SessionRecord
from tests.accounts.admin.pages import LIST, add_record, detail, rows, staff
from tests.browsers import ADA, GRACE, Answer, Browser
from tests.demo_api.server import DemoApi

ONE, ALL = "End this session", "End all sessions of this user"


def buttons(page: Answer) -> dict[str, str]:
    """The address that each button posts to, by its text."""
    found = re.findall(r'<form method="post" action="([^"]+)">.*?<button[^>]*>([^<]+)</button>', page.text)
    return {text: address for address, text in found}


def press(browser: Browser, record: SessionRecord, button: str, *, confirmed: bool = True) -> Answer:
    address = buttons(browser.get(detail(record)))[button]
    page = browser.post(address)
    return browser.post(address, {"confirmed": "yes"}, follow=True) if confirmed else page


@pytest.fixture
def other(rotated: Browser) -> Browser:
    """Another browser of Ada."""
    browser = Browser()
    browser.sign_in()
    return browser


@pytest.fixture
def grace(rotated: Browser) -> Browser:
    browser = Browser()
    browser.sign_in(GRACE)
    return browser


class TestEndingThisSession:
    def test_it_asks_first_and_then_ends_this_one_alone(self, rotated: Browser, other: Browser) -> None:
        browser = staff("view", "end")

        asked = press(browser, rotated.record(), ONE, confirmed=False)

        assert [row[0] for row in rows(asked)] == [ADA]
        assert f'href="{detail(rotated.record())}"' in asked.text
        assert rotated.record().ended_at is None

        page = press(browser, rotated.record(), ONE)

        assert (rotated.record().end_reason, other.record().end_reason) == (EndReason.REVOKED, "")
        assert "1 session ended." in page.text
        assert list(buttons(page)) == [ALL], "it has ended"
        assert LogEntry.objects.get().object_id == str(rotated.record().pk)

    def test_the_second_time_it_says_that_it_had_ended(self, rotated: Browser) -> None:
        browser, record = staff(), rotated.record()
        address = buttons(browser.get(detail(record)))[ONE]
        rotated.sign_out()

        page = browser.post(address, {"confirmed": "yes"}, follow=True)

        assert "0 sessions ended: they had ended before." in page.text
        assert SessionRecord.objects.get().end_reason == EndReason.SIGNED_OUT

    def test_get_ends_nothing(self, rotated: Browser) -> None:
        browser = staff()

        page = browser.get(buttons(browser.get(detail(rotated.record())))[ONE], data={"confirmed": "yes"})

        assert "Yes, end it" in page.text
        assert rotated.record().ended_at is None


class TestEndingAllOfAUser:
    def test_all_of_this_user_end_and_no_others(
        self, rotated: Browser, other: Browser, grace: Browser, settings: Settings
    ) -> None:
        with DemoApi(access_ttl=60) as other_api:
            settings.API_BASE_URL = other_api.url
            elsewhere = Browser()
            elsewhere.sign_in()
        earlier = add_record(user_id="1", user_name=ADA)
        over = add_record(user_id="1", user_key=rotated.record().user_key, ended_at=timezone.now())
        browser = staff("view", "end")
        assert len(rows(press(browser, other.record(), ALL, confirmed=False))) == 3

        page = press(browser, other.record(), ALL)

        assert "3 sessions ended." in page.text
        ended = set(SessionRecord.objects.filter(end_reason=EndReason.REVOKED).values_list("pk", flat=True))
        assert ended == {rotated.record().pk, other.record().pk, earlier.pk}
        assert (grace.record().ended_at, elsewhere.record().ended_at) == (None, None)
        over.refresh_from_db()
        assert over.end_reason == ""

    def test_it_is_not_offered_where_it_is_unknown_who_the_user_is(self, rotated: Browser) -> None:
        browser = staff()

        for record in (add_record(user_id=""), add_record(user_id="a" * 255), add_record(user_id="1")):
            assert list(buttons(browser.get(detail(record)))) == [ONE]
            browser.post(f"{LIST}{record.pk}/end/all/", {"confirmed": "yes"})

        assert not SessionRecord.objects.exclude(ended_at=None).exists()

    def test_more_than_a_form_can_hold_end_in_several_steps(self, rotated: Browser) -> None:
        fields = {"user_id": "1", "user_key": rotated.record().user_key, "user_name": ADA}
        SessionRecord.objects.bulk_create(SessionRecord(id=uuid4(), **fields) for _ in range(MAX_ENDED_AT_ONCE))
        browser = staff()

        page = press(browser, rotated.record(), ALL)
        assert f"{MAX_ENDED_AT_ONCE} sessions ended." in page.text
        assert "This user has more sessions." in page.text
        press(browser, rotated.record(), ALL)

        assert not SessionRecord.objects.filter(ended_at=None).exists()


class TestWhoMayEndThem:
    @pytest.mark.parametrize("permission", ["view", "end"])
    def test_one_permission_alone_is_not_enough(self, rotated: Browser, permission: str) -> None:
        browser, record = staff(permission), rotated.record()

        assert buttons(browser.get(detail(record))) == {}
        for path in ("end/", "end/all/"):
            assert browser.post(f"{LIST}{record.pk}/{path}", {"confirmed": "yes"}).status_code == 403
        assert rotated.record().ended_at is None

    def test_nobody_without_a_csrf_token_and_nobody_who_is_no_staff(self, rotated: Browser) -> None:
        browser, record = staff(), rotated.record()
        address = buttons(browser.get(detail(record)))[ALL]
        browser.client.handler.enforce_csrf_checks = True

        assert browser.post(address, {"confirmed": "yes"}).status_code == 403
        assert rotated.post(address, {"confirmed": "yes"})["Location"].startswith("/admin/login/")
        assert rotated.record().ended_at is None

    def test_an_unknown_session_is_not_found(self, rotated: Browser) -> None:
        assert staff().post(f"{LIST}{uuid4()}/end/", {"confirmed": "yes"}).status_code == 404


def test_every_time_has_the_same_format_and_its_zone(rotated: Browser) -> None:
    browser, record = staff(), rotated.record()
    browser.get(LIST)
    press(browser, record, ONE)

    for path in (LIST, detail(record), f"{LIST}{record.pk}/history/"):
        text = browser.get(path).text
        assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", text), path
        assert not re.search(r"[ap]\.m\.", text), path


def test_an_empty_list_says_what_that_means(transactional_db: None) -> None:
    browser = staff()

    assert "There is no session yet. Each sign-in of a user begins one." in browser.get(LIST).text
    assert "No session matches the filters." in browser.get(LIST, data={"state": "ended"}).text
    page = browser.get(LIST, data={"state": "ended", "q": "<b>ada"}).text
    assert "No session matches “&lt;b&gt;ada” and the filters." in page
    assert "API session: administration" in page
