"""The provider ends sessions here (OpenID Connect Back-Channel Logout 1.0)."""

import base64
import json
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt.algorithms import OKPAlgorithm
from pytest_django import Settings

from accounts.history.background_writer import BackgroundWriter
from accounts.models import EndReason, EventKind, SessionEvent, SessionRecord, user_key
from accounts.rotation.ending import end_session
from accounts.sign_in import backchannel_logout
from tests.accounts.at_provider import begin
from tests.accounts.history.test_events import told
from tests.accounts.odd_provider import CLIENT_ID, CLIENT_SECRET, KEYS, Claims, OddProvider, merge, published, signed
from tests.accounts.rotation.clocks import movable_clock
from tests.browsers import PATIENCE_SECONDS, Answer, Browser, table_away
from tests.demo_api.server import DemoApi, Fault, Gate

ADDRESS = "/accounts/backchannel-logout/"
FORM = "application/x-www-form-urlencoded"
EVENT = "http://schemas.openid.net/event/backchannel-logout"
LEEWAY_SECONDS = 300
DAY = 24 * 3600


def sign_in(provider: OddProvider, *, sid: str | None = None, sub: str = "ada-1") -> Browser:
    browser = Browser()
    provider.claims = {"sid": sid, "sub": sub}
    assert browser.get(provider.come_back(begin(browser))).status_code == 302
    return browser


def from_now(seconds: float) -> int:
    return int(time.time() + seconds)


def claims(provider: OddProvider, **changes: Any) -> Claims:
    """The claims of a logout token. One that is None is left out."""
    defaults = {
        "iss": provider.issuer,
        "aud": CLIENT_ID,
        "iat": from_now(0),
        "exp": from_now(120),
        "jti": secrets.token_urlsafe(),
        "events": {EVENT: {}},
    }
    return merge(defaults, changes)


def token(provider: OddProvider, **changes: Any) -> str:
    return signed(claims(provider, **changes), typ="logout+jwt")


def post(text: str, **options: Any) -> Answer:
    """What the provider sends: no cookie and no CSRF token."""
    return Browser(csrf_checks=True).post(ADDRESS, urlencode({"logout_token": text}), content_type=FORM, **options)


def expect_refused(answer: Answer) -> str:
    """400 with JSON, as section 2.8 says. Returns the description."""
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"
    assert "no-store" in answer["Cache-Control"]
    return str(answer.json()["error_description"])


def reason(browser: Browser) -> str:
    return SessionRecord.objects.get(pk=browser.session().id).end_reason


class TestWhichSessions:
    def test_sid_ends_the_sessions_of_that_session_at_the_provider(
        self, odd_provider: OddProvider, event_writer: BackgroundWriter[SessionEvent]
    ) -> None:
        one, same, other, old = (sign_in(odd_provider, sid=sid) for sid in ("s-1", "s-1", "s-2", None))

        answer = post(token(odd_provider, sid="s-1"), REMOTE_ADDR="192.0.2.7")

        assert (answer.status_code, answer.content) == (200, b"")
        assert "no-store" in answer["Cache-Control"]
        assert not answer.cookies
        assert [reason(browser) for browser in (one, same, other, old)] == [EndReason.BY_PROVIDER] * 2 + [""] * 2
        events = [event for event in told(event_writer) if event.kind == EventKind.BY_PROVIDER]
        assert [event.address for event in events] == ["192.0.2.7"] * 2
        assert post(token(odd_provider, sid="s-1")).status_code == 200, "they are gone already"
        assert post(token(odd_provider, sid="never heard of")).status_code == 200

    def test_sub_ends_all_sessions_of_that_user(self, odd_provider: OddProvider, settings: Settings) -> None:
        ada, adas = (sign_in(odd_provider, sid=sid) for sid in ("s-1", None))
        grace = sign_in(odd_provider, sid="s-3", sub="grace-1")
        elsewhere = sign_in(odd_provider)
        settings.OAUTH_ISSUER, issuer = "https://elsewhere.example", settings.OAUTH_ISSUER
        stranger = user_key(elsewhere.session().user)
        settings.OAUTH_ISSUER = issuer
        SessionRecord.objects.filter(pk=elsewhere.session().id).update(user_key=stranger)

        assert post(token(odd_provider, sub="ada-1")).status_code == 200

        ended = [reason(browser) for browser in (ada, adas, grace, elsewhere)]
        assert ended == [EndReason.BY_PROVIDER] * 2 + [""] * 2

    def test_with_both_the_session_has_to_be_of_that_user(self, odd_provider: OddProvider) -> None:
        ada = sign_in(odd_provider, sid="s-1")

        assert post(token(odd_provider, sid="s-1", sub="grace-1")).status_code == 200
        assert reason(ada) == ""
        assert post(token(odd_provider, sid="s-1", sub="ada-1")).status_code == 200
        assert reason(ada) == EndReason.BY_PROVIDER

    def test_a_search_by_sid_uses_its_index(self, odd_provider: OddProvider) -> None:
        query = SessionRecord.objects.filter(ended_at=None, sid_key="x")

        assert "accounts_session_sid" in query.explain()


class TestTheBrowser:
    def test_it_goes_on_until_its_access_token_expires_and_is_then_told(self, odd_provider: OddProvider) -> None:
        browser = sign_in(odd_provider, sid="s-1")
        tokens = browser.session().tokens
        post(token(odd_provider, sid="s-1"))

        assert browser.is_signed_in()
        browser.age(400)
        answer = browser.open_page()

        assert answer.status_code == 302
        assert answer.cookies["session"]["max-age"] == 0
        assert answer["Location"] == "/accounts/login/?next=%2Fprotected%2F&ended=by-provider"
        assert (
            "Your session ended because the service that signs you in ended it." in browser.get(answer["Location"]).text
        )
        sent = [call.body for call in odd_provider.calls if tokens.refresh.encode() in call.body]
        assert not sent, "the provider has ended it itself: nothing is refreshed or revoked"

    def test_with_a_check_of_each_request_it_learns_of_it_at_once(
        self, odd_provider: OddProvider, settings: Settings
    ) -> None:
        settings.API_SESSION_CHECK = "every-request"
        browser = sign_in(odd_provider, sid="s-1")
        post(token(odd_provider, sid="s-1"))

        assert browser.open_page().status_code == 302
        signed_in = sign_in(odd_provider, sid="s-2")
        assert signed_in.is_signed_in()


def with_header(token: str, header: dict[str, Any]) -> str:
    text = base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    return f"{text}.{token.partition('.')[2]}"


BAD_CLAIMS: dict[str, Callable[[], dict[str, Any]]] = {
    "no issuer": lambda: {"iss": None},
    "another issuer": lambda: {"iss": "https://evil.example"},
    "no audience": lambda: {"aud": None},
    "another audience": lambda: {"aud": "another-site"},
    "no expiry": lambda: {"exp": None},
    "expired": lambda: {"exp": from_now(-LEEWAY_SECONDS - 30)},
    "no time": lambda: {"iat": None},
    "from the future": lambda: {"iat": from_now(LEEWAY_SECONDS + 60), "exp": from_now(3600)},
    "older than its jti is remembered": lambda: {"iat": from_now(-DAY - 60)},
    "a time beyond all times": lambda: {"iat": float("-inf")},
    "no jti": lambda: {"jti": None},
    "an empty jti": lambda: {"jti": ""},
    "a jti that is no text": lambda: {"jti": ["a"]},
    "a nonce, as an ID token has it": lambda: {"nonce": "n-0S6_WzA2Mj"},
    "no events": lambda: {"events": None},
    "events in a list": lambda: {"events": [EVENT]},
    "another event": lambda: {"events": {"http://schemas.openid.net/event/other": {}}},
    "an event that is no object": lambda: {"events": {EVENT: True}},
    "nobody": lambda: {"sid": None},
    "nobody, in empty words": lambda: {"sid": "", "sub": ""},
    "a session that is no text": lambda: {"sid": 1},
    "a user who is no text": lambda: {"sub": 7},
    "a user whose id is too long to be known": lambda: {"sid": None, "sub": "a" * 256},
}
GOOD_CLAIMS: dict[str, Callable[[], dict[str, Any]]] = {
    "several audiences": lambda: {"aud": ["another-site", CLIENT_ID]},
    "expired within the leeway": lambda: {"exp": from_now(30 - LEEWAY_SECONDS)},
    "from a clock that is ahead": lambda: {"iat": from_now(LEEWAY_SECONDS - 30)},
    "sent again for hours": lambda: {"iat": from_now(60 - DAY)},
    "more events": lambda: {"events": {EVENT: {}, "http://example.com/other": {}}},
    "a jti of half a character": lambda: {"jti": "\ud800"},
    "a time in a text": lambda: {"iat": str(from_now(0))},
}
FORGED: dict[str, Callable[[Claims], str]] = {
    "not signed": lambda claims: jwt.encode(claims, "", algorithm="none"),
    "signed with the client's secret": lambda claims: jwt.encode(claims, CLIENT_SECRET, algorithm="HS256"),
    "signed by another": lambda claims: signed(claims, "two"),
    "signed by another under a name of the provider's": lambda claims: signed(claims, "two", kid="one"),
    "with a kid that is a number": lambda claims: with_header(signed(claims), {"alg": "RS256", "kid": 1}),
    "of another type": lambda claims: signed(claims, typ="at+jwt"),
    "cut off": lambda claims: signed(claims)[:-40],
    "without its signature": lambda claims: signed(claims).rpartition(".")[0] + ".",
    "no JWT": lambda claims: "an-opaque-token",
    "a JWE": lambda claims: "a.b.c.d.e",
    "empty": lambda claims: "",
}


class TestTheToken:
    def test_bad_claims(self, odd_provider: OddProvider) -> None:
        browser = sign_in(odd_provider, sid="s-1")

        for name, changes in BAD_CLAIMS.items():
            description = expect_refused(post(token(odd_provider, **{"sid": "s-1", **changes()})))
            assert "logout token" in description, name
            assert "Error" not in description, f"{name}: a name of the code is no reason"
            assert reason(browser) == "", name

    def test_good_claims(self, odd_provider: OddProvider) -> None:
        for name, changes in GOOD_CLAIMS.items():
            browser = sign_in(odd_provider, sid="s-1")
            assert post(token(odd_provider, **{"sid": "s-1", **changes()})).status_code == 200, name
            assert reason(browser) == EndReason.BY_PROVIDER, name

    def test_forged(self, odd_provider: OddProvider) -> None:
        browser = sign_in(odd_provider, sid="s-1")

        for name, forge in FORGED.items():
            assert "Error" not in expect_refused(post(forge(claims(odd_provider, sid="s-1")))), name
            assert reason(browser) == "", name

    def test_the_provider_is_told_what_is_wrong(self, odd_provider: OddProvider) -> None:
        reasons: dict[str, dict[str, Any]] = {
            "it has no exp": {"exp": None},
            "it has expired": {"exp": from_now(-LEEWAY_SECONDS - 30)},
            "its iat or nbf is in the future": {"iat": from_now(LEEWAY_SECONDS + 60)},
            "its iat is no time": {"iat": "soon"},
            "its aud is not this client": {"aud": "another-site"},
            "its iss is another issuer": {"iss": "https://evil.example"},
            "its sub is no text": {"sub": 7},
        }
        for why, changes in reasons.items():
            description = expect_refused(post(token(odd_provider, **{"sid": "s-1", **changes})))
            assert description == f"the provider's logout token: {why}"

    def test_an_id_token_is_none(self, odd_provider: OddProvider) -> None:
        """The user's own browser may hold one."""
        browser = sign_in(odd_provider, sid="s-1")

        expect_refused(post(signed({**odd_provider._default_claims("x"), "sid": "s-1", "jti": "7"})))
        assert reason(browser) == ""

    @pytest.mark.parametrize("typ", ["JWT", "LOGOUT+JWT", "application/logout+jwt", None])
    def test_its_type_may_be_missing(self, odd_provider: OddProvider, typ: str | None) -> None:
        browser = sign_in(odd_provider, sid="s-1")

        assert post(signed(claims(odd_provider, sid="s-1"), typ=typ)).status_code == 200
        assert reason(browser) == EndReason.BY_PROVIDER

    def test_only_an_algorithm_of_the_discovery_document(self, odd_provider: OddProvider) -> None:
        odd_provider.metadata = {"id_token_signing_alg_values_supported": ["ES256", "HS256"]}

        expect_refused(post(token(odd_provider, sid="s-1")))
        expect_refused(post(with_header(token(odd_provider, sid="s-1"), {"alg": ["ES256"]})))
        expect_refused(post(jwt.encode(claims(odd_provider, sid="s-1"), CLIENT_SECRET, algorithm="HS256")))

    def test_an_algorithm_may_have_its_newer_name(self, odd_provider: OddProvider) -> None:
        key, encoder = ed25519.Ed25519PrivateKey.generate(), jwt.PyJWS()
        encoder.register_algorithm("Ed25519", OKPAlgorithm())  # RFC 9864
        odd_provider.keys = [OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)]
        odd_provider.metadata = {"id_token_signing_alg_values_supported": ["EdDSA"]}

        text = encoder.encode(json.dumps(claims(odd_provider, sid="s-1")).encode(), key, "Ed25519")

        assert post(text).status_code == 200

    def test_it_is_used_once(self, odd_provider: OddProvider) -> None:
        sign_in(odd_provider)
        text = token(odd_provider, sub="ada-1")
        assert post(text).status_code == 200
        again = sign_in(odd_provider)

        assert "used before" in expect_refused(post(text))
        assert reason(again) == ""

    def test_twice_at_the_same_moment_it_is_accepted_once(
        self, odd_provider: OddProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        browser = sign_in(odd_provider, sid="s-1")
        text, others = token(odd_provider, sid="s-1"), []

        def end_after_another(*args: Any, **options: Any) -> Any:
            monkeypatch.undo()
            others.append(post(text).status_code)
            return end_session(*args, **options)

        monkeypatch.setattr(backchannel_logout, "end_session", end_after_another)

        assert "used before" in expect_refused(post(text))
        assert others == [200]
        assert reason(browser) == EndReason.BY_PROVIDER


class TestTheRequest:
    def test_what_is_no_form_with_one_token(self, odd_provider: OddProvider) -> None:
        browser = sign_in(odd_provider, sid="s-1")
        text = token(odd_provider, sid="s-1")
        form = urlencode({"logout_token": text})

        for body, content_type in [
            ("", FORM),
            ("x=1", FORM),
            (f"{form}&{form}", FORM),
            (form + "&a=" + "b" * 16_384, FORM),
            (form + "&a=1" * 20, FORM),
            (form.encode() + b"&a=\xff", FORM),
            (form, "text/plain"),
            (json.dumps({"logout_token": text}), "application/json"),
        ]:
            expect_refused(Browser().post(ADDRESS, body, content_type=content_type))
        expect_refused(Browser().post(ADDRESS, {"logout_token": text}))  # multipart
        expect_refused(Browser().post(f"{ADDRESS}?{form}", "", content_type=FORM))
        assert reason(browser) == ""
        assert Browser().post(ADDRESS, form, content_type=f"{FORM}; charset=utf-8").status_code == 200

    def test_only_a_post(self, odd_provider: OddProvider) -> None:
        answer = Browser().get(f"{ADDRESS}?logout_token={token(odd_provider, sid='s-1')}")

        assert (answer.status_code, answer["Allow"]) == (405, "POST")
        assert "no-store" in answer["Cache-Control"]

    def test_there_is_no_such_address_without_a_provider(self, api: DemoApi, transactional_db: None) -> None:
        assert post("x").status_code == 404

    @pytest.mark.parametrize(
        "changes", [{"OAUTH_SCOPE": "read"}, {"OAUTH_ISSUER": ""}, {"API_DIALECT": "oauth2-password"}], ids=str
    )
    def test_nor_without_openid(self, odd_provider: OddProvider, settings: Settings, changes: dict[str, str]) -> None:
        for name, value in changes.items():
            setattr(settings, name, value)

        assert post("x").status_code == 404


class TestFailures:
    @pytest.mark.parametrize("table", ["accounts_sessionrecord", "accounts_tally"])
    def test_the_provider_can_try_again_after_the_database_failed(self, odd_provider: OddProvider, table: str) -> None:
        browser = sign_in(odd_provider, sid="s-1")
        text = token(odd_provider, sid="s-1")

        with table_away(table):
            answer = post(text)

        assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
        assert int(answer["Retry-After"]) > 0
        assert post(text).status_code == 200
        assert reason(browser) == EndReason.BY_PROVIDER

    def test_unknown_keys_do_not_become_requests_for_the_keys(self, odd_provider: OddProvider) -> None:
        with movable_clock(stopped=True) as clock:
            sign_in(odd_provider)
            clock.ahead += 60
            for number in range(10):
                expect_refused(post(signed(claims(odd_provider, sid="s-1"), "two", kid=f"unknown-{number}")))
            assert odd_provider.count("GET", KEYS) == 2

            clock.ahead += 60
            odd_provider.keys = [published("two")]
            assert post(signed(claims(odd_provider, sid="s-1"), "two")).status_code == 200

    def test_slow_keys_are_fetched_once_for_all_who_wait(self, odd_provider: OddProvider) -> None:
        with movable_clock(stopped=True) as clock:
            sign_in(odd_provider)
            clock.ahead += 60
            with Gate() as gate, ThreadPoolExecutor(3) as pool:
                odd_provider.fail("GET", KEYS, Fault.hold_after(gate), times=None)
                answers = [pool.submit(post, signed(claims(odd_provider, sid="s-1"), "two")) for _ in range(3)]
                assert gate.reached.wait(PATIENCE_SECONDS)
                clock.ahead += 6
                gate.release()
                for answer in answers:
                    expect_refused(answer.result())
            assert odd_provider.count("GET", KEYS) == 2

    @pytest.mark.parametrize("status", [503, 404], ids=["unavailable", "a gateway in its place"])
    def test_keys_that_cannot_be_fetched(self, odd_provider: OddProvider, status: int) -> None:
        odd_provider.fail("GET", KEYS, Fault.answer(status), times=1)

        answer = post(token(odd_provider, sid="s-1"))

        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        assert odd_provider.url not in answer.text

    def test_a_wrong_token_costs_no_key(self, odd_provider: OddProvider) -> None:
        expect_refused(post(token(odd_provider, sid="s-1", aud="another-site")))

        assert odd_provider.count("GET", KEYS) == 0
