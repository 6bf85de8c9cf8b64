"""Sessions in the admin: staff see every one of them and what happened to it, and can end it. Nobody sees a token."""

import html
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.admin.sessions import EVENTS_A_PAGE, MAX_ENDED_AT_ONCE, MAX_FOUND, MAX_LISTED
from accounts.history.background_writer import BackgroundWriter
from accounts.models import EndReason, EventKind, SessionEvent, SessionRecord, Trigger
from tests.accounts.history.test_events import post_session_update, stream, told
from tests.accounts.rotation.helpers import move_back, rotate_and_confirm
from tests.browsers import ADA, GRACE, Answer, Browser, let_databases_clock_move_on
from tests.demo_api.server import DemoApi, Fault

INDEX = "/admin/"
LIST = "/admin/accounts/sessionrecord/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


@pytest.fixture(autouse=True)
def nothing_is_known_of_the_last_hours() -> None:
    cache.clear()


@pytest.fixture
def rotated(signed_in: Browser, api: DemoApi) -> Browser:
    """Ada's browser after a rotation: from then on the record holds a sealed copy."""
    api.expire_access_tokens()
    assert signed_in.is_signed_in()
    return signed_in


def staff(*permissions: str) -> Browser:
    """The browser of a staff user who has these permissions for sessions; without any, of a superuser."""
    users = get_user_model().objects
    user = users.create_user("harbour-master", is_staff=True, is_superuser=not permissions)
    user.user_permissions.set(Permission.objects.filter(codename__in=[f"{name}_sessionrecord" for name in permissions]))
    browser = Browser()
    browser.client.force_login(user)
    return browser


def choose(browser: Browser, *sessions: SessionRecord, **form: str) -> Answer:
    """Tick these sessions in the list, and choose the action."""
    selected = [str(record.pk) for record in sessions]
    return browser.post(LIST, {"action": "end_sessions", "index": "0", "_selected_action": selected, **form})


def confirm(browser: Browser, page: Answer) -> Answer:
    """Send the form that asks whether to go on, as it is."""
    fields = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text)
    form: dict[str, list[str]] = {}
    for name, value in fields:
        form.setdefault(name, []).append(html.unescape(value))
    return browser.post(LIST, form)


def end(browser: Browser, *sessions: SessionRecord) -> Answer:
    return confirm(browser, choose(browser, *sessions))


def detail(record: SessionRecord) -> str:
    return f"{LIST}{record.pk}/change/"


def add_record(**fields: Any) -> SessionRecord:
    values = {"id": uuid4(), "user_id": "7", "user_name": "Émile Zola", "user_name_lower": "émile zola"}
    return SessionRecord.objects.create(**{**values, **fields})


def add_event(**fields: Any) -> SessionEvent:
    return SessionEvent.objects.create(
        **{"session_id": uuid4(), "kind": EventKind.ROTATED, "at": timezone.now(), "generation": 1, **fields}
    )


def rows(page: Answer, *, summary: bool = False) -> list[list[str]]:
    """The text of the cells, row by row: of the list or of the page's own table, or of the one above the list."""
    tables = re.findall(r"<table.*?</table>", page.text, re.DOTALL)
    assert tables, page.text
    found = re.findall(r"<tr[^>]*>(.*?)</tr>", tables[-2 if summary else -1], re.DOTALL)
    return [[_text(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL)] for row in found[1:]]


def _text(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup)).strip()


class TestTheList:
    def test_it_says_who_is_signed_in_and_since_when(self, browser: Browser, api: DemoApi) -> None:
        browser.client.defaults["HTTP_USER_AGENT"] = FIREFOX
        browser.sign_in()
        api.expire_access_tokens()
        browser.open_page()
        record = browser.record()

        reader = staff()
        [row] = rows(reader.get(LIST))

        assert record.last_rotated_at
        assert row[1:3] == [ADA, "active"]
        assert row[5:] == ["1", "waiting for the browser", "127.0.0.1", "Firefox 140, Linux", row[-1]]
        for moment, shown in ((record.signed_in_at, row[3]), (record.last_rotated_at, row[4])):
            assert shown == f"{moment:%Y-%m-%d %H:%M}"
        browser.open_page()
        [row] = rows(reader.get(LIST))
        assert row[6] == "confirmed"

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

    @pytest.mark.parametrize("words", ["ada@", "ADA", "ada@example.com", " ada ", "1"])
    def test_a_session_is_found_by_the_beginning_of_its_users_name_or_id(self, rotated: Browser, words: str) -> None:
        add_record(user_name="Theada", user_name_lower="theada", user_id="71")

        page = staff().get(LIST, data={"q": words})

        assert [row[1] for row in rows(page)] == [ADA]

    @pytest.mark.parametrize("words", ["Émile", "émile z", "ÉMILE ZOLA", "50%", "a_b"])
    def test_names_are_found_to_the_letter_whatever_the_alphabet(self, transactional_db: None, words: str) -> None:
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
        assert "0 sessions" in browser.get(LIST, data={"q": str(uuid4())}).text
        assert ADA not in browser.get(LIST, data={"q": "nobody"}).text

    def test_a_search_for_too_many_says_so_and_has_what_was_meant(self, transactional_db: None) -> None:
        add_record(user_name="b", user_name_lower="b", signed_in_at=timezone.now() - timedelta(days=1))
        for fields in ({"user_name_lower": "bea"}, {"user_id": "bea"}):
            SessionRecord.objects.bulk_create(
                SessionRecord(**{"id": uuid4(), "user_id": "7", "user_name": "Bea", **fields}) for _ in range(MAX_FOUND)
            )
        browser = staff()

        page = browser.get(LIST, data={"q": "b", "o": "3"})

        assert f"More than {MAX_FOUND:,} sessions are like that" in page.text
        assert rows(page)[0][1] == "b", "the oldest, and the only one of that very name"

    def test_the_newest_sign_in_comes_first(self, transactional_db: None) -> None:
        for days in (2, 3, 1):
            add_record(user_name=f"{days} days ago", signed_in_at=timezone.now() - timedelta(days=days))
        browser = staff()

        newest_first = [row[1] for row in rows(browser.get(LIST))]
        oldest_first = [row[1] for row in rows(browser.get(LIST, data={"o": "3"}))]

        assert newest_first == ["1 days ago", "2 days ago", "3 days ago"]
        assert oldest_first == newest_first[::-1]

    def test_it_costs_as_many_queries_whatever_it_lists(self, transactional_db: None) -> None:
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

    def test_it_counts_no_further_than_anybody_turns_pages(self, transactional_db: None) -> None:
        SessionRecord.objects.bulk_create(
            SessionRecord(id=uuid4(), user_id="7", user_name="Bea") for _ in range(MAX_LISTED + 1)
        )
        browser = staff()

        page = browser.get(LIST)

        assert f"There are more than {MAX_LISTED} sessions like these." in page.text
        assert len(rows(browser.get(LIST, data={"p": "200"}))) == MAX_LISTED // 200
        assert browser.get(LIST, data={"p": "201"}).status_code == 302, "there is no such page"
        assert "There are more than" not in browser.get(LIST, data={"q": "nobody"}).text


class TestTheSummary:
    def test_it_counts_what_happened_in_the_last_day(self, rotated: Browser) -> None:
        now = timezone.now()
        for kind, times in {
            EventKind.ROTATED: 5,
            EventKind.ADOPTED: 3,
            EventKind.API_UNAVAILABLE: 2,
            EventKind.REFUSED: 1,
            EventKind.REUSED: 4,
        }.items():
            for _ in range(times):
                add_event(kind=kind, at=now)
        add_event(kind=EventKind.ROTATED, at=now - timedelta(hours=3))
        add_event(kind=EventKind.ADOPTED, at=now - timedelta(hours=25))
        add_record(ended_at=now, end_reason=EndReason.REFUSED)

        page = staff().get(LIST)

        figures = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", page.text))
        assert figures == {
            "Sessions active now": "1",
            "Adoptions: lost answers healed": "3",
            "Reuses of a copied cookie": "4",
        }
        assert "6 rotated, 3 adopted after a lost answer, 2 the API was away, 1 refused by the API." in page.text
        table = rows(page, summary=True)
        assert table[0][1:] == ["5", "3", "2", "1"], "the present hour"
        assert table[3][1:] == ["1", "0", "0", "0"]
        assert len(table) == 24

    def test_the_drawing_has_a_name_a_text_and_no_inline_style(self, rotated: Browser) -> None:
        add_event()

        page = staff().get(LIST).text

        [drawing] = re.findall(r'<svg class="rotations".*?</svg>', page, re.DOTALL)
        assert 'role="img" aria-labelledby="rotations-title rotations-text"' in drawing
        assert '<title id="rotations-title">Rotations an hour, by outcome</title>' in drawing
        assert drawing.count('<rect class="rotated"') == 1
        assert "style=" not in drawing

    def test_an_hour_that_is_over_is_counted_once(self, transactional_db: None) -> None:
        add_event(at=timezone.now() - timedelta(hours=5))
        browser = staff()
        assert "Since " in browser.get(LIST).text

        with CaptureQueriesContext(connection) as queries:
            page = browser.get(LIST)

        assert ": 1 rotated" in page.text
        assert sum("accounts_sessionevent" in query["sql"] for query in queries) <= 2, "the present one, and the last"

    def test_without_any_event_it_says_so(self, transactional_db: None) -> None:
        assert "No session was rotated in these hours." in staff().get(LIST).text


class TestASessionsPage:
    def test_it_tells_what_the_list_has_no_room_for(self, browser: Browser) -> None:
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
        let_databases_clock_move_on()
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

        assert [row[1] for row in reversed(found)] == [
            "signed in",
            "rotated (on a 401)",
            "picked up: the response with the newest session had not reached the browser",
            "confirmed: the browser has the newest session",
            "rotated (on a 401)",
            "session update sent in the body of a stream",
            "session update accepted into the cookie",
            "confirmed: the browser has the newest session",
            "the API gave no usable response to the refresh (on a 401)",
            "ended: the user signed out",
        ]
        assert found[-2] == [
            f"{rotation.at:%Y-%m-%d %H:%M:%S.%f}",
            "rotated (on a 401)",
            "1",
            f"{rotation.duration_ms} ms",
            "127.0.0.1",
            request_id,
        ]

    def test_every_kind_has_words(self, transactional_db: None) -> None:
        record = add_record()
        for kind in EventKind:
            add_event(session_id=record.pk, kind=kind)
        for trigger in Trigger:
            add_event(session_id=record.pk, kind=EventKind.ROTATED, trigger=trigger)

        words = [row[1] for row in rows(staff().get(detail(record)))]

        assert sorted(words) == sorted([kind.label for kind in EventKind] + [f"rotated ({t.label})" for t in Trigger])

    def test_only_its_own_events_are_on_it(self, transactional_db: None) -> None:
        record = add_record()
        add_event()

        assert "Nothing is known of it." in staff().get(detail(record)).text

    def test_a_long_one_has_pages(self, transactional_db: None) -> None:
        record, now = add_record(), timezone.now()
        SessionEvent.objects.bulk_create(
            SessionEvent(
                session_id=record.pk, kind=EventKind.ROTATED, generation=number, at=now + timedelta(seconds=number)
            )
            for number in range(EVENTS_A_PAGE + 1)
        )
        browser = staff()

        first, second = browser.get(detail(record)), browser.get(f"{detail(record)}?events=2")

        assert (rows(first)[0][2], rows(first)[-1][2]) == (str(EVENTS_A_PAGE), "1")
        assert [row[2] for row in rows(second)] == ["0"]
        assert 'href="?events=2">Older' in first.text
        assert "Newer" not in first.text
        assert 'href="?events=1">Newer' in second.text
        assert "Older" not in second.text

    @pytest.mark.parametrize("page", ["0", "-1", "x", "٣", "9" * 30])
    def test_a_page_that_nobody_linked_to_is_no_error(self, transactional_db: None, page: str) -> None:
        assert staff().get(f"{detail(add_record())}?events={page}").status_code == 200


class TestSecrets:
    PIECE = 12

    def pieces(self, texts: list[str]) -> set[str]:
        """Everything of these texts that is long enough to be recognised."""
        return {text[start : start + self.PIECE] for text in texts for start in range(len(text) - self.PIECE + 1)}

    def shown(self, page: str, pieces: set[str]) -> list[str]:
        return [page[at : at + self.PIECE] for at in range(len(page)) if page[at : at + self.PIECE] in pieces]

    def test_no_page_holds_a_token_a_sealed_copy_or_a_cookie_nor_a_piece_of_one(
        self, event_writer: BackgroundWriter[SessionEvent], signed_in: Browser, api: DemoApi
    ) -> None:
        hidden: list[str] = []

        def note(browser: Browser) -> None:
            session, record = browser.session(), browser.record()
            hidden.extend([session.tokens.access, session.tokens.refresh, session.secret.hex(), record.sealed])
            hidden.extend(browser.take().values())

        note(signed_in)
        thief = signed_in.copy()
        rotate_and_confirm(signed_in, api)
        note(signed_in)
        api.expire_access_tokens()
        page = stream(signed_in)
        hidden.extend(re.findall(r'session="([^"]+)"', page))
        post_session_update(signed_in, page)
        note(signed_in)
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(503))
        signed_in.open_page()
        living = Browser()
        living.sign_in(GRACE)
        rotate_and_confirm(living, api)
        note(living)
        record, other = signed_in.record(), living.record()
        move_back(signed_in, 31)
        thief.open_page()
        event_writer.finish(30)
        browser = staff()
        paths = (
            *(INDEX, "/admin/accounts/", LIST, f"{LIST}?q=ada", f"{LIST}?state=ended", f"{LIST}?state=active"),
            *(detail(record), detail(other), f"{LIST}{record.pk}/history/", f"{LIST}{other.pk}/history/"),
            *("/admin/jsi18n/", f"{LIST}nothing/change/"),
        )
        assert other.sealed, "what ends has none any more"
        pages = {f"before the end: {path}": browser.get(path, follow=True) for path in paths}
        pages |= {"asked": choose(browser, other), "ended": end(browser, other)}
        pages |= {f"after it: {path}": browser.get(path, follow=True) for path in paths}
        pieces = self.pieces([text for text in hidden if text])
        assert len(pieces) > 1000
        assert self.shown(f"here is {hidden[0][5:40]}", pieces), "a piece would be noticed"

        for name, answer in pages.items():
            assert answer.status_code in (200, 302), name
            assert self.shown(answer.text, pieces) == [], name

    @pytest.mark.parametrize("field", ["sealed", "lease_owner", "retired", "user_agent"])
    def test_no_filter_of_ones_own_asks_for_a_column_letter_by_letter(self, rotated: Browser, field: str) -> None:
        browser = staff()

        assert browser.get(LIST, data={f"{field}__startswith": rotated.record().sealed[:1]}).status_code == 400


class TestWhatStaffMayNotDo:
    def test_a_session_is_neither_added_nor_changed_nor_deleted(self, rotated: Browser) -> None:
        browser, record = staff(), rotated.record()

        assert browser.get(f"{LIST}add/").status_code == 403
        assert browser.post(f"{LIST}{record.pk}/delete/", {"post": "yes"}).status_code == 403
        browser.post(detail(record), {"user_name": "eve", "generation": "7", "end_reason": "revoked"})
        browser.post(LIST, {"action": "delete_selected", "_selected_action": [str(record.pk)], "post": "yes"})

        after = rotated.record()
        assert (after.user_name, after.generation, after.end_reason, after.ended_at) == (ADA, 1, "", None)

    def test_who_may_only_look_cannot_end_one(self, rotated: Browser) -> None:
        browser = staff("view")

        page = browser.get(LIST)
        asked = choose(browser, rotated.record())
        choose(browser, rotated.record(), confirmed="yes")

        assert "Sessions to end" not in asked.text
        assert page.status_code == 200
        assert "end_sessions" not in page.text
        assert browser.get(detail(rotated.record())).status_code == 200
        assert rotated.record().ended_at is None

    def test_who_may_only_end_them_cannot_look(self, rotated: Browser) -> None:
        browser = staff("end")

        assert browser.get(LIST).status_code == 403
        assert browser.get(detail(rotated.record())).status_code == 403
        assert choose(browser, rotated.record()).status_code == 403

    def test_events_have_no_pages_of_their_own(self, rotated: Browser) -> None:
        assert staff().get("/admin/accounts/sessionevent/").status_code == 404

    def test_a_user_of_the_api_is_no_staff(self, rotated: Browser) -> None:
        response = rotated.get(LIST)

        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")


class TestEndingSessions:
    def test_it_asks_first(self, rotated: Browser) -> None:
        grace, over = Browser(), add_record(user_name="Bea", ended_at=timezone.now(), end_reason=EndReason.REFUSED)
        grace.sign_in(GRACE)

        page = choose(staff(), rotated.record(), grace.record(), over)

        assert page.status_code == 200
        assert "These 2 sessions end" in page.text
        assert {row[0] for row in rows(page)} == {ADA, GRACE}
        assert {record.end_reason for record in SessionRecord.objects.exclude(pk=over.pk)} == {""}

    def test_then_it_ends_them_and_says_how_many(self, rotated: Browser) -> None:
        grace = Browser()
        grace.sign_in(GRACE)
        browser = staff()

        response = end(browser, rotated.record(), grace.record())

        assert response.status_code == 302
        assert {record.end_reason for record in SessionRecord.objects.all()} == {EndReason.REVOKED}
        assert {record.sealed for record in SessionRecord.objects.all()} == {""}
        assert "2 sessions ended" in browser.get(LIST).text

    def test_only_what_was_listed_ends(self, rotated: Browser) -> None:
        browser = staff()
        page = choose(browser, rotated.record())
        later = Browser()
        later.sign_in(GRACE)

        confirm(browser, page)

        assert later.record().end_reason == ""
        assert "1 session ended" in browser.get(LIST).text

    def test_it_is_in_the_admins_own_history_once_for_each(self, rotated: Browser) -> None:
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

    def test_all_of_a_search_can_be_ended_not_only_a_page(self, rotated: Browser) -> None:
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

    def test_there_is_an_end_to_how_many_at_once(self, transactional_db: None) -> None:
        SessionRecord.objects.bulk_create(
            SessionRecord(id=uuid4(), user_id="7", user_name="Bea") for _ in range(MAX_ENDED_AT_ONCE + 1)
        )
        browser = staff()
        first = SessionRecord.objects.all()[0]

        answer = choose(browser, first, select_across="1")

        assert answer.status_code == 302
        assert f"more than {MAX_ENDED_AT_ONCE} sessions" in browser.get(LIST).text
        assert not SessionRecord.objects.exclude(ended_at=None).exists()

    def test_as_many_as_that_pass_through_the_form(self, transactional_db: None) -> None:
        SessionRecord.objects.bulk_create(
            SessionRecord(id=uuid4(), user_id="7", user_name="Bea") for _ in range(MAX_ENDED_AT_ONCE)
        )
        browser = staff()

        end(browser, *SessionRecord.objects.all())

        assert SessionRecord.objects.filter(end_reason=EndReason.REVOKED).count() == MAX_ENDED_AT_ONCE

    def test_one_that_has_ended_keeps_its_reason(self, rotated: Browser) -> None:
        record = rotated.record()
        rotated.sign_out()
        browser = staff("view", "end")

        choose(browser, record, confirmed="yes")

        assert SessionRecord.objects.get().end_reason == EndReason.SIGNED_OUT
        assert "0 sessions ended" in browser.get(LIST).text
        assert not LogEntry.objects.exists()

    def test_the_browser_is_out_at_its_next_rotation_and_its_pair_is_revoked(
        self, rotated: Browser, api: DemoApi
    ) -> None:
        assert rotated.is_signed_in()
        end(staff(), rotated.record())
        assert rotated.is_signed_in(), "until its access token runs out"
        api.expire_access_tokens()
        api.forget_calls()

        response = rotated.open_page()

        assert (response.status_code, response["Location"]) == (302, "/accounts/login/?next=%2Fprotected%2F&ended=1")
        assert not rotated.take().get("session")
        assert [(call.path, call.status) for call in api.calls] == [("/protected-route", 401), ("/auth/logout", 204)]


def test_nothing_can_be_saved_not_even_unchanged(rotated: Browser) -> None:
    """Django's form writes every column as it was loaded: a rotation in between would be undone."""
    record = SessionRecord.objects.get()

    answer = staff().post(f"/admin/accounts/sessionrecord/{record.pk}/change/", {"_save": "Save"})

    assert answer.status_code == 403
    assert SessionRecord.objects.get().generation == record.generation
