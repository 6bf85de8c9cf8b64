"""How often a sign-in may fail: by address and by user name, what counts and what does not, and what is said then."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models.attempt_count import AttemptCount, TallyStorage
from accounts.sign_in.rate_limit import KNOWN_SECONDS
from tests.accounts.rotation.clocks import Clock, movable_clock
from tests.browsers import ADA, GRACE, Answer, Browser, table_away, wait_until
from tests.demo_api.server import DEMO_USERS, DemoApi, Fault, Gate

HERE, ELSEWHERE = "198.51.100.7", "203.0.113.9"
PER_USER, PER_ADDRESS, ANYWHERE = 3, 5, 7
WINDOW_SECONDS = 600
WRONG = "low-tide"

#: The same user, to one API or another.
SPELLINGS = {
    "in capitals": "ADA@EXAMPLE.COM",
    "with blanks": "  ada@example.com ",
    "with a tab inside": "ada@\texample.com",
    "with a zero-width space": "ada\u200b@example.com",
    "with an accent": "\u00e1da@example.com",
    "with an accent of its own": "a\u0301da@example.com",
    "in wide letters": "\uff41\uff44\uff41@example.com",
}
#: How many proxies are trusted, and what an attacker writes into X-Forwarded-For each time.
FORGERIES = {
    "no proxy": (0, "192.0.2.{}"),
    "one proxy": (1, "192.0.2.{}, 198.51.100.7"),
    "two proxies": (2, "192.0.2.{}, 198.51.100.7, 10.0.0.2"),
}
NEIGHBOURS = {
    "one /64": ("2001:db8:0:1::{}", True),
    "a /64 each": ("2001:db8:0:{}::1", False),
    "IPv4 on a socket for both": ("::ffff:192.0.2.{}", False),
    "IPv4": ("192.0.2.{}", False),
}
NO_FAILURES = {
    "an API that is away": (Fault.answer(503), 503),
    "a connection that breaks": (Fault.reset(), 503),
    "an API that has too much to do": (Fault.answer(429, {"message": "Slow down."}), 503),
    "an API that answers nonsense": (Fault.answer(200, b"<h1>Welcome</h1>", "text/html"), 502),
}


@pytest.fixture(autouse=True)
def limits(settings: Settings) -> None:
    settings.SIGN_IN_LIMIT_PER_ADDRESS = f"{PER_ADDRESS}/10 minutes"
    settings.SIGN_IN_LIMIT_PER_USER = f"{PER_USER}/10 minutes"
    settings.SIGN_IN_LIMIT_PER_USER_ANYWHERE = f"{ANYWHERE}/hour"


@pytest.fixture
def clock(browser: Browser) -> Iterator[Clock]:
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite's clock can be moved")
    with movable_clock() as clock:
        yield clock


def sign_in(browser: Browser, name: str = ADA, password: str = "", address: str = HERE, **options: Any) -> Answer:
    """The demo user's own password, unless another one is given."""
    form = {"username": name, "password": password or DEMO_USERS[name]}
    return browser.post("/accounts/login/", form, REMOTE_ADDR=address, **options)


def fail(browser: Browser, times: int, name: str = ADA, address: str = HERE) -> None:
    for _ in range(times):
        assert sign_in(browser, name, WRONG, address).status_code == 200


def is_refused(response: HttpResponse) -> bool:
    assert response.status_code in (200, 302, 429)
    return response.status_code == 429


def asked(api: DemoApi) -> int:
    """How many passwords the API was asked about."""
    return api.count("POST", "/auth/login")


class TestTheAnswer:
    def test_it_is_the_form_again_with_the_name_and_without_the_password(self, browser: Browser, api: DemoApi) -> None:
        fail(browser, PER_USER)

        response = sign_in(browser)

        assert response.status_code == 429
        assert 0 < int(response["Retry-After"]) <= WINDOW_SECONDS
        assert "Too many attempts to sign in have failed. Please try again in 10 minutes." in response.text
        assert 'role="alert"' in response.text
        assert f'value="{ADA}"' in response.text
        assert DEMO_USERS[ADA] not in response.text
        assert "no-store" in response["Cache-Control"]
        assert not any(name.startswith("session") for name in response.cookies)
        assert asked(api) == PER_USER, "the right password is not tried either"

    def test_the_form_keeps_the_place_to_go_to(self, browser: Browser) -> None:
        fail(browser, PER_USER)

        form = {"username": ADA, "password": WRONG, "next": "/protected/?rows=3"}
        response = browser.post("/accounts/login/", form, REMOTE_ADDR=HERE)

        assert 'value="/protected/?rows=3"' in response.text

    def test_a_script_gets_json(self, browser: Browser) -> None:
        fail(browser, PER_USER)

        response = sign_in(browser, headers={"Accept": "application/json"})

        assert response.status_code == 429
        assert int(response["Retry-After"]) > 0
        assert response.json() == {
            "detail": "Too many attempts to sign in have failed. Please try again in 10 minutes."
        }

    def test_it_says_what_is_left_to_wait(self, browser: Browser, clock: Clock) -> None:
        fail(browser, PER_USER)
        clock.ahead = WINDOW_SECONDS - 90

        response = sign_in(browser)

        assert 0 < int(response["Retry-After"]) <= 90
        assert "try again in 2 minutes." in response.text
        clock.ahead = WINDOW_SECONDS - 30
        assert "try again in a minute." in sign_in(browser).text

    def test_of_several_limits_the_longest_wait_counts(self, browser: Browser, settings: Settings) -> None:
        settings.SIGN_IN_LIMIT_PER_USER = f"{PER_USER}/minute; {PER_USER}/5 hours"
        fail(browser, PER_USER)

        response = sign_in(browser)

        assert int(response["Retry-After"]) > 4 * 3600
        assert "try again in 5 hours." in response.text

    def test_the_session_that_was_there_before_stays(self, signed_in: Browser) -> None:
        before = signed_in.session()
        fail(signed_in, PER_USER, GRACE)

        assert is_refused(sign_in(signed_in, GRACE))

        assert signed_in.session() == before
        assert signed_in.is_signed_in()


class TestByUserName:
    def test_others_sign_in_from_the_same_address(self, browser: Browser) -> None:
        fail(browser, PER_USER)

        assert is_refused(sign_in(browser, ADA))
        assert sign_in(browser, GRACE).status_code == 302

    def test_nobody_is_locked_out_from_elsewhere(self, browser: Browser) -> None:
        fail(browser, PER_USER)
        for _ in range(20):
            assert is_refused(sign_in(browser, ADA, WRONG))

        assert sign_in(browser, ADA, address=ELSEWHERE).status_code == 302

    @pytest.mark.parametrize("name", SPELLINGS.values(), ids=SPELLINGS)
    def test_another_spelling_is_no_other_name(self, browser: Browser, name: str) -> None:
        fail(browser, PER_USER, name)

        assert is_refused(sign_in(browser, ADA))
        assert sign_in(browser, GRACE).status_code == 302

    def test_a_name_without_letters_is_one_too(self, browser: Browser, api: DemoApi) -> None:
        fail(browser, PER_USER, "***")

        assert is_refused(sign_in(browser, "***", WRONG))
        assert not is_refused(sign_in(browser, "+++", WRONG))


class TestByAddress:
    def test_one_password_tried_on_many_users(self, browser: Browser, api: DemoApi) -> None:
        for number in range(PER_ADDRESS):
            fail(browser, 1, f"user-{number}@example.com")

        assert is_refused(sign_in(browser, ADA))
        assert asked(api) == PER_ADDRESS
        assert sign_in(browser, ADA, address=ELSEWHERE).status_code == 302

    @pytest.mark.parametrize(("proxies", "forwarded"), FORGERIES.values(), ids=FORGERIES)
    def test_what_a_browser_says_of_its_address_does_not_count(
        self, browser: Browser, settings: Settings, proxies: int, forwarded: str
    ) -> None:
        settings.TRUSTED_PROXY_COUNT = proxies

        def attempt(number: int) -> Answer:
            headers = {"X-Forwarded-For": forwarded.format(number)}
            return sign_in(browser, f"user-{number}@example.com", WRONG, "10.0.0.1", headers=headers)

        assert [is_refused(attempt(number)) for number in range(PER_ADDRESS + 2)] == [False] * PER_ADDRESS + [True] * 2

    @pytest.mark.parametrize(("pattern", "count_together"), NEIGHBOURS.values(), ids=NEIGHBOURS)
    def test_who_has_a_network_has_no_more_attempts(self, browser: Browser, pattern: str, count_together: bool) -> None:
        def attempt(number: int) -> Answer:
            return sign_in(browser, f"user-{number}@example.com", WRONG, pattern.format(number))

        refused = [is_refused(attempt(number)) for number in range(1, PER_ADDRESS + 2)]

        assert refused == [False] * PER_ADDRESS + [count_together]

    def test_visitors_without_an_address_are_not_all_one(self, browser: Browser) -> None:
        """A Unix socket, and a proxy that says nothing."""
        for number in range(PER_ADDRESS + 1):
            assert not is_refused(sign_in(browser, f"user-{number}@example.com", WRONG, ""))
        fail(browser, PER_USER, ADA, "")

        assert is_refused(sign_in(browser, ADA, WRONG, ""))


class TestByUserNameFromEverywhere:
    def guess_from_everywhere(self, browser: Browser) -> None:
        for number in range(ANYWHERE):
            fail(browser, 1, ADA, f"192.0.2.{number}")

    def test_many_addresses_share_one_limit(self, browser: Browser, api: DemoApi) -> None:
        self.guess_from_everywhere(browser)

        assert is_refused(sign_in(browser, ADA, address="192.0.2.99"))
        assert asked(api) == ANYWHERE
        assert sign_in(browser, GRACE, address="192.0.2.99").status_code == 302

    def test_it_does_not_lock_out_users_where_they_have_signed_in_before(self, browser: Browser) -> None:
        sign_in(browser, ADA, address=ELSEWHERE)
        self.guess_from_everywhere(browser)

        assert sign_in(browser, ADA, address=ELSEWHERE).status_code == 302
        assert is_refused(sign_in(browser, ADA, address=HERE))

    def test_there_the_other_limits_hold(self, browser: Browser) -> None:
        sign_in(browser, ADA, address=ELSEWHERE)
        self.guess_from_everywhere(browser)
        fail(browser, PER_USER, ADA, ELSEWHERE)

        assert is_refused(sign_in(browser, ADA, address=ELSEWHERE))

    def test_another_user_of_that_place_is_not_known_there(self, browser: Browser) -> None:
        sign_in(browser, GRACE, address=ELSEWHERE)
        self.guess_from_everywhere(browser)

        assert is_refused(sign_in(browser, ADA, address=ELSEWHERE))

    def test_a_place_is_forgotten_some_day(self, browser: Browser, clock: Clock) -> None:
        sign_in(browser, ADA, address=ELSEWHERE)
        clock.ahead = KNOWN_SECONDS + 1
        self.guess_from_everywhere(browser)

        assert is_refused(sign_in(browser, ADA, address=ELSEWHERE))

    def test_nobody_is_known_at_no_address(self, browser: Browser) -> None:
        sign_in(browser, ADA, address="")
        self.guess_from_everywhere(browser)

        assert is_refused(sign_in(browser, ADA, address=""))


class TestWhatCounts:
    def test_successes_do_not(self, browser: Browser) -> None:
        for _ in range(max(PER_ADDRESS, ANYWHERE) + 1):
            assert sign_in(browser).status_code == 302

        fail(browser, PER_USER)

    def test_successes_forgive_nothing(self, browser: Browser) -> None:
        """Or whoever has an account of his own could guess for ever, with a sign-in in between."""
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
        """They neither prolong the wait nor use up the limit of the whole address."""
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
        """All of them are under way before the API has judged the first: no more than the limit get so far."""
        with Gate() as gate, ThreadPoolExecutor(20) as threads:
            api.fail("POST", "/auth/login", Fault.hold_after(gate), times=20)
            guesses = [threads.submit(lambda: sign_in(Browser(), ADA, WRONG).status_code) for _ in range(20)]
            wait_until(lambda: sum(guess.done() for guess in guesses) == 20 - PER_USER)
            gate.release()
            statuses = [guess.result() for guess in guesses]

        assert sorted(statuses) == [200] * PER_USER + [429] * (20 - PER_USER)
        assert asked(api) == PER_USER

    def test_right_ones_at_once_leave_nothing_behind(self, browser: Browser) -> None:
        with ThreadPoolExecutor(PER_USER) as threads:
            for _ in range(3):
                statuses = list(threads.map(lambda _: sign_in(Browser()).status_code, range(PER_USER)))
                assert statuses == [302] * PER_USER

        fail(browser, PER_USER)


class TestTheLimitsAreTheOperatorsToSet:
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


class TestTheDatabaseAway:
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

    def test_who_has_signed_in_is_signed_in(
        self, browser: Browser, api: DemoApi, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The counts fail between the API's answer and the end: this one stays counted, and that is all."""
        with Gate() as gate, ThreadPoolExecutor(1) as threads:
            api.fail("POST", "/auth/login", Fault.hold_after(gate))
            signing_in = threads.submit(lambda: sign_in(browser).status_code)
            assert gate.reached.wait(30)
            with table_away("accounts_tally"):
                gate.release()
                assert signing_in.result() == 302

        assert browser.is_signed_in()
        assert "stays counted as one that did" in caplog.text
        fail(browser, PER_USER - 1)
        assert is_refused(sign_in(browser))


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
        """So nobody keeps the others from writing by trying on and on."""
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
        assert len(rows) == 6, "an address, two names from there and from everywhere, and a place where one is known"
        assert all(re.fullmatch("[0-9a-f]{64}", key) for key, _ in rows)
        for secret in (WRONG, DEMO_USERS[ADA], DEMO_USERS[GRACE], ADA):
            assert secret not in caplog.text
        assert f"a sign-in from {HERE} was not tried" in caplog.text

    def test_another_key_makes_other_rows(self, browser: Browser, settings: Settings) -> None:
        fail(browser, PER_USER)
        settings.SECRET_KEY = "another-" + "x" * 50

        assert not is_refused(sign_in(browser, ADA, WRONG))


def staff_sign_in(browser: Browser, password: str, address: str = HERE, name: str = "harbour-master") -> Answer:
    form = {"username": name, "password": password, "next": "/admin/"}
    return browser.post("/admin/login/", form, REMOTE_ADDR=address)


class TestStaff:
    @pytest.fixture(autouse=True)
    def harbour_master(self, transactional_db: None, settings: Settings) -> None:
        # The real ones take their time on purpose.
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
        get_user_model().objects.create_superuser("harbour-master", password=DEMO_USERS[ADA])

    def test_the_admins_form_has_the_same_limits(self, browser: Browser) -> None:
        for _ in range(PER_USER):
            assert staff_sign_in(browser, WRONG).status_code == 200

        response = staff_sign_in(browser, DEMO_USERS[ADA])

        assert response.status_code == 429
        assert 0 < int(response["Retry-After"]) <= WINDOW_SECONDS
        assert "Too many attempts to sign in have failed." in response.text
        assert 'value="harbour-master"' in response.text
        assert DEMO_USERS[ADA] not in response.text
        assert browser.get("/admin/").status_code == 302
        assert staff_sign_in(browser, DEMO_USERS[ADA], ELSEWHERE).status_code == 302
        assert browser.get("/admin/").status_code == 200

    def test_successes_do_not_count(self, browser: Browser) -> None:
        for _ in range(ANYWHERE + 1):
            assert staff_sign_in(Browser(), DEMO_USERS[ADA]).status_code == 302

    def test_an_incomplete_form_does_not_either(self, browser: Browser) -> None:
        for _ in range(PER_ADDRESS + 1):
            assert staff_sign_in(browser, "").status_code == 200

        assert staff_sign_in(browser, DEMO_USERS[ADA]).status_code == 302

    def test_they_are_not_the_apis_users_of_the_same_name(self, browser: Browser) -> None:
        get_user_model().objects.create_superuser(ADA, password="north-pier")
        fail(browser, PER_USER, ADA)

        assert is_refused(sign_in(browser, ADA))
        assert staff_sign_in(browser, "north-pier", name=ADA).status_code == 302

    def test_an_address_has_one_limit_for_both(self, browser: Browser) -> None:
        fail(browser, PER_USER, ADA)
        fail(browser, PER_ADDRESS - PER_USER, GRACE)

        assert staff_sign_in(browser, DEMO_USERS[ADA]).status_code == 429

    def test_with_the_counts_away_nobody_is_let_in(self, browser: Browser) -> None:
        with table_away("accounts_tally"):
            assert staff_sign_in(browser, DEMO_USERS[ADA]).status_code == 503

        assert staff_sign_in(browser, DEMO_USERS[ADA]).status_code == 302


class TestAtAProvider:
    @pytest.fixture(autouse=True)
    def provider(self, api: DemoApi, settings: Settings) -> None:
        """One that takes no code."""
        settings.API_DIALECT = "oauth2"
        settings.OAUTH_CLIENT_ID = "site"
        settings.OAUTH_SCOPE = "orders"
        settings.OAUTH_AUTHORIZATION_ENDPOINT = f"{api.url}/authorize"
        settings.OAUTH_TOKEN_ENDPOINT = f"{api.url}/token"
        api.fail("POST", "/token", Fault.answer(400, {"error": "invalid_grant"}), times=None)

    def come_back(self, browser: Browser, address: str = HERE) -> Answer:
        """Begin a sign-in, and come back from the provider with a code of one's own making."""
        away = browser.post("/accounts/login/", REMOTE_ADDR=address)
        (state,) = parse_qs(urlsplit(away["Location"]).query)["state"]
        return browser.get("/accounts/callback/", data={"state": state, "code": "made-up"}, REMOTE_ADDR=address)

    def test_codes_that_are_made_up_cost_the_provider_only_so_many_calls(self, browser: Browser, api: DemoApi) -> None:
        statuses = [self.come_back(browser).status_code for _ in range(PER_ADDRESS)]
        response = self.come_back(browser)

        assert statuses == [400] * PER_ADDRESS
        assert response.status_code == 429
        assert int(response["Retry-After"]) > 0
        assert "Too many attempts to sign in have failed." in response.text
        assert api.count("POST", "/token") == PER_ADDRESS
        assert self.come_back(browser, ELSEWHERE).status_code == 400

    def test_beginning_costs_nobody_anything_and_is_not_counted(self, browser: Browser) -> None:
        for _ in range(PER_ADDRESS + 1):
            assert browser.post("/accounts/login/", REMOTE_ADDR=HERE).status_code == 302

        assert not AttemptCount.objects.exists()


class TestTheStorage:
    """What the interface of `limits` asks for besides."""

    def test_it_answers(self, transactional_db: None) -> None:
        connection.ensure_connection()

        assert TallyStorage().check()

    def test_counts_can_be_cleared(self, transactional_db: None) -> None:
        storage = TallyStorage()
        for key in ("a", "a", "b", "c"):
            storage.incr(key, WINDOW_SECONDS)

        storage.clear("a")

        assert [storage.get(key) for key in ("a", "b", "c")] == [0, 1, 1]
        assert storage.reset() == 2
        assert storage.get("b") == 0

    def test_what_is_taken_back_twice_is_not_owed(self, transactional_db: None) -> None:
        storage = TallyStorage()
        storage.incr("a", WINDOW_SECONDS)
        for _ in range(2):
            storage.decr("a")

        assert storage.incr("a", WINDOW_SECONDS) == 1
