"""Sign-in at the provider: the page with the button, the authorization request, and the redirect to `next`."""

import base64
import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from accounts.models import EndReason, SessionRecord
from tests.accounts.at_provider import PAGE, begin, query_of, sign_in_at_provider, walk, whoami
from tests.accounts.odd_provider import OddProvider
from tests.accounts.sign_in.helpers import FOREIGN_PLACES, OWN_PLACES
from tests.browsers import ADA, Browser
from tests.real_apis.apis import OAuthProvider
from tests.real_apis.oauth.client import CLIENT_ID, CLIENT_SECRET, SCOPE

REDIRECT_URI = "http://testserver/accounts/callback/"


def s256(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def wire(provider: OAuthProvider) -> list[tuple[str, str, int]]:
    """The site's calls to the provider since the last time, without the pages that the browser visits."""
    calls = [(call.method, call.path, call.status) for call in provider.calls]
    provider.forget_calls()
    return [call for call in calls if call[1] not in ("/o/authorize/", "/login/")]


def form_action(policy: str) -> set[str]:
    """The form-action sources of a policy."""
    (sources,) = (part.split()[1:] for part in policy.split(";") if part.split()[0] == "form-action")
    return set(sources)


class TestThePage:
    def test_it_has_a_button_that_names_the_provider_and_asks_for_no_password(
        self, provider: OAuthProvider, newcomer: Browser
    ) -> None:
        page = newcomer.get("/accounts/login/?next=/protected/%3Frows=3")

        assert page.status_code == 200
        assert "Sign in at 127.0.0.1" in page.text
        assert 'type="password"' not in page.text
        assert 'name="next" value="/protected/?rows=3"' in page.text
        assert provider.calls == []

    @pytest.mark.parametrize(
        ("dialect", "label"),
        [("token-pair", "Email"), ("simplejwt", "User name"), ("oauth2-password", "User name")],
    )
    def test_an_api_that_takes_passwords_has_a_form(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings, dialect: str, label: str
    ) -> None:
        settings.API_DIALECT = dialect

        page = newcomer.get("/accounts/login/").text

        assert 'type="password"' in page
        assert re.search(rf"<label[^>]*>{label}</label>", page)
        assert "Sign in at" not in page

    def test_its_policy_lets_the_button_lead_to_the_provider(self, provider: OAuthProvider, newcomer: Browser) -> None:
        allowed = form_action(newcomer.get("/accounts/login/")["Content-Security-Policy"])

        target = urlsplit(begin(newcomer))
        assert f"{target.scheme}://{target.netloc}" in allowed
        assert "http:" not in allowed
        assert "*" not in allowed

    def test_its_policy_lets_the_button_lead_to_an_authorization_endpoint_elsewhere(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings
    ) -> None:
        """With containers, the site and the browser can use different host names for the provider."""
        settings.OAUTH_AUTHORIZATION_ENDPOINT = "http://localhost:8080/realms/harbour/authorize"

        allowed = form_action(newcomer.get("/accounts/login/")["Content-Security-Policy"])

        target = urlsplit(begin(newcomer))
        assert f"{target.scheme}://{target.netloc}" in allowed

    def test_who_is_signed_in_is_sent_on(self, provider: OAuthProvider, newcomer: Browser) -> None:
        sign_in_at_provider(newcomer)

        answer = newcomer.get("/accounts/login/?next=/accounts/session/")

        assert (answer.status_code, answer["Location"]) == (302, "/accounts/session/")

    def test_who_comes_here_because_the_session_ended_is_told_so(
        self, provider: OAuthProvider, newcomer: Browser
    ) -> None:
        assert "Your session has ended" in newcomer.get("/accounts/login/?next=/protected/&ended=1").text

    def test_another_site_cannot_press_the_button(self, provider: OAuthProvider, transactional_db: None) -> None:
        answer = Browser(csrf_checks=True).post("/accounts/login/", {"next": PAGE})

        assert answer.status_code == 403
        assert not answer.cookies


class TestWhatIsSent:
    def test_the_browser_is_sent_off_with_this_and_nothing_else(
        self, provider: OAuthProvider, newcomer: Browser
    ) -> None:
        url = begin(newcomer)

        assert url.partition("?")[0] == f"{provider.issuer}/authorize/"
        asked = query_of(url)
        drawn = {name: asked.pop(name) for name in ("state", "nonce", "code_challenge")}
        assert asked == {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": REDIRECT_URI,
            "scope": SCOPE,
            "code_challenge_method": "S256",
        }
        # 128 bits, in hexadecimal or base64url.
        assert all(re.fullmatch(r"[0-9a-f]{32,}|[\w-]{22,}", value, re.ASCII) for value in drawn.values())

    def test_no_two_sign_ins_share_a_secret(self, provider: OAuthProvider, newcomer: Browser) -> None:
        first, second = (query_of(begin(newcomer)) for _ in range(2))

        for name in ("state", "nonce", "code_challenge"):
            assert first[name] != second[name]

    def test_the_code_is_traded_with_the_verifier_of_that_challenge(
        self, provider: OAuthProvider, newcomer: Browser
    ) -> None:
        url = begin(newcomer)
        back = walk(url)

        newcomer.get(back)

        (call,) = (call for call in provider.calls if call.path == "/o/token/")
        form = dict(parse_qsl(call.body.decode(), strict_parsing=True))
        assert call.headers["content-type"] == "application/x-www-form-urlencoded"
        verifier = form.pop("code_verifier")
        assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", verifier)
        assert s256(verifier) == query_of(url)["code_challenge"]
        assert form == {
            "grant_type": "authorization_code",
            "code": query_of(back)["code"],
            "redirect_uri": REDIRECT_URI,
        }
        credentials = base64.b64decode(call.headers["authorization"].removeprefix("Basic ")).decode()
        assert [unquote_plus(part) for part in credentials.split(":")] == [CLIENT_ID, CLIENT_SECRET]

    def test_what_the_provider_wants_to_be_told_besides_is_sent_and_takes_nobodys_place(
        self, provider: OAuthProvider, newcomer: Browser, settings: Settings
    ) -> None:
        settings.OAUTH_AUTHORIZATION_PARAMETERS = "audience=https://api.example.com/&state=mine&redirect_uri=https://evil.example/&code_challenge_method=plain"

        asked = query_of(begin(newcomer))

        assert asked["audience"] == "https://api.example.com/"
        assert asked["state"] != "mine"
        assert (asked["redirect_uri"], asked["code_challenge_method"]) == (REDIRECT_URI, "S256")

    def test_a_query_of_the_endpoints_own_stays(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings
    ) -> None:
        settings.OAUTH_AUTHORIZATION_ENDPOINT = f"{odd_provider.issuer}/authorize?tenant=quay%26pier"

        asked = query_of(begin(newcomer))

        assert asked["tenant"] == "quay&pier"
        assert asked["response_type"] == "code"

    def test_without_openid_there_is_no_nonce(
        self, odd_provider: OddProvider, newcomer: Browser, settings: Settings
    ) -> None:
        settings.OAUTH_SCOPE = "read openids"

        asked = query_of(begin(newcomer))

        assert "nonce" not in asked
        assert asked["scope"] == "read openids"

    def test_no_server_remembers_a_sign_in_under_way(self, provider: OAuthProvider, newcomer: Browser) -> None:
        with CaptureQueriesContext(connection) as queries:
            begin(newcomer)

        assert len(queries) == 0


class TestTheJourney:
    def test_from_the_page_to_the_page(self, provider: OAuthProvider, newcomer: Browser) -> None:
        login = newcomer.open_page()["Location"]
        assert login == "/accounts/login/?next=%2Fprotected%2F"
        answer = sign_in_at_provider(newcomer)
        assert (answer.status_code, answer["Location"]) == (302, PAGE)
        assert wire(provider) == [
            ("GET", "/o/.well-known/openid-configuration", 200),
            ("POST", "/o/token/", 200),
            ("GET", "/o/.well-known/jwks.json", 200),
        ]

        assert "Ada" in newcomer.open_page().text
        assert wire(provider) == [("GET", "/protected-route", 200)]

        for generation in (1, 2):
            provider.expire_access_tokens()
            assert newcomer.open_page().status_code == 200
            assert wire(provider) == [
                ("GET", "/protected-route", 401),
                ("POST", "/o/token/", 200),
                ("GET", "/protected-route", 200),
            ]
            assert newcomer.session().generation == generation
            assert newcomer.open_page().status_code == 200
            with CaptureQueriesContext(connection) as queries:
                assert newcomer.open_page().status_code == 200
            assert len(queries) == 0
            wire(provider)

    def test_a_script_is_told_who_it_is_and_no_token(self, provider: OAuthProvider, newcomer: Browser) -> None:
        sign_in_at_provider(newcomer)

        told = newcomer.get("/accounts/session/").json()

        assert told["user"] == {"id": "1", "name": "Ada", "email": ADA}
        assert 0 < told["access_expires_in"] <= 60
        assert told["refresh_expires_in"] is None
        tokens = newcomer.session().tokens
        assert tokens.access not in json.dumps(told)

    def test_our_rotation_stays_in_charge(self, provider: OAuthProvider, newcomer: Browser) -> None:
        """A lost response ends no session, and no refresh token is used twice."""
        reuses = provider.reuses
        sign_in_at_provider(newcomer)
        before = newcomer.take()
        provider.expire_access_tokens()
        newcomer.open_page()
        newcomer.put(before)

        assert newcomer.is_signed_in()

        assert newcomer.session().generation == 1
        assert provider.count_refreshes() == 1
        assert provider.reuses == reuses

    def test_many_tabs_at_once_are_one_refresh(self, provider: OAuthProvider, newcomer: Browser) -> None:
        sign_in_at_provider(newcomer)
        provider.expire_access_tokens()
        tabs = [newcomer.copy() for _ in range(6)]

        with ThreadPoolExecutor(len(tabs)) as pool:
            answers = list(pool.map(Browser.open_page, tabs))

        assert [answer.status_code for answer in answers] == [200] * len(tabs)
        assert provider.count_refreshes() == 1

    def test_a_session_that_the_provider_ended_is_over_and_signing_in_again_leads_back(
        self, provider: OAuthProvider, newcomer: Browser
    ) -> None:
        sign_in_at_provider(newcomer)
        session_id = newcomer.session().id
        provider.revoke_all()

        answer = newcomer.get("/protected/?rows=3")

        assert (answer.status_code, answer["Location"]) == (
            302,
            "/accounts/login/?next=%2Fprotected%2F%3Frows%3D3&ended=1",
        )
        assert answer.cookies["session"]["max-age"] == 0
        assert SessionRecord.objects.get(pk=session_id).end_reason == EndReason.REFUSED
        assert sign_in_at_provider(newcomer, "/protected/?rows=3")["Location"] == "/protected/?rows=3"
        assert newcomer.is_signed_in()


class TestNext:
    @pytest.mark.parametrize("place", OWN_PLACES.values(), ids=OWN_PLACES)
    def test_a_page_of_ours_is_where_it_ends(self, odd_provider: OddProvider, newcomer: Browser, place: str) -> None:
        answer = newcomer.get(odd_provider.come_back(begin(newcomer, place)))

        assert answer.status_code == 302
        assert answer["Location"] in (place, place.replace("ä", "%C3%A4"))
        assert whoami(newcomer) == "Ada"

    @pytest.mark.parametrize("place", FOREIGN_PLACES.values(), ids=FOREIGN_PLACES)
    def test_any_other_place_is_not(self, odd_provider: OddProvider, newcomer: Browser, place: str) -> None:
        answer = newcomer.get(odd_provider.come_back(begin(newcomer, place)))

        assert (answer.status_code, answer["Location"]) == (302, PAGE)
        assert whoami(newcomer) == "Ada"
