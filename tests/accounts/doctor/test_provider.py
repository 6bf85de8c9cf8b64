"""What the doctor says of the OAuth 2.0 provider: real ones, and documents as providers in containers write them."""

import pytest
from pytest_django import Settings

from accounts.doctor.findings import Finding, Status
from accounts.doctor.provider import examine_endpoints, examine_provider, is_needed
from tests.accounts.dialects.test_private_key_jwt import EC_KEY, OTHER_KEY, UNUSABLE, pem
from tests.accounts.doctor.reports import by_name, statuses
from tests.accounts.odd_provider import CLIENT_SECRET, OddProvider
from tests.demo_api.messages import Answer
from tests.real_apis.apis import OAuthProvider
from tests.real_apis.oidc import OidcProvider

NAMES = ("endpoints", "par", "client")
PUBLIC = "https://login.example.com/realms/main"
INTERNAL = "http://keycloak:8080/realms/main"


def examined() -> dict[str, Finding]:
    return by_name(examine_provider(None))


def test_a_strict_one_that_accepts_the_clients_key(strict_provider: OidcProvider, settings: Settings) -> None:
    settings.OAUTH_CLIENT_KEY += pem(OTHER_KEY)
    spends = strict_provider.refresh_spends
    findings = examined()

    assert statuses(findings) == dict.fromkeys(
        ["endpoints", "par", "dpop", "key-1", "key-2", "clock", "client"], Status.OK
    )
    assert "are pushed" in findings["par"].found
    assert findings["key-1"].found.endswith("signs with ES256.")
    assert findings["client"].found == "The provider accepts this client with private_key_jwt."
    assert strict_provider.refresh_spends == spends

    settings.OAUTH_CLIENT_KEY = pem(EC_KEY)
    refused = examined()["client"]
    assert (refused.status, "/accounts/jwks.json" in refused.advice) == (Status.PROBLEM, True)
    settings.OAUTH_PAR = "never"
    settings.OAUTH_CLIENT_KEY = UNUSABLE["too small"]
    unusable = examined()
    assert (unusable["keys"].status, "1024 bits" in unusable["keys"].found) == (Status.PROBLEM, True)


def test_another_with_a_secret(provider: OAuthProvider, settings: Settings) -> None:
    findings = examined()
    assert statuses(findings) == dict.fromkeys(NAMES, Status.OK)
    assert "are not pushed" in findings["par"].found

    settings.OAUTH_CLIENT_SECRET = "wrong"
    refused = examined()["client"]
    assert (refused.status, "OAUTH_CLIENT_SECRET" in refused.advice) == (Status.PROBLEM, True)
    assert "client_secret_basic: error invalid_client" in refused.found


def test_what_does_not_fit_together(odd_provider: OddProvider, settings: Settings) -> None:
    odd_provider.answers["/realms/harbour/token"] = Answer.json(418, {"error": "teapot"})
    settings.OAUTH_CLIENT_KEY, settings.OAUTH_CLIENT_SECRET = pem(EC_KEY), ""
    odd_provider.metadata = {
        "require_pushed_authorization_requests": True,
        "token_endpoint_auth_signing_alg_values_supported": ["RS256"],
    }
    settings.OAUTH_PAR = "never"
    findings = examined()

    assert statuses(findings) == {
        "endpoints": Status.OK,
        "par": Status.PROBLEM,
        "key-1": Status.WARNING,
        "client": Status.WARNING,
    }
    settings.OAUTH_PAR = "always"
    assert examined()["par"].status is Status.PROBLEM


@pytest.mark.parametrize("url", ["https://[login.example.com/token", "https://login.example.com:99999/token", "/token"])
def test_an_endpoint_that_is_no_url(odd_provider: OddProvider, url: str) -> None:
    odd_provider.metadata = {"token_endpoint": url}
    findings = examined()

    assert statuses(findings) == {"endpoints": Status.OK, "document": Status.PROBLEM}
    assert "token_endpoint is not an https URL" in findings["document"].found


@pytest.mark.parametrize("trouble", ["away", "another issuer", "no document"])
def test_a_document_that_cannot_be_used(odd_provider: OddProvider, settings: Settings, trouble: str) -> None:
    if trouble == "away":
        odd_provider.stop_serving()
    elif trouble == "another issuer":
        odd_provider.metadata = {"issuer": PUBLIC}
    else:
        settings.OAUTH_ISSUER = odd_provider.url
    findings = examined()

    assert (statuses(findings), "OAUTH_ISSUER" in findings["document"].advice) == ({"document": Status.PROBLEM}, True)
    assert (PUBLIC in findings["document"].found) == (trouble == "another issuer")
    assert CLIENT_SECRET not in str(findings)


@pytest.mark.parametrize(
    ("issuer", "name", "url", "status"),
    [
        (PUBLIC, "authorization_endpoint", f"{PUBLIC}/auth", None),
        (PUBLIC, "token_endpoint", "http://login.example.com/realms/main/token", Status.PROBLEM),
        (PUBLIC, "authorization_endpoint", f"{INTERNAL}/auth", Status.PROBLEM),
        (PUBLIC, "authorization_endpoint", "https://keycloak:8443/auth", Status.PROBLEM),
        (PUBLIC, "token_endpoint", "https://10.0.0.7/token", Status.WARNING),
        (PUBLIC, "userinfo_endpoint", "https://keycloak.internal/me", Status.WARNING),
        (INTERNAL, "authorization_endpoint", f"{PUBLIC}/auth", Status.WARNING),
        (INTERNAL, "authorization_endpoint", f"{INTERNAL}/auth", Status.WARNING),
        (INTERNAL, "token_endpoint", f"{INTERNAL}/token", None),
        ("http://[::1]:8080", "authorization_endpoint", "http://[::1]:8080/auth", None),
        ("https://accounts.google.com", "token_endpoint", "https://oauth2.googleapis.com/token", Status.OK),
    ],
)
def test_a_split_horizon(settings: Settings, issuer: str, name: str, url: str, status: Status | None) -> None:
    settings.OAUTH_ISSUER = issuer
    findings = by_name(examine_endpoints({name: url, "jwks_uri": 5}))

    finding = name.replace("_", "-")
    assert statuses(findings) == ({"endpoints": Status.OK} if status is None else {finding: status})
    if status in (Status.WARNING, Status.PROBLEM):
        said = findings[finding]
        assert (f"OAUTH_{name.upper()}" in said.advice) == (name != "userinfo_endpoint")
        assert "KC_HOSTNAME" in said.advice
        settings.OAUTH_AUTHORIZATION_ENDPOINT = settings.OAUTH_TOKEN_ENDPOINT = "https://login.example.com/other"
        assert (finding in by_name(examine_endpoints({name: url}))) == (name == "userinfo_endpoint")


def test_a_developer_whose_browser_does_not_know_the_container(settings: Settings) -> None:
    settings.DEBUG, settings.OAUTH_ISSUER = True, "http://localhost:8080/realms/main"
    findings = by_name(examine_endpoints({"authorization_endpoint": f"{INTERNAL}/auth"}))

    assert statuses(findings) == {"authorization-endpoint": Status.WARNING}
    assert "OAUTH_AUTHORIZATION_ENDPOINT" in findings["authorization-endpoint"].advice
    for issuer, url in [("http://keycloak:8080", INTERNAL), ("http://127.0.0.1:8080", "http://localhost:8080/auth")]:
        settings.OAUTH_ISSUER = issuer
        assert Status.WARNING not in statuses(by_name(examine_endpoints({"authorization_endpoint": url}))).values()


def test_an_ipv6_address(settings: Settings) -> None:
    settings.OAUTH_ISSUER = "http://127.0.0.1:8080"
    finding = by_name(examine_endpoints({"token_endpoint": "http://[::1]:8080/token"}))["token-endpoint"]
    assert "http://[::1]:8080" in finding.found


def test_other_dialects_have_none(settings: Settings) -> None:
    assert not is_needed()
    settings.API_DIALECT = "no.such.Dialect"
    assert not is_needed()
    settings.API_DIALECT = "oauth2-password"
    assert is_needed()
