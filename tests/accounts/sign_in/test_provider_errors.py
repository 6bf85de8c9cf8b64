"""The errors in the provider's redirect: each becomes a readable page."""

from urllib.parse import quote, urlencode

import pytest

from tests.accounts.at_provider import CALLBACK, FAILED, PAGE, begin, shown, sign_in_at_provider, walk, whoami
from tests.accounts.odd_provider import TOKEN, OddProvider
from tests.browsers import Answer, Browser
from tests.demo_api.server import Fault
from tests.real_apis.apis import OAuthProvider
from tests.real_apis.visitor import Visitor

DECLINED = "The sign-in was declined"
UNAVAILABLE = "is not answering"
ASKS = "wants to ask you something first"
UNUSABLE = "sent a response that this site cannot use"

ERRORS = {
    "access_denied": (403, DECLINED),
    "temporarily_unavailable": (503, UNAVAILABLE),
    "server_error": (503, UNAVAILABLE),
    "login_required": (403, ASKS),
    "consent_required": (403, ASKS),
    "interaction_required": (403, ASKS),
    "account_selection_required": (403, ASKS),
    "invalid_request": (502, UNUSABLE),
    "unauthorized_client": (502, UNUSABLE),
    "unsupported_response_type": (502, UNUSABLE),
    "invalid_scope": (502, UNUSABLE),
    "request_not_supported": (502, UNUSABLE),
    "an error of nobody's": (502, UNUSABLE),
    "": (502, UNUSABLE),
}


def come_back_with(
    provider: OddProvider, browser: Browser, error: str, description: str | None = None, **more: str
) -> Answer:
    changes = {"code": None, "error": error, "error_description": description, **more}
    return browser.get(provider.come_back(begin(browser, "/protected/?rows=3"), **changes))


@pytest.mark.parametrize(("error", "expected"), ERRORS.items(), ids=[error or "empty" for error in ERRORS])
def test_each_has_its_page_and_a_way_to_try_again(
    odd_provider: OddProvider, newcomer: Browser, error: str, expected: tuple[int, str]
) -> None:
    answer = come_back_with(odd_provider, newcomer, error)

    status, words = expected
    assert answer.status_code == status
    assert FAILED in shown(answer)
    assert words in shown(answer)
    assert f'href="/accounts/login/?{urlencode({"next": "/protected/?rows=3"})}"' in answer.text
    assert "no-store" in answer["Cache-Control"]
    assert odd_provider.count("POST", TOKEN) == 0
    assert whoami(newcomer) is None


@pytest.mark.parametrize("error", ["temporarily_unavailable", "server_error"])
def test_an_unavailable_provider_says_when_to_try_again(
    odd_provider: OddProvider, newcomer: Browser, error: str
) -> None:
    answer = come_back_with(odd_provider, newcomer, error)

    assert answer.status_code == 503
    assert int(answer["Retry-After"]) >= 1


def test_who_declines_at_a_real_provider_can_begin_again(provider: OAuthProvider, newcomer: Browser) -> None:
    answer = newcomer.get(walk(begin(newcomer), Visitor(consents=False)))

    assert answer.status_code == 403
    assert DECLINED in shown(answer)
    assert provider.count("POST", "/o/token/") == 0
    assert sign_in_at_provider(newcomer).status_code == 302
    assert newcomer.is_signed_in()


class TestTheProvidersWords:
    def test_they_are_shown_as_text(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        answer = come_back_with(odd_provider, newcomer, "access_denied", '<script>alert(1)</script> & "so" on')

        assert "<script>alert" not in answer.text
        assert '<script>alert(1)</script> & "so" on' in shown(answer)

    def test_they_are_shown_in_part_and_without_control_characters(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        answer = come_back_with(odd_provider, newcomer, "access_denied", "low\x00tide\x1b[2J" + "a" * 5000)

        assert "low tide [2J" in shown(answer)
        assert "a" * 250 in answer.text
        assert "a" * 301 not in answer.text

    def test_nobodys_words_are_shown_without_a_sign_in_under_way(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        begin(newcomer)
        words = quote("Call 555-0100 and read out your password.")

        for state in ("", "&state=" + "0" * 32):
            answer = newcomer.get(f"{CALLBACK}?error=access_denied&error_description={words}{state}")
            assert answer.status_code == 400
            assert "555-0100" not in answer.text
            assert DECLINED not in answer.text

    def test_those_of_another_provider_are_not_shown_as_its_own(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        """RFC 9207 section 2.4: the site must not assume that an error comes from the expected provider."""
        answer = come_back_with(odd_provider, newcomer, "access_denied", "Call 555-0100.", iss="https://evil.example")

        assert FAILED in shown(answer)
        assert "555-0100" not in answer.text

    def test_an_error_counts_even_where_there_is_a_code_too(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        answer = newcomer.get(odd_provider.come_back(begin(newcomer), error="access_denied"))

        assert answer.status_code == 403
        assert odd_provider.count("POST", TOKEN) == 0

    def test_an_error_counts_once(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        back = odd_provider.come_back(begin(newcomer), code=None, error="access_denied", error_description="No berth.")
        assert "No berth." in newcomer.get(back).text

        assert "No berth." not in newcomer.get(back).text


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error or "empty")
def test_an_error_in_one_tab_leads_on_if_another_tab_has_signed_in(
    odd_provider: OddProvider, newcomer: Browser, error: str
) -> None:
    failed = odd_provider.come_back(begin(newcomer, "/protected/?rows=3"), code=None, error=error)
    newcomer.get(odd_provider.come_back(begin(newcomer)))

    answer = newcomer.get(failed)

    assert (answer.status_code, answer["Location"]) == (302, "/protected/?rows=3")
    assert whoami(newcomer) == "Ada"


@pytest.mark.parametrize("trouble", ["unavailable", "unusable", "no response"])
def test_so_does_a_code_that_brings_no_tokens(odd_provider: OddProvider, newcomer: Browser, trouble: str) -> None:
    late = odd_provider.come_back(begin(newcomer, "/protected/?rows=3"))
    newcomer.get(odd_provider.come_back(begin(newcomer)))
    faults = {
        "unavailable": Fault.answer(503),
        "unusable": Fault.answer(200, {"whatever": 1}),
        "no response": Fault.reset(),
    }
    odd_provider.fail("POST", TOKEN, faults[trouble], times=2)

    answer = newcomer.get(late)

    assert (answer.status_code, answer["Location"]) == (302, "/protected/?rows=3")
    assert whoami(newcomer) == "Ada"


@pytest.mark.parametrize("query", ["", "?state=", "?state=0123", "?error=server_error", "?code=x&state=" + "0" * 32])
def test_so_does_a_callback_of_an_unknown_sign_in(odd_provider: OddProvider, newcomer: Browser, query: str) -> None:
    newcomer.get(odd_provider.come_back(begin(newcomer)))

    answer = newcomer.get(f"{CALLBACK}{query}")

    assert (answer.status_code, answer["Location"]) == (302, PAGE)


def test_a_response_of_another_provider_is_reported_to_a_signed_in_user(
    odd_provider: OddProvider, newcomer: Browser
) -> None:
    newcomer.get(odd_provider.come_back(begin(newcomer)))

    answer = newcomer.get(odd_provider.come_back(begin(newcomer), iss="https://evil.example"))

    assert answer.status_code == 502
    assert "This sign-in failed" in shown(answer)
    assert FAILED not in shown(answer)
    assert "Signed in as <strong>Ada</strong>" in answer.text
