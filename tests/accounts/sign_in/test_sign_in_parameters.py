"""What the address of the sign-in page may add to the authorization request: OAUTH_SIGN_IN_PARAMETERS."""

import re

import pytest
import requests
from pytest_django import Settings

from tests.accounts.at_provider import begin, query_of
from tests.accounts.odd_provider import CLIENT_ID, OddProvider
from tests.browsers import Browser
from tests.real_apis.oidc import OidcProvider

LOGIN = "/accounts/login/"
HINTS = "login_hint=ada%40example.com&ui_locales=de%20fr"
#: Each of them would change who signs in where.
FORBIDDEN = {
    "redirect_uri": "https://evil.example/",
    "state": "s",
    "nonce": "n",
    "scope": "admin",
    "client_id": "other",
    "response_type": "token",
    "response_mode": "fragment",
    "code_challenge": "c",
    "code_challenge_method": "plain",
    "request": "r",
    "request_uri": "https://evil.example/r",
    "hd": "evil.example",
}


def hidden_fields(page: str) -> dict[str, str]:
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page))
    fields.pop("csrfmiddlewaretoken", None)
    return fields


def press(browser: Browser, query: str) -> dict[str, str]:
    """Open the sign-in page with this query, press its button. Returns the parameters of the authorization request."""
    page = browser.get(f"{LOGIN}?{query}")
    answer = browser.post(LOGIN, hidden_fields(page.text))
    assert answer.status_code == 302
    return query_of(answer["Location"])


def test_a_real_provider_gets_them(strict_provider: OidcProvider, newcomer: Browser) -> None:
    page = newcomer.get(f"{LOGIN}?next=/protected/&{HINTS}")
    location = newcomer.post(LOGIN, hidden_fields(page.text))["Location"]
    with requests.Session() as person:
        sign_in = person.get(location).text

    assert 'value="ada&#64;example.com"' in sign_in or 'value="ada@example.com"' in sign_in
    assert '<html lang="de">' in sign_in


def test_only_those_of_the_list(odd_provider: OddProvider, newcomer: Browser, settings: Settings) -> None:
    usual = query_of(begin(newcomer))
    query = "&".join(f"{name}={value}" for name, value in FORBIDDEN.items())

    sent = press(newcomer, f"{HINTS}&prompt=login&{query}")
    assert sent.keys() - usual.keys() == {"login_hint", "ui_locales", "prompt"}
    assert (sent["login_hint"], sent["ui_locales"], sent["prompt"]) == ("ada@example.com", "de fr", "login")
    posted = newcomer.post(LOGIN, {"next": "/protected/", **FORBIDDEN, "login_hint": "ada@example.com"})
    changed = query_of(posted["Location"])
    assert changed.keys() - usual.keys() == {"login_hint"}
    assert (changed["client_id"], changed["response_type"]) == (CLIENT_ID, "code")
    assert "evil" not in posted["Location"]

    settings.OAUTH_SIGN_IN_PARAMETERS = ["hd", *(FORBIDDEN.keys() - {"hd"})]
    allowed = newcomer.post(LOGIN, FORBIDDEN)["Location"]
    assert query_of(allowed).keys() - usual.keys() == {"hd"}
    assert "https%3A%2F%2Fevil" not in allowed
    settings.OAUTH_SIGN_IN_PARAMETERS = []
    assert press(newcomer, HINTS).keys() == usual.keys()


@pytest.mark.parametrize(
    ("configured", "asked", "sent"),
    [
        ("", "login", "login"),
        ("consent", "login", "consent login"),
        ("login", "login", "login"),
        ("", "none", None),
        ("consent", "none", "consent"),
        ("none", "login", "login"),
        ("none", "", "none"),
        ("", "create", "create"),
    ],
)
def test_prompts_are_joined(
    odd_provider: OddProvider, newcomer: Browser, settings: Settings, configured: str, asked: str, sent: str | None
) -> None:
    settings.OAUTH_AUTHORIZATION_PARAMETERS = f"prompt={configured}&login_hint=configured"

    parameters = press(newcomer, f"prompt={asked}&login_hint=asked")

    assert (parameters.get("prompt"), parameters["login_hint"]) == (sent, "asked")
    assert query_of(begin(newcomer))["login_hint"] == "configured"


def test_odd_values_do_no_harm(odd_provider: OddProvider, newcomer: Browser) -> None:
    page = newcomer.get(f'{LOGIN}?login_hint="><script>&ui_locales=d%0d%0ae%00&prompt=')
    assert hidden_fields(page.text)["login_hint"] == "&quot;&gt;&lt;script&gt;"
    assert press(newcomer, "ui_locales=d%0d%0ae%00")["ui_locales"] == "d  e"
    assert len(press(newcomer, f"login_hint={'a' * 3000}")["login_hint"]) == 255
    assert press(newcomer, "login_hint=first&login_hint=last")["login_hint"] == "last"
