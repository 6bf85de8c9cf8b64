"""A provider that is unavailable or fails: sessions stay, and a page says what to do."""

from urllib.parse import urlencode

import pytest

from accounts.models import SessionRecord
from tests.accounts.at_provider import (
    FAILED,
    begin,
    forget_documents,
    press_button,
    shown,
    sign_in_at_provider,
    skip_retry_pause,
    walk,
    whoami,
)
from tests.accounts.rotation.clocks import movable_clock
from tests.browsers import Answer, Browser, cookies_set
from tests.demo_api.server import Fault
from tests.real_apis.apis import OAuthProvider

DISCOVERY = "/o/.well-known/openid-configuration"
KEYS = "/o/.well-known/jwks.json"
TOKEN = "/o/token/"
UNAVAILABLE = "The service that signs you in is not answering."
UNUSABLE = "sent a response that this site cannot use"
HOUR = 3600

FAILURES = {
    "500": Fault.answer(500, {"error": "server_error"}),
    "503 in HTML": Fault.answer(503, b"<h1>Maintenance</h1>", "text/html"),
    "429": Fault.answer(429),
    "a reset": Fault.reset(),
    "half an answer": Fault.answer(200, b'{"iss', headers={"Content-Length": "900", "Connection": "close"}),
}


def expect_unavailable(answer: Answer) -> None:
    assert answer.status_code == 503
    assert int(answer["Retry-After"]) >= 1
    assert UNAVAILABLE in shown(answer)


class TestAtTheButton:
    def test_who_presses_it_is_told_and_can_press_it_again(self, provider: OAuthProvider, newcomer: Browser) -> None:
        provider.stop_serving()

        answer = press_button(newcomer, "/protected/?rows=3")

        expect_unavailable(answer)
        assert "<form" in answer.text
        assert 'name="next" value="/protected/?rows=3"' in answer.text
        assert not cookies_set(answer)
        with movable_clock(stopped=True) as clock:
            provider.start_serving()
            clock.ahead += 6
            assert sign_in_at_provider(newcomer).status_code == 302

    @pytest.mark.parametrize("fault", FAILURES.values(), ids=FAILURES)
    def test_one_that_fails(self, provider: OAuthProvider, newcomer: Browser, fault: Fault) -> None:
        provider.fail("GET", DISCOVERY, fault, times=None)

        expect_unavailable(press_button(newcomer))

    def test_what_it_says_of_when_to_come_again_is_passed_on(self, provider: OAuthProvider, newcomer: Browser) -> None:
        provider.fail("GET", DISCOVERY, Fault.answer(503, headers={"Retry-After": "17"}))

        assert press_button(newcomer)["Retry-After"] == "17"

    def test_a_document_that_is_none_is_another_matter(self, provider: OAuthProvider, newcomer: Browser) -> None:
        provider.fail("GET", DISCOVERY, Fault.answer(200, b"<h1>Welcome</h1>", "text/html"))
        provider.fail("GET", "/.well-known/", Fault.answer(200, b"<h1>Welcome</h1>", "text/html"))

        answer = press_button(newcomer)

        assert answer.status_code == 502
        assert UNUSABLE in shown(answer)
        assert "<form" in answer.text

    def test_many_who_press_it_do_not_all_wait_for_it(self, provider: OAuthProvider, newcomer: Browser) -> None:
        provider.fail("GET", DISCOVERY, Fault.answer(503), times=None)

        with movable_clock(stopped=True):
            for _ in range(5):
                expect_unavailable(press_button(newcomer))

        assert provider.count("GET", DISCOVERY) == 1


class TestOnTheWayBack:
    @pytest.mark.parametrize("fault", FAILURES.values(), ids=FAILURES)
    def test_no_tokens(self, provider: OAuthProvider, newcomer: Browser, fault: Fault) -> None:
        back = walk(begin(newcomer, "/protected/?rows=3"))
        provider.fail("POST", TOKEN, fault)

        answer = newcomer.get(back)

        expect_unavailable(answer)
        assert FAILED in shown(answer)
        assert f"/accounts/login/?{urlencode({'next': '/protected/?rows=3'})}" in answer.text
        assert "session" not in cookies_set(answer)
        assert sign_in_at_provider(newcomer).status_code == 302

    def test_gone_altogether(self, provider: OAuthProvider, newcomer: Browser) -> None:
        back = walk(begin(newcomer))
        provider.stop_serving()

        expect_unavailable(newcomer.get(back))

    @pytest.mark.parametrize("fault", FAILURES.values(), ids=FAILURES)
    def test_no_keys(self, provider: OAuthProvider, newcomer: Browser, fault: Fault) -> None:
        """A sign-in fails if its ID token cannot be checked."""
        back = walk(begin(newcomer))
        provider.fail("GET", KEYS, fault)

        expect_unavailable(newcomer.get(back))

        assert whoami(newcomer) is None

    def test_a_token_endpoint_that_does_not_know_us_is_ours_to_mend(
        self, provider: OAuthProvider, newcomer: Browser, caplog: pytest.LogCaptureFixture
    ) -> None:
        back = walk(begin(newcomer))
        provider.fail("POST", TOKEN, Fault.answer(401, {"error": "invalid_client", "error_description": "Who?"}))

        answer = newcomer.get(back)

        assert answer.status_code == 502
        assert "tell the operator of this site" in shown(answer)
        assert "Who?" not in answer.text
        assert any(record.levelname == "ERROR" for record in caplog.records)

    def test_a_code_that_the_provider_does_not_know_any_more(self, provider: OAuthProvider, newcomer: Browser) -> None:
        back = walk(begin(newcomer))
        provider.fail("POST", TOKEN, Fault.answer(400, {"error": "invalid_grant"}))

        answer = newcomer.get(back)

        assert answer.status_code == 400
        assert "took too long" in shown(answer)


class TestWhatIsKept:
    def test_the_documents_are_fetched_once(self, provider: OAuthProvider, newcomer: Browser) -> None:
        for _ in range(3):
            sign_in_at_provider(newcomer)
            newcomer.sign_out()

        assert (provider.count("GET", DISCOVERY), provider.count("GET", KEYS)) == (1, 1)

    def test_they_are_fetched_again_after_an_hour(self, provider: OAuthProvider, newcomer: Browser) -> None:
        with movable_clock(stopped=True) as clock:
            press_button(newcomer)
            clock.ahead += HOUR - 60
            press_button(newcomer)
            assert provider.count("GET", DISCOVERY) == 1

            clock.ahead += 120
            press_button(newcomer)

            assert provider.count("GET", DISCOVERY) == 2

    def test_old_ones_are_used_while_it_is_unavailable(self, provider: OAuthProvider, newcomer: Browser) -> None:
        with movable_clock(stopped=True) as clock:
            press_button(newcomer)
            provider.fail("GET", DISCOVERY, Fault.answer(503), times=None)
            provider.forget_calls()
            for _ in range(3):
                clock.ahead += HOUR * 24
                assert press_button(newcomer).status_code == 302
                assert press_button(newcomer).status_code == 302

            assert provider.count("GET", DISCOVERY) == 3


class TestARefresh:
    """Only a clear refusal ends a session."""

    @pytest.mark.parametrize("restarted", [False, True], ids=["warm", "after a restart of ours"])
    def test_an_unavailable_provider_ends_no_session(
        self, provider: OAuthProvider, newcomer: Browser, restarted: bool
    ) -> None:
        sign_in_at_provider(newcomer)
        provider.expire_access_tokens()
        newcomer.age(3600)
        provider.stop_serving()
        if restarted:
            forget_documents()

        answer = newcomer.open_page()

        assert answer.status_code == 503
        assert int(answer["Retry-After"]) >= 1
        assert not cookies_set(answer)
        assert SessionRecord.objects.get().ended_at is None
        provider.start_serving()
        forget_documents()
        skip_retry_pause()
        assert newcomer.is_signed_in()
        assert newcomer.session().generation == 1

    @pytest.mark.parametrize("fault", FAILURES.values(), ids=FAILURES)
    def test_without_its_documents_nothing_is_spent(
        self, provider: OAuthProvider, newcomer: Browser, fault: Fault
    ) -> None:
        """The API works, but a restart has cleared the cached documents of the provider."""
        sign_in_at_provider(newcomer)
        provider.expire_access_tokens()
        forget_documents()
        provider.fail("GET", DISCOVERY, fault, times=None)

        assert newcomer.open_page().status_code == 503

        assert provider.count_refreshes() == 0
        provider.heal()
        forget_documents()
        skip_retry_pause()
        assert newcomer.is_signed_in()

    def test_documents_that_are_none_spend_nothing_either(self, provider: OAuthProvider, newcomer: Browser) -> None:
        sign_in_at_provider(newcomer)
        provider.expire_access_tokens()
        forget_documents()
        provider.fail("GET", DISCOVERY, Fault.answer(200, {"issuer": "https://evil.example"}), times=None)

        assert newcomer.open_page().status_code == 503

        assert provider.count_refreshes() == 0
        assert whoami(newcomer) == "Ada"

    @pytest.mark.parametrize(
        "fault",
        [
            *FAILURES.values(),
            Fault.answer(401, {"error": "invalid_client"}),
            Fault.answer(400, {"error": "unauthorized_client"}),
            Fault.answer(400, {"error": "temporarily_unavailable"}),
            Fault.answer(400, b"<h1>Bad Request</h1>", "text/html"),
            Fault.answer(403, b"<h1>Forbidden</h1>", "text/html"),
            Fault.answer(302, headers={"Location": "/login/"}),
        ],
        ids=[
            *FAILURES,
            "invalid_client",
            "unauthorized_client",
            "temporarily_unavailable",
            "HTML 400",
            "HTML 403",
            "302",
        ],
    )
    def test_no_word_of_a_refusal_costs_no_session(
        self, provider: OAuthProvider, newcomer: Browser, fault: Fault
    ) -> None:
        sign_in_at_provider(newcomer)
        provider.expire_access_tokens()
        provider.fail("POST", TOKEN, fault)

        answer = newcomer.open_page()

        assert answer.status_code == 503
        assert not cookies_set(answer)
        skip_retry_pause()
        assert newcomer.is_signed_in()


def test_a_retry_after_the_given_time_finds_the_provider_again(provider: OAuthProvider, newcomer: Browser) -> None:
    with movable_clock(stopped=True) as clock:
        provider.fail("GET", DISCOVERY, Fault.answer(503))
        clock.ahead += int(press_button(newcomer)["Retry-After"])

        assert press_button(newcomer).status_code == 302
