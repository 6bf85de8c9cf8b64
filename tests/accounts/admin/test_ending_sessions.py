"""The action that ends sessions."""

from uuid import uuid4

from django.contrib.admin.models import LogEntry
from django.utils import timezone

from accounts.admin.ending import MAX_ENDED_AT_ONCE
from accounts.models import EndReason, SessionRecord
from tests.accounts.admin.pages import LIST, add_record, choose, confirm, end, rows, staff
from tests.browsers import ADA, GRACE, Browser
from tests.demo_api.server import DemoApi


class TestEndingSessions:
    def test_it_asks_first(self, rotated: Browser) -> None:
        grace, over = Browser(), add_record(user_name="Bea", ended_at=timezone.now(), end_reason=EndReason.REFUSED)
        grace.sign_in(GRACE)

        page = choose(staff(), rotated.record(), grace.record(), over)

        assert page.status_code == 200
        assert "These 2 sessions end" in page.text
        assert {row[0] for row in rows(page)} == {ADA, GRACE}
        assert {record.end_reason for record in SessionRecord.objects.exclude(pk=over.pk)} == {""}

    def test_after_confirmation_it_ends_them_and_says_how_many(self, rotated: Browser) -> None:
        grace = Browser()
        grace.sign_in(GRACE)
        browser = staff()

        response = end(browser, rotated.record(), grace.record())

        assert response.status_code == 302
        assert {record.end_reason for record in SessionRecord.objects.all()} == {EndReason.REVOKED}
        assert {record.sealed for record in SessionRecord.objects.all()} == {""}
        assert "2 sessions ended" in browser.get(LIST).text

    def test_only_the_listed_sessions_end(self, rotated: Browser) -> None:
        browser = staff()
        page = choose(browser, rotated.record())
        later = Browser()
        later.sign_in(GRACE)

        confirm(browser, page)

        assert later.record().end_reason == ""
        assert "1 session ended" in browser.get(LIST).text

    def test_the_admins_history_has_one_entry_for_each(self, rotated: Browser) -> None:
        record, over = rotated.record(), add_record(ended_at=timezone.now(), end_reason=EndReason.REFUSED)
        browser = staff()

        end(browser, record, over)

        [entry] = LogEntry.objects.all()
        assert (entry.object_id, entry.user.get_username()) == (str(record.pk), "harbour-master")
        assert "Ended the session." in browser.get(f"{LIST}{record.pk}/history/").text

    def test_it_needs_the_admins_own_csrf_token(self, rotated: Browser) -> None:
        browser = staff()
        browser.client.handler.enforce_csrf_checks = True

        choose(browser, rotated.record(), confirmed="yes")

        assert rotated.record().ended_at is None

    def test_all_results_of_a_search_can_be_ended(self, rotated: Browser) -> None:
        for _ in range(120):
            add_record(user_name="Bea", user_name_lower="bea")
        browser = staff()
        [one] = SessionRecord.objects.filter(user_name="Bea")[:1]

        asked = browser.post(
            f"{LIST}?q=bea",
            {"action": "end_sessions", "index": "0", "select_across": "1", "_selected_action": [str(one.pk)]},
        )
        confirm(browser, asked)

        assert SessionRecord.objects.filter(end_reason=EndReason.REVOKED).count() == 120
        assert rotated.record().ended_at is None

    def test_too_many_at_once_are_refused(self, transactional_db: None) -> None:
        SessionRecord.objects.bulk_create(
            SessionRecord(id=uuid4(), user_id="7", user_name="Bea") for _ in range(MAX_ENDED_AT_ONCE + 1)
        )
        browser = staff()
        first = SessionRecord.objects.all()[0]

        answer = choose(browser, first, select_across="1")

        assert answer.status_code == 302
        assert f"more than {MAX_ENDED_AT_ONCE} are selected" in browser.get(LIST).text
        assert not SessionRecord.objects.exclude(ended_at=None).exists()

    def test_the_form_accepts_the_largest_number(self, transactional_db: None) -> None:
        SessionRecord.objects.bulk_create(
            SessionRecord(id=uuid4(), user_id="7", user_name="Bea") for _ in range(MAX_ENDED_AT_ONCE)
        )
        browser = staff()

        end(browser, *SessionRecord.objects.all())

        assert SessionRecord.objects.filter(end_reason=EndReason.REVOKED).count() == MAX_ENDED_AT_ONCE

    def test_an_ended_session_keeps_its_reason(self, rotated: Browser) -> None:
        record = rotated.record()
        rotated.sign_out()
        browser = staff("view", "end")

        choose(browser, record, confirmed="yes")

        assert SessionRecord.objects.get().end_reason == EndReason.SIGNED_OUT
        assert "0 sessions ended" in browser.get(LIST).text
        assert not LogEntry.objects.exists()

    def test_the_browser_is_signed_out_at_its_next_rotation_and_its_tokens_are_revoked(
        self, rotated: Browser, api: DemoApi
    ) -> None:
        assert rotated.is_signed_in()
        end(staff(), rotated.record())
        assert rotated.is_signed_in(), "until its access token expires"
        api.expire_access_tokens()
        api.forget_calls()

        response = rotated.open_page()

        assert (response.status_code, response["Location"]) == (302, "/accounts/login/?next=%2Fprotected%2F&ended=1")
        assert not rotated.take().get("session")
        assert [(call.path, call.status) for call in api.calls] == [("/protected-route", 401), ("/auth/logout", 204)]
