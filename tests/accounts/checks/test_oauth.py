"""What `manage.py check` says about the settings of the dialect oauth2."""

import pytest
from pytest_django import Settings

from accounts.dialects.base import Dialect
from tests.accounts.checks.test_settings import ids, messages
from tests.accounts.conftest import point_at
from tests.accounts.dialects.test_private_key_jwt import EC_KEY, UNUSABLE, pem

# From Django 6.1 on, Django's own checks ask the database without --database.
pytestmark = pytest.mark.django_db

ISSUER = "https://login.example.com/realms/harbour"
GOOD = {
    "API_BASE_URL": "https://api.example.com",
    "API_DIALECT": "oauth2",
    "OAUTH_ISSUER": ISSUER,
    "OAUTH_CLIENT_ID": "site",
    "OAUTH_CLIENT_SECRET": "quay-and-mooring",
    "OAUTH_SCOPE": "openid profile email",
}


class NeitherDialect(Dialect):
    """Can refresh, but has no way to sign in."""

    refreshes_early = replay_is_safe = False

    def refresh(self, tokens: object) -> None: ...  # type: ignore[override]

    def read_refresh(self, answer: object, tokens: object) -> None: ...  # type: ignore[override]

    def revoke(self, tokens: object) -> None: ...


@pytest.fixture(autouse=True)
def good(settings: Settings) -> None:
    """A developer's settings that nothing is wrong with."""
    settings.DEBUG = True
    point_at(settings, GOOD)


@pytest.mark.parametrize("dialect", ["oauth2", "accounts.dialects.oauth2.OAuth2Dialect"])
def test_good_settings_are_fine(settings: Settings, dialect: str) -> None:
    settings.API_DIALECT = dialect

    assert messages(deploy=True) == []


@pytest.mark.parametrize(
    ("name", "value", "id_"),
    [
        ("OAUTH_CLIENT_AUTH", "private_key_jwt", "accounts.E050"),
        ("OAUTH_PAR", "true", "accounts.E052"),
        ("OAUTH_SIGN_IN_PARAMETERS", ["login_hint", "state"], "accounts.E053"),
        ("OAUTH_SIGN_IN_PARAMETERS", ["next"], "accounts.E053"),
        ("OAUTH_CLIENT_ID", "", "accounts.E012"),
        ("OAUTH_ISSUER", "", "accounts.E013"),
        ("OAUTH_ISSUER", "login.example.com", "accounts.E013"),
        ("OAUTH_ISSUER", "ftp://login.example.com", "accounts.E013"),
        ("OAUTH_ISSUER", "https://", "accounts.E013"),
        ("OAUTH_ISSUER", f"{ISSUER}?tenant=1", "accounts.E013"),
        ("OAUTH_ISSUER", f"{ISSUER}#top", "accounts.E013"),
        ("OAUTH_ISSUER", "https://ada:tide@login.example.com", "accounts.E013"),
        ("OAUTH_ISSUER", "https://[::1", "accounts.E013"),
        ("OAUTH_ISSUER", "https://login.example.com:99999", "accounts.E013"),
        ("OAUTH_ISSUER", "https://login\t.example.com", "accounts.E013"),
        ("OAUTH_AUTHORIZATION_ENDPOINT", "/authorize", "accounts.E014"),
        ("OAUTH_AUTHORIZATION_ENDPOINT", "https:///authorize", "accounts.E014"),
        ("OAUTH_TOKEN_ENDPOINT", "login.example.com/token", "accounts.E014"),
        ("OAUTH_TOKEN_ENDPOINT", "https://login.example.com/token#top", "accounts.E014"),
        ("OAUTH_REVOCATION_ENDPOINT", "https://site:secret@login.example.com/revoke", "accounts.E014"),
        ("OAUTH_JWKS_URI", "keys", "accounts.E014"),
        ("OAUTH_JWKS_URI", "https://login.example.com/ke\nys", "accounts.E014"),
        ("OAUTH_CLIENT_AUTH", "basic", "accounts.E015"),
        ("API_SESSION_COOKIE_SAMESITE", "Strict", "accounts.E016"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_bad_value_is_an_error_that_names_its_setting_and_a_way_out(
    settings: Settings, name: str, value: str, id_: str
) -> None:
    setattr(settings, name, value)

    (message,) = messages()

    assert message.id == id_
    assert message.is_serious()
    assert message.hint
    assert name in f"{message.msg} {message.hint}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OAUTH_ISSUER", "https://login.example.com"),
        ("OAUTH_ISSUER", "https://login.example.com/"),
        ("OAUTH_ISSUER", "http://localhost:8080/realms/harbour"),
        ("OAUTH_TOKEN_ENDPOINT", "https://login.example.com/token?tenant=1"),
        ("OAUTH_CLIENT_AUTH", "client_secret_basic"),
        ("OAUTH_CLIENT_AUTH", "client_secret_post"),
        ("OAUTH_SCOPE", ""),
        ("OAUTH_SCOPE", "openid offline_access"),
    ],
)
def test_a_good_value_is_none(settings: Settings, name: str, value: str) -> None:
    setattr(settings, name, value)

    assert messages(deploy=True) == []


class TestAnIssuer:
    def test_may_be_left_out_where_nothing_is_asked_of_it(self, settings: Settings) -> None:
        settings.OAUTH_ISSUER = ""
        settings.OAUTH_AUTHORIZATION_ENDPOINT = f"{ISSUER}/authorize"
        settings.OAUTH_TOKEN_ENDPOINT = f"{ISSUER}/token"
        assert ids(messages()) == ["accounts.E013"], "an ID token names its issuer"

        settings.OAUTH_SCOPE = "read"

        assert messages(deploy=True) == []

    def test_is_needed_where_one_of_the_endpoints_is_to_be_discovered(self, settings: Settings) -> None:
        settings.OAUTH_ISSUER = ""
        settings.OAUTH_SCOPE = "read"
        settings.OAUTH_TOKEN_ENDPOINT = f"{ISSUER}/token"

        assert ids(messages()) == ["accounts.E013"]


class TestDeployed:
    @pytest.mark.parametrize(
        "name",
        [
            "OAUTH_ISSUER",
            "OAUTH_AUTHORIZATION_ENDPOINT",
            "OAUTH_TOKEN_ENDPOINT",
            "OAUTH_REVOCATION_ENDPOINT",
            "OAUTH_JWKS_URI",
        ],
    )
    def test_a_provider_without_tls_is_a_warning(self, settings: Settings, name: str) -> None:
        setattr(settings, name, "http://login.example.com")

        assert messages() == []
        (message,) = messages(deploy=True)
        assert (message.id, message.is_serious()) == ("accounts.W002", False)
        assert message.hint

    @pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080"])
    def test_on_this_host_it_is_none(self, settings: Settings, host: str) -> None:
        settings.OAUTH_ISSUER = f"http://{host}/realms/harbour"

        assert messages(deploy=True) == []

    def test_a_public_client_is_a_warning(self, settings: Settings) -> None:
        settings.OAUTH_CLIENT_SECRET = ""

        assert messages() == []
        (message,) = messages(deploy=True)
        assert (message.id, message.is_serious()) == ("accounts.W003", False)
        assert "OAUTH_CLIENT_SECRET" in message.msg
        settings.OAUTH_CLIENT_KEY = pem(EC_KEY)
        assert messages(deploy=True) == []
        settings.OAUTH_CLIENT_AUTH = "client_secret_basic"
        assert ids(messages(deploy=True)) == ["accounts.W003"]

    def test_the_password_grant_is_a_warning(self, settings: Settings) -> None:
        settings.API_DIALECT = "oauth2-password"

        assert messages() == []
        (message,) = messages(deploy=True)
        assert (message.id, message.is_serious()) == ("accounts.W004", False)
        assert "oauth2-password" in message.msg


class TestThePasswordGrant:
    """No browser is redirected, so the settings for that are not required."""

    @pytest.fixture(autouse=True)
    def passwords(self, settings: Settings) -> None:
        settings.API_DIALECT = "oauth2-password"

    def test_it_needs_no_lax_cookie(self, settings: Settings) -> None:
        settings.API_SESSION_COOKIE_SAMESITE = "Strict"

        assert messages() == []

    def test_it_needs_no_authorization_endpoint(self, settings: Settings) -> None:
        settings.OAUTH_ISSUER = ""
        settings.OAUTH_SCOPE = "read"
        settings.OAUTH_TOKEN_ENDPOINT = f"{ISSUER}/token"

        assert messages() == []


@pytest.mark.parametrize("dialect", ["token-pair", "simplejwt"])
def test_other_dialects_are_asked_none_of_it(settings: Settings, dialect: str) -> None:
    settings.API_DIALECT = dialect
    settings.API_SESSION_COOKIE_SAMESITE = "Strict"
    point_at(
        settings,
        {"OAUTH_ISSUER": "nonsense", "OAUTH_CLIENT_ID": "", "OAUTH_CLIENT_AUTH": "x", "OAUTH_TOKEN_ENDPOINT": "x"},
    )

    assert messages(deploy=True) == []


def test_a_dialect_with_which_nobody_could_sign_in_is_an_error(settings: Settings) -> None:
    settings.API_DIALECT = f"{__name__}.NeitherDialect"

    (message,) = messages()

    assert message.id == "accounts.E002"
    assert "PasswordDialect" in message.msg


def test_a_secret_is_not_shown(settings: Settings) -> None:
    settings.OAUTH_CLIENT_SECRET = "tide-table"
    settings.OAUTH_ISSUER = "http://login.example.com"
    settings.OAUTH_CLIENT_AUTH = "nonsense"

    assert "tide-table" not in str(messages(deploy=True))


@pytest.mark.parametrize(
    "name", ["OAUTH_ISSUER", "OAUTH_TOKEN_ENDPOINT", "OAUTH_REVOCATION_ENDPOINT", "OAUTH_JWKS_URI"]
)
def test_one_in_an_address_is_not_shown_either(settings: Settings, name: str) -> None:
    setattr(settings, name, "https://site:tide-table@login.example.com/")

    found = messages(deploy=True)

    assert found
    assert "tide-table" not in str(found)


def test_several_mistakes_are_several_messages(settings: Settings) -> None:
    point_at(settings, {"OAUTH_ISSUER": "", "OAUTH_CLIENT_ID": "", "OAUTH_CLIENT_AUTH": "x", "OAUTH_JWKS_URI": "x"})
    settings.API_SESSION_COOKIE_SAMESITE = "Strict"

    assert sorted(id_ for id_ in ids(messages()) if id_) == [f"accounts.E0{number}" for number in range(12, 17)]


def test_a_key_is_usable_and_alone_or_chosen(settings: Settings) -> None:
    key = pem(EC_KEY)
    settings.OAUTH_CLIENT_KEY = key
    assert ids(messages(deploy=True)) == ["accounts.E051"]
    settings.OAUTH_CLIENT_AUTH = "private_key_jwt"
    assert ids(messages(deploy=True)) == []
    settings.OAUTH_CLIENT_AUTH, settings.OAUTH_CLIENT_SECRET = "", ""
    assert ids(messages(deploy=True)) == []

    for text in UNUSABLE.values():
        settings.OAUTH_CLIENT_KEY = text
        [message] = messages(deploy=True)
        assert (message.id, "BEGIN" in message.msg, "s3cret" in message.msg) == ("accounts.E050", False, False)


def test_only_oauth2_binds_tokens_to_a_key(settings: Settings) -> None:
    settings.OAUTH_DPOP = True
    assert ids(messages()) == []
    for dialect in ("token-pair", "oauth2-password"):
        settings.API_DIALECT = dialect
        assert ids(messages()) == ["accounts.E054"]


def test_pushed_requests_need_the_document_if_they_are_always_pushed(settings: Settings) -> None:
    settings.OAUTH_PAR = "always"
    assert ids(messages()) == []
    settings.OAUTH_AUTHORIZATION_ENDPOINT = f"{ISSUER}/authorize"
    settings.OAUTH_TOKEN_ENDPOINT = f"{ISSUER}/token"
    assert ids(messages()) == ["accounts.E052"]
