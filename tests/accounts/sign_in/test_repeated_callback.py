"""A callback that is fetched more than once: by a reload, a double click, or a proxy that repeats the request."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pytest_django import Settings

from accounts.models import SessionRecord
from accounts.models.attempt_count import AttemptCount
from accounts.sign_in.authorization_request import AuthorizationRequest
from tests.accounts.at_provider import FAILED, begin, query_of, shown, whoami
from tests.accounts.odd_provider import TOKEN, OddProvider
from tests.accounts.rotation.clocks import movable_clock
from tests.browsers import Answer, Browser, table_away, wait_until
from tests.demo_api.faults import Fault, Gate
from tests.demo_api.messages import Answer as Reply

WANTED = "/protected/?rows=3"
FAILURES = {
    "the code is spent": (Reply.json(400, {"error": "invalid_grant"}), 400),
    "the provider is unavailable": (Reply(503), 503),
    "the provider sends nonsense": (Reply.json(200, {"access_token": 7}), 502),
}


@pytest.fixture
def back(odd_provider: OddProvider, newcomer: Browser) -> str:
    """The callback of a sign-in that `newcomer` has begun."""
    return odd_provider.come_back(begin(newcomer, WANTED))


def leads_on(answer: Answer) -> bool:
    return (answer.status_code, answer.get("Location")) == (302, WANTED)


def fetch_at_once(gate: Gate, browsers: list[Browser], back: str) -> list[Answer]:
    """Fetch the callback in all browsers. The provider responds to the first when the others are under way."""
    with ThreadPoolExecutor(len(browsers)) as threads:
        first = threads.submit(browsers[0].get, back)
        assert gate.reached.wait(30)
        others = [threads.submit(browser.get, back) for browser in browsers[1:]]
        for other in others:
            # They wait for the first one, so they have no response yet.
            with pytest.raises(TimeoutError):
                other.result(0.3)
        gate.release()
        return [first.result(), *(other.result() for other in others)]


class TestWhileTheFirstIsUnderWay:
    def test_all_lead_on_with_one_session_and_one_exchange(
        self, odd_provider: OddProvider, newcomer: Browser, back: str
    ) -> None:
        browsers = [newcomer, newcomer.copy(), newcomer.copy()]
        with Gate() as gate:
            odd_provider.fail("POST", TOKEN, Fault.hold_after(gate))

            answers = fetch_at_once(gate, browsers, back)

        assert all(map(leads_on, answers))
        assert odd_provider.count("POST", TOKEN) == 1
        assert {browser.session().id for browser in browsers} == {SessionRecord.objects.get().id}
        assert [whoami(browser) for browser in browsers] == ["Ada"] * 3

    @pytest.mark.parametrize(("reply", "status"), FAILURES.values(), ids=FAILURES)
    def test_all_show_the_failure_of_the_first(
        self, odd_provider: OddProvider, newcomer: Browser, back: str, reply: Reply, status: int
    ) -> None:
        with Gate() as gate:
            odd_provider.answers[TOKEN] = reply
            odd_provider.fail("POST", TOKEN, Fault.hold_after(gate))

            answers = fetch_at_once(gate, [newcomer, newcomer.copy()], back)

        assert [answer.status_code for answer in answers] == [status] * 2
        assert shown(answers[0]) == shown(answers[1])
        assert odd_provider.count("POST", TOKEN) == 1

    def test_each_replaces_the_session_that_the_browser_had(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        sign_in_at_provider_of(odd_provider, newcomer, "grace-1")
        back = odd_provider.come_back(begin(newcomer, WANTED))
        browsers = [newcomer, newcomer.copy()]
        with Gate() as gate:
            odd_provider.fail("POST", TOKEN, Fault.hold_after(gate))

            answers = fetch_at_once(gate, browsers, back)

        assert all(map(leads_on, answers))
        assert len({browser.session().id for browser in browsers}) == 1
        assert [whoami(browser) for browser in browsers] == ["Ada"] * 2

    def test_a_worker_that_died_makes_nobody_wait_for_ever(
        self, odd_provider: OddProvider, newcomer: Browser, back: str
    ) -> None:
        pending = AuthorizationRequest.read(newcomer.take(), query_of(back)["state"])
        assert pending is not None
        AttemptCount.objects.claim(f"sign-in/{pending.session_identity.id}", seconds=900)

        with movable_clock() as clock, ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(newcomer.get, back)
            wait_until(lambda: clock.sleeping() == 1)
            clock.ahead = 60
            answer = waiting.result()

        assert answer.status_code == 503
        assert int(answer["Retry-After"]) > 0
        assert odd_provider.count("POST", TOKEN) == 0


class TestAfterTheFirst:
    def test_a_reload_leads_on(self, odd_provider: OddProvider, newcomer: Browser, back: str) -> None:
        newcomer.get(back)
        session = newcomer.session()

        assert leads_on(newcomer.get(back))

        assert newcomer.session() == session
        assert odd_provider.count("POST", TOKEN) == 1

    def test_a_browser_that_never_got_the_first_response_gets_its_session(
        self, odd_provider: OddProvider, newcomer: Browser, back: str
    ) -> None:
        newcomer.copy().get(back)

        assert leads_on(newcomer.get(back))

        assert newcomer.session().id == SessionRecord.objects.get().id
        assert odd_provider.count("POST", TOKEN) == 1
        odd_provider.expire_access_tokens()
        assert newcomer.is_signed_in()

    def test_the_session_may_have_rotated_since(self, odd_provider: OddProvider, newcomer: Browser, back: str) -> None:
        other_tab = newcomer.copy()
        other_tab.get(back)
        odd_provider.expire_access_tokens()
        assert other_tab.is_signed_in()
        assert other_tab.is_signed_in()
        assert other_tab.record().confirmed == 1

        assert leads_on(newcomer.get(back))

        assert newcomer.session().generation == 1
        assert newcomer.is_signed_in()

    @pytest.mark.parametrize(("reply", "status"), FAILURES.values(), ids=FAILURES)
    def test_a_failure_stays_and_the_code_is_not_sent_again(
        self, odd_provider: OddProvider, newcomer: Browser, back: str, reply: Reply, status: int
    ) -> None:
        odd_provider.answers[TOKEN] = reply
        pages = [newcomer.get(back), newcomer.get(back)]

        assert [page.status_code for page in pages] == [status] * 2
        assert FAILED in pages[1].text
        assert odd_provider.count("POST", TOKEN) == 1

    def test_an_attempt_over_a_limit_has_not_sent_the_code(
        self, odd_provider: OddProvider, newcomer: Browser, back: str, settings: Settings
    ) -> None:
        settings.SIGN_IN_LIMIT_PER_ADDRESS = "1/hour"
        odd_provider.fail("POST", TOKEN, Fault.answer(400, {"error": "invalid_grant"}))
        stranger = Browser()
        assert stranger.get(odd_provider.come_back(begin(stranger))).status_code == 400
        assert newcomer.get(back).status_code == 429
        settings.SIGN_IN_LIMIT_PER_ADDRESS = ""

        assert leads_on(newcomer.get(back))

    @pytest.mark.parametrize("table", ["accounts_tally", "accounts_sessionrecord"])
    def test_without_the_database_the_code_is_not_sent(
        self, odd_provider: OddProvider, newcomer: Browser, back: str, table: str
    ) -> None:
        with table_away(table):
            assert newcomer.get(back).status_code == 503
        assert odd_provider.count("POST", TOKEN) == 0

        assert leads_on(newcomer.get(back))

    def test_the_cookies_for_it_do_not_pile_up(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        """Servers refuse requests with long headers."""
        for number in range(6):
            newcomer.get(odd_provider.come_back(begin(newcomer, f"/protected/?rows={'3' * 1800}{number}")))
        kept = [name for name in newcomer.take() if "-callback-" in name]
        back = odd_provider.come_back(begin(newcomer, WANTED))
        newcomer.copy().get(back)

        assert len(kept) == 1
        assert leads_on(newcomer.get(back))
        assert leads_on(newcomer.get(back))
        assert odd_provider.count("POST", TOKEN) == 7


class TestWhatARepetitionCannotDo:
    def test_sign_in_again_after_two_minutes(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        with movable_clock() as clock:
            back = odd_provider.come_back(begin(newcomer, WANTED))
            newcomer.copy().get(back)
            clock.ahead = 121

            answer = newcomer.get(back)

        assert answer.status_code == 400
        assert whoami(newcomer) is None
        assert odd_provider.count("POST", TOKEN) == 1

    def test_sign_in_again_after_the_sign_out(self, odd_provider: OddProvider, newcomer: Browser, back: str) -> None:
        newcomer.get(back)
        newcomer.sign_out()

        assert newcomer.get(back).status_code == 400
        assert whoami(newcomer) is None

    def test_take_back_a_later_sign_in(self, odd_provider: OddProvider, newcomer: Browser, back: str) -> None:
        newcomer.get(back)
        sign_in_at_provider_of(odd_provider, newcomer, "grace-1")

        assert leads_on(newcomer.get(back))

        assert newcomer.session().user.id == "grace-1"

    def test_nor_where_the_browser_had_lost_the_first_session(
        self, odd_provider: OddProvider, newcomer: Browser, back: str
    ) -> None:
        newcomer.copy().get(back)
        sign_in_at_provider_of(odd_provider, newcomer, "grace-1")

        assert leads_on(newcomer.get(back))

        assert newcomer.session().user.id == "grace-1"

    def test_sign_in_another_browser(self, odd_provider: OddProvider, newcomer: Browser, back: str) -> None:
        newcomer.get(back)
        stranger = Browser()

        assert stranger.get(back).status_code == 400
        assert whoami(stranger) is None


class TestTheLog:
    @pytest.mark.parametrize(
        "repeat", [lambda browser, back: browser.get(back), lambda browser, back: browser.post(back)]
    )
    def test_it_has_neither_code_nor_state(
        self,
        odd_provider: OddProvider,
        newcomer: Browser,
        back: str,
        caplog: pytest.LogCaptureFixture,
        repeat: Callable[[Browser, str], Answer],
    ) -> None:
        caplog.set_level("DEBUG")
        odd_provider.fail("POST", TOKEN, Fault.answer(400, {"error": "invalid_grant"}))
        newcomer.get(back)

        repeat(newcomer, back)

        query = query_of(back)
        logged = caplog.text + "".join(str(vars(record)) for record in caplog.records)
        assert query["code"] not in logged
        assert query["state"] not in logged


def test_an_error_of_the_provider_does_not_hide_that_another_tab_has_signed_in(
    odd_provider: OddProvider, newcomer: Browser
) -> None:
    late = odd_provider.come_back(begin(newcomer, WANTED), code=None, error="temporarily_unavailable")
    newcomer.get(odd_provider.come_back(begin(newcomer)))

    assert leads_on(newcomer.get(late))


def sign_in_at_provider_of(odd_provider: OddProvider, browser: Browser, sub: str) -> None:
    """Sign in as another user of the provider."""
    odd_provider.claims, odd_provider.userinfo = {"sub": sub}, {"sub": sub}
    assert browser.get(odd_provider.come_back(begin(browser))).status_code == 302
    odd_provider.claims, odd_provider.userinfo = {}, {}
