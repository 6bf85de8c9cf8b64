"""The password grant (RFC 6749 section 4.3), which only `oauth2-password` uses."""

from collections.abc import Callable
from urllib.parse import parse_qsl

import jwt
import pytest
from pytest_django import Settings

from accounts.dialects import BUILT_IN
from tests.accounts.odd_provider import CLIENT_ID, CONFIGURATION, TOKEN, OddProvider
from tests.browsers import Answer, Browser
from tests.demo_api.messages import Answer as ApiReply
from tests.demo_api.server import Fault

PASSWORD = "quay & pier=1+1%20"


@pytest.fixture
def server(odd_provider: OddProvider, settings: Settings) -> OddProvider:
    """A first-party server that accepts passwords."""
    settings.API_DIALECT = "oauth2-password"
    return odd_provider


def sign_in(browser: Browser, name: str = "ada") -> Answer:
    return browser.sign_in(name, PASSWORD, next="/protected/")


def forms(server: OddProvider) -> list[dict[str, str]]:
    """The forms that the token endpoint received."""
    return [dict(parse_qsl(call.body.decode("ascii"))) for call in server.calls if call.path == TOKEN]


def test_name_and_password_are_traded_for_tokens(server: OddProvider, newcomer: Browser) -> None:
    answer = sign_in(newcomer)

    assert (answer.status_code, answer["Location"]) == (302, "/protected/")
    assert forms(server) == [
        {"grant_type": "password", "username": "ada", "password": PASSWORD, "scope": "openid profile"}
    ]
    (call,) = (call for call in server.calls if call.path == TOKEN)
    assert call.headers["authorization"].startswith("Basic ")
    assert PASSWORD not in call.query
    assert newcomer.is_signed_in()


def test_the_rest_is_as_with_the_code(server: OddProvider, newcomer: Browser) -> None:
    sign_in(newcomer)
    server.expire_access_tokens()

    assert newcomer.is_signed_in()
    assert newcomer.session().generation == 1
    assert (newcomer.sign_out().status_code, newcomer.is_signed_in()) == (302, False)
    assert server.count(*server.revoke_call) == 1


def test_the_name_of_the_users_name_can_be_set(server: OddProvider, newcomer: Browser, settings: Settings) -> None:
    settings.API_USERNAME_FIELD = "email"

    sign_in(newcomer, "ada@example.com")

    assert forms(server)[0]["email"] == "ada@example.com"


def access_token(**claims: str) -> str:
    return jwt.encode(claims, "k" * 32, algorithm="HS256")


@pytest.mark.parametrize(
    ("tokens", "user"),
    [
        (dict, ("ada", "ada")),
        (lambda: {"access_token": access_token(sub="7", preferred_username="ada.l")}, ("7", "ada.l")),
        (lambda: {"id_token": access_token(sub="7", name="Ada")}, ("7", "Ada")),
        (lambda: {"id_token": "no JWT"}, ("ada", "ada")),
    ],
    ids=["opaque tokens: as typed", "by the access token", "by the ID token", "an ID token that is none: as typed"],
)
def test_who_it_is(
    server: OddProvider, newcomer: Browser, tokens: Callable[[], dict[str, object]], user: tuple[str, str]
) -> None:
    server.tokens = tokens()

    sign_in(newcomer)

    told = newcomer.get("/accounts/session/").json()["user"]
    assert (told["id"], told["name"]) == user


class TestARefusal:
    @pytest.mark.parametrize("status", [400, 401, 403])
    def test_is_on_the_form_in_the_servers_words(self, server: OddProvider, newcomer: Browser, status: int) -> None:
        words = {"error": "invalid_grant", "error_description": "Account <locked>."}
        server.answers[TOKEN] = ApiReply.json(status, words)

        page = sign_in(newcomer)

        assert page.status_code == 200
        assert "Account &lt;locked&gt;." in page.text
        assert PASSWORD not in page.text
        assert 'value="ada"' in page.text

    def test_without_words_has_ours(self, server: OddProvider, newcomer: Browser) -> None:
        server.answers[TOKEN] = ApiReply.json(400, {"error": "invalid_grant"})

        assert "Wrong user name or password." in sign_in(newcomer).text

    @pytest.mark.parametrize(
        ("fault", "status"),
        [
            (Fault.answer(400, {"error": "unauthorized_client", "error_description": "Not for you."}), 502),
            (Fault.answer(401, {"error": "invalid_client"}), 502),
            (Fault.answer(400, {"error": "unsupported_grant_type"}), 502),
            (Fault.answer(400, b"<h1>Bad Request</h1>", "text/html"), 502),
            (Fault.answer(200, {"token_type": "Bearer"}), 502),
            (Fault.answer(503), 503),
            (Fault.answer(429), 503),
            (Fault.reset(), 503),
        ],
        ids=["not this client", "no client", "no such grant", "HTML", "no tokens", "503", "429", "a reset"],
    )
    def test_is_nothing_else(self, server: OddProvider, newcomer: Browser, fault: Fault, status: int) -> None:
        server.fail("POST", TOKEN, fault)

        page = sign_in(newcomer)

        assert page.status_code == status
        assert "Not for you." not in page.text
        assert 'type="password"' in page.text

    def test_of_a_discovery_document_is_on_the_form_too(self, server: OddProvider, newcomer: Browser) -> None:
        server.fail("GET", CONFIGURATION, Fault.answer(503))

        page = sign_in(newcomer)

        assert (page.status_code, 'type="password"' in page.text) == (503, True)
        assert int(page["Retry-After"]) >= 1


def test_a_server_that_knows_no_other_grant_need_not_name_an_authorization_endpoint(
    server: OddProvider, newcomer: Browser
) -> None:
    """RFC 8414 section 2 requires one only if a grant uses it."""
    server.metadata = {"authorization_endpoint": None}

    assert sign_in(newcomer).status_code == 302


def test_a_token_endpoint_alone_is_enough_to_know(server: OddProvider, newcomer: Browser, settings: Settings) -> None:
    settings.OAUTH_SCOPE = "read"
    settings.OAUTH_ISSUER = ""
    settings.OAUTH_TOKEN_ENDPOINT = f"{server.issuer}/token"

    assert sign_in(newcomer).status_code == 302


def test_the_dialect_oauth2_takes_no_password(odd_provider: OddProvider, newcomer: Browser) -> None:
    """The password grant is never a fallback: the page with the button ignores posted passwords."""
    answer = sign_in(newcomer)

    assert answer.status_code == 302
    assert answer["Location"].startswith(f"{odd_provider.issuer}/authorize?")
    assert f"client_id={CLIENT_ID}" in answer["Location"]
    assert "quay" not in answer["Location"]
    assert odd_provider.count("POST", TOKEN) == 0
    assert set(BUILT_IN) == {"token-pair", "simplejwt", "oauth2", "oauth2-password"}
