"""The limits on failed sign-ins by address and by user name, and the response to an attempt over a limit."""

import pytest
from pytest_django import Settings

from accounts.sign_in.rate_limit import IPV6_SITE_FACTOR, KNOWN_SECONDS, rate_limited_attempt
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
from tests.browsers import ADA, GRACE, Answer, Browser
from tests.demo_api.server import DEMO_USERS, DemoApi

pytestmark = pytest.mark.usefixtures("rate_limits")

#: Spellings that some APIs take for the same user.
SPELLINGS = {
    "in capitals": "ADA@EXAMPLE.COM",
    "with blanks": "  ada@example.com ",
    "with a tab inside": "ada@\texample.com",
    "with a zero-width space": "ada\u200b@example.com",
    "with an accent": "\u00e1da@example.com",
    "with a combining accent": "a\u0301da@example.com",
    "in wide letters": "\uff41\uff44\uff41@example.com",
}
#: The number of trusted proxies, and the X-Forwarded-For of an attacker with a new forged address each time.
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
#: The number of trusted proxies, and headers that tell no address, on a Unix socket.
UNKNOWN_ADDRESSES = {
    "no proxy": (0, {"X-Forwarded-For": "192.0.2.1"}),
    "a proxy that says nothing": (1, {}),
    "a proxy that says unknown": (1, {"X-Forwarded-For": "192.0.2.1, unknown"}),
    "a proxy that hides it": (1, {"X-Forwarded-For": "_hidden"}),
}


class TestTheResponse:
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
        assert passwords_checked(api) == PER_USER, "the right password reached the API"

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
        assert passwords_checked(api) == PER_ADDRESS
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
    def test_a_network_shares_one_limit(self, browser: Browser, pattern: str, count_together: bool) -> None:
        def attempt(number: int) -> Answer:
            return sign_in(browser, f"user-{number}@example.com", WRONG, pattern.format(number))

        refused = [is_refused(attempt(number)) for number in range(1, PER_ADDRESS + 2)]

        assert refused == [False] * PER_ADDRESS + [count_together]

    def test_an_ipv6_48_has_a_limit_five_times_as_high(self, browser: Browser) -> None:
        """Whoever has one /48 has 65,536 networks to attack from."""
        for number in range(PER_ADDRESS * IPV6_SITE_FACTOR):
            fail(browser, 1, f"user-{number}@example.com", f"2001:db8:0:{number:x}::1")

        assert is_refused(sign_in(browser, ADA, address="2001:db8:0:ffff::1"))
        assert sign_in(browser, ADA, address="2001:db8:1:ffff::1").status_code == 302

    def test_one_64_that_has_reached_its_limit_locks_out_no_other(self, browser: Browser) -> None:
        for number in range(PER_ADDRESS * 2):
            sign_in(browser, f"user-{number}@example.com", WRONG, "2001:db8:0:1::1")

        assert is_refused(sign_in(browser, ADA, address="2001:db8:0:1::2"))
        assert sign_in(browser, ADA, address="2001:db8:0:2::1").status_code == 302

    @pytest.mark.parametrize(("proxies", "headers"), UNKNOWN_ADDRESSES.values(), ids=UNKNOWN_ADDRESSES)
    def test_browsers_with_an_unknown_address_share_one_limit(
        self, browser: Browser, settings: Settings, proxies: int, headers: dict[str, str]
    ) -> None:
        settings.TRUSTED_PROXY_COUNT = proxies
        for number in range(PER_ADDRESS):
            assert not is_refused(sign_in(browser, f"user-{number}@example.com", WRONG, "", headers=headers))

        assert is_refused(sign_in(browser, ADA, address="", headers=headers))

    def test_there_the_limit_of_a_user_holds_too(self, browser: Browser) -> None:
        fail(browser, PER_USER, ADA, "")

        assert is_refused(sign_in(browser, ADA, WRONG, ""))
        assert sign_in(browser, GRACE, address="").status_code == 302


class TestByUserNameFromEverywhere:
    def guess_from_everywhere(self, browser: Browser) -> None:
        for number in range(ANYWHERE):
            fail(browser, 1, ADA, f"192.0.2.{number}")

    def test_many_addresses_share_one_limit(self, browser: Browser, api: DemoApi) -> None:
        self.guess_from_everywhere(browser)

        assert is_refused(sign_in(browser, ADA, address="192.0.2.99"))
        assert passwords_checked(api) == ANYWHERE
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

    def test_each_success_prolongs_it(self, browser: Browser, clock: Clock) -> None:
        sign_in(browser, ADA, address=ELSEWHERE)
        clock.ahead = KNOWN_SECONDS - 60
        sign_in(browser, ADA, address=ELSEWHERE)
        clock.ahead = KNOWN_SECONDS + 60
        self.guess_from_everywhere(browser)

        assert sign_in(browser, ADA, address=ELSEWHERE).status_code == 302

    @pytest.mark.parametrize("look_alike", ["ad@aexample.com", "ADA@example.com", "ada@exam-ple.com"])
    def test_an_account_with_a_similar_name_makes_no_place_known(self, browser: Browser, look_alike: str) -> None:
        """Otherwise an attacker could sign in with such an account from each of many addresses, and guess on."""
        with rate_limited_attempt(ELSEWHERE, look_alike):
            """The API accepts the attacker's own password."""
        self.guess_from_everywhere(browser)

        assert is_refused(sign_in(browser, ADA, address=ELSEWHERE))

    def test_nobody_is_known_at_no_address(self, browser: Browser) -> None:
        sign_in(browser, ADA, address="")
        self.guess_from_everywhere(browser)

        assert is_refused(sign_in(browser, ADA, address=""))
