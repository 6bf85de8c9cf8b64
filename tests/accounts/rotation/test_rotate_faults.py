"""Rotations during which the database fails or another host acts, at the worst moment."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.conf import conf
from accounts.dialects.base import Refreshed
from accounts.dialects.token_pair import TokenPairDialect
from accounts.history.events import new_event
from accounts.models import EndReason, EventKind, SessionRecord
from accounts.rotation import lease, rotate
from accounts.rotation.background import go_on_in_background
from accounts.rotation.token_requests import request_refresh
from tests.accounts.rotation.clocks import Clock, movable_clock
from tests.accounts.rotation.helpers import Execute, FailingStore, failing_store
from tests.accounts.rotation.hosts import Hosts, several_hosts
from tests.browsers import PATIENCE_SECONDS, Answer, Browser, cookies_set, wait_until
from tests.demo_api.server import DemoApi, Fault, Gate


@pytest.fixture
def clock() -> Iterator[Clock]:
    with movable_clock() as clock:
        yield clock


def wait_for_late_work() -> None:
    wait_until(lambda: "late-database-work" not in {thread.name for thread in threading.enumerate()})


class TestADatabaseThatFailsAtTheClaim:
    def test_a_claim_that_it_carried_out_without_a_response_is_released(
        self, signed_in: Browser, api: DemoApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        later: list[Callable[[], object]] = []
        monkeypatch.setattr(lease, "go_on_in_background", later.append)

        def fail_after(execute: Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
            result = execute(sql, params, many, context)
            if sql.startswith("UPDATE"):
                raise OperationalError("no response")
            return result

        api.expire_access_tokens()

        with connection.execute_wrapper(fail_after):
            assert signed_in.open_page().status_code == 503

        assert SessionRecord.objects.exclude(lease_owner="").count() == 1
        for work in later:
            go_on_in_background(work)
        wait_for_late_work()
        assert not signed_in.record().lease_owner
        assert signed_in.is_signed_in()


class TestADatabaseThatFailsAtTheStore:
    def test_it_is_tried_again(self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture) -> None:
        before = signed_in.take()
        api.expire_access_tokens()

        with connection.execute_wrapper(FailingStore(times=3)):
            assert signed_in.is_signed_in()

        assert "could not be stored" not in caplog.text
        assert signed_in.record().generation == 1
        assert Browser(before).is_signed_in(), "the response may get lost: the record has the session"
        assert api.reuses == 0

    def test_only_the_cookie_holds_the_session_until_the_record_has_caught_up(
        self, clock: Clock, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        api.expire_access_tokens()

        with failing_store():
            assert signed_in.is_signed_in()

        [line] = [record for record in caplog.records if "could not be stored" in record.getMessage()]
        assert line.levelname == "ERROR"
        assert signed_in.session().tokens.refresh not in caplog.text
        assert signed_in.session().generation == 1
        assert signed_in.is_signed_in()
        assert (signed_in.record().generation, signed_in.record().confirmed) == (1, 1)
        assert signed_in.record().lease_owner, "the lease was not released"
        clock.ahead += conf.lease_seconds
        clock.hurry()
        api.expire_access_tokens()
        assert signed_in.is_signed_in()
        assert api.reuses == 0

    def test_it_is_stored_when_the_database_is_back_although_the_response_got_lost(
        self, signed_in: Browser, api: DemoApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        is_away = threading.Event()
        is_away.set()
        manager: Any = type(SessionRecord.objects)

        def failing(statement: Callable[..., bool]) -> Callable[..., bool]:
            def run(*arguments: Any) -> bool:
                if is_away.is_set():
                    raise OperationalError
                return statement(*arguments)

            return run

        for name in ("store", "catch_up"):
            monkeypatch.setattr(manager, name, failing(getattr(manager, name)))
        monkeypatch.setattr(rotate, "STORE_SECONDS", 0.0)
        before = signed_in.take()
        api.expire_access_tokens()

        assert signed_in.is_signed_in()

        assert signed_in.record().generation == 0
        is_away.clear()
        wait_until(lambda: signed_in.record().generation == 1)
        assert Browser(before).is_signed_in()
        assert api.reuses == 0
        wait_for_late_work()

    def test_no_other_request_sends_the_spent_token_before_the_record_has_caught_up(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        """The pair could not be stored, and a request with the older cookie comes to another host."""
        straggler = signed_in.copy()
        fetched = threading.Event()

        def note(execute: Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
            if sql.startswith("SELECT"):
                fetched.set()
            return execute(sql, params, many, context)

        def straggle() -> Answer:
            assert gate.reached.wait(PATIENCE_SECONDS), "the page is at its repeated call"
            failing.left = 0
            hosts.move_to(1)
            try:
                with connection.execute_wrapper(note):
                    return straggler.open_page()
            finally:
                connection.close()

        def release_when_fetched() -> None:
            fetched.wait(PATIENCE_SECONDS)
            gate.release()

        api.expire_access_tokens()
        with Gate() as gate, ThreadPoolExecutor() as threads, several_hosts(2) as hosts:
            api.fail("GET", "/protected-route", REFUSED)
            api.fail("GET", "/protected-route", Fault.hold_before(gate))
            late = threads.submit(straggle)
            threads.submit(release_when_fetched)
            with failing_store() as failing:
                page = signed_in.open_page()

        assert (page.status_code, late.result().status_code) == (200, 200)
        assert signed_in.record().ended_at is None
        assert api.count("POST", "/auth/refresh") == 1


class AnotherHost:
    """Runs `meanwhile` on another host after a failed refresh, before the next `statement` of this host: before it
    reads the record ("SELECT") or changes it ("UPDATE").
    """

    def __init__(
        self, hosts: Hosts, api: DemoApi, meanwhile: Callable[[], object], *, statement: str = "SELECT"
    ) -> None:
        self._hosts, self._api, self._meanwhile, self._statement = hosts, api, meanwhile, statement
        self.done = False

    def __call__(self, execute: Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not self.done and sql.startswith(self._statement) and self._api.count("POST", "/auth/refresh"):
            self.done = True
            with ThreadPoolExecutor() as threads:
                threads.submit(self._act).result(60)
        return execute(sql, params, many, context)

    def _act(self) -> None:
        self._hosts.move_to(1)
        try:
            self._meanwhile()
        finally:
            connection.close()


REFUSED = Fault.answer(401, {"message": "This refresh token has been spent."})


class TestARefusalThatIsStale:
    @pytest.mark.parametrize("statement", ["SELECT", "UPDATE"], ids=["before the SELECT", "between SELECT and UPDATE"])
    def test_the_session_of_another_host_that_took_over_and_rotated_is_adopted(
        self, signed_in: Browser, api: DemoApi, statement: str
    ) -> None:
        other, answers = signed_in.copy(), list[Answer]()

        def rotate() -> None:
            SessionRecord.objects.update(lease_until=None)
            answers.append(other.open_page())

        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", REFUSED, times=2)
        with (
            several_hosts(2) as hosts,
            connection.execute_wrapper(AnotherHost(hosts, api, rotate, statement=statement)),
        ):
            page = signed_in.open_page()

        assert [answer.status_code for answer in answers] == [200]
        assert page.status_code == 200
        assert signed_in.session().generation == other.session().generation == 1

    def test_it_waits_for_another_host_that_is_still_rotating(
        self, clock: Clock, signed_in: Browser, api: DemoApi
    ) -> None:
        session = signed_in.session()
        clock.hurry()

        def claim_lease() -> None:
            SessionRecord.objects.update(lease_until=None)
            assert SessionRecord.objects.claim(session.id, generation=0, owner="another", lease_seconds=1)

        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", REFUSED, times=2)
        with several_hosts(2) as hosts, connection.execute_wrapper(AnotherHost(hosts, api, claim_lease)):
            page = signed_in.open_page()

        assert page.status_code == 200, "the other host died, and its lease ran out"
        assert api.count("POST", "/auth/refresh", 200) == 1

    def test_a_session_that_ended_meanwhile_keeps_its_reason(self, signed_in: Browser, api: DemoApi) -> None:
        session = signed_in.session()
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", REFUSED, times=2)

        def end() -> None:
            SessionRecord.objects.end(session.id, EndReason.SIGNED_OUT)

        with several_hosts(2) as hosts, connection.execute_wrapper(AnotherHost(hosts, api, end)):
            page = signed_in.open_page()

        assert page.status_code == 302
        assert not cookies_set(page), "the request came before the end: the cookie may hold a newer session now"
        assert SessionRecord.objects.get().end_reason == EndReason.SIGNED_OUT


def test_a_lease_that_has_run_out_is_not_taken_over_before_its_worker_can_store_its_pair(
    signed_in: Browser, api: DemoApi
) -> None:
    """The database was away for longer than the lease, and the response with the cookie got lost."""
    session = signed_in.session()
    api.expire_access_tokens()
    assert SessionRecord.objects.claim(session.id, generation=0, owner="another", lease_seconds=0)
    ends_at = time.monotonic() + PATIENCE_SECONDS
    outcome = request_refresh(session.tokens, address="", ends_at=ends_at, renew_lease=lambda: None)
    assert isinstance(outcome, Refreshed)
    minted = session.rotated(outcome.tokens)
    statements: list[str] = []

    def store_after_the_second_look(execute: Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        statements.append(sql.partition(" ")[0])
        if statements == ["UPDATE", "SELECT"] * 2:
            # In the thread of another worker, which has a connection of its own.
            with ThreadPoolExecutor() as other:
                other.submit(store).result()
        return result

    def store() -> None:
        SessionRecord.objects.store(minted, new_event(EventKind.ROTATED, minted.id))
        connection.close()

    with connection.execute_wrapper(store_after_the_second_look):
        assert signed_in.is_signed_in()

    assert signed_in.session().generation == 1
    assert api.reuses == 0


class ForgivingDialect(TokenPairDialect):
    """For an API that accepts a spent token again within its grace period."""

    replay_is_safe = True


class TestASecondAttempt:
    """The response to a refresh got lost, and the API accepts the same token twice."""

    @pytest.fixture
    def api(self, settings: Settings) -> Iterator[DemoApi]:
        with DemoApi(access_ttl=60, grace_seconds=3600) as api:
            settings.API_BASE_URL = api.url
            settings.API_DIALECT = f"{__name__}.{ForgivingDialect.__name__}"
            yield api

    def test_it_is_made_under_an_extended_lease(self, signed_in: Browser, api: DemoApi) -> None:
        session = signed_in.session()

        def run_out() -> None:
            SessionRecord.objects.update(lease_until=Now())

        def claim() -> bool:
            assert gate.reached.wait(PATIENCE_SECONDS)
            try:
                return SessionRecord.objects.claim(session.id, generation=0, owner="another", lease_seconds=60)
            finally:
                connection.close()
                gate.release()

        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.lose_answer())
        with (
            Gate() as gate,
            ThreadPoolExecutor() as threads,
            several_hosts(2) as hosts,
            connection.execute_wrapper(AnotherHost(hosts, api, run_out, statement="UPDATE")),
        ):
            api.fail("POST", "/auth/refresh", Fault.hold_before(gate))
            claimed = threads.submit(claim)
            page = signed_in.open_page()

        assert not claimed.result()
        assert page.status_code == 200
        assert api.count("POST", "/auth/refresh") == 2

    def test_it_is_not_made_if_another_host_has_the_lease(self, signed_in: Browser, api: DemoApi) -> None:
        session = signed_in.session()

        def claim_lease() -> None:
            SessionRecord.objects.update(lease_until=None)
            assert SessionRecord.objects.claim(session.id, generation=0, owner="another", lease_seconds=60)

        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.lose_answer())
        with (
            several_hosts(2) as hosts,
            connection.execute_wrapper(AnotherHost(hosts, api, claim_lease, statement="UPDATE")),
        ):
            page = signed_in.open_page()

        assert page.status_code == 503
        assert api.count("POST", "/auth/refresh") == 1
        assert signed_in.record().lease_owner == "another"

    def test_it_is_not_made_if_the_database_does_not_tell_who_has_the_lease(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        def fail(execute: Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
            if api.count("POST", "/auth/refresh"):
                raise OperationalError("the disk is full")
            return execute(sql, params, many, context)

        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.lose_answer())

        with connection.execute_wrapper(fail):
            page = signed_in.open_page()

        assert page.status_code == 503
        assert api.count("POST", "/auth/refresh") == 1
        wait_for_late_work()
        assert not signed_in.record().lease_owner, "it was released when the database was back"
