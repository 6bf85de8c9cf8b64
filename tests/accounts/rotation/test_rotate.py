"""The two-phase hand-over, one promise at a time, in one process: the demo API over real HTTP, the real middleware.

Many processes and sites do the same in tests/load; random schedules of everything in test_hand_over_model.py.
"""

import json
import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.http import StreamingHttpResponse
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts.conf import conf
from accounts.dialects.token_pair import TokenPairDialect
from accounts.models import EndReason, SessionRecord
from accounts.rotation.ending import end_session
from accounts.session.tokens import TokenPair
from accounts.signals import reuse_detected, session_ended
from accounts.upstream.calls import ApiCall
from tests.accounts.rotation.clocks import movable_clock
from tests.accounts.rotation.hosts import several_hosts
from tests.browsers import PATIENCE_SECONDS, Answer, Browser, cookies_set, let_databases_clock_move_on, wait_until
from tests.demo_api.server import DemoApi, Fault, Gate


def move_back(browser: Browser, seconds: float) -> None:
    """Let so much time pass for the browser's record: everything it remembers is that much longer ago."""
    record = browser.record()
    SessionRecord.objects.filter(pk=record.id).update(
        confirmed_at=F("confirmed_at") - timedelta(seconds=seconds),
        retired=[[generation, at - seconds] for generation, at in record.retired],
    )


def rotate_and_confirm(browser: Browser, api: DemoApi) -> None:
    api.expire_access_tokens()
    assert browser.open_page().status_code == 200
    assert browser.open_page().status_code == 200


class TestLostAnswers:
    def test_a_lost_response_does_not_sign_out(self, signed_in: Browser, api: DemoApi) -> None:
        before = signed_in.take()
        api.expire_access_tokens()
        assert signed_in.open_page().status_code == 200
        signed_in.put(before)

        assert signed_in.is_signed_in()

        assert api.count("POST", "/auth/refresh", 200) == 1
        assert signed_in.session().generation == 1

    def test_five_lost_responses_in_a_row_do_not_sign_out_even_after_the_leeway(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        before = signed_in.take()
        for _ in range(5):
            api.expire_access_tokens()
            assert signed_in.open_page().status_code == 200
            signed_in.put(before)
        move_back(signed_in, 3600)

        assert signed_in.is_signed_in()

        assert signed_in.session().generation == 5
        assert api.reuses == 0

    def test_the_next_request_confirms_and_writes_the_cookie_again(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        signed_in.open_page()
        assert not signed_in.session().confirmed

        response = signed_in.open_page()

        assert cookies_set(response)
        assert signed_in.session().confirmed
        assert signed_in.record().confirmed == 1
        assert not cookies_set(signed_in.open_page())

    def test_what_one_tab_confirmed_is_confirmed_for_the_others(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        signed_in.open_page()
        another_tab = signed_in.copy()
        signed_in.open_page()
        assert not another_tab.session().confirmed

        another_tab.open_page()

        assert another_tab.session().confirmed

    def test_an_adopted_pair_that_is_dead_already_is_rotated_again(self, signed_in: Browser, api: DemoApi) -> None:
        before = signed_in.take()
        api.expire_access_tokens()
        signed_in.open_page()
        signed_in.put(before)
        api.expire_access_tokens()

        assert signed_in.is_signed_in()

        assert signed_in.session().generation == 2
        assert api.reuses == 0


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

    def test_a_later_confirmation_does_not_open_the_door_again(self, signed_in: Browser, api: DemoApi) -> None:
        thief = signed_in.copy()
        rotate_and_confirm(signed_in, api)
        move_back(signed_in, 31)
        rotate_and_confirm(signed_in, api)

        assert not thief.is_signed_in()

        assert SessionRecord.objects.get().end_reason == EndReason.REUSED

    def test_rapid_confirmations_do_not_hold_the_door_open(self, signed_in: Browser, api: DemoApi) -> None:
        thief = signed_in.copy()
        for _ in range(4):
            rotate_and_confirm(signed_in, api)
            move_back(signed_in, 12)

        assert not thief.is_signed_in()

    def test_rapid_confirmations_do_not_shut_it_on_a_straggler(self, signed_in: Browser, api: DemoApi) -> None:
        for _ in range(4):
            rotate_and_confirm(signed_in, api)
            move_back(signed_in, 12)
        straggler = signed_in.copy()
        for _ in range(2):
            rotate_and_confirm(signed_in, api)
            move_back(signed_in, 12)

        assert straggler.is_signed_in()

    def test_an_old_unconfirmed_cookie_is_found_out_on_a_page_that_calls_no_api(
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

    def test_one_that_waits_together_with_a_straggler_is_judged_by_itself(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        owner, straggler, thief = signed_in, signed_in.copy(), signed_in.copy()
        session_id = owner.session().id
        api.expire_access_tokens()
        # Somebody is rotating, so the straggler has to wait, and the thief waits for the straggler.
        assert SessionRecord.objects.claim(session_id, generation=0, owner="another", lease_seconds=60)
        pages: list[Future[Answer]] = []
        leeway_ends_at = 0.0

        def on_another_host() -> None:
            hosts.move_to(1)
            SessionRecord.objects.update(lease_until=None)
            rotate_and_confirm(owner, api)
            # The leeway ended after the straggler had come, and before the thief did.
            SessionRecord.objects.update(retired=[[1, leeway_ends_at - conf.leeway]])
            connection.close()

        def meanwhile(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            nonlocal leeway_ends_at
            if not pages and sql.startswith("SELECT"):
                let_databases_clock_move_on()
                leeway_ends_at = time.time()
                let_databases_clock_move_on()
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


class TestStragglers:
    def test_a_request_is_judged_by_when_it_arrived(self, signed_in: Browser, api: DemoApi) -> None:
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


class TestOneRefreshPerRotation:
    def test_twenty_threads_share_one_refresh(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        tabs = [signed_in.copy() for _ in range(20)]

        with ThreadPoolExecutor(20) as threads:
            pages = list(threads.map(Browser.open_page, tabs))

        assert [page.status_code for page in pages] == [200] * 20
        assert api.count("POST", "/auth/refresh") == 1
        assert {tab.session().generation for tab in tabs} == {1}

    def test_those_who_wait_on_a_failing_api_fail_together(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", Fault.answer(503, headers={"Retry-After": "60"}), times=None)
        tabs = [signed_in.copy() for _ in range(20)]

        with ThreadPoolExecutor(20) as threads:
            pages = list(threads.map(Browser.open_page, tabs))
        pages.append(signed_in.open_page())

        assert [page.status_code for page in pages] == [503] * 21
        assert api.count("POST", "/auth/refresh") == 1
        assert {int(page["Retry-After"]) for page in pages} <= {*range(20, 61)}
        assert any(message.endswith(": the last refresh got no usable response") for message in caplog.messages)
        assert not any(cookies_set(page) for page in pages)

    @pytest.mark.parametrize(
        ("fault", "status"),
        [
            (Fault.answer(503, headers={"Retry-After": "7"}), 503),
            (Fault.answer(401, {"message": "This refresh token has been revoked."}), 302),
        ],
        ids=["no answer", "refused"],
    )
    def test_who_waits_for_one_that_fails_fails_likewise(
        self, signed_in: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture, fault: Fault, status: int
    ) -> None:
        followers = [signed_in.copy() for _ in range(2)]
        api.expire_access_tokens()
        api.fail("POST", "/auth/refresh", fault)
        started = timezone.now()
        pages: list[Future[Answer]] = []

        def with_followers(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if not pages:
                pages.extend(threads.submit(follower.open_page) for follower in followers)
                wait_until(lambda: hosts.waiting() == len(followers))
            return execute(sql, params, many, context)

        with several_hosts(1) as hosts, ThreadPoolExecutor() as threads, connection.execute_wrapper(with_followers):
            first = signed_in.open_page()

        answers = [page.result() for page in pages]
        assert [answer.status_code for answer in (first, *answers)] == [status] * 3
        assert api.count("POST", "/auth/refresh") == 1
        assert not any(cookies_set(answer) for answer in answers), "they came before the end"
        if status == 503:
            assert [answer["Retry-After"] for answer in (first, *answers)] == ["7"] * 3
            reasons = [message for message in caplog.messages if "ApiUnavailable: refresh: " in message]
            assert (len(reasons), len({*reasons})) == (3, 1)
            retry_at = signed_in.record().retry_at
            assert retry_at is not None
            assert retry_at - started >= timedelta(seconds=7)

    def test_two_sessions_that_rotate_at_once_know_nothing_of_each_other(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        other = Browser()
        other.sign_in("grace@example.com")
        api.expire_access_tokens()
        pages: list[Answer] = []

        def meanwhile(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
            if not pages:
                pages.append(threads.submit(other.open_page).result(PATIENCE_SECONDS))
            return execute(sql, params, many, context)

        with ThreadPoolExecutor() as threads, connection.execute_wrapper(meanwhile):
            page = signed_in.open_page()

        assert "ada@example.com" in page.text
        assert ["grace@example.com" in page.text for page in pages] == [True]
        assert (signed_in.session().user.name, other.session().user.name) == ("ada@example.com", "grace@example.com")
        assert api.count("POST", "/auth/refresh", 200) == 2

    def test_a_lonely_rotation_costs_three_queries_and_a_good_token_none(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        with CaptureQueriesContext(connection) as good:
            signed_in.open_page()
        api.expire_access_tokens()
        with CaptureQueriesContext(connection) as rotating:
            signed_in.open_page()

        assert len(good) == 0
        assert len(rotating) <= 3

    def test_a_rotation_in_a_transaction_is_refused_before_anything_is_spent(
        self, signed_in: Browser, api: DemoApi, settings: Settings
    ) -> None:
        settings.DATABASES["default"]["ATOMIC_REQUESTS"] = True
        api.expire_access_tokens()
        try:
            connection.settings_dict["ATOMIC_REQUESTS"] = True
            response = signed_in.open_page()
        finally:
            settings.DATABASES["default"]["ATOMIC_REQUESTS"] = False
            connection.settings_dict["ATOMIC_REQUESTS"] = False

        assert response.status_code == 500
        assert api.count("POST", "/auth/refresh") == 0
        assert signed_in.is_signed_in()


class TestEnds:
    def test_a_refused_refresh_ends_the_session_for_every_holder(self, signed_in: Browser, api: DemoApi) -> None:
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

    def test_staff_end_a_session_and_its_pair_dies_when_the_browser_shows_up(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        end_session(signed_in.session().id, EndReason.REVOKED)
        api.expire_access_tokens()

        assert not signed_in.is_signed_in()

        assert api.count("POST", "/auth/logout", 204) == 1

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
        let_databases_clock_move_on()
        response = signed_in.open_page()
        assert cookies_set(response)["session"].value == ""

    def test_a_session_without_a_record_is_over(self, signed_in: Browser, api: DemoApi) -> None:
        SessionRecord.objects.all().delete()
        assert signed_in.is_signed_in(), "the cookie is the session while its token is good"
        api.expire_access_tokens()

        assert not signed_in.is_signed_in()

        assert api.count("POST", "/auth/refresh") == 0


class TestEveryRequest:
    def test_a_revocation_acts_at_once(self, signed_in: Browser, api: DemoApi, settings: Settings) -> None:
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


class TestWhatAReviewFound:
    """Schedules that nobody had thought of, each of which ended an honest session or kept a dishonest one."""

    def test_a_rotation_that_could_not_be_stored_is_stored_by_whoever_holds_it_next(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        page = signed_in.get("/protected/stream/?rows=3&delay=0")
        assert isinstance(page, StreamingHttpResponse)
        pieces = iter(page)
        assert next(pieces)
        before = SessionRecord.objects.values().get()
        api.expire_access_tokens()
        assert next(pieces)
        # As if the database had been away at the store, and is back.
        SessionRecord.objects.filter(pk=before["id"]).update(**before)
        assert b"".join(pieces)

        assert signed_in.is_signed_in(), "with generation 0: a stream's hand-off was never posted"

        assert api.reuses == 0

    def test_a_record_that_catches_up_knows_how_long_the_session_lives_now(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        before = SessionRecord.objects.values().get()
        api.expire_access_tokens()
        signed_in.open_page()
        SessionRecord.objects.filter(pk=before["id"]).update(**{**before, "expires_at": before["signed_in_at"]})

        signed_in.open_page()

        assert signed_in.record().expires_at == signed_in.session().tokens.refresh_expiry()

    def test_a_confirmation_that_could_be_rolled_back_is_not_made(self, signed_in: Browser, api: DemoApi) -> None:
        thief = signed_in.copy()
        api.expire_access_tokens()
        signed_in.open_page()
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        try:
            signed_in.get("/accounts/session/")
        finally:
            connection.settings_dict["ATOMIC_REQUESTS"] = False

        assert signed_in.record().confirmed == 0
        assert not signed_in.session().confirmed
        signed_in.open_page()
        move_back(signed_in, 31)
        assert not thief.is_signed_in()

    def test_a_retired_cookie_that_signs_out_is_found_out(self, signed_in: Browser, api: DemoApi) -> None:
        thief = signed_in.copy()
        rotate_and_confirm(signed_in, api)
        move_back(signed_in, 31)
        api.forget_calls()

        thief.sign_out()

        assert SessionRecord.objects.get().end_reason == EndReason.REUSED
        assert api.count("POST", "/auth/logout", 204) == 1

    def test_catching_up_leaves_the_lease_to_whoever_has_it(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        signed_in.open_page()
        session = signed_in.session()
        SessionRecord.objects.update(generation=0)
        assert SessionRecord.objects.claim(session.id, generation=1, owner="somebody", lease_seconds=60)

        assert SessionRecord.objects.catch_up(session)

        assert not SessionRecord.objects.claim(session.id, generation=1, owner="another", lease_seconds=60)


class TestDamagedRecords:
    def test_a_cookie_newer_than_the_record_counts(self, signed_in: Browser, api: DemoApi) -> None:
        """A database restored from a backup: the browser holds what the API gave last, and the record catches up."""
        backup = SessionRecord.objects.values().get()
        rotate_and_confirm(signed_in, api)
        rotate_and_confirm(signed_in, api)
        SessionRecord.objects.filter(pk=backup["id"]).update(**backup)
        api.expire_access_tokens()

        assert signed_in.is_signed_in()

        assert signed_in.record().generation == signed_in.session().generation == 3
        assert api.reuses == 0

    def test_an_unconfirmed_cookie_newer_than_the_record_is_stored_when_it_is_confirmed(
        self, signed_in: Browser, api: DemoApi
    ) -> None:
        backup = SessionRecord.objects.values().get()
        before = signed_in.take()
        api.expire_access_tokens()
        signed_in.open_page()
        SessionRecord.objects.filter(pk=backup["id"]).update(**backup)

        signed_in.open_page()

        assert signed_in.record().generation == signed_in.record().confirmed == 1
        straggler = Browser(before)
        api.expire_access_tokens()
        assert straggler.is_signed_in(), "within the leeway, from the sealed copy that the confirmation brought back"

    def test_a_copy_that_no_key_opens_costs_a_page_and_not_the_session(self, signed_in: Browser, api: DemoApi) -> None:
        before = signed_in.take()
        api.expire_access_tokens()
        signed_in.open_page()
        sealed = signed_in.record().sealed
        SessionRecord.objects.update(sealed="sealed-by-another-host")
        browser = Browser(before)

        assert browser.open_page().status_code == 503

        SessionRecord.objects.update(sealed=sealed)
        assert browser.is_signed_in()

    def test_the_copy_opens_only_with_its_own_cookie(self, signed_in: Browser, api: DemoApi) -> None:
        other = Browser()
        other.sign_in("grace@example.com")
        for browser in (signed_in, other):
            api.expire_access_tokens()
            browser.open_page()
        stolen = signed_in.record().sealed
        SessionRecord.objects.filter(pk=other.session().id).update(sealed=stolen, generation=5)
        api.expire_access_tokens()

        assert other.open_page().status_code == 503


def test_two_devices_of_one_user_do_not_disturb_each_other(signed_in: Browser, api: DemoApi) -> None:
    phone = Browser()
    phone.sign_in()
    thief = signed_in.copy()
    rotate_and_confirm(signed_in, api)
    move_back(signed_in, 31)

    assert not thief.is_signed_in()

    assert not signed_in.is_signed_in()
    assert phone.is_signed_in()


def test_a_key_rotation_during_a_rotation_does_not_sign_out(
    signed_in: Browser, api: DemoApi, settings: Settings
) -> None:
    before = signed_in.take()
    api.expire_access_tokens()
    signed_in.open_page()
    signed_in.put(before)
    settings.API_SESSION_KEYS = ["a new key that is long enough to be one", settings.SECRET_KEY]

    assert signed_in.is_signed_in()

    settings.API_SESSION_KEYS = ["a new key that is long enough to be one"]
    assert signed_in.is_signed_in()


def test_a_thread_that_breaks_down_leaves_no_lease_behind(signed_in: Browser, api: DemoApi, settings: Settings) -> None:
    api.expire_access_tokens()
    settings.API_DIALECT = "tests.accounts.rotation.test_rotate.BrokenDialect"

    assert signed_in.open_page().status_code == 500

    assert signed_in.record().lease_until is None
    settings.API_DIALECT = "token-pair"
    assert signed_in.is_signed_in()


class BrokenDialect(TokenPairDialect):
    """A dialect with a defect of its own."""

    def refresh(self, tokens: TokenPair) -> ApiCall:
        raise ZeroDivisionError
