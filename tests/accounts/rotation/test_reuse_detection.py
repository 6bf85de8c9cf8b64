"""Copied cookies end the session, late requests and lost responses do not."""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.http import StreamingHttpResponse

from accounts.conf import conf
from accounts.models import EndReason, SessionRecord
from accounts.signals import reuse_detected
from tests.accounts.rotation.clocks import movable_clock
from tests.accounts.rotation.helpers import move_back, rotate_and_confirm
from tests.accounts.rotation.hosts import several_hosts
from tests.browsers import PATIENCE_SECONDS, Answer, Browser, wait_until
from tests.demo_api.server import DemoApi


class TestCopiedCookies:
    def test_a_replayed_old_cookie_ends_the_session_for_both(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        thief = signed_in.copy()
        rotate_and_confirm(signed_in, api)
        move_back(signed_in, 31)
        seen: list[dict[str, object]] = []
        reuse_detected.connect(lambda **what: seen.append(what), weak=False, dispatch_uid="test")
        api.forget_calls()

        with caplog.at_level(logging.WARNING):
            assert not thief.is_signed_in()
        reuse_detected.disconnect(dispatch_uid="test")

        record = SessionRecord.objects.get()
        assert record.end_reason == EndReason.REUSED
        assert record.sealed == ""
        assert [event["session_id"] for event in seen] == [record.id]
        [line] = [entry for entry in caplog.records if "used again" in entry.getMessage()]
        assert line.levelno == logging.WARNING
        for word in (str(record.id), f"user_id={record.user_id} ", "address=127.0.0.1", "generation=0"):
            assert word in line.getMessage()
        assert api.count("POST", "/auth/logout", 204) == 1
        assert not signed_in.is_signed_in()

    def test_within_the_leeway_an_old_cookie_is_a_straggler(self, signed_in: Browser, api: DemoApi) -> None:
        straggler = signed_in.copy()
        rotate_and_confirm(signed_in, api)
        move_back(signed_in, 25)

        assert straggler.is_signed_in()

        assert straggler.session().generation == 1
        assert signed_in.is_signed_in()

    def test_a_later_confirmation_does_not_extend_the_leeway(self, signed_in: Browser, api: DemoApi) -> None:
        thief = signed_in.copy()
        rotate_and_confirm(signed_in, api)
        move_back(signed_in, 31)
        rotate_and_confirm(signed_in, api)

        assert not thief.is_signed_in()

        assert SessionRecord.objects.get().end_reason == EndReason.REUSED

    def test_rapid_confirmations_do_not_extend_the_leeway(self, signed_in: Browser, api: DemoApi) -> None:
        thief = signed_in.copy()
        for _ in range(4):
            rotate_and_confirm(signed_in, api)
            move_back(signed_in, 12)

        assert not thief.is_signed_in()

    def test_rapid_confirmations_do_not_shorten_the_leeway(self, signed_in: Browser, api: DemoApi) -> None:
        for _ in range(4):
            rotate_and_confirm(signed_in, api)
            move_back(signed_in, 12)
        straggler = signed_in.copy()
        for _ in range(2):
            rotate_and_confirm(signed_in, api)
            move_back(signed_in, 12)

        assert straggler.is_signed_in()

    def test_an_old_unconfirmed_cookie_is_detected_on_a_page_that_calls_no_api(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        signed_in.open_page()
        thief = signed_in.copy()
        signed_in.open_page()
        rotate_and_confirm(signed_in, api)
        move_back(signed_in, 31)

        assert thief.get("/accounts/session/").json()["authenticated"] is False

        assert SessionRecord.objects.get().end_reason == EndReason.REUSED

    def test_one_that_waits_together_with_a_straggler_is_checked_by_itself(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        owner, straggler, thief = signed_in, signed_in.copy(), signed_in.copy()
        session_id = owner.session().id
        api.expire_access_tokens()
        # Another request is rotating, so the straggler waits, and the thief waits for the straggler.
        assert SessionRecord.objects.claim(session_id, generation=0, owner="another", lease_seconds=60)
        pages: list[Future[Answer]] = []
        leeway_ends_at = 0.0

        def on_another_host() -> None:
            hosts.move_to(1)
            SessionRecord.objects.update(lease_until=None)
            rotate_and_confirm(owner, api)
            # The leeway ended after the straggler had come, and before the thief did.
            SessionRecord.objects.update(retired=[[1, leeway_ends_at - conf.leeway]], retired_host_times=None)
            connection.close()

        def meanwhile(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            nonlocal leeway_ends_at
            if not pages and sql.startswith("SELECT"):
                time.sleep(0.01)
                leeway_ends_at = time.time()
                # A slow query dates the thief's arrival too early, and none too late.
                time.sleep(0.3)
                pages.append(threads.submit(thief.open_page))
                wait_until(lambda: hosts.waiting() == 1)
                threads.submit(on_another_host).result(PATIENCE_SECONDS)
            return execute(sql, params, many, context)

        with several_hosts(2) as hosts, ThreadPoolExecutor() as threads, connection.execute_wrapper(meanwhile):
            straggler.open_page()

        assert [page.result().status_code for page in pages] == [302]
        assert SessionRecord.objects.get().end_reason == EndReason.REUSED

    def test_thief_first_owner_second(self, signed_in: Browser, api: DemoApi) -> None:
        thief = signed_in.copy()
        rotate_and_confirm(thief, api)
        move_back(thief, 31)

        assert not signed_in.is_signed_in()
        assert not thief.is_signed_in()

    def test_a_retired_cookie_that_signs_out_is_detected(self, signed_in: Browser, api: DemoApi) -> None:
        thief = signed_in.copy()
        rotate_and_confirm(signed_in, api)
        move_back(signed_in, 31)
        api.forget_calls()

        thief.sign_out()

        assert SessionRecord.objects.get().end_reason == EndReason.REUSED
        assert api.count("POST", "/auth/logout", 204) == 1


class TestLateRequests:
    def test_the_arrival_of_a_request_counts(self, signed_in: Browser, api: DemoApi) -> None:
        straggler = signed_in.copy()
        with movable_clock() as clock:
            page = straggler.get("/protected/stream/?rows=2&delay=0")
            assert isinstance(page, StreamingHttpResponse)
            pieces = iter(page)
            assert next(pieces)
            rotate_and_confirm(signed_in, api)
            clock.ahead += 120

            assert b"That was all." in b"".join(pieces)
        assert signed_in.is_signed_in()
        assert api.reuses == 0

    def test_responses_in_the_wrong_order_do_not_sign_out(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        signed_in.open_page()
        older = signed_in.take()
        signed_in.open_page()
        rotate_and_confirm(signed_in, api)
        signed_in.put(older)

        assert signed_in.is_signed_in()

        assert signed_in.session().generation == 2

    def test_a_late_straggler_gets_the_newest_cookie_and_not_its_own_again(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        api.expire_access_tokens()
        signed_in.open_page()
        straggler = signed_in.copy()
        signed_in.open_page()
        rotate_and_confirm(signed_in, api)

        assert straggler.get("/accounts/session/").json()["authenticated"] is True

        assert straggler.session().generation == 2


def test_two_devices_of_one_user_do_not_disturb_each_other(signed_in: Browser, api: DemoApi) -> None:
    phone = Browser()
    phone.sign_in()
    thief = signed_in.copy()
    rotate_and_confirm(signed_in, api)
    move_back(signed_in, 31)

    assert not thief.is_signed_in()

    assert not signed_in.is_signed_in()
    assert phone.is_signed_in()
