"""Each session event is recorded once: in the log, for receivers of the signal, and in the database."""

import io
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from pytest_django import Settings

from accounts.history.background_writer import BackgroundWriter
from accounts.history.events import record_event
from accounts.history.timeline import kept_events
from accounts.models import EndReason, EventKind, SessionEvent, SessionRecord, Trigger
from accounts.rotation.ending import end_session
from accounts.signals import session_event
from tests.accounts.rotation.helpers import failing_store, move_back, rotate_and_confirm
from tests.accounts.rotation.hosts import several_hosts
from tests.browsers import GRACE, PATIENCE_SECONDS, Browser, let_a_minute_pass_in_records
from tests.demo_api.server import DemoApi, Fault


@pytest.fixture
def known(event_writer: BackgroundWriter[SessionEvent], signed_in: Browser) -> Browser:
    """Ada's browser, signed in, with no events in the database."""
    assert event_writer.finish(PATIENCE_SECONDS)
    SessionEvent.objects.all().delete()
    return signed_in


def told(event_writer: BackgroundWriter[SessionEvent]) -> list[SessionEvent]:
    """The events in the database, oldest first: those with rows of their own, and those that records keep."""
    assert event_writer.finish(PATIENCE_SECONDS)
    kept = [event for record in SessionRecord.objects.all() for event in reversed(kept_events(record))]
    return sorted([*SessionEvent.objects.order_by("pk"), *kept], key=lambda event: event.at)


def kinds(event_writer: BackgroundWriter[SessionEvent]) -> list[str]:
    return [event.kind for event in told(event_writer)]


def stream(browser: Browser) -> str:
    return b"".join(browser.get("/protected/stream/?rows=1&delay=0")).decode()


def post_session_update(browser: Browser, page: str) -> None:
    """Do what the script in a streamed page does."""
    [text] = re.findall(r'<session-update session="([^"]+)"', page)
    answer = browser.post("/accounts/session/update/", json.dumps({"session": text}), content_type="application/json")
    assert answer.status_code == 204


class TestRecordedEvents:
    def test_signing_in(self, event_writer: BackgroundWriter[SessionEvent], browser: Browser) -> None:
        answer = browser.sign_in()

        [event] = told(event_writer)
        assert (event.kind, event.session_id, event.generation) == (EventKind.SIGNED_IN, browser.session().id, 0)
        assert (event.address, event.request_id) == ("127.0.0.1", answer["X-Request-ID"])

    def test_a_rotation_after_a_401(
        self, event_writer: BackgroundWriter[SessionEvent], known: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        answer = known.open_page()

        [event] = told(event_writer)
        assert (event.kind, event.trigger, event.generation) == (EventKind.ROTATED, Trigger.UNAUTHORIZED, 1)
        assert event.request_id == answer["X-Request-ID"]
        assert event.session_id == known.session().id

    def test_the_duration_of_the_refresh(
        self, event_writer: BackgroundWriter[SessionEvent], known: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.delay(0.3))
        known.open_page()

        [event] = told(event_writer)
        assert event.duration_ms is not None
        assert 300 <= event.duration_ms < PATIENCE_SECONDS * 1000

    def test_a_rotation_of_a_token_that_had_expired(
        self, event_writer: BackgroundWriter[SessionEvent], known: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        known.age(61)
        known.open_page()

        [event] = told(event_writer)
        assert (event.kind, event.trigger) == (EventKind.ROTATED, Trigger.EXPIRED)

    @pytest.mark.parametrize(
        ("path", "trigger"),
        [("/protected/", Trigger.EARLY), ("/protected/stream/?rows=1&delay=0", Trigger.STREAM)],
        ids=["before a call", "before a stream"],
    )
    def test_a_rotation_ahead_of_expiry(
        self,
        event_writer: BackgroundWriter[SessionEvent],
        known: Browser,
        api: DemoApi,
        settings: Settings,
        path: str,
        trigger: Trigger,
    ) -> None:
        settings.API_DIALECT = "tests.accounts.rotation.test_early_refresh.EarlyDialect"
        api.expire_access_tokens()
        known.age(52)
        known.get(path).close()

        [event] = told(event_writer)
        assert (event.kind, event.trigger) == (EventKind.ROTATED, trigger)

    def test_a_confirmation(self, event_writer: BackgroundWriter[SessionEvent], known: Browser, api: DemoApi) -> None:
        rotate_and_confirm(known, api)
        known.open_page()

        assert kinds(event_writer) == [EventKind.ROTATED, EventKind.CONFIRMED]
        assert told(event_writer)[-1].generation == 1

    def test_a_session_that_was_picked_up(
        self, event_writer: BackgroundWriter[SessionEvent], known: Browser, api: DemoApi
    ) -> None:
        before = known.take()
        api.expire_access_tokens()
        known.open_page()
        let_a_minute_pass_in_records()
        known.put(before)
        known.open_page()

        assert kinds(event_writer) == [EventKind.ROTATED, EventKind.ADOPTED]
        assert told(event_writer)[-1].generation == 1

    def test_a_session_update_in_a_streamed_page(
        self, event_writer: BackgroundWriter[SessionEvent], known: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        page = stream(known)
        post_session_update(known, page)
        known.open_page()

        assert kinds(event_writer) == [
            EventKind.ROTATED,
            EventKind.UPDATE_SENT,
            EventKind.UPDATE_ACCEPTED,
            EventKind.CONFIRMED,
        ]
        assert {event.generation for event in told(event_writer)} == {1}

    def test_a_session_update_in_server_sent_events(
        self, event_writer: BackgroundWriter[SessionEvent], known: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        b"".join(known.get("/protected/events/?rows=1&delay=0"))

        assert kinds(event_writer) == [EventKind.ROTATED, EventKind.UPDATE_SENT]

    def test_an_api_that_is_unavailable(
        self, event_writer: BackgroundWriter[SessionEvent], known: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(503))
        known.open_page()

        [event] = told(event_writer)
        assert (event.kind, event.generation, event.trigger) == (EventKind.API_UNAVAILABLE, 0, Trigger.UNAUTHORIZED)
        assert event.duration_ms is not None

    def test_a_pair_that_could_not_be_stored(
        self,
        event_writer: BackgroundWriter[SessionEvent],
        known: Browser,
        api: DemoApi,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        api.expire_access_tokens()
        with failing_store():
            known.open_page()

        [event] = told(event_writer)
        assert (event.kind, event.trigger) == (EventKind.UNSTORED, Trigger.UNAUTHORIZED)
        assert event.duration_ms is not None
        assert "why=OperationalError" in caplog.text

    def test_a_refusal(
        self,
        event_writer: BackgroundWriter[SessionEvent],
        known: Browser,
        api: DemoApi,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        api.expire_access_tokens()
        api.revoke_all()
        user_id = known.session().user.id
        with caplog.at_level(logging.INFO, logger="accounts.history.events"):
            known.open_page()

        [event] = told(event_writer)
        assert (event.kind, event.address) == (EventKind.REFUSED, "127.0.0.1")
        assert f"(user_id={user_id} address=127.0.0.1 " in caplog.text

    def test_a_refresh_token_that_has_expired(
        self, event_writer: BackgroundWriter[SessionEvent], known: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        api.revoke_all()
        known.age(40 * 86400)
        known.open_page()

        assert kinds(event_writer) == [EventKind.EXPIRED]

    def test_a_session_that_was_pruned(self, event_writer: BackgroundWriter[SessionEvent], known: Browser) -> None:
        SessionRecord.objects.update(expires_at="2020-01-01T00:00:00Z", expiry_check_at="2020-01-01T00:00:00Z")
        call_command("prune_sessions", stdout=io.StringIO())

        assert kinds(event_writer) == [EventKind.EXPIRED]

    def test_signing_out(self, event_writer: BackgroundWriter[SessionEvent], known: Browser) -> None:
        answer = known.sign_out()

        [event] = told(event_writer)
        assert (event.kind, event.request_id) == (EventKind.SIGNED_OUT, answer["X-Request-ID"])

    def test_signing_in_again(self, event_writer: BackgroundWriter[SessionEvent], known: Browser) -> None:
        first = known.session().id
        known.sign_in(GRACE)

        assert {(event.session_id, event.kind) for event in told(event_writer)} == {
            (first, EventKind.REPLACED),
            (known.session().id, EventKind.SIGNED_IN),
        }

    def test_an_end_by_staff(self, event_writer: BackgroundWriter[SessionEvent], known: Browser) -> None:
        end_session(known.session().id, EndReason.REVOKED)

        assert kinds(event_writer) == [EventKind.REVOKED]

    def test_a_copied_cookie(self, event_writer: BackgroundWriter[SessionEvent], known: Browser, api: DemoApi) -> None:
        thief = known.copy()
        rotate_and_confirm(known, api)
        move_back(known, 31)
        thief.open_page()

        event = told(event_writer)[-1]
        assert (event.kind, event.generation, event.address) == (EventKind.REUSED, 0, "127.0.0.1")

    def test_each_end_reason_is_an_event_kind(self) -> None:
        assert {reason.value for reason in EndReason} < {kind.value for kind in EventKind}


class TestNoEvent:
    def test_a_page_without_a_rotation(self, event_writer: BackgroundWriter[SessionEvent], known: Browser) -> None:
        known.open_page()

        assert kinds(event_writer) == []

    def test_requests_that_waited_for_a_rotation(
        self, event_writer: BackgroundWriter[SessionEvent], known: Browser, api: DemoApi
    ) -> None:
        """Threads of one process share its result, other processes read it from the record. No response got lost."""
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.delay(0.2))
        with several_hosts(2) as hosts, ThreadPoolExecutor(6) as threads:

            def open_tab(number: int) -> int:
                hosts.move_to(number % 2)
                return known.copy().open_page().status_code

            assert set(threads.map(open_tab, range(6))) == {200}

        assert kinds(event_writer) == [EventKind.ROTATED]

    def test_a_second_end(self, event_writer: BackgroundWriter[SessionEvent], known: Browser) -> None:
        for _ in range(2):
            end_session(known.session().id, EndReason.REVOKED)
        known.sign_out()

        assert kinds(event_writer) == [EventKind.REVOKED]


class TestTheLog:
    """One line for each event: its text for people, its fields for machines."""

    @pytest.fixture(autouse=True)
    def everything_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)

    def of_sessions(self, caplog: pytest.LogCaptureFixture) -> list[Any]:
        return [line for line in caplog.records if line.name.startswith("accounts") and "session " in line.getMessage()]

    def test_it_names_the_session_the_user_and_the_request(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.clear()
        api.expire_access_tokens()
        answer = signed_in.open_page()

        [line] = self.of_sessions(caplog)
        session = signed_in.session()
        assert (line.event, line.levelname) == ("rotated", "INFO")
        assert (line.session_id, line.user_id) == (str(session.id), str(session.user.id))
        assert (line.request_id, line.address) == (answer["X-Request-ID"], "127.0.0.1")
        assert (line.generation, line.trigger) == (1, "401")
        for shown in (line.session_id, line.request_id, f"user_id={line.user_id}", f"duration_ms={line.duration_ms}"):
            assert shown in line.getMessage()

    def test_it_says_why_an_api_is_unavailable(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(503))
        caplog.clear()
        signed_in.open_page()

        [line] = self.of_sessions(caplog)
        assert (line.event, line.levelname, line.why) == ("api-away", "WARNING", "status 503")

    def test_each_event_has_one_line(self, browser: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture) -> None:
        browser.sign_in()
        rotate_and_confirm(browser, api)
        browser.sign_in()
        browser.sign_out()

        events = [line.event for line in self.of_sessions(caplog)]
        assert events == ["signed-in", "rotated", "confirmed", "signed-in", "replaced", "signed-out"]

    def test_a_value_from_the_api_cannot_begin_a_new_line(self, caplog: pytest.LogCaptureFixture) -> None:
        record_event(EventKind.SIGNED_IN, uuid4(), user_id="ada\nERROR all is lost", why="\r\n")

        [line] = self.of_sessions(caplog)
        assert line.getMessage().isprintable()


def test_receivers_of_the_signal_get_each_event(signed_in: Browser, api: DemoApi) -> None:
    heard: list[SessionEvent] = []

    def fail(**_: object) -> None:
        raise RuntimeError("this receiver fails")

    def listen(event: SessionEvent, **_: object) -> None:
        heard.append(event)

    api.expire_access_tokens()
    session_event.connect(fail)
    session_event.connect(listen)
    try:
        page = signed_in.open_page()
    finally:
        session_event.disconnect(fail)
        session_event.disconnect(listen)

    assert page.status_code == 200, "although a receiver failed"
    assert [(event.kind, event.trigger, event.generation) for event in heard] == [("rotated", "401", 1)]
