"""The list of sessions: what it shows, its filters and its search."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.admin import sessions
from accounts.admin.sessions import MAX_FOUND
from accounts.models import EndReason, SessionRecord
from tests.accounts.admin.pages import FIREFOX, LIST, add_event, add_record, rows, staff
from tests.browsers import ADA, Browser
from tests.demo_api.server import DemoApi


class TestTheList:
    def test_it_shows_who_is_signed_in_and_since_when(self, browser: Browser, api: DemoApi) -> None:
        browser.client.defaults["HTTP_USER_AGENT"] = FIREFOX
        browser.sign_in()
        api.expire_access_tokens()
        browser.open_page()
        record = browser.record()

        reader = staff()
        [row] = rows(reader.get(LIST))

        assert record.last_rotated_at
        assert row[1:3] == [ADA, "active"]
        times = [f"{moment:%Y-%m-%d %H:%M} UTC" for moment in (record.signed_in_at, record.last_rotated_at)]
        assert row[3:] == [*times, "Firefox 140, Linux127.0.0.1"]

    def test_the_state_says_why_a_session_is_over(self, rotated: Browser) -> None:
        add_record(user_name="Bea", expires_at=timezone.now() - timedelta(seconds=1))
        add_record(user_name="Cyr", ended_at=timezone.now(), end_reason=EndReason.REFUSED)

        states = {row[1]: row[2] for row in rows(staff().get(LIST))}

        assert states == {ADA: "active", "Bea": "expired", "Cyr": "ended: the API refused the refresh token"}

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ({"state": "active"}, {"active", "for ever"}),
            ({"state": "ended"}, {"refused", "replaced"}),
            ({"state": "expired"}, {"expired"}),
            ({"end_reason__exact": "refused"}, {"refused"}),
            ({"state": "ended", "end_reason__exact": "replaced"}, {"replaced"}),
            ({"signed_in_at__gte": "{yesterday}"}, {"active", "for ever", "refused", "expired"}),
            ({"state": "active", "q": "for"}, {"for ever"}),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
    )
    def test_it_is_filtered(self, transactional_db: None, query: dict[str, str], names: set[str]) -> None:
        now = timezone.now()
        ahead, ago = now + timedelta(days=3), now - timedelta(days=3)
        records: dict[str, dict[str, Any]] = {
            "active": {"expires_at": ahead},
            "for ever": {"expires_at": None},
            "refused": {"expires_at": ahead, "ended_at": now, "end_reason": EndReason.REFUSED},
            "replaced": {"signed_in_at": ago, "expires_at": ago, "ended_at": now, "end_reason": EndReason.REPLACED},
            "expired": {"expires_at": now - timedelta(seconds=1)},
        }
        for name, fields in records.items():
            add_record(user_name=name, user_name_lower=name, **fields)
        yesterday = f"{now - timedelta(days=1):%Y-%m-%d %H:%M:%S+00:00}"

        page = staff().get(LIST, data={key: value.format(yesterday=yesterday) for key, value in query.items()})

        assert {row[1] for row in rows(page)} == names

    def test_expired_sessions_come_in_the_order_of_their_index(self, transactional_db: None) -> None:
        """Without prune_sessions, many sessions are expired. In another order, PostgreSQL reads and sorts them all."""
        for hours in (2, 1, 3):
            then = timezone.now() - timedelta(hours=hours)
            add_record(user_name=f"{hours} hours ago", expires_at=then, expiry_check_at=then)

        page = staff().get(LIST, data={"state": "expired"})

        assert [row[1] for row in rows(page)] == ["1 hours ago", "2 hours ago", "3 hours ago"]
        plan = page.context_data["cl"].queryset.explain()  # type: ignore[attr-defined]
        if connection.vendor == "sqlite":
            assert "accounts_session_check" in plan
            assert "TEMP B-TREE FOR ORDER BY" not in plan

    @pytest.mark.parametrize("words", ["ada@", "ADA", "ada@example.com", " ada ", "1"])
    def test_a_session_is_found_by_the_beginning_of_its_users_name_or_id(self, rotated: Browser, words: str) -> None:
        add_record(user_name="Theada", user_name_lower="theada", user_id="71")

        page = staff().get(LIST, data={"q": words})

        assert [row[1] for row in rows(page)] == [ADA]

    @pytest.mark.parametrize("words", ["Émile", "émile z", "ÉMILE ZOLA", "50%", "a_b"])
    def test_names_are_found_literally_in_any_alphabet(self, transactional_db: None, words: str) -> None:
        for name in ("Émile Zola", "50% off", "a_b", "50 more", "axb"):
            add_record(user_name=name, user_name_lower=name.lower())

        page = staff().get(LIST, data={"q": words})

        assert [row[1] for row in rows(page)] == [
            {"É": "Émile Zola", "é": "Émile Zola"}.get(words[0]) or ("50% off" if words[0] == "5" else "a_b")
        ]

    def test_a_session_is_found_by_its_id(self, rotated: Browser) -> None:
        add_record()
        browser = staff()

        for words in (str(rotated.record().pk), rotated.record().pk.hex):
            assert [row[1] for row in rows(browser.get(LIST, data={"q": words}))] == [ADA]
        nowhere = str(uuid4())
        assert f"No session matches “{nowhere}”." in browser.get(LIST, data={"q": nowhere}).text
        assert ADA not in browser.get(LIST, data={"q": "nobody"}).text

    def test_a_search_with_too_many_results_says_so_and_has_the_exact_match(self, transactional_db: None) -> None:
        add_record(user_name="b", user_name_lower="b", signed_in_at=timezone.now() - timedelta(days=1))
        for fields in ({"user_name_lower": "bea"}, {"user_id": "bea"}):
            SessionRecord.objects.bulk_create(
                SessionRecord(**{"id": uuid4(), "user_id": "7", "user_name": "Bea", **fields}) for _ in range(MAX_FOUND)
            )
        browser = staff()

        page = browser.get(LIST, data={"q": "b", "o": "3"})

        assert f"More than {MAX_FOUND:,} sessions match, and the search stopped there" in page.text
        assert rows(page)[0][1] == "b", "the oldest one, and the only one with exactly this name"

    def test_the_newest_sign_in_comes_first(self, transactional_db: None) -> None:
        for days in (2, 3, 1):
            add_record(user_name=f"{days} days ago", signed_in_at=timezone.now() - timedelta(days=days))
        browser = staff()

        newest_first = [row[1] for row in rows(browser.get(LIST))]
        oldest_first = [row[1] for row in rows(browser.get(LIST, data={"o": "3"}))]

        assert newest_first == ["1 days ago", "2 days ago", "3 days ago"]
        assert oldest_first == newest_first[::-1]

    def test_the_number_of_queries_does_not_depend_on_the_number_of_sessions(self, transactional_db: None) -> None:
        browser = staff()
        browser.get(LIST)
        counts = []
        for more in (1, 20, 200):
            SessionRecord.objects.bulk_create(
                SessionRecord(id=uuid4(), user_id="7", user_name="Bea", user_agent=FIREFOX) for _ in range(more)
            )
            for _ in range(more):
                add_event()
            with CaptureQueriesContext(connection) as queries:
                assert browser.get(LIST).status_code == 200
            counts.append(len(queries))

        assert len(set(counts)) == 1, counts

    def test_it_counts_no_further_than_its_last_page(
        self, transactional_db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pages, a_page = 8, 50
        monkeypatch.setattr(sessions, "MAX_LISTED", pages * a_page)
        SessionRecord.objects.bulk_create(
            SessionRecord(id=uuid4(), user_id="7", user_name="Bea") for _ in range(pages * a_page + 1)
        )
        browser = staff()

        page = browser.get(LIST)

        assert f"More than {pages * a_page} sessions match." in page.text
        assert len(rows(browser.get(LIST, data={"p": f"{pages}"}))) == a_page
        assert browser.get(LIST, data={"p": f"{pages + 1}"}).status_code == 302, "there is no such page"
        assert "sessions match." not in browser.get(LIST, data={"q": "nobody"}).text
