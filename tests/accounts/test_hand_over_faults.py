"""The hand-over where the database or another host gets in between, at the one moment where it hurts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import OperationalError, connection

from accounts.models import EndReason, SessionRecord
from tests.accounts.hosts import Hosts, several_hosts
from tests.browsers import Answer, Browser
from tests.demo_api.server import DemoApi, Fault

Execute = Callable[..., Any]


class FailingStore:
    """Lets the statement that stores a new pair fail, the first `times` times."""

    def __init__(self, times: float) -> None:
        self.left = times

    def __call__(self, execute: Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("UPDATE") and '"last_rotated_at" =' in sql and self.left > 0:
            self.left -= 1
            raise OperationalError("the disk is full")
        return execute(sql, params, many, context)


class TestADatabaseThatFailsAtTheStore:
    def test_it_is_tried_again(self, signed_in: Browser, api: DemoApi) -> None:
        before = signed_in.take()
        api.expire_access_tokens()

        with connection.execute_wrapper(FailingStore(times=3)):
            assert signed_in.is_signed_in()

        assert signed_in.record().generation == 1
        assert Browser(before).is_signed_in(), "the answer may get lost: the record has it"
        assert api.reuses == 0

    def test_the_cookie_alone_carries_the_session_on_and_the_record_catches_up(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        api.expire_access_tokens()

        with connection.execute_wrapper(FailingStore(times=float("inf"))):
            assert signed_in.is_signed_in()

        [line] = [record for record in caplog.records if "could not be stored" in record.getMessage()]
        assert line.levelname == "ERROR"
        assert signed_in.session().tokens.refresh not in caplog.text
        assert signed_in.session().generation == 1
        assert signed_in.is_signed_in()
        assert (signed_in.record().generation, signed_in.record().confirmed) == (1, 1)
        api.expire_access_tokens()
        assert signed_in.is_signed_in()
        assert api.reuses == 0


class AnotherHost:
    """Runs `meanwhile` on another host as soon as the API has refused a refresh, before the record is looked at."""

    def __init__(self, hosts: Hosts, api: DemoApi, meanwhile: Callable[[], object]) -> None:
        self._hosts, self._api, self._meanwhile = hosts, api, meanwhile
        self.done = False

    def __call__(self, execute: Execute, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not self.done and sql.startswith("SELECT") and self._api.count("POST", "/auth/refresh", 401):
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
    def test_where_another_host_took_over_and_rotated_its_session_counts(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        other, answers = signed_in.copy(), list[Answer]()

        def rotate() -> None:
            SessionRecord.objects.update(lease_until=None)
            answers.append(other.open_page())

        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", REFUSED)
        with several_hosts(2) as hosts, connection.execute_wrapper(AnotherHost(hosts, api, rotate)):
            page = signed_in.open_page()

        assert [answer.status_code for answer in answers] == [200]
        assert page.status_code == 200
        assert signed_in.session().generation == other.session().generation == 1

    def test_where_another_host_is_still_rotating_it_is_waited_for(self, signed_in: Browser, api: DemoApi) -> None:
        session = signed_in.session()

        def take_over() -> None:
            SessionRecord.objects.update(lease_until=None)
            assert SessionRecord.objects.claim(session.id, generation=0, owner="another", lease_seconds=1)

        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", REFUSED)
        with several_hosts(2) as hosts, connection.execute_wrapper(AnotherHost(hosts, api, take_over)):
            page = signed_in.open_page()

        assert page.status_code == 200, "the other one died, and its lease ran out"
        assert api.count("POST", "/auth/refresh", 200) == 1

    def test_where_the_session_was_ended_meanwhile_that_is_the_reason(self, signed_in: Browser, api: DemoApi) -> None:
        session = signed_in.session()
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", REFUSED)

        def end() -> None:
            SessionRecord.objects.end(session.id, EndReason.SIGNED_OUT)

        with several_hosts(2) as hosts, connection.execute_wrapper(AnotherHost(hosts, api, end)):
            assert signed_in.open_page().status_code == 302

        assert SessionRecord.objects.get().end_reason == EndReason.SIGNED_OUT
