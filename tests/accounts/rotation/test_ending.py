"""The ends of a session: who ends it, what is revoked, and which responses delete the cookie."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from accounts.rotation.ending import end_session
from accounts.signals import session_ended
from tests.accounts.rotation.helpers import rotate_and_confirm
from tests.browsers import Browser, cookies_set, let_a_minute_pass_in_records
from tests.demo_api.server import DemoApi, Fault, Gate


class TestEndings:
    def test_a_refused_refresh_ends_the_session_for_all_browsers(self, signed_in: Browser, api: DemoApi) -> None:
        other = signed_in.copy()
        ends: list[object] = []
        session_ended.connect(lambda reason, **_: ends.append(reason), weak=False, dispatch_uid="test")
        api.revoke_all()

        response = signed_in.open_page()
        session_ended.disconnect(dispatch_uid="test")

        assert response.status_code == 302
        assert SessionRecord.objects.get().end_reason == EndReason.REFUSED
        assert ends == [EndReason.REFUSED]
        assert not signed_in.take().get("session")
        assert not other.is_signed_in()

    def test_signing_out_during_a_rotation_stays_out(self, signed_in: Browser, api: DemoApi) -> None:
        rotating = signed_in.copy()
        api.expire_access_tokens()
        with Gate() as gate, ThreadPoolExecutor() as threads:
            api.fail("POST", "/auth/refresh", Fault.hold_after(gate))
            page = threads.submit(rotating.open_page)
            assert gate.reached.wait(30)
            signed_in.sign_out()
            api.forget_calls()
            gate.release()
            assert page.result(30).status_code == 302
        assert not cookies_set(page.result())
        assert SessionRecord.objects.get().end_reason == EndReason.SIGNED_OUT
        assert api.count("POST", "/auth/logout", 204) == 1
        assert not rotating.is_signed_in()

    def test_signing_out_just_as_a_rotation_is_stored_revokes_the_new_pair(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        rotating = signed_in.copy()
        api.expire_access_tokens()
        pages: list[int] = []

        def rotate_first(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if sql.startswith("UPDATE") and "end_reason" in sql and not pages:
                with ThreadPoolExecutor() as threads:
                    pages.append(threads.submit(rotating.open_page).result(30).status_code)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(rotate_first):
            signed_in.sign_out()

        assert pages == [200]
        newest = rotating.session().tokens.refresh
        revoked = [json.loads(call.body)["refreshToken"] for call in api.calls if call.path == "/auth/logout"]
        only_the_newest = revoked == [newest]
        assert only_the_newest
        assert SessionRecord.objects.get().end_reason == EndReason.SIGNED_OUT

    def test_the_pair_of_a_session_that_staff_ended_is_revoked_at_the_next_request(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        end_session(signed_in.session().id, EndReason.REVOKED)
        api.expire_access_tokens()

        assert not signed_in.is_signed_in()

        assert api.count("POST", "/auth/logout", 204) == 1

    def test_it_is_revoked_once_however_often_the_cookie_comes_back(self, signed_in: Browser, api: DemoApi) -> None:
        end_session(signed_in.session().id, EndReason.REVOKED)
        api.expire_access_tokens()
        copies = [signed_in.copy() for _ in range(6)]

        with ThreadPoolExecutor() as threads:
            assert not any(threads.map(Browser.is_signed_in, copies[:4]))
        assert not any(copy.is_signed_in() for copy in copies[4:])

        assert api.count("POST", "/auth/logout") == 1

    @pytest.mark.parametrize(
        "fault",
        [Fault.answer(503), Fault.answer(429), Fault.lose_answer(), Fault.reset()],
        ids=["503", "429", "lost", "reset"],
    )
    def test_while_the_api_fails_three_requests_try_to_revoke_it(
        self, signed_in: Browser, api: DemoApi, fault: Fault
    ) -> None:
        end_session(signed_in.session().id, EndReason.REVOKED)
        api.expire_access_tokens()
        copies = [signed_in.copy() for _ in range(5)]
        api.fail("POST", "/auth/logout", fault, times=None)

        assert not any(copy.is_signed_in() for copy in copies)

        assert api.count("POST", "/auth/logout") == 3

    def test_after_a_failure_the_next_request_revokes_it(self, signed_in: Browser, api: DemoApi) -> None:
        end_session(signed_in.session().id, EndReason.REVOKED)
        api.expire_access_tokens()
        copies = [signed_in.copy() for _ in range(4)]
        api.fail("POST", "/auth/logout", Fault.answer(503))

        assert not any(copy.is_signed_in() for copy in copies)

        assert (api.count("POST", "/auth/logout"), api.count("POST", "/auth/logout", 204)) == (2, 1)

    def test_an_older_cookie_does_not_keep_the_newest_pair_from_being_revoked(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        older = signed_in.copy()
        rotate_and_confirm(signed_in, api)
        newest = signed_in.session().tokens.refresh
        end_session(signed_in.session().id, EndReason.REVOKED)
        api.expire_access_tokens()

        assert not older.is_signed_in()
        assert not signed_in.is_signed_in()

        calls = [json.loads(call.body)["refreshToken"] for call in api.calls if call.path == "/auth/logout"]
        is_newest_revoked = calls[-1] == newest
        assert is_newest_revoked

    def test_a_request_from_before_the_end_leaves_the_cookie_alone(self, signed_in: Browser, api: DemoApi) -> None:
        early = signed_in.copy()
        api.expire_access_tokens()
        with Gate() as gate, ThreadPoolExecutor() as threads:
            api.fail("GET", "/protected-route", Fault.hold_after(gate))
            page = threads.submit(early.open_page)
            assert gate.reached.wait(30)
            end_session(signed_in.session().id, EndReason.SIGNED_OUT)
            gate.release()
            assert page.result(30).status_code == 302
        assert not cookies_set(page.result())
        let_a_minute_pass_in_records()
        response = signed_in.open_page()
        assert cookies_set(response)["session"].value == ""

    def test_a_session_without_a_record_has_ended(self, signed_in: Browser, api: DemoApi) -> None:
        SessionRecord.objects.all().delete()
        assert signed_in.is_signed_in(), "the cookie is enough while its access token is valid"
        api.expire_access_tokens()

        assert not signed_in.is_signed_in()

        assert api.count("POST", "/auth/refresh") == 0


class TestEveryRequest:
    def test_an_end_by_staff_acts_at_once(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
        assert signed_in.is_signed_in()
        settings.API_SESSION_CHECK = "every-request"
        end_session(signed_in.session().id, EndReason.REVOKED)

        assert not signed_in.is_signed_in()

        assert api.count("POST", "/auth/logout", 204) == 1

    def test_a_straggler_gets_the_newest_cookie_before_its_own_tokens_expire(
        self, signed_in: Browser, api: DemoApi, settings: Settings
    ) -> None:
        straggler = signed_in.copy()
        rotate_and_confirm(signed_in, api)
        settings.API_SESSION_CHECK = "every-request"

        assert straggler.get("/accounts/session/").json()["authenticated"] is True

        assert straggler.session().generation == 1

    def test_it_costs_one_query(self, signed_in: Browser, settings: Settings) -> None:
        settings.API_SESSION_CHECK = "every-request"

        with CaptureQueriesContext(connection) as queries:
            assert signed_in.is_signed_in()

        assert len(queries) == 1


def test_a_slow_query_does_not_date_a_request_after_the_end_of_its_session(signed_in: Browser) -> None:
    """Otherwise its response would delete the cookie, and with it a sign-in that came in between."""
    session_id = signed_in.session().id
    arrived = time.monotonic()
    SessionRecord.objects.end(session_id, EndReason.SIGNED_OUT)

    def slowly(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        time.sleep(0.3)  # a connection that is slow to open
        return execute(sql, params, many, context)

    with connection.execute_wrapper(slowly):
        record = SessionRecord.objects.fetch(session_id)

    assert record is not None
    assert not record.had_ended_by(arrived)
