"""A request trace holds exactly the steps that were taken, and the calls that reached the API."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from pytest_django import Settings

from accounts.history.traced_requests import TracedRequestWriter
from accounts.models import TracedRequest
from accounts.upstream.response import MAX_ANSWER_BYTES
from tests.accounts.history.test_events import post_session_update
from tests.accounts.rotation.helpers import failing_store
from tests.accounts.rotation.hosts import several_hosts
from tests.accounts.telemetry.traces import (
    ROUTE,
    STREAM,
    LeaseClaims,
    calls,
    kinds,
    known,
    of_kind,
    steps,
    stream,
    trace_writer,
    traced,
    wire,
)
from tests.browsers import GRACE, Answer, Browser, wait_until
from tests.demo_api.server import DemoApi, Fault, Gate

__all__ = ["known", "trace_writer"]


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
        claims = LeaseClaims()
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

    def test_an_unavailable_api(self, trace_writer: TracedRequestWriter, known: Browser, api: DemoApi) -> None:
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
        # The refusal is checked: a call for a path that cannot exist, and the same refresh once more.
        refreshes = ["refresh"] * 3
        assert kinds(recorded) == ["request", "opened", "call", *refreshes, "refused", "cookie-deleted", "answer"]
        assert calls(recorded) == wire(api)
        assert [status for _, _, status in wire(api)] == [401, 401, 404, 401]
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

    def test_a_stream_with_its_session_update_and_the_post_of_it(
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

    def test_a_session_update_that_is_refused(self, trace_writer: TracedRequestWriter, known: Browser) -> None:
        known.post("/accounts/session/update/", json.dumps({"session": "no"}), content_type="application/json")

        recorded = steps(trace_writer, known)
        assert kinds(recorded)[-2:] == ["hand-off-refused", "answer"]
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
