"""The cookies of a sign-in at the provider: the authorization request, and the ID token for the sign-out."""

from base64 import urlsafe_b64decode
from http.cookies import Morsel

import pytest
from django.http import HttpResponse
from pytest_django import Settings

from accounts.sign_in.authorization_request import AuthorizationRequest
from tests.accounts.at_provider import PAGE, begin, press_button, query_of, sign_in_cookies
from tests.accounts.odd_provider import OddProvider
from tests.browsers import Answer, Browser
from tests.load.jar import MAX_COOKIE_BYTES

FIFTEEN_MINUTES = "900"
THIRTY_DAYS = str(30 * 24 * 3600)


def cookie_of(answer: Answer, part: str) -> "Morsel[str]":
    """The cookie of a response with `part` in its name."""
    (name,) = (name for name in answer.cookies if part in name)
    return answer.cookies[name]


def flags(cookie: "Morsel[str]") -> dict[str, str]:
    """The attributes of a cookie without `expires`, which repeats Max-Age."""
    return {name: str(value) for name, value in cookie.items() if value and name != "expires"}


@pytest.fixture
def production(settings: Settings) -> None:
    settings.API_SESSION_COOKIE_NAME = "__Host-session"
    settings.API_SESSION_COOKIE_SECURE = True


class TestTheSignInUnderWay:
    def test_on_a_developers_machine(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        answer = press_button(newcomer)

        assert len(answer.cookies) == 1
        cookie = cookie_of(answer, "session-sign-in-")
        assert flags(cookie) == {"max-age": FIFTEEN_MINUTES, "path": "/", "httponly": "True", "samesite": "Lax"}
        assert "no-store" in answer["Cache-Control"]

    @pytest.mark.usefixtures("production")
    def test_in_production(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        answer = press_button(newcomer)

        cookie = cookie_of(answer, "sign-in-")
        assert cookie.key.startswith("__Host-session-sign-in-")
        assert flags(cookie) == {
            "max-age": FIFTEEN_MINUTES,
            "path": "/",
            "httponly": "True",
            "secure": "True",
            "samesite": "Lax",
        }

    @pytest.mark.usefixtures("production")
    def test_it_is_deleted_as_it_was_set(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        """Browsers ignore a `__Host-` cookie without Secure, and its deletion too."""
        back = odd_provider.come_back(begin(newcomer))

        cookie = cookie_of(newcomer.get(back), "sign-in-")

        assert cookie.value == ""
        assert flags(cookie) == {"path": "/", "httponly": "True", "secure": "True", "samesite": "Lax"}
        assert cookie["max-age"] == 0

    @pytest.mark.usefixtures("production")
    def test_another_one_is_kept_for_a_repetition_for_two_minutes(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        back = odd_provider.come_back(begin(newcomer))

        cookie = cookie_of(newcomer.get(back), "callback-")

        assert cookie.value
        secure = {"path": "/", "httponly": "True", "secure": "True", "samesite": "Lax"}
        assert flags(cookie) == {**secure, "max-age": "120"}

    def test_it_is_lax_even_where_the_session_is_strict(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings
    ) -> None:
        """The browser comes back from another site, and would not send a Strict cookie."""
        settings.API_SESSION_COOKIE_SAMESITE = "Strict"

        assert cookie_of(press_button(newcomer), "sign-in-")["samesite"] == "Lax"

    def test_nobody_can_read_it(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        asked = query_of(begin(newcomer, "/protected/?rows=12345"))

        ((name, value),) = sign_in_cookies(newcomer).items()
        plain = urlsafe_b64decode(value + "==")
        for secret in (asked["state"], asked["nonce"], "12345", PAGE):
            assert secret not in value
            assert secret.encode() not in plain
        # Its name shows the beginning of the state. The rest has at least 96 bits.
        assert len(asked["state"].removeprefix(name.rpartition("-")[2])) * 4 >= 96

    @pytest.mark.parametrize(
        "wanted",
        [
            "/" + "a" * 1999,
            "/?" + "ä" * 1998,
            "/?" + '"' * 1998,
            "/?" + "\\" * 1998,
            "/?" + "🌊" * 1998,
            "/" + "a" * 9999,
        ],
        ids=["long", "not ASCII", "quotes", "backslashes", "beyond the first plane", "too long to be meant"],
    )
    def test_it_fits_whatever_page_is_wanted(self, odd_provider: OddProvider, newcomer: Browser, wanted: str) -> None:
        """Browsers silently drop a larger cookie, and then that link could not be used to sign in."""
        answer = press_button(newcomer, wanted)

        size = len(cookie_of(answer, "sign-in-").OutputString())
        assert size <= MAX_COOKIE_BYTES
        assert newcomer.get(odd_provider.come_back(answer["Location"])).status_code == 302

    @pytest.mark.parametrize("rest", ["\xe9", "[]", "a b", "\x01", "", "1234567", "0123abcd0", "0123abcg"])
    def test_cookies_that_only_look_like_ours_are_left_alone(self, rest: str) -> None:
        """An attacker who sets a cookie with an invalid name must not break the sign-in."""
        ours = {f"session-sign-in-{number:08x}": "x" for number in range(6)}
        response = HttpResponse()

        AuthorizationRequest.begin("/").remember(
            response, presented={f"session-sign-in-{rest}": "x", "0123abcd": "x", **ours}
        )

        deleted = {name for name, cookie in response.cookies.items() if not cookie.value}
        assert deleted < ours.keys()
        assert len(deleted) == 2


class TestTheIdToken:
    """It tells the provider at the sign-out whose session to end."""

    def test_it_goes_to_the_addresses_of_the_sign_out_alone(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        answer = newcomer.get(odd_provider.come_back(begin(newcomer)))

        cookie = cookie_of(answer, "id-token")
        assert flags(cookie) == {
            "max-age": THIRTY_DAYS,
            "path": "/accounts/logout/",
            "httponly": "True",
            "samesite": "Strict",
        }

    @pytest.mark.usefixtures("production")
    def test_in_production_it_has_no_prefix_that_would_forbid_the_path(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        cookie = cookie_of(newcomer.get(odd_provider.come_back(begin(newcomer))), "id-token")

        assert cookie.key == "session-id-token"
        assert flags(cookie) == {
            "max-age": THIRTY_DAYS,
            "path": "/accounts/logout/",
            "httponly": "True",
            "secure": "True",
            "samesite": "Strict",
        }

    def test_one_that_fits_no_cookie_is_left_out_and_the_sign_in_is_as_good(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        odd_provider.claims = {"roles": [f"role-{number}" for number in range(1000)]}

        answer = newcomer.get(odd_provider.come_back(begin(newcomer)))

        assert answer.status_code == 302
        assert cookie_of(answer, "id-token").value == ""
        assert newcomer.is_signed_in()

    def test_one_that_just_fits_is_kept_whole(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        for size in range(1300, 2700, 100):
            odd_provider.claims = {"padding": "x" * size}
            answer = newcomer.get(odd_provider.come_back(begin(newcomer)))
            cookie_size = len(cookie_of(answer, "id-token").OutputString())
            assert cookie_size <= MAX_COOKIE_BYTES

    def test_the_next_user_has_none_of_the_last_ones(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        newcomer.get(odd_provider.come_back(begin(newcomer)))
        odd_provider.claims = {"sub": "grace-1", "roles": [f"role-{number}" for number in range(1000)]}

        newcomer.get(odd_provider.come_back(begin(newcomer)))

        assert "session-id-token" not in newcomer.take()
