"""The two-phase rotation in one process: the demo API over real HTTP, the real middleware.

tests/load does the same with many processes and sites, and test_rotation_model.py with random schedules.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from accounts.dialects.token_pair import TokenPairDialect
from accounts.session.tokens import TokenPair
from accounts.upstream.calls import ApiCall
from tests.accounts.rotation.helpers import move_back
from tests.accounts.rotation.hosts import several_hosts
from tests.browsers import PATIENCE_SECONDS, Answer, Browser, cookies_set, wait_until
from tests.demo_api.server import DemoApi, Fault


class TestLostResponses:
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


class TestOneRefreshPerRotation:
    def test_twenty_threads_share_one_refresh(self, signed_in: Browser, api: DemoApi) -> None:
        api.expire_access_tokens()
        tabs = [signed_in.copy() for _ in range(20)]

        with ThreadPoolExecutor(20) as threads:
            pages = list(threads.map(Browser.open_page, tabs))

        assert [page.status_code for page in pages] == [200] * 20
        assert api.count("POST", "/auth/refresh") == 1
        assert {tab.session().generation for tab in tabs} == {1}

    def test_all_requests_that_wait_for_a_failing_api_fail_together(
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
            (Fault.answer(401, {"code": "refresh_token_revoked"}), 302),
        ],
        ids=["no response", "refused"],
    )
    def test_a_request_that_waits_for_one_that_fails_fails_in_the_same_way(
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

    def test_two_sessions_that_rotate_at_once_do_not_affect_each_other(self, signed_in: Browser, api: DemoApi) -> None:
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


def test_a_thread_that_fails_leaves_no_lease_behind(signed_in: Browser, api: DemoApi, settings: Settings) -> None:
    api.expire_access_tokens()
    settings.API_DIALECT = "tests.accounts.rotation.test_rotate.BrokenDialect"

    assert signed_in.open_page().status_code == 500

    assert signed_in.record().lease_until is None
    settings.API_DIALECT = "token-pair"
    assert signed_in.is_signed_in()


class BrokenDialect(TokenPairDialect):
    """A dialect with a defect."""

    def refresh(self, tokens: TokenPair) -> ApiCall:
        raise ZeroDivisionError
