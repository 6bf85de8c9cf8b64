"""A refresh before the expiry that hangs: the page goes on with its good token, and no result is lost."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError
from django.db.backends.signals import connection_created
from django.http import HttpResponse
from pytest_django import Settings

from accounts.api_client import ApiRequest
from accounts.exceptions import ApiUnavailable
from accounts.history.timeline import kept_events
from accounts.models import SessionRecord
from accounts.rotation import rotate, store
from accounts.rotation.background import WAIT_SECONDS, run_in_background
from tests.accounts.rotation.test_early_refresh import EarlyDialect
from tests.browsers import Browser, cookies_set, wait_until
from tests.demo_api.server import DemoApi, Fault, Gate
from tests.load.browser import Browser as BrowserOfASite
from tests.load.processes import wait_until as wait_for
from tests.load.site import Site

DIALECT = f"{EarlyDialect.__module__}.{EarlyDialect.__name__}"
REFRESH = ("POST", "/auth/refresh")


@pytest.fixture
def early(signed_in: Browser, settings: Settings, api: DemoApi) -> Iterator[Browser]:
    """A browser whose access token is valid for another 20 of its 60 seconds: within API_REFRESH_AHEAD."""
    settings.API_DIALECT = DIALECT
    settings.API_READ_TIMEOUT = 30
    signed_in.age(40)
    api.forget_calls()
    yield signed_in
    wait_until(lambda: not refreshing_threads())


def refreshing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "early-refresh"]


def let_it_succeed(api: DemoApi, gate: Gate) -> None:
    """The demo API refreshes only what has expired for it."""
    api.expire_access_tokens()
    gate.release()


def test_the_page_goes_on_and_the_next_request_picks_up_the_result(early: Browser, api: DemoApi) -> None:
    with Gate() as gate:
        api.fail(*REFRESH, Fault.hold_before(gate))
        started = time.monotonic()

        response = early.open_page()

        assert response.status_code == 200
        assert WAIT_SECONDS <= time.monotonic() - started < 10
        assert not cookies_set(response)
        assert early.session().generation == 0
        let_it_succeed(api, gate)
        wait_until(lambda: early.record().generation == 1)
    assert early.is_signed_in()
    assert early.session().generation == 1
    assert api.count(*REFRESH) == 1
    assert not api.reuses


@pytest.mark.urls("tests.accounts.api_calls")
def test_a_page_with_many_calls_waits_once(early: Browser, api: DemoApi) -> None:
    def view(request: ApiRequest) -> HttpResponse:
        return HttpResponse(",".join(str(request.api.get("/protected-route").status_code) for _ in range(8)))

    with Gate() as gate:
        api.fail(*REFRESH, Fault.hold_before(gate))
        started = time.monotonic()

        assert early.get("/visit/", **{"tests.view": view}).content == b",".join([b"200"] * 8)

        assert time.monotonic() - started < 4 * WAIT_SECONDS
        assert gate.arrivals == 1
        let_it_succeed(api, gate)


@pytest.mark.urls("tests.accounts.api_calls")
def test_a_later_call_of_the_same_page_picks_up_the_result(early: Browser, api: DemoApi) -> None:
    with Gate() as gate:
        api.fail(*REFRESH, Fault.hold_before(gate))

        def view(request: ApiRequest) -> HttpResponse:
            request.api.get("/protected-route")
            let_it_succeed(api, gate)
            wait_until(lambda: early.record().generation == 1)
            return HttpResponse(request.api.get("/protected-route").content)

        assert early.get("/visit/", **{"tests.view": view}).status_code == 200

    assert early.session().generation == 1
    assert api.count("GET", "/protected-route", 401) == 0


def test_a_session_that_the_api_ends_late_is_over_for_the_next_request(early: Browser, api: DemoApi) -> None:
    with Gate() as gate:
        api.fail(*REFRESH, Fault.hold_before(gate))
        assert early.open_page().status_code == 200
        api.revoke_all()
        gate.release()
        wait_until(lambda: early.record().ended_at is not None)

    response = early.open_page()

    assert (response.status_code, response["Location"][-8:]) == (302, "&ended=1")


def test_a_page_that_names_how_long_it_needs_the_token_waits(early: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    api.fail(*REFRESH, Fault.delay(1.5 * WAIT_SECONDS))

    stream = early.get("/protected/stream/?rows=100&delay=0.5")
    stream.close()

    assert cookies_set(stream)
    assert early.session().generation == 1


def test_it_has_the_request_id_and_closes_its_database_connection(early: Browser, api: DemoApi) -> None:
    opened: list[Any] = []

    def note(connection: Any, **_: Any) -> None:
        if threading.current_thread().name == "early-refresh":
            opened.append(connection)

    connection_created.connect(note)
    try:
        with Gate() as gate:
            api.fail(*REFRESH, Fault.hold_before(gate))
            response = early.open_page()
            assert not opened, "the API hangs, and no connection waits for it"
            let_it_succeed(api, gate)
            wait_until(lambda: not refreshing_threads())
    finally:
        connection_created.disconnect(note)

    (refresh,) = [call for call in api.calls if call.path == "/auth/refresh"]
    assert refresh.headers["x-request-id"] == response["X-Request-ID"]
    assert early.record().generation == 1
    assert opened
    assert all(connection.connection is None for connection in opened)


def test_a_pair_that_cannot_be_stored_late_is_stored_when_the_database_is_back(
    early: Browser, api: DemoApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotate, "STORE_SECONDS", 0.0)
    manager: Any = type(SessionRecord.objects)
    store, failures = manager.store, iter(range(3))

    def store_later(*arguments: Any) -> bool:
        if next(failures, None) is not None:
            raise DatabaseError
        return bool(store(*arguments))

    monkeypatch.setattr(manager, "store", store_later)
    with Gate() as gate:
        api.fail(*REFRESH, Fault.hold_before(gate))
        assert early.open_page().status_code == 200
        let_it_succeed(api, gate)
        wait_until(lambda: early.record().generation == 1)
    assert [(event.kind, event.trigger) for event in kept_events(early.record())] == [("rotated", "early")]
    assert early.is_signed_in()
    assert next(failures, None) is None


def test_a_pair_that_cannot_be_stored_at_once_is_in_the_cookie(
    early: Browser, api: DemoApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotate, "STORE_SECONDS", 1.5 * WAIT_SECONDS)
    monkeypatch.setattr(store, "BACKGROUND_STORE_SECONDS", 0.0)
    monkeypatch.setattr(type(SessionRecord.objects), "store", refuse_to_store)
    api.expire_access_tokens()

    assert early.open_page().status_code == 200

    assert early.session().generation == 1


def refuse_to_store(*_: object) -> bool:
    raise DatabaseError


def test_its_calls_are_told_apart_in_the_trace(early: Browser, api: DemoApi, settings: Settings) -> None:
    settings.API_TRACE = True
    with Gate() as gate:
        api.fail(*REFRESH, Fault.hold_before(gate))

        response: Any = early.open_page()

        steps = [step for step in response.wsgi_request.trace.steps if step.path == "/protected-route"]
        assert [step.kind for step in steps] == ["call"]
        let_it_succeed(api, gate)


def test_a_defect_is_raised() -> None:
    def fail() -> None:
        raise LookupError("a secret")

    with pytest.raises(LookupError):
        run_in_background(fail, print)


@pytest.mark.parametrize("where", ["send", "finish"])
def test_a_late_defect_is_logged_without_its_text(caplog: pytest.LogCaptureFixture, where: str) -> None:
    released = threading.Event()

    def fail(_: object) -> None:
        raise LookupError("a secret")

    def wait_and_fail() -> None:
        released.wait()
        fail(None)

    with pytest.raises(ApiUnavailable):
        run_in_background(*((wait_and_fail, print) if where == "send" else (released.wait, fail)))
    released.set()
    wait_until(lambda: not refreshing_threads())

    assert "LookupError" in caplog.text
    assert "a secret" not in caplog.text


def test_without_a_thread_the_request_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)

    assert run_in_background(threading.current_thread, print) is threading.current_thread()


def test_a_process_that_ends_stores_the_result_first(tmp_path: Path) -> None:
    database = tmp_path / "db.sqlite3"
    ahead = {"API_DIALECT": DIALECT, "API_REFRESH_AHEAD": "59", "API_READ_TIMEOUT": "30"}
    with DemoApi(access_ttl=60) as api, Gate() as gate, ThreadPoolExecutor() as threads:
        site = Site(database_url=f"sqlite:///{database}", api_url=api.url, workers=1, threads=2, environment=ahead)
        site.migrate()
        with site:
            browser = BrowserOfASite(site.port)
            browser.sign_in()
            api.fail(*REFRESH, Fault.hold_before(gate))
            # The refresh is due after a second.
            wait_until(lambda: browser.open("/protected/").status == 200 and gate.reached.is_set())
            ending = threads.submit(site.stop)
            wait_until(lambda: "Worker exiting" in site.log)
            with suppress(TimeoutError):
                # A worker that does not wait for the refresh is gone soon.
                wait_for(lambda: not site.workers, "the worker has ended", seconds=1)
            let_it_succeed(api, gate)
            ending.result()

            assert "Traceback" not in site.log
            with closing(sqlite3.connect(database)) as connection:
                assert connection.execute("SELECT generation FROM accounts_sessionrecord").fetchall() == [(1,)]
        assert api.count(*REFRESH) == 1
