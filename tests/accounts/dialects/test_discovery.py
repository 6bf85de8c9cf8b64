"""The provider's discovery document: its URL, checks and cache, and the settings that replace it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import responses
from pytest_django import Settings

from accounts.dialects.discovery import Provider, current_provider
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.exceptions import ApiError, ApiMisbehaved, ApiUnavailable
from tests.accounts.at_provider import press_button
from tests.accounts.odd_provider import AUTHORIZATION_SERVER, CONFIGURATION, REALM, OddProvider
from tests.accounts.rotation.clocks import movable_clock
from tests.browsers import Browser, wait_until
from tests.demo_api.messages import Answer
from tests.demo_api.server import Fault, Gate
from tests.real_apis.apis import OAuthProvider

HOUR = 3600
PAUSE_SECONDS = 5
SAFE_ISSUER = "https://login.example.com/realms/harbour"


def serve_at(provider: OddProvider, *paths: str, **changes: object) -> None:
    """Serve the discovery document only at `paths`. A change to None leaves a field out."""
    provider.answers[CONFIGURATION] = Answer.json(404, {"error": "not_found"})
    document = {
        "issuer": provider.issuer,
        "authorization_endpoint": f"{provider.issuer}/authorize",
        "token_endpoint": f"{provider.issuer}/token",
        **changes,
    }
    for path in paths:
        provider.answers[path] = Answer.json(200, {name: value for name, value in document.items() if value})


class TestWhereItIs:
    def test_a_real_one(self, provider: OAuthProvider) -> None:
        assert current_provider() == Provider(
            issuer=provider.issuer,
            authorization_endpoint=f"{provider.issuer}/authorize/",
            token_endpoint=f"{provider.issuer}/token/",
            revocation_endpoint=f"{provider.issuer}/revoke_token/",
            pushed_authorization_request_endpoint="",
            userinfo_endpoint=f"{provider.issuer}/userinfo/",
            end_session_endpoint=f"{provider.issuer}/logout/",
            jwks_uri=f"{provider.issuer}/.well-known/jwks.json",
            token_endpoint_auth_methods=("client_secret_post", "client_secret_basic"),
            token_endpoint_auth_algorithms=(),
            sends_issuer=True,
            id_token_algorithms=("RS256", "HS256"),
        )

    def test_openid_connect_appends_to_the_issuer(self, odd_provider: OddProvider) -> None:
        assert current_provider().token_endpoint == f"{odd_provider.issuer}/token"

        assert [call.path for call in odd_provider.calls] == [f"{REALM}/.well-known/openid-configuration"]

    def test_oauth_puts_it_in_front_of_the_issuers_path(self, odd_provider: OddProvider) -> None:
        """RFC 8414 section 3.1."""
        serve_at(odd_provider, AUTHORIZATION_SERVER)

        assert current_provider().token_endpoint == f"{odd_provider.issuer}/token"

        assert [call.path for call in odd_provider.calls] == [
            f"{REALM}/.well-known/openid-configuration",
            f"/.well-known/oauth-authorization-server{REALM}",
        ]

    @pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"])
    @pytest.mark.parametrize("slash", ["", "/"], ids=["without a slash", "with a slash"])
    def test_an_issuer_without_a_path(
        self, odd_provider: OddProvider, settings: Settings, path: str, slash: str
    ) -> None:
        """A trailing slash is part of the issuer, but not of the document's URL."""
        settings.OAUTH_ISSUER = f"{odd_provider.url}{slash}"
        serve_at(odd_provider, path, issuer=settings.OAUTH_ISSUER)

        assert current_provider().issuer == settings.OAUTH_ISSUER


class TestWhatIsNone:
    @pytest.mark.parametrize("issuer", ["https://evil.example", "{issuer}/", "", None, 5, ["{issuer}"]], ids=str)
    def test_that_of_another_issuer(self, odd_provider: OddProvider, issuer: object) -> None:
        if isinstance(issuer, str):
            issuer = issuer.format(issuer=odd_provider.issuer)
        odd_provider.metadata = {"issuer": issuer}

        with pytest.raises(ApiMisbehaved):
            current_provider()

    @pytest.mark.parametrize(
        "reply",
        [
            Answer(200, b"<h1>Welcome</h1>", {"Content-Type": "text/html"}),
            Answer(200),
            Answer.json(200, ["issuer"]),
            Answer.json(200, {}),
            Answer(200, b'{"issuer": ' + b"[" * 100_000),
            Answer.json(404, {}),
            Answer.json(401, {"error": "invalid_token"}),
            Answer(301, headers={"Location": "/elsewhere"}),
        ],
        ids=["HTML", "nothing", "a list", "an empty object", "nested beyond measure", "404", "401", "a redirect"],
    )
    def test_an_answer_without_a_document(self, odd_provider: OddProvider, reply: Answer) -> None:
        odd_provider.answers |= {CONFIGURATION: reply, AUTHORIZATION_SERVER: reply}

        with pytest.raises(ApiMisbehaved):
            current_provider()

    @pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408, 425])
    def test_an_answer_that_may_be_had_later(self, odd_provider: OddProvider, status: int) -> None:
        odd_provider.answers[CONFIGURATION] = Answer(status, b"<h1>Later</h1>", {"Retry-After": "9"})

        with pytest.raises(ApiUnavailable) as raised:
            current_provider()

        assert raised.value.retry_after == 9

    @pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint"])
    @pytest.mark.parametrize(
        "value", [None, "", "/o/token", "ftp://127.0.0.1/", "javascript:alert(1)", 5, ["x"]], ids=str
    )
    def test_a_document_without_the_endpoints_that_we_need(
        self, odd_provider: OddProvider, name: str, value: object
    ) -> None:
        odd_provider.metadata = {name: value}

        with pytest.raises(ApiMisbehaved):
            OAuth2Dialect().authorization_url(redirect_uri="", state="", nonce="", code_verifier="")

    @pytest.mark.parametrize(
        "name", ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "end_session_endpoint"]
    )
    @pytest.mark.parametrize(
        "value",
        [
            "http://",
            "http:///token",
            "http://:80/token",
            "http://[::1",
            "http://login.example.com:0/",
            "http://login.example.com:99999/",
            "http://login.example.com:x/",
            "http://*/",
            "http://login.example.com/\ud800",
            "http://login.example.com/\u6f6e",
            "http://login.example.com/" + "a" * 20_000,
            "//login.example.com/",
            ["http://login.example.com/"],
            7,
        ],
        ids=lambda value: repr(value)[:40],
    )
    def test_an_endpoint_that_leads_nowhere(self, odd_provider: OddProvider, name: str, value: object) -> None:
        odd_provider.metadata = {name: value}

        with pytest.raises(ApiMisbehaved, match=name):
            current_provider()

    def test_no_issuer(self, odd_provider: OddProvider, settings: Settings) -> None:
        settings.OAUTH_ISSUER = ""

        with pytest.raises(ApiMisbehaved):
            current_provider()

    @pytest.mark.parametrize(
        "name",
        [
            "authorization_endpoint",
            "token_endpoint",
            "revocation_endpoint",
            "userinfo_endpoint",
            "end_session_endpoint",
            "jwks_uri",
        ],
    )
    def test_an_endpoint_in_the_clear_of_an_issuer_that_is_not(
        self, settings: Settings, no_documents: None, name: str
    ) -> None:
        settings.OAUTH_ISSUER = SAFE_ISSUER
        document = {
            "issuer": SAFE_ISSUER,
            "authorization_endpoint": f"{SAFE_ISSUER}/authorize",
            "token_endpoint": f"{SAFE_ISSUER}/token",
        }
        with responses.RequestsMock() as wire:
            wire.get(
                f"{SAFE_ISSUER}/.well-known/openid-configuration",
                json={**document, name: f"http://login.example.com/{name}"},
            )
            with pytest.raises(ApiMisbehaved, match=name):
                current_provider()


class TestHowItIsKept:
    def test_for_an_hour(self, odd_provider: OddProvider) -> None:
        with movable_clock(stopped=True) as clock:
            for seconds, fetched in ((0, 1), (HOUR - 5, 1), (10, 2), (10, 2)):
                clock.ahead += seconds
                current_provider()
                assert odd_provider.count("GET", CONFIGURATION) == fetched

    def test_longer_while_the_provider_is_unavailable(self, odd_provider: OddProvider) -> None:
        with movable_clock(stopped=True) as clock:
            known = current_provider()
            odd_provider.stop_serving()
            clock.ahead += 7 * 24 * HOUR
            assert current_provider() == known

            odd_provider.start_serving()
            odd_provider.metadata = {"token_endpoint": f"{odd_provider.issuer}/moved"}
            clock.ahead += PAUSE_SECONDS + 1
            assert current_provider().token_endpoint.endswith("/moved")

    def test_longer_while_the_document_is_invalid(self, odd_provider: OddProvider) -> None:
        with movable_clock(stopped=True) as clock:
            known = current_provider()
            odd_provider.metadata = {"issuer": "https://evil.example"}
            clock.ahead += 2 * HOUR

            assert current_provider() == known

    def test_many_at_once_share_one_fetch(self, odd_provider: OddProvider) -> None:
        with Gate() as gate, ThreadPoolExecutor(8) as pool:
            odd_provider.fail("GET", CONFIGURATION, Fault.hold_after(gate))
            calls = [pool.submit(current_provider) for _ in range(8)]
            wait_until(gate.reached.is_set)
            gate.release()

            assert len({future.result().token_endpoint for future in calls}) == 1
        assert odd_provider.count("GET", CONFIGURATION) == 1

    def test_many_at_once_share_one_failure(self, odd_provider: OddProvider) -> None:
        def outcome() -> str:
            try:
                return current_provider().issuer
            except ApiError as error:
                return type(error).__name__

        with Gate() as gate, ThreadPoolExecutor(8) as pool:
            odd_provider.answers[CONFIGURATION] = Answer(503)
            odd_provider.fail("GET", CONFIGURATION, Fault.hold_after(gate))
            calls = [pool.submit(outcome) for _ in range(8)]
            wait_until(gate.reached.is_set)
            gate.release()

            assert {future.result() for future in calls} == {"ApiUnavailable"}
        assert odd_provider.count("GET", CONFIGURATION) == 1

    def test_a_failure_is_not_repeated_at_once(self, odd_provider: OddProvider) -> None:
        with movable_clock(stopped=True) as clock:
            odd_provider.fail("GET", CONFIGURATION, Fault.answer(503))
            for _ in range(5):
                with pytest.raises(ApiUnavailable):
                    current_provider()
            assert odd_provider.count("GET", CONFIGURATION) == 1

            clock.ahead += PAUSE_SECONDS + 0.5
            assert current_provider().issuer == odd_provider.issuer


class TestWhatIsSetInstead:
    @pytest.mark.parametrize(
        ("setting", "name"),
        [
            ("OAUTH_AUTHORIZATION_ENDPOINT", "authorization_endpoint"),
            ("OAUTH_TOKEN_ENDPOINT", "token_endpoint"),
            ("OAUTH_REVOCATION_ENDPOINT", "revocation_endpoint"),
            ("OAUTH_JWKS_URI", "jwks_uri"),
        ],
    )
    def test_it_replaces_what_was_discovered(
        self, odd_provider: OddProvider, settings: Settings, setting: str, name: str
    ) -> None:
        discovered = current_provider()
        setattr(settings, setting, "http://127.0.0.1:9/elsewhere?tenant=quay")

        provider = current_provider()

        assert getattr(provider, name) == "http://127.0.0.1:9/elsewhere?tenant=quay"
        for other in ("authorization_endpoint", "token_endpoint", "revocation_endpoint", "userinfo_endpoint"):
            assert other == name or getattr(provider, other) == getattr(discovered, other)

    def test_with_the_two_that_are_needed_nothing_is_discovered(
        self, odd_provider: OddProvider, settings: Settings
    ) -> None:
        settings.OAUTH_ISSUER = ""
        settings.OAUTH_AUTHORIZATION_ENDPOINT = f"{odd_provider.issuer}/authorize"
        settings.OAUTH_TOKEN_ENDPOINT = f"{odd_provider.issuer}/token"

        provider = current_provider()

        assert (provider.revocation_endpoint, provider.userinfo_endpoint, provider.jwks_uri) == ("", "", "")
        assert provider.token_endpoint_auth_methods == ("client_secret_basic",)
        assert odd_provider.calls == []

    def test_with_one_of_them_the_other_is(self, odd_provider: OddProvider, settings: Settings) -> None:
        settings.OAUTH_TOKEN_ENDPOINT = f"{odd_provider.issuer}/other-token"

        assert current_provider().authorization_endpoint == f"{odd_provider.issuer}/authorize"


@pytest.mark.parametrize("url", ["http://", "http:///token", "http://:80/token", "http://127.0.0.1:99999/token"])
def test_an_endpoint_that_leads_nowhere_is_the_providers_fault_and_no_crash(
    odd_provider: OddProvider, newcomer: Browser, url: str
) -> None:
    odd_provider.metadata = {"token_endpoint": url}

    button = press_button(newcomer)
    answer = newcomer.get(odd_provider.come_back(button["Location"])) if button.status_code == 302 else button

    assert answer.status_code in (502, 503)


def test_an_operator_may_reach_the_provider_without_tls(settings: Settings) -> None:
    """Inside a network, also if the issuer has https. `manage.py check --deploy` warns (accounts.W002)."""
    settings.OAUTH_ISSUER = "https://login.example.com"
    settings.OAUTH_AUTHORIZATION_ENDPOINT = "https://login.example.com/authorize"
    settings.OAUTH_TOKEN_ENDPOINT = "http://keycloak:8080/token"

    assert current_provider().token_endpoint == "http://keycloak:8080/token"
