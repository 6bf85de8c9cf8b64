"""Client authentication at the token and revocation endpoints (RFC 6749 section 2.3.1)."""

import base64
from urllib.parse import parse_qsl, unquote_plus

import pytest
from pytest_django import Settings

from tests.accounts.at_provider import begin, sign_in_at_provider
from tests.accounts.odd_provider import CLIENT_ID, CLIENT_SECRET, TOKEN, OddProvider
from tests.browsers import Browser
from tests.demo_api.messages import Call
from tests.real_apis.apis import OAuthProvider

ODD_ID = "site:under test/ä+%41"
ODD_SECRET = "p:a+s s%20&=ö/?#\"'"


def calls_as_a_client(provider: OddProvider, browser: Browser) -> list[Call]:
    """Sign in, refresh and sign out. Returns the three calls."""
    browser.get(provider.come_back(begin(browser)))
    provider.expire_access_tokens()
    assert browser.is_signed_in()
    browser.sign_out()
    calls = [call for call in provider.calls if (call.method, call.path) in (("POST", TOKEN), provider.revoke_call)]
    assert [call.path for call in calls] == [TOKEN, TOKEN, provider.revoke_call[1]]
    return calls


def credentials_in_header(call: Call) -> tuple[str, str] | None:
    """The id and secret in the header; None without a header."""
    scheme, _, credentials = call.headers.get("authorization", "").partition(" ")
    if not scheme:
        return None
    assert scheme == "Basic"
    user, colon, password = base64.b64decode(credentials, validate=True).decode("ascii").partition(":")
    assert colon
    return unquote_plus(user), unquote_plus(password)


def credentials_in_body(call: Call) -> tuple[str | None, str | None]:
    form = dict(parse_qsl(call.body.decode("ascii"), strict_parsing=True))
    return form.get("client_id"), form.get("client_secret")


@pytest.mark.parametrize(
    "methods",
    [None, ["client_secret_basic"], ["client_secret_post", "client_secret_basic"], "client_secret_post", 5],
    ids=["nothing said", "that alone", "both", "no list", "a number"],
)
def test_in_the_header_where_the_provider_takes_that(
    odd_provider: OddProvider, newcomer: Browser, methods: object
) -> None:
    odd_provider.metadata = {"token_endpoint_auth_methods_supported": methods}

    for call in calls_as_a_client(odd_provider, newcomer):
        assert credentials_in_header(call) == (CLIENT_ID, CLIENT_SECRET)
        assert credentials_in_body(call) == (None, None)


def test_in_the_body_where_it_takes_nothing_else(odd_provider: OddProvider, newcomer: Browser) -> None:
    odd_provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"]}

    for call in calls_as_a_client(odd_provider, newcomer):
        assert credentials_in_header(call) is None
        assert credentials_in_body(call) == (CLIENT_ID, CLIENT_SECRET)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("offered", ["client_secret_basic", "client_secret_post"])
def test_as_is_set_whatever_is_offered(
    odd_provider: OddProvider, newcomer: Browser, settings: Settings, method: str, offered: str
) -> None:
    settings.OAUTH_CLIENT_AUTH = method
    odd_provider.metadata = {"token_endpoint_auth_methods_supported": [offered]}

    for call in calls_as_a_client(odd_provider, newcomer):
        assert (credentials_in_header(call) is not None) == (method == "client_secret_basic")
        assert (credentials_in_body(call)[1] is not None) == (method == "client_secret_post")


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_whatever_characters_they_have(
    odd_provider: OddProvider, newcomer: Browser, settings: Settings, method: str
) -> None:
    settings.OAUTH_CLIENT_ID, settings.OAUTH_CLIENT_SECRET = ODD_ID, ODD_SECRET
    settings.OAUTH_CLIENT_AUTH = method
    odd_provider.claims = {"aud": ODD_ID}

    for call in calls_as_a_client(odd_provider, newcomer):
        shown = credentials_in_header(call) if method == "client_secret_basic" else credentials_in_body(call)
        assert shown == (ODD_ID, ODD_SECRET)


@pytest.mark.parametrize("method", ["", "client_secret_basic", "client_secret_post"])
def test_a_public_client_says_its_name_alone(
    odd_provider: OddProvider, newcomer: Browser, settings: Settings, method: str
) -> None:
    settings.OAUTH_CLIENT_SECRET = ""
    settings.OAUTH_CLIENT_AUTH = method

    for call in calls_as_a_client(odd_provider, newcomer):
        assert credentials_in_header(call) is None
        assert credentials_in_body(call) == (CLIENT_ID, None)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_real_provider_takes_both(
    provider: OAuthProvider, newcomer: Browser, settings: Settings, method: str
) -> None:
    settings.OAUTH_CLIENT_AUTH = method

    sign_in_at_provider(newcomer)
    provider.expire_access_tokens()

    assert newcomer.is_signed_in()
    newcomer.sign_out()
    assert provider.count("POST", "/o/revoke_token/", 200) == 1


def test_neither_goes_anywhere_else(odd_provider: OddProvider, newcomer: Browser) -> None:
    newcomer.get(odd_provider.come_back(begin(newcomer)))
    newcomer.open_page()

    for call in odd_provider.calls:
        if call.path != TOKEN:
            assert "Basic" not in call.headers.get("authorization", "")
            assert CLIENT_SECRET not in call.query + call.body.decode()
