"""What a request trace does not hold, such as a token, a cookie or a part of one, and how long traces are kept."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection
from django.utils import timezone
from pytest_django import Settings

from accounts.history.traced_requests import KEPT_REQUESTS, TracedRequestWriter
from accounts.models import SessionRecord, TracedRequest
from accounts.models.traced_request import TracedRequestQuerySet
from accounts.session.api_session import ApiSession
from accounts.telemetry.trace import Step, add_step, begin_trace, end_trace, redact_path
from tests.accounts.history.test_events import post_session_update
from tests.accounts.telemetry.traces import (
    kinds,
    known,
    stream,
    trace_writer,
    traced,
)
from tests.browsers import PATIENCE_SECONDS, Browser
from tests.demo_api.server import DemoApi

__all__ = ["known", "trace_writer"]


class TestWhatIsNotRecorded:
    @pytest.mark.parametrize("path", ["/", "/accounts/login/?next=x", "/static/accounts/site.css", "/health/live"])
    def test_what_has_no_session(
        self, trace_writer: TracedRequestWriter, browser: Browser, path: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        browser.get(path).close()

        assert trace_writer.finish(PATIENCE_SECONDS)
        assert not TracedRequest.objects.exists()
        assert "the database refused" not in caplog.text

    def test_a_page_that_does_not_look_at_the_session(self, trace_writer: TracedRequestWriter, known: Browser) -> None:
        assert known.get("/accounts/logout/").status_code == 405

        assert traced(trace_writer, known.session().id) == []

    def test_a_sign_in_that_fails(self, trace_writer: TracedRequestWriter, browser: Browser) -> None:
        browser.sign_in(password="low-tide")

        assert trace_writer.finish(PATIENCE_SECONDS)
        assert not TracedRequest.objects.exists()

    def test_anything_unless_it_is_asked_for(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi, settings: Settings
    ) -> None:
        settings.API_TRACE = False
        api.expire_access_tokens()
        known.open_page()
        stream(known)

        assert traced(trace_writer, known.session().id) == []

    def test_what_happens_outside_of_a_request(self) -> None:
        trace = begin_trace("GET", "/")
        end_trace()

        add_step("rotated", generation=1)

        assert kinds(trace.steps) == ["request"]

    def test_a_token_or_a_cookie_or_a_part_of_one(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi, secrets: Callable[[], set[str]]
    ) -> None:
        hidden = {"hidden", *secrets()}
        access, cookie = known.session().tokens.access, known.take()["session"]
        known.get(f"/protected/?token={access}")
        known.get("/protected/api/protected-route?pin=hidden").close()
        known.get(f"/protected/api/protected-route?key={cookie}").close()
        known.get(f"/protected/api/protected-route/{access}/{cookie}").close()
        known.get("/protected/", headers={"X-Request-ID": access, "Referer": f"/{access}"})
        api.expire_access_tokens()
        post_session_update(known, stream(known))
        hidden |= secrets()
        known.sign_in()
        hidden |= secrets()
        known.sign_out()

        assert trace_writer.finish(PATIENCE_SECONDS)
        rows = TracedRequest.objects.all()
        text = "\n".join(f"{row.steps} {row.request_id}" for row in rows)
        assert rows.count() > 6
        assert not [part for part in hidden if part in text]

    @pytest.fixture
    def secrets(self, known: Browser) -> Callable[[], set[str]]:
        """What the browser holds that nobody may see, in pieces of twelve characters."""

        def pieces() -> set[str]:
            session: ApiSession = known.session()
            record = SessionRecord.objects.get(pk=session.id)
            whole = (
                *(session.tokens.access, session.tokens.refresh, session.secret.hex(), record.sealed),
                *known.take().values(),
            )
            return {text[start : start + 12] for text in whole for start in range(len(text) - 11)}

        return pieces

    @pytest.mark.parametrize(
        ("path", "shown"),
        [
            ("/orders/7/?token=secret", "/orders/7/"),
            ("/orders#secret", "/orders"),
            (f"/orders/{'x' * 37}/lines", "/orders/…/lines"),
            ("/orders/123e4567-e89b-12d3-a456-426614174000", "/orders/123e4567-e89b-12d3-a456-426614174000"),
            ("/a\x00b\nc\x1b[2J", "/a b c [2J"),
            ("/x/" * 200, ("/x/" * 200)[:200]),
        ],
        ids=["a query", "a fragment", "as long as a token", "an id", "control characters", "without end"],
    )
    def test_paths_are_made_fit_to_be_shown(self, path: str, shown: str) -> None:
        assert redact_path(path) == shown

    def test_a_stream_without_end_is_not_recorded_without_end(self) -> None:
        trace = begin_trace("GET", "/")
        end_trace()
        for number in range(1000):
            trace.add_call("GET", f"/row/{number}", status=200, since=time.monotonic())
        trace.add("handed-off", generation=1)

        assert len(trace.steps) < 200
        assert trace.steps[-1].kind == "handed-off"


class TestHowItIsKept:
    def test_the_newest_of_each_session(self, trace_writer: TracedRequestWriter, known: Browser) -> None:
        other = uuid4()
        TracedRequest.objects.create(session_id=other, trace_id=uuid4(), at=timezone.now())
        for _ in range(2 * KEPT_REQUESTS + 5):
            known.get("/accounts/session/")

        assert len(traced(trace_writer, known.session().id)) == KEPT_REQUESTS
        assert TracedRequest.objects.filter(session_id=known.session().id).count() <= 2 * KEPT_REQUESTS
        assert TracedRequest.objects.filter(session_id=other).exists()

    def test_a_request_that_the_database_refuses_takes_no_other_with_it(
        self, trace_writer: TracedRequestWriter, transactional_db: None
    ) -> None:
        session_id = uuid4()
        for steps in ([], [{"path": "/"}], [{"path": object()}], [{"path": "/last/"}]):
            trace_writer.add(TracedRequest(session_id=session_id, trace_id=uuid4(), at=timezone.now(), steps=steps))

        assert trace_writer.finish(PATIENCE_SECONDS)
        assert [row.steps for row in TracedRequest.objects.order_by("pk")] == [
            [],
            [{"path": "/"}],
            [{"path": "/last/"}],
        ]

    def test_a_deletion_that_fails_does_not_write_a_request_twice(
        self, trace_writer: TracedRequestWriter, transactional_db: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise OperationalError("a lock timed out")

        monkeypatch.setattr(TracedRequestQuerySet, "forget_older", fail)
        trace_writer.add(TracedRequest(session_id=uuid4(), trace_id=uuid4(), at=timezone.now()))

        assert trace_writer.finish(PATIENCE_SECONDS)
        assert TracedRequest.objects.count() == 1

    def test_those_of_long_ago_are_tidied_away(self, transactional_db: None) -> None:
        for days in (29, 31):
            TracedRequest.objects.create(session_id=uuid4(), trace_id=uuid4(), at=timezone.now() - timedelta(days=days))

        call_command("prune_sessions", keep_days=30)

        assert TracedRequest.objects.count() == 1

    def test_what_is_read_is_what_was_written_and_no_newer_words_disturb(self) -> None:
        step = Step("call", 1.5, method="GET", path="/", status=200, took=2.0)

        assert Step.from_json(json.loads(json.dumps(step.to_json()))) == step
        assert Step.from_json({**step.to_json(), "colour": "red"}) == step

    def test_a_request_does_not_depend_on_it(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi
    ) -> None:
        with table_away():
            api.expire_access_tokens()
            assert known.is_signed_in()
            assert "That was all." in stream(known)
        assert known.session().generation == 1

        # What could not be written waits.
        assert len(traced(trace_writer, known.session().id)) == 2


@contextmanager
def table_away() -> Iterator[None]:
    table = TracedRequest._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table}_away RENAME TO {table}")
