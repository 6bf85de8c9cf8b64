"""The callback: which redirects of the provider are accepted, and the page for the others."""

from urllib.parse import parse_qs, parse_qsl

import pytest
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from tests.accounts.at_provider import (
    CALLBACK,
    FAILED,
    PAGE,
    begin,
    query_of,
    sign_in_at_provider,
    sign_in_cookies,
    walk,
    whoami,
    without,
)
from tests.accounts.odd_provider import TOKEN, OddProvider
from tests.accounts.rotation.clocks import movable_clock
from tests.browsers import GRACE, Answer, Browser, cookies_set
from tests.real_apis.apis import OAuthProvider
from tests.real_apis.visitor import Visitor

FIFTEEN_MINUTES = 15 * 60


def expect_unknown(answer: Answer, provider: OAuthProvider) -> None:
    """A page says so, there is no session, and the code was not sent to the provider."""
    assert answer.status_code == 400
    assert FAILED in answer.text
    assert "did not begin this sign-in" in answer.text
    assert 'href="/accounts/login/' in answer.text
    assert not cookies_set(answer).get("session")
    assert "no-store" in answer["Cache-Control"]
    assert provider.count("POST", "/o/token/") == 0


class TestWhatCounts:
    def test_without_a_state(self, provider: OAuthProvider, newcomer: Browser) -> None:
        back = walk(begin(newcomer))

        expect_unknown(newcomer.get(without(back, "state")), provider)

    @pytest.mark.parametrize("change", ["", "0" * 32, "ä", "%00", "../../etc", "a" * 5000])
    def test_with_a_state_that_nobody_drew(self, provider: OAuthProvider, newcomer: Browser, change: str) -> None:
        back = walk(begin(newcomer))

        expect_unknown(newcomer.get(f"{without(back, 'state')}&state={change}"), provider)

    def test_with_a_state_that_begins_like_a_known_one(self, provider: OAuthProvider, newcomer: Browser) -> None:
        """The first characters of the state find the cookie, but all of them must match."""
        back = walk(begin(newcomer))
        state = query_of(back)["state"]

        for changed in (state[:8], state[:-1], state + "0", state.upper() + "x", state[:8] + "0" * (len(state) - 8)):
            expect_unknown(newcomer.get(f"{without(back, 'state')}&state={changed}"), provider)

    def test_in_another_browser(self, provider: OAuthProvider, newcomer: Browser) -> None:
        """An attacker sends a link that would sign the victim in as the attacker."""
        back = walk(begin(newcomer))

        expect_unknown(Browser().get(back), provider)

    def test_in_another_browser_that_has_begun_one_too(self, provider: OAuthProvider, newcomer: Browser) -> None:
        back = walk(begin(newcomer))
        another = Browser()
        begin(another)

        expect_unknown(another.get(back), provider)

    def test_with_a_changed_cookie(self, provider: OAuthProvider, newcomer: Browser) -> None:
        back = walk(begin(newcomer))
        ((name, value),) = sign_in_cookies(newcomer).items()

        for changed in (value[:-1], value + "A", value[:60] + ("A" if value[60] != "A" else "B") + value[61:], "", "x"):
            newcomer.put({name: changed})
            expect_unknown(newcomer.get(back), provider)

    def test_with_the_cookie_of_another_sign_in_by_its_name(self, provider: OAuthProvider, newcomer: Browser) -> None:
        back = walk(begin(newcomer))
        (name,) = sign_in_cookies(newcomer)
        another = Browser()
        begin(another)
        (value,) = sign_in_cookies(another).values()
        newcomer.put({name: value})

        expect_unknown(newcomer.get(back), provider)

    def test_with_a_session_cookie_by_its_name(self, provider: OAuthProvider, newcomer: Browser) -> None:
        """A text sealed for one purpose cannot be opened for another."""
        sign_in_at_provider(newcomer)
        sealed = newcomer.take()["session"]
        back = walk(begin(newcomer))
        (name,) = sign_in_cookies(newcomer)
        newcomer.put({name: sealed})
        provider.forget_calls()

        expect_unknown(newcomer.get(back), provider)

    def test_within_fifteen_minutes_and_not_later(self, odd_provider: OddProvider, transactional_db: None) -> None:
        with movable_clock(stopped=True) as clock:
            for seconds, name in ((FIFTEEN_MINUTES - 5, "Ada"), (FIFTEEN_MINUTES + 5, None)):
                browser = Browser()
                back = odd_provider.come_back(begin(browser))
                odd_provider.forget_calls()
                clock.ahead += seconds

                answer = browser.get(back)

                assert answer.status_code == (302 if name else 400)
                assert whoami(browser) == name
                assert odd_provider.count("POST", TOKEN) == (1 if name else 0)

    def test_it_counts_once_and_who_is_signed_in_is_sent_on(self, provider: OAuthProvider, newcomer: Browser) -> None:
        back = walk(begin(newcomer))
        newcomer.get(back)
        assert not sign_in_cookies(newcomer)
        provider.forget_calls()

        again = newcomer.get(back)

        assert (again.status_code, again["Location"]) == (302, PAGE)
        assert provider.count("POST", "/o/token/") == 0
        assert newcomer.is_signed_in()

    def test_who_signed_out_meanwhile_is_not_signed_in_by_the_way_back(
        self, provider: OAuthProvider, newcomer: Browser
    ) -> None:
        back = walk(begin(newcomer))
        newcomer.get(back)
        newcomer.sign_out()
        provider.forget_calls()

        expect_unknown(newcomer.get(back), provider)

    def test_a_browser_that_never_got_the_answer_gets_the_same_session(
        self, provider: OAuthProvider, newcomer: Browser
    ) -> None:
        """The provider accepts the code once."""
        back = walk(begin(newcomer, "/protected/?rows=3"))
        before = newcomer.take()
        newcomer.get(back)
        session = newcomer.session().id
        newcomer.put(before)

        answer = newcomer.get(back)

        assert (answer.status_code, answer["Location"]) == (302, "/protected/?rows=3")
        assert newcomer.session().id == session
        assert newcomer.is_signed_in()

    def test_without_code_and_error(self, provider: OAuthProvider, newcomer: Browser) -> None:
        back = walk(begin(newcomer))

        for address in (without(back, "code"), without(back, "code") + "&code="):
            answer = newcomer.copy().get(address)
            assert (answer.status_code, FAILED in answer.text) == (502, True)
        assert provider.count("POST", "/o/token/") == 0

    def test_a_code_goes_to_the_provider_to_the_letter(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        code = "a&grant_type=password+b%41 ä\0"

        newcomer.get(odd_provider.come_back(begin(newcomer), code=code))

        (call,) = (call for call in odd_provider.calls if call.path == TOKEN)
        form = parse_qs(call.body.decode("ascii"))
        assert (form["code"], form["grant_type"]) == ([code], ["authorization_code"])

    def test_by_get_alone(self, provider: OAuthProvider, newcomer: Browser) -> None:
        back = walk(begin(newcomer))

        assert newcomer.post(back).status_code == 405
        assert newcomer.client.head(back).status_code == 405
        assert newcomer.get(back).status_code == 302


class TestTheIssuer:
    """RFC 9207: the site sends the code only to the provider that issued it."""

    @pytest.mark.parametrize("issuer", ["https://evil.example", "", "{issuer}/", "{issuer}%20"])
    def test_another_one_is_refused(self, provider: OAuthProvider, newcomer: Browser, issuer: str) -> None:
        back = walk(begin(newcomer))
        wrong = issuer.format(issuer=provider.issuer)

        answer = newcomer.get(f"{without(back, 'iss')}&iss={wrong}")

        assert (answer.status_code, FAILED in answer.text) == (502, True)
        assert provider.count("POST", "/o/token/") == 0
        assert whoami(newcomer) is None

    def test_none_is_refused_where_the_provider_promised_to_send_it(
        self, provider: OAuthProvider, newcomer: Browser
    ) -> None:
        back = walk(begin(newcomer))
        assert query_of(back)["iss"] == provider.issuer

        assert newcomer.get(without(back, "iss")).status_code == 502

        assert provider.count("POST", "/o/token/") == 0

    def test_none_will_do_where_the_provider_promised_nothing(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        assert newcomer.get(odd_provider.come_back(begin(newcomer))).status_code == 302
        assert newcomer.get(odd_provider.come_back(begin(newcomer), iss=odd_provider.issuer)).status_code == 302
        answer = newcomer.get(odd_provider.come_back(begin(newcomer), iss="https://evil.example"))
        assert answer.status_code == 502


class TestSeveralTabs:
    def test_whichever_finishes_first_both_lead_where_they_were_to_lead(
        self, provider: OAuthProvider, transactional_db: None
    ) -> None:
        for order in ((0, 1), (1, 0)):
            browser = Browser()
            places = ["/protected/?rows=1", "/protected/?rows=2"]
            backs = [walk(begin(browser, place)) for place in places]
            for number in order:
                assert browser.get(backs[number])["Location"] == places[number]
                assert browser.is_signed_in()
            assert not sign_in_cookies(browser)

    def test_the_session_of_the_same_user_that_is_replaced_is_not_revoked(
        self, provider: OAuthProvider, newcomer: Browser
    ) -> None:
        """At some providers, a revocation would end the next session too."""
        backs = [walk(begin(newcomer)) for _ in range(2)]
        newcomer.get(backs[0])
        first = newcomer.session().id

        newcomer.get(backs[1])

        assert SessionRecord.objects.get(pk=first).end_reason == EndReason.REPLACED
        assert provider.count("POST", "/o/revoke_token/") == 0
        provider.expire_access_tokens()
        assert newcomer.is_signed_in()

    def test_the_session_of_another_user_is(self, provider: OAuthProvider, newcomer: Browser) -> None:
        backs = [walk(begin(newcomer), Visitor(email)) for email in (GRACE, "ada@example.com")]
        newcomer.get(backs[0])
        assert whoami(newcomer) == "Grace"
        replaced = newcomer.session().tokens.refresh

        newcomer.get(backs[1])

        assert whoami(newcomer) == "Ada"
        (call,) = (call for call in provider.calls if call.path == "/o/revoke_token/")
        assert provider.read_body(call)["token"] == replaced
        provider.expire_access_tokens()
        assert newcomer.is_signed_in()

    def test_the_session_of_a_user_whom_nobody_names_is(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings
    ) -> None:
        """Without OpenID, opaque tokens do not say who signed in. It may be another user."""
        settings.OAUTH_SCOPE = "orders"
        newcomer.get(odd_provider.come_back(begin(newcomer)))
        assert newcomer.session().user.id == ""
        assert "name unknown" in newcomer.get("/").text
        replaced = newcomer.session().tokens.refresh

        newcomer.get(odd_provider.come_back(begin(newcomer)))

        (call,) = (call for call in odd_provider.calls if (call.method, call.path) == odd_provider.revoke_call)
        assert dict(parse_qsl(call.body.decode()))["token"] == replaced
        assert newcomer.is_signed_in()

    def test_many_that_are_given_up_do_not_pile_up(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        with movable_clock(stopped=True) as clock:
            backs = []
            for _ in range(12):
                backs.append(odd_provider.come_back(begin(newcomer)))
                clock.ahead += 1

        assert len(sign_in_cookies(newcomer)) == 5
        for back in backs[:-5]:
            assert newcomer.get(back).status_code == 400
        for back in backs[-5:]:
            assert newcomer.get(back).status_code == 302
        assert not sign_in_cookies(newcomer)

    def test_cookies_of_nobodys_by_such_names_are_in_nobodys_way(
        self, odd_provider: OddProvider, newcomer: Browser
    ) -> None:
        """A page of a sibling host can set them."""
        newcomer.put({f"session-sign-in-{number:08x}": "junk" for number in range(20)})

        back = odd_provider.come_back(begin(newcomer))

        assert len(sign_in_cookies(newcomer)) == 5
        assert newcomer.get(back).status_code == 302
        assert whoami(newcomer) == "Ada"

    def test_nor_where_they_are_no_names_that_we_could_set(self, odd_provider: OddProvider, newcomer: Browser) -> None:
        names = "; ".join(f"session-sign-in-({number})=junk" for number in range(20))

        answer = newcomer.client.post("/accounts/login/", {"next": PAGE}, headers={"Cookie": names})

        assert answer.status_code == 302


class TestOtherDialects:
    @pytest.mark.parametrize("dialect", ["token-pair", "simplejwt", "oauth2-password"])
    def test_know_no_such_address(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings, dialect: str
    ) -> None:
        back = odd_provider.come_back(begin(newcomer))
        settings.API_DIALECT = dialect

        assert newcomer.get(back).status_code == 404
        assert newcomer.get(CALLBACK).status_code == 404
        assert odd_provider.count("POST", TOKEN) == 0
