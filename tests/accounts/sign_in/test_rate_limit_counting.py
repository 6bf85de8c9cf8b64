"""Which attempts the limits on sign-ins count, what a count costs, and what is stored."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models.attempt_count import AttemptCount
from accounts.sign_in.rate_limit import rate_limited_attempt
from tests.accounts.rotation.clocks import Clock
from tests.accounts.sign_in.rate_limits import (
    ANYWHERE,
    ELSEWHERE,
    HERE,
    PER_ADDRESS,
    PER_USER,
    WINDOW_SECONDS,
    WRONG,
    fail,
    is_refused,
    passwords_checked,
    sign_in,
)
from tests.browsers import ADA, GRACE, Browser, table_away, wait_until
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault, Gate

pytestmark = pytest.mark.usefixtures("rate_limits")

NO_FAILURES = {
    "an API that is unavailable": (Fault.answer(503), 503),
    "a connection that breaks": (Fault.reset(), 503),
    "an API that is overloaded": (Fault.answer(429, {"message": "Slow down."}), 503),
    "an API that sends HTML": (Fault.answer(200, b"<h1>Welcome</h1>", "text/html"), 502),
}


class TestWhatCounts:
    def test_successes_do_not(self, browser: Browser) -> None:
        for _ in range(max(PER_ADDRESS, ANYWHERE) + 1):
            assert sign_in(browser).status_code == 302

        fail(browser, PER_USER)

    def test_successes_forgive_nothing(self, browser: Browser) -> None:
        """Otherwise an attacker with an account could guess forever, with a sign-in of his own after each guess."""
        fail(browser, PER_USER - 1)
        assert sign_in(browser, ADA).status_code == 302
        assert sign_in(browser, GRACE).status_code == 302
        fail(browser, 1)

        assert is_refused(sign_in(browser, ADA))

    def test_a_success_elsewhere_forgives_nothing_either(self, browser: Browser) -> None:
        fail(browser, PER_USER)

        assert sign_in(browser, ADA, address=ELSEWHERE).status_code == 302
        assert is_refused(sign_in(browser, ADA))

    @pytest.mark.parametrize(("fault", "status"), NO_FAILURES.values(), ids=NO_FAILURES)
    def test_what_says_nothing_of_the_password_does_not(
        self, browser: Browser, api: DemoApi, fault: Fault, status: int
    ) -> None:
        for _ in range(max(PER_ADDRESS, ANYWHERE) + 1):
            api.fail("POST", "/auth/login", fault)
            assert sign_in(browser, ADA, WRONG).status_code == status
        api.heal()

        fail(browser, PER_USER)

    def test_an_incomplete_form_does_not(self, browser: Browser) -> None:
        for _ in range(PER_ADDRESS + 1):
            assert browser.post("/accounts/login/", {"username": ADA}, REMOTE_ADDR=HERE).status_code == 200

        fail(browser, PER_USER)

    def test_attempts_that_were_refused_do_not(self, browser: Browser, clock: Clock) -> None:
        """They do not prolong the wait, and do not use up the limit of the address."""
        fail(browser, PER_USER)
        clock.ahead = WINDOW_SECONDS / 2
        for _ in range(PER_ADDRESS + 1):
            assert is_refused(sign_in(browser, ADA, WRONG))

        assert sign_in(browser, GRACE).status_code == 302
        clock.ahead = WINDOW_SECONDS + 1
        assert sign_in(browser, ADA).status_code == 302

    def test_the_next_window_has_as_many_as_the_first(self, browser: Browser, clock: Clock) -> None:
        fail(browser, PER_USER)
        clock.ahead = WINDOW_SECONDS + 1
        fail(browser, PER_USER)

        assert is_refused(sign_in(browser))

    def test_one_of_many_at_once(self, browser: Browser, api: DemoApi) -> None:
        """The API holds its responses until all are sent: only as many as the limit allows reach it."""
        with Gate() as gate, ThreadPoolExecutor(20) as threads:
            api.fail("POST", "/auth/login", Fault.hold_after(gate), times=20)
            guesses = [threads.submit(lambda: sign_in(Browser(), ADA, WRONG).status_code) for _ in range(20)]
            wait_until(lambda: sum(guess.done() for guess in guesses) == 20 - PER_USER)
            gate.release()
            statuses = [guess.result() for guess in guesses]

        assert sorted(statuses) == [200] * PER_USER + [429] * (20 - PER_USER)
        assert passwords_checked(api) == PER_USER

    def test_more_right_ones_at_once_are_told_to_wait_some_seconds(self, browser: Browser, api: DemoApi) -> None:
        """None of them has failed, so none is told so, and none waits for the end of a window."""
        with Gate() as gate, ThreadPoolExecutor(PER_USER) as threads:
            api.fail("POST", "/auth/login", Fault.hold_after(gate), times=PER_USER)
            others = [threads.submit(lambda: sign_in(Browser()).status_code) for _ in range(PER_USER)]
            wait_until(lambda: gate.arrivals == PER_USER)

            response = sign_in(browser)

            gate.release()
            assert [other.result() for other in others] == [302] * PER_USER
        assert response.status_code == 429
        assert int(response["Retry-After"]) <= 10
        assert "Too many sign-ins are under way. Please try again in some seconds." in response.text
        assert "failed" not in response.text
        assert sign_in(browser).status_code == 302

    def test_failures_and_attempts_under_way_share_one_limit(self, browser: Browser, api: DemoApi) -> None:
        fail(browser, PER_USER - 1)
        with Gate() as gate, ThreadPoolExecutor(1) as threads:
            api.fail("POST", "/auth/login", Fault.hold_after(gate))
            guess = threads.submit(lambda: sign_in(Browser(), ADA, WRONG).status_code)
            assert gate.reached.wait(30)

            assert "under way" in sign_in(browser, ADA, WRONG).text

            gate.release()
            assert guess.result() == 200
        assert "have failed" in sign_in(browser).text

    @pytest.mark.parametrize("hours", [1, 24, 24 * 365])
    def test_a_window_that_ends_later_than_any_can_is_over(self, browser: Browser, clock: Clock, hours: int) -> None:
        """The database's clock was set back after it began."""
        clock.ahead = hours * 3600
        fail(browser, PER_USER)
        assert is_refused(sign_in(browser))
        clock.ahead = 0

        fail(browser, PER_USER)
        assert is_refused(sign_in(browser)), "failures count from now on"
        clock.ahead = WINDOW_SECONDS + 1
        assert sign_in(browser).status_code == 302

    def test_an_attempt_whose_worker_died_is_forgotten(self, browser: Browser, clock: Clock) -> None:
        attempts = [rate_limited_attempt(HERE, ADA) for _ in range(PER_USER)]
        for attempt in attempts:
            attempt.__enter__()
        assert is_refused(sign_in(browser))
        clock.ahead = 60

        assert sign_in(browser).status_code == 302

    def test_right_ones_at_once_leave_nothing_behind(self, browser: Browser) -> None:
        with ThreadPoolExecutor(PER_USER) as threads:
            for _ in range(3):
                statuses = list(threads.map(lambda _: sign_in(Browser()).status_code, range(PER_USER)))
                assert statuses == [302] * PER_USER

        fail(browser, PER_USER)


class TestTheSettings:
    @pytest.mark.parametrize("none", ["", "  "])
    def test_none_at_all(self, browser: Browser, settings: Settings, none: str) -> None:
        settings.SIGN_IN_LIMIT_PER_ADDRESS = none
        settings.SIGN_IN_LIMIT_PER_USER = none
        settings.SIGN_IN_LIMIT_PER_USER_ANYWHERE = none

        fail(browser, ANYWHERE + PER_ADDRESS)

    def test_several_at_once(self, browser: Browser, settings: Settings, clock: Clock) -> None:
        settings.SIGN_IN_LIMIT_PER_USER = "2/minute; 3/day"
        fail(browser, 2)
        assert is_refused(sign_in(browser))
        clock.ahead = 61
        fail(browser, 1)
        clock.ahead = 122

        assert is_refused(sign_in(browser))


class TestTheDatabaseUnavailable:
    def test_nobody_is_asked_while_attempts_cannot_be_counted(self, browser: Browser, api: DemoApi) -> None:
        with table_away("accounts_tally"):
            response = sign_in(browser)

        assert response.status_code == 503
        assert int(response["Retry-After"]) > 0
        assert f'value="{ADA}"' in response.text
        assert not api.calls
        assert sign_in(browser).status_code == 302

    def test_pages_need_no_counts(self, signed_in: Browser) -> None:
        with table_away("accounts_tally"):
            assert signed_in.open_page().status_code == 200
            assert Browser().get("/accounts/login/").status_code == 200

    def test_a_successful_sign_in_stays_one(
        self, browser: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The table fails after the API's response: the attempt stays under way, and nothing else happens."""
        with Gate() as gate, ThreadPoolExecutor(1) as threads:
            api.fail("POST", "/auth/login", Fault.hold_after(gate))
            signing_in = threads.submit(lambda: sign_in(browser).status_code)
            assert gate.reached.wait(30)
            with table_away("accounts_tally"):
                gate.release()
                assert signing_in.result() == 302

        assert browser.is_signed_in()
        assert "stays counted as under way" in caplog.text
        fail(browser, PER_USER - 1)
        assert is_refused(sign_in(browser))

    def test_a_failure_that_cannot_be_counted_is_not_told(self, browser: Browser, api: DemoApi) -> None:
        with Gate() as gate, ThreadPoolExecutor(1) as threads:
            api.fail("POST", "/auth/login", Fault.hold_after(gate))
            guess = threads.submit(lambda: sign_in(browser, ADA, WRONG))
            assert gate.reached.wait(30)
            with table_away("accounts_tally"):
                gate.release()
                response = guess.result()

        assert response.status_code == 503
        assert "This site cannot reach its own database." in response.text
        assert "checks your password" not in response.text


class TestWhatItCosts:
    def test_the_sign_in_page_counts_nothing(self, browser: Browser) -> None:
        with CaptureQueriesContext(connection) as queries:
            browser.get("/accounts/login/")

        assert not queries.captured_queries

    def test_a_page_does_not_either(self, signed_in: Browser) -> None:
        with CaptureQueriesContext(connection) as queries:
            assert signed_in.open_page().status_code == 200

        assert not queries.captured_queries

    def test_an_attempt_that_is_refused_only_reads(self, browser: Browser) -> None:
        """A client that keeps trying does not block the writes of others."""
        fail(browser, PER_USER)

        with CaptureQueriesContext(connection) as queries:
            assert is_refused(sign_in(browser))

        assert queries.captured_queries
        assert all(query["sql"].startswith("SELECT") for query in queries.captured_queries)


class TestWhatIsKept:
    def test_nothing_that_can_be_read(self, browser: Browser, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("DEBUG")
        fail(browser, PER_USER)
        sign_in(browser, ADA)
        sign_in(browser, GRACE)

        rows = list(AttemptCount.objects.values_list("key", "count"))
        assert len(rows) == 9, "failures: one address, one name; under way: one address, two names; one known place"
        assert all(re.fullmatch("[0-9a-f]{64}", key) for key, _ in rows)
        for secret in (WRONG, DEMO_USERS[ADA], DEMO_USERS[GRACE], ADA):
            assert secret not in caplog.text
        assert f"sign-in from {HERE} refused" in caplog.text

    def test_another_key_makes_other_rows(self, browser: Browser, settings: Settings) -> None:
        fail(browser, PER_USER)
        settings.SECRET_KEY = "another-" + "x" * 50

        assert not is_refused(sign_in(browser, ADA, WRONG))

    def test_an_attempt_that_is_taken_back_twice_gives_no_credit(self, transactional_db: None) -> None:
        counts = AttemptCount.objects
        counts.add("a", seconds=WINDOW_SECONDS)
        for _ in range(2):
            counts.take_back("a")

        assert counts.add("a", seconds=WINDOW_SECONDS) == 1
