"""What is recorded of a request is what crossed the wire, and no more: never a token, a cookie, or a part of one."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from accounts.history import traced_requests as traces
from accounts.history.traced_requests import KEPT_REQUESTS, TracedRequestWriter
from accounts.models import SessionRecord, TracedRequest
from accounts.session.api_session import ApiSession
from accounts.telemetry.trace import Step, StepKind, add_step, begin_trace, end_trace, redact_path
from accounts.upstream.response import MAX_ANSWER_BYTES
from tests.accounts.history.test_events import post_session_update
from tests.accounts.rotation.helpers import Execute, failing_store
from tests.accounts.rotation.hosts import several_hosts
from tests.browsers import GRACE, PATIENCE_SECONDS, Answer, Browser, wait_until
from tests.demo_api.server import DemoApi, Fault, Gate

ROUTE = "/protected-route"
STREAM = "/protected/stream/?rows=2&delay=0"
CALLS = (StepKind.CALL, StepKind.SIGN_IN, StepKind.REFRESH, StepKind.REVOCATION)


@pytest.fixture
def trace_writer(
    settings: Settings, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TracedRequestWriter]:
    """Requests are recorded. When the test is over the trace_writer has let go of the database."""
    settings.API_TRACE = True
    trace_writer = TracedRequestWriter()
    monkeypatch.setattr(traces, "trace_writer", trace_writer)
    yield trace_writer
    assert trace_writer.finish(PATIENCE_SECONDS)


@pytest.fixture
def known(trace_writer: TracedRequestWriter, signed_in: Browser, api: DemoApi) -> Browser:
    """Ada's browser, with nothing of the past in the trace_writer or on the API's list."""
    assert trace_writer.finish(PATIENCE_SECONDS)
    TracedRequest.objects.all().delete()
    api.forget_calls()
    return signed_in


class Claims:
    """Counts the statements that claim a lease."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, execute: Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        self.count += sql.startswith("UPDATE") and '"lease_owner" = ' in sql and '"retry_at" = ' in sql
        return result


def traced(trace_writer: TracedRequestWriter, session_id: UUID) -> list[list[Step]]:
    """The steps of the session's requests, in the order in which they arrived."""
    assert trace_writer.finish(PATIENCE_SECONDS)
    rows = TracedRequest.objects.of(session_id, KEPT_REQUESTS)
    return [[Step.from_json(step) for step in row.steps] for row in reversed(rows)]


def steps(trace_writer: TracedRequestWriter, browser: Browser) -> list[Step]:
    """The steps of the one request that was recorded."""
    [only] = traced(trace_writer, browser.session().id)
    return only


def kinds(steps: list[Step]) -> list[str]:
    return [step.kind for step in steps]


def of_kind(steps: list[Step], kind: str) -> Step:
    [only] = [step for step in steps if step.kind == kind]
    return only


def calls(steps: list[Step]) -> list[tuple[str, str, int | None]]:
    return [(step.method, step.path, step.status) for step in steps if step.kind in CALLS for _ in range(step.times)]


def wire(api: DemoApi) -> list[tuple[str, str, int | None]]:
    return [(call.method, call.path, call.status or None) for call in api.calls]


def stream(browser: Browser, path: str = STREAM) -> str:
    return b"".join(browser.get(path)).decode()


class TestWhatIsRecorded:
    def test_a_page(self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi) -> None:
        answer = known.get("/protected/?page=2")

        recorded = steps(trace_writer, known)
        assert kinds(recorded) == ["request", "opened", "call", "answer"]
        assert calls(recorded) == wire(api) == [("GET", ROUTE, 200)]
        assert (recorded[0].method, recorded[0].path) == ("GET", "/protected/")
        assert (of_kind(recorded, "opened").generation, recorded[-1].status) == (0, 200)
        assert TracedRequest.objects.get().request_id == answer["X-Request-ID"]

    def test_the_times_follow_each_other(self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.delay(0.3))
        started = time.monotonic()
        known.open_page()
        seconds = time.monotonic() - started

        recorded = steps(trace_writer, known)
        assert [step.at for step in recorded] == sorted(step.at for step in recorded)
        assert 300 <= (of_kind(recorded, "refresh").took or 0) <= recorded[-1].at <= seconds * 1000

    def test_an_expired_token(self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        known.open_page()

        recorded = steps(trace_writer, known)
        assert kinds(recorded) == [
            *("request", "opened", "call", "refresh", "rotated", "call", "cookie-set", "answer"),
        ]
        assert calls(recorded) == wire(api)
        assert calls(recorded) == [("GET", ROUTE, 401), ("POST", "/auth/refresh", 200), ("GET", ROUTE, 200)]
        assert of_kind(recorded, "opened").generation == 0
        assert of_kind(recorded, "rotated").generation == of_kind(recorded, "cookie-set").generation == 1
        assert known.session().generation == 1

    def test_a_confirmation(self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        known.open_page()
        known.open_page()
        known.open_page()

        _, confirmed, plain = traced(trace_writer, known.session().id)
        assert kinds(confirmed) == ["request", "opened", "confirmed", "call", "cookie-set", "answer"]
        assert {of_kind(confirmed, kind).generation for kind in ("opened", "confirmed", "cookie-set")} == {1}
        assert kinds(plain) == ["request", "opened", "call", "answer"]

    def test_an_expiry_that_was_foreseen(self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        known.age(61)
        known.open_page()

        recorded = steps(trace_writer, known)
        assert calls(recorded) == wire(api) == [("POST", "/auth/refresh", 200), ("GET", ROUTE, 200)]
        assert of_kind(recorded, "rotated").trigger == "expired"

    def test_a_refresh_ahead_of_expiry(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi, settings: Settings
    ) -> None:
        settings.API_DIALECT = "tests.accounts.rotation.test_early_refresh.EarlyDialect"
        api.expire_access_tokens()
        known.age(52)
        known.open_page()

        recorded = steps(trace_writer, known)
        assert calls(recorded) == wire(api) == [("POST", "/auth/refresh", 200), ("GET", ROUTE, 200)]
        assert of_kind(recorded, "rotated").trigger == "early"

    @pytest.mark.parametrize("hosts", [1, 2], ids=["in this process", "on another host"])
    def test_two_tabs_one_of_which_waits(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi, hosts: int
    ) -> None:
        api.expire_access_tokens()
        claims = Claims()
        with several_hosts(hosts) as split, ThreadPoolExecutor(2) as threads, Gate() as gate:
            api.fail("POST", "/auth/refresh", Fault.hold_before(gate))

            def open_tab(number: int) -> Answer:
                split.move_to(number % hosts)
                with connection.execute_wrapper(claims):
                    return known.copy().open_page()

            tabs = [threads.submit(open_tab, number) for number in range(2)]
            if hosts == 1:
                wait_until(lambda: split.waiting() == 1)
            else:
                # The one that has claimed in vain, and waited, and claims again.
                wait_until(lambda: claims.count >= 3)
            gate.release()
            assert [tab.result().status_code for tab in tabs] == [200, 200]

        both = traced(trace_writer, known.session().id)
        [waited] = [recorded for recorded in both if "waited" in kinds(recorded)]
        [rotated] = [recorded for recorded in both if "rotated" in kinds(recorded)]
        assert kinds(waited) == [*("request", "opened", "call", "waited", "adopted", "call", "cookie-set", "answer")]
        assert calls(waited) == [("GET", ROUTE, 401), ("GET", ROUTE, 200)]
        assert of_kind(waited, "adopted").generation == of_kind(rotated, "rotated").generation == 1
        assert of_kind(waited, "waited").took
        assert sorted(calls(waited) + calls(rotated), key=str) == sorted(wire(api), key=str)

    def test_a_lost_answer_that_is_made_good(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi
    ) -> None:
        before = known.take()
        api.expire_access_tokens()
        known.open_page()
        api.forget_calls()
        known.put(before)
        known.open_page()

        recorded = traced(trace_writer, known.session().id)[-1]
        assert kinds(recorded) == ["request", "opened", "call", "adopted", "call", "cookie-set", "answer"]
        assert calls(recorded) == wire(api) == [("GET", ROUTE, 401), ("GET", ROUTE, 200)]
        assert [step.generation for step in recorded if step.generation is not None] == [0, 1, 1]

    def test_an_api_that_is_away(self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi) -> None:
        api.stop_serving()
        known.open_page()

        recorded = steps(trace_writer, known)
        assert kinds(recorded) == ["request", "opened", "call", "answer"]
        assert set(calls(recorded)) == {("GET", ROUTE, None)}
        assert recorded[-1].status == 503

    def test_an_api_that_fails(self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi) -> None:
        api.fail("GET", ROUTE, Fault.answer(500))
        known.open_page()

        assert calls(steps(trace_writer, known)) == wire(api) == [("GET", ROUTE, 500)]

    def test_an_answer_that_is_too_large(self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi) -> None:
        api.fail("GET", ROUTE, Fault.answer(200, bytes(MAX_ANSWER_BYTES + 1)))
        known.open_page()

        assert calls(steps(trace_writer, known)) == [("GET", ROUTE, 200)]

    def test_a_refresh_that_gets_no_answer_and_the_pause_after_it(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.reset())
        known.open_page()
        known.open_page()

        failed, paused = traced(trace_writer, known.session().id)
        assert kinds(failed) == ["request", "opened", "call", "refresh", "answer"]
        assert kinds(paused) == ["request", "opened", "call", "pause", "answer"]
        assert calls(failed) + calls(paused) == wire(api)
        assert (failed[-1].status, paused[-1].status) == (503, 503)

    def test_a_refusal(self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi) -> None:
        session_id = known.session().id
        api.expire_access_tokens()
        api.revoke_all()
        known.open_page()

        [recorded] = traced(trace_writer, session_id)
        assert kinds(recorded) == ["request", "opened", "call", "refresh", "refused", "cookie-deleted", "answer"]
        assert calls(recorded) == wire(api) == [("GET", ROUTE, 401), ("POST", "/auth/refresh", 401)]
        assert recorded[-1].status == 302

    def test_an_api_that_calls_the_token_good(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi
    ) -> None:
        api.fail("GET", ROUTE, Fault.answer(401, {"message": "no"}))
        known.open_page()

        recorded = steps(trace_writer, known)
        assert kinds(recorded) == ["request", "opened", "call", "refresh", "still-valid", "call", "answer"]
        assert calls(recorded) == wire(api)

    def test_a_pair_that_could_not_be_stored(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        with failing_store():
            known.open_page()

        recorded = steps(trace_writer, known)
        assert "unstored" in kinds(recorded)
        assert of_kind(recorded, "cookie-set").generation == 1

    def test_a_stream_with_its_hand_off_and_the_post_of_it(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        page = stream(known)
        post_session_update(known, page)

        streamed, posted = traced(trace_writer, known.session().id)
        assert kinds(streamed) == [
            *("request", "opened", "answer", "call", "refresh", "rotated", "call", "handed-off", "call", "body-sent"),
        ]
        assert calls(streamed) == wire(api)
        assert of_kind(streamed, "handed-off").generation == 1
        assert kinds(posted) == ["request", "opened", "handed-over", "cookie-set", "answer"]
        assert (posted[0].method, posted[0].path, posted[-1].status) == ("POST", "/accounts/session/update/", 204)
        assert of_kind(posted, "cookie-set").generation == 1

    def test_many_rows_of_a_stream_are_one_step(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi
    ) -> None:
        stream(known, "/protected/stream/?rows=30&delay=0")

        recorded = steps(trace_writer, known)
        assert kinds(recorded) == ["request", "opened", "answer", "call", "body-sent"]
        assert of_kind(recorded, "call").times == 30
        assert calls(recorded) == wire(api)

    def test_a_stream_that_is_still_being_sent(self, trace_writer: TracedRequestWriter, known: Browser) -> None:
        pieces = iter(known.get(STREAM))
        next(pieces)

        assert kinds(steps(trace_writer, known)) == ["request", "opened", "answer"]
        b"".join(pieces)
        assert kinds(steps(trace_writer, known))[-1] == "body-sent"

    def test_a_stream_that_its_browser_leaves(self, trace_writer: TracedRequestWriter, known: Browser) -> None:
        response = known.get("/protected/stream/?rows=9&delay=0")
        next(iter(response))
        response.close()

        assert kinds(steps(trace_writer, known))[-1] == "body-left"

    def test_a_hand_off_that_is_refused(self, trace_writer: TracedRequestWriter, known: Browser) -> None:
        known.post("/accounts/session/update/", json.dumps({"session": "no"}), content_type="application/json")

        recorded = steps(trace_writer, known)
        assert kinds(recorded)[-2:] == ["update-refused", "answer"]
        assert recorded[-1].status == 400

    def test_signing_in(self, trace_writer: TracedRequestWriter, browser: Browser, api: DemoApi) -> None:
        browser.sign_in()

        recorded = steps(trace_writer, browser)
        assert kinds(recorded) == ["request", "sign-in", "signed-in", "cookie-set", "answer"]
        assert calls(recorded) == wire(api) == [("POST", "/auth/login", 200)]

    def test_signing_in_over_another_session(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi
    ) -> None:
        known.sign_in(GRACE)

        recorded = steps(trace_writer, known)
        assert calls(recorded) == wire(api) == [("POST", "/auth/login", 200), ("POST", "/auth/logout", 204)]
        assert "replaced" in kinds(recorded)

    def test_signing_out(self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi) -> None:
        session_id = known.session().id
        known.sign_out()

        [recorded] = traced(trace_writer, session_id)
        assert kinds(recorded) == ["request", "opened", "signed-out", "revocation", "cookie-deleted", "answer"]
        assert calls(recorded) == wire(api) == [("POST", "/auth/logout", 204)]

    def test_a_call_of_a_script(self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        b"".join(known.get("/protected/api/protected-route?page=2"))

        recorded = steps(trace_writer, known)
        assert calls(recorded) == wire(api)
        assert recorded[0].path == "/protected/api/protected-route"

    @pytest.mark.parametrize("base", ["", "/v1"])
    def test_the_path_is_the_one_at_the_api(
        self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi, settings: Settings, base: str
    ) -> None:
        settings.API_BASE_URL = f"{api.url}{base}"
        known.open_page()

        assert calls(steps(trace_writer, known))[0][1] == f"{base}{ROUTE}" == api.calls[0].path


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
        known.get("/")

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
