"""The page of a session: its data and its events."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.history.background_writer import BackgroundWriter
from accounts.history.timeline import EVENTS_PER_PAGE
from accounts.models import EventKind, SessionEvent, Trigger
from tests.accounts.admin.pages import FIREFOX, add_event, add_record, detail, rows, staff
from tests.accounts.history.test_events import post_session_update, stream, told
from tests.accounts.rotation.helpers import rotate_and_confirm
from tests.browsers import ADA, Browser, let_a_minute_pass_in_records
from tests.demo_api.server import DemoApi, Fault


class TestTheSessionPage:
    def test_it_shows_more_than_the_list(self, browser: Browser) -> None:
        browser.client.defaults["HTTP_USER_AGENT"] = FIREFOX
        browser.sign_in()
        record = browser.record()

        page = staff().get(detail(record))

        assert page.status_code == 200
        for shown in (str(record.pk), ADA, "127.0.0.1", FIREFOX, "Firefox 140, Linux", "active", "confirmed"):
            assert shown in page.text

    def test_its_timeline_is_what_happened(
        self, event_writer: BackgroundWriter[SessionEvent], signed_in: Browser, api: DemoApi
    ) -> None:
        before = signed_in.take()
        api.expire_access_tokens()
        request_id = signed_in.open_page()["X-Request-ID"]
        let_a_minute_pass_in_records()
        signed_in.put(before)
        signed_in.open_page()
        api.expire_access_tokens()
        post_session_update(signed_in, stream(signed_in))
        signed_in.open_page()
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(503))
        signed_in.open_page()
        record = signed_in.record()
        signed_in.sign_out()
        rotation = next(event for event in told(event_writer) if event.kind == EventKind.ROTATED)

        found = rows(staff().get(detail(record)))

        on_a_401 = Trigger.UNAUTHORIZED.label
        assert [row[1] for row in reversed(found)] == [
            EventKind.SIGNED_IN.label,
            f"{EventKind.ROTATED.label} ({on_a_401})",
            EventKind.ADOPTED.label,
            EventKind.CONFIRMED.label,
            f"{EventKind.ROTATED.label} ({on_a_401})",
            EventKind.UPDATE_SENT.label,
            EventKind.UPDATE_ACCEPTED.label,
            EventKind.CONFIRMED.label,
            f"{EventKind.API_UNAVAILABLE.label} ({on_a_401})",
            EventKind.SIGNED_OUT.label,
        ]
        assert found[-2] == [
            f"{rotation.at:%Y-%m-%d %H:%M:%S.%f} UTC",
            "rotated (on a 401)",
            "1",
            f"{rotation.duration_ms} ms",
            "127.0.0.1",
            request_id,
        ]

    def test_every_kind_has_a_label(self, transactional_db: None) -> None:
        record = add_record()
        for kind in EventKind:
            add_event(session_id=record.pk, kind=kind)
        for trigger in Trigger:
            add_event(session_id=record.pk, kind=EventKind.ROTATED, trigger=trigger)

        labels = [row[1] for row in rows(staff().get(detail(record)))]

        assert sorted(labels) == sorted([kind.label for kind in EventKind] + [f"rotated ({t.label})" for t in Trigger])

    def test_only_its_own_events_are_on_it(self, transactional_db: None) -> None:
        record = add_record()
        add_event()

        assert "No events are recorded." in staff().get(detail(record)).text

    def test_a_long_one_has_pages(self, transactional_db: None) -> None:
        record, now = add_record(), timezone.now()
        SessionEvent.objects.bulk_create(
            SessionEvent(
                session_id=record.pk, kind=EventKind.ROTATED, generation=number, at=now + timedelta(seconds=number)
            )
            for number in range(EVENTS_PER_PAGE + 1)
        )
        browser = staff()

        first, second = browser.get(detail(record)), browser.get(f"{detail(record)}?events=2")

        assert (rows(first)[0][2], rows(first)[-1][2]) == (str(EVENTS_PER_PAGE), "1")
        assert [row[2] for row in rows(second)] == ["0"]
        assert 'href="?events=2">Older' in first.text
        assert "Newer" not in first.text
        assert 'href="?events=1">Newer' in second.text
        assert "Older" not in second.text
        assert "This session was rotated" not in first.text

    def test_of_many_rotations_it_lists_the_newest_and_says_so(self, rotated: Browser, api: DemoApi) -> None:
        """Rows of the release before, and what the record keeps since then."""
        for _ in range(3):
            rotate_and_confirm(rotated, api)
        record = rotated.record()
        add_event(session_id=record.pk, kind=EventKind.ROTATED, generation=1, at=timezone.now() - timedelta(days=1))
        browser = staff()
        everything = browser.get(detail(record))
        rotate_and_confirm(rotated, api)

        page = browser.get(detail(record))

        assert [row[2] for row in rows(everything)] == ["4", "4", "3", "3", "2", "2", "1"]
        assert "This session was rotated" not in everything.text
        assert [row[2] for row in rows(page)] == ["5", "5", "4", "4", "3", "3", "1"]
        assert "This session was rotated 5 times." in page.text

    @pytest.mark.parametrize("page", ["0", "-1", "x", "٣", "9" * 30])
    def test_a_page_number_that_does_not_exist_is_no_error(self, transactional_db: None, page: str) -> None:
        assert staff().get(f"{detail(add_record())}?events={page}").status_code == 200
