"""`manage.py check`: invalid settings."""

from collections.abc import Iterable

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.urls import reverse_lazy
from pytest_django import Settings

from accounts.dialects.token_pair import TokenPairDialect

# From Django 6.1 on, Django's own checks ask the database without --database.
pytestmark = pytest.mark.django_db


class NoDialect:
    """Can be loaded, but is not a dialect."""


class UnfinishedDialect(TokenPairDialect):
    def __init__(self, missing: str) -> None:
        raise NotImplementedError


def no_class() -> None:
    """A function instead of a class."""


@pytest.fixture(autouse=True)
def _developers_machine(settings: Settings) -> None:
    """Production's settings are tested in test_deployment.py."""
    settings.DEBUG = True


def messages(*, deploy: bool = False) -> list[CheckMessage]:
    """The messages of this project's checks."""
    return [
        message
        for message in run_checks(include_deployment_checks=deploy)
        if (message.id or "").startswith("accounts.")
    ]


def ids(found: Iterable[CheckMessage]) -> list[str | None]:
    return [message.id for message in found]


def test_the_settings_as_they_come_are_fine() -> None:
    assert messages(deploy=True) == []


@pytest.mark.parametrize(
    ("name", "value", "id_"),
    [
        ("API_SESSION_KEYS", ["x" * 31], "accounts.E001"),
        ("API_SESSION_KEYS", ["x" * 32, "short"], "accounts.E001"),
        ("API_SESSION_KEYS", ["x" * 32, ""], "accounts.E001"),
        ("API_SESSION_COOKIE_SAMESITE", "None", "accounts.E004"),
        ("API_SESSION_COOKIE_SAMESITE", "", "accounts.E004"),
        ("API_SESSION_COOKIE_NAME", "__Host-session", "accounts.E005"),
        ("API_SESSION_COOKIE_NAME", "__Secure-session", "accounts.E005"),
        ("API_SESSION_COOKIE_NAME", "sessionid", "accounts.E006"),
        ("API_SESSION_COOKIE_NAME", "csrftoken", "accounts.E006"),
        ("API_SESSION_CHECK", "always", "accounts.E007"),
        ("API_SESSION_CHECK", "", "accounts.E007"),
        ("API_CONNECT_TIMEOUT", 0, "accounts.E008"),
        ("API_READ_TIMEOUT", -1, "accounts.E008"),
        ("API_SESSION_LEEWAY", -0.1, "accounts.E008"),
        ("API_REFRESH_AHEAD", -1, "accounts.E008"),
        ("API_SESSION_MAX_AGE", 0.0, "accounts.E026"),
        ("API_SESSION_IDLE_TIMEOUT", -5.0, "accounts.E026"),
        ("API_SESSION_DEVICE_PROOF_SECONDS", 0.0, "accounts.E027"),
        ("LOGIN_REDIRECT_URL", "no:such-page", "accounts.E023"),
        ("LOGIN_REDIRECT_URL", "", "accounts.E023"),
        ("LOGIN_REDIRECT_URL", "https://evil.example/", "accounts.E023"),
        ("LOGIN_REDIRECT_URL", "//evil.example/", "accounts.E023"),
        ("LOGIN_REDIRECT_URL", "/\\evil.example/", "accounts.E023"),
        ("LOGIN_REDIRECT_URL", "javascript:alert(1)/", "accounts.E023"),
        ("LOGIN_REDIRECT_URL", "orders/", "accounts.E023"),
        ("LOGIN_REDIRECT_URL", "accounts:login", "accounts.E023"),
        ("LOGIN_REDIRECT_URL", "/accounts/login/?next=/", "accounts.E023"),
        ("API_USER_CLAIMS", ["roles;groups"], "accounts.E024"),
        ("API_USER_CLAIMS", ['["roles"'], "accounts.E024"),
        ("API_USER_CLAIMS", ["roles groups"], "accounts.E024"),
        ("API_USER_CLAIMS", ["roles", "tenant", "roles"], "accounts.E024"),
        ("SIGN_IN_LIMIT_PER_ADDRESS", "twenty", "accounts.E030"),
        ("SIGN_IN_LIMIT_PER_ADDRESS", "20", "accounts.E030"),
        ("SIGN_IN_LIMIT_PER_USER", "10/10m", "accounts.E030"),
        ("SIGN_IN_LIMIT_PER_USER", "10/minute; soon", "accounts.E030"),
        ("SIGN_IN_LIMIT_PER_USER", "0/minute", "accounts.E030"),
        ("SIGN_IN_LIMIT_PER_USER", "-1/minute", "accounts.E030"),
        ("SIGN_IN_LIMIT_PER_USER_ANYWHERE", "50/2 years", "accounts.E030"),
        ("METRICS_ALLOW", ["10.0.0.0/8", "monitoring.example.com"], "accounts.E031"),
        ("METRICS_ALLOW", ["10.0.0.0/33"], "accounts.E031"),
        ("METRICS_ALLOW", [""], "accounts.E031"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_value_is_an_error_that_names_its_setting_and_a_way_out(
    settings: Settings, name: str, value: object, id_: str
) -> None:
    setattr(settings, name, value)

    (message,) = messages()

    assert message.id == id_
    assert message.is_serious()
    assert message.hint
    assert name in f"{message.msg} {message.hint}" or str(value) in message.msg


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_SESSION_KEYS", []),
        ("API_SESSION_KEYS", ["x" * 32, "y" * 48]),
        ("API_SESSION_COOKIE_SAMESITE", "Strict"),
        ("API_SESSION_COOKIE_NAME", "bff"),
        ("API_SESSION_CHECK", "every-request"),
        ("API_SESSION_LEEWAY", 0),
        ("API_REFRESH_AHEAD", 0),
        ("LOGIN_REDIRECT_URL", "home"),
        ("LOGIN_REDIRECT_URL", "/orders/?open=1"),
        ("LOGIN_REDIRECT_URL", reverse_lazy("protected:stream")),
        ("SIGN_IN_LIMIT_PER_ADDRESS", ""),
        ("SIGN_IN_LIMIT_PER_USER", "3 per minute; 100/day"),
        ("SIGN_IN_LIMIT_PER_USER_ANYWHERE", "1/year"),
        ("METRICS_ALLOW", ["10.0.0.1/8", "192.0.2.1", "::1", "fd00::/8"]),
        ("API_BASE_URL", "https://api.example.com/v1/"),
        ("API_BASE_URL", "http://[::1]:8001"),
        ("API_BASE_URL", " https://api.example.com/v1\r\n"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_good_value_is_none(settings: Settings, name: str, value: object) -> None:
    setattr(settings, name, value)

    assert messages(deploy=True) == []


def test_a_prefixed_name_is_fine_with_secure(settings: Settings) -> None:
    settings.API_SESSION_COOKIE_NAME = "__Host-session"
    settings.API_SESSION_COOKIE_SECURE = True

    assert messages() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("CSRF_COOKIE_DOMAIN", ".example.com"), ("CSRF_COOKIE_PATH", "/accounts/"), ("CSRF_COOKIE_SECURE", False)],
)
def test_browsers_must_accept_the_csrf_cookie(settings: Settings, name: str, value: object) -> None:
    settings.CSRF_COOKIE_NAME, settings.CSRF_COOKIE_SECURE = "__Host-csrftoken", True
    assert messages() == []
    setattr(settings, name, value)

    (message,) = messages()

    assert message.id == "accounts.E019"
    assert name in str(message.hint)
    settings.CSRF_COOKIE_NAME = "csrftoken"
    assert messages() == []


def test_a_key_that_is_too_short_is_not_shown(settings: Settings) -> None:
    settings.API_SESSION_KEYS = ["tide-table"]

    assert "tide-table" not in str(messages())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRUSTED_PROXY_COUNT", -1),
        ("API_SESSION_COOKIE_NAME", "my session"),
        ("API_SESSION_COOKIE_NAME", "session;"),
        ("API_SESSION_COOKIE_NAME", ""),
        ("API_READ_TIMEOUT", float("nan")),
        ("API_READ_TIMEOUT", float("inf")),
    ],
    ids=["fewer than no proxies", "space in a name", "semicolon in a name", "no name", "no number", "no end"],
)
def test_a_value_with_which_every_sign_in_would_fail_is_an_error(settings: Settings, name: str, value: object) -> None:
    setattr(settings, name, value)

    (message,) = messages()

    assert message.is_serious()
    assert name in f"{message.msg} {message.hint}"


class TestDialect:
    @pytest.mark.parametrize("name", ["token-pair", "accounts.dialects.token_pair.TokenPairDialect"])
    def test_one_that_is_built_in_or_can_be_imported_is_fine(self, settings: Settings, name: str) -> None:
        settings.API_DIALECT = name

        assert messages() == []

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "nonsense",
            "Token-Pair",
            "no.such.module.Dialect",
            "accounts.dialects.token_pair.Missing",
            "accounts.dialects.base.Dialect",
            f"{__name__}.UnfinishedDialect",
            f"{__name__}.NoDialect",
            f"{__name__}.no_class",
            "..Dialect",
            ".Dialect",
        ],
        ids=[
            "empty",
            "no path",
            "another case",
            "no such module",
            "no such class",
            "the abstract base",
            "a class that wants arguments",
            "a class that is no dialect",
            "a function",
            "a relative path",
            "a path that begins with a dot",
        ],
    )
    def test_any_other_is_an_error(self, settings: Settings, name: str) -> None:
        settings.API_DIALECT = name

        (message,) = messages()

        assert message.id == "accounts.E002"
        assert repr(name) in message.msg
        assert "token-pair" in str(message.hint)


class TestBaseUrl:
    @pytest.mark.parametrize(
        "url",
        [
            "",
            "/",
            "api.example.com",
            "localhost:8001",
            "//api.example.com",
            "ftp://api.example.com",
            "https://",
            "https:///v1",
            "https://:8001",
            "https://ada:tide@api.example.com",
            "https://:tide@api.example.com",
            "https://api.example.com?key=1",
            "https://api.example.com/v1#top",
            "http://[::1",
            "http://127.0.0.1:port",
            "http://127.0.0.1:99999",
            "https://api\n.example.com",
            "https://api.example.com/v1\t2",
            "https://api.example.com/v 1",
            "https://api.example.com/\x00",
            "https://api.example.com/\x7f",
            "https://api.example.com\N{ZERO WIDTH SPACE}",
        ],
        ids=lambda url: repr(url) if url else "empty",
    )
    def test_what_is_no_address_of_an_api_is_an_error(self, settings: Settings, url: str) -> None:
        settings.API_BASE_URL = url

        assert ids(messages()) == ["accounts.E003"]

    @pytest.mark.parametrize("host", ["api.example.com", "10.0.0.1", "[2001:db8::1]:8001", "localhost.example.com"])
    def test_deployed_without_tls_it_is_a_warning(self, settings: Settings, host: str) -> None:
        settings.API_BASE_URL = f"http://{host}/v1"

        assert messages() == []
        (message,) = messages(deploy=True)
        assert (message.id, message.is_serious()) == ("accounts.W001", False)
        assert message.hint

    @pytest.mark.parametrize("url", ["https://api.example.com", "http://localhost", "http://127.0.0.1:8001"])
    def test_with_tls_or_on_this_host_it_is_none(self, settings: Settings, url: str) -> None:
        settings.API_BASE_URL = url

        assert messages(deploy=True) == []


# Django warns about overridden DATABASES, because the connections stay the same. Here nothing connects.
@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES:UserWarning")
class TestAtomicRequests:
    def test_they_are_an_error_that_names_the_database(self, settings: Settings) -> None:
        settings.DATABASES = {"default": {}, "archive": {"ATOMIC_REQUESTS": True}}

        assert [(message.id, "'archive'" in message.msg, bool(message.hint)) for message in messages()] == [
            ("accounts.E009", True, True)
        ]

    def test_every_start_of_the_server_finds_them(self, settings: Settings) -> None:
        settings.DATABASES = {"default": {**settings.DATABASES["default"], "ATOMIC_REQUESTS": True}}

        with pytest.raises(SystemCheckError, match=r"accounts\.E009"):
            call_command("check")


def test_several_mistakes_are_several_messages(settings: Settings) -> None:
    settings.API_SESSION_KEYS = ["short"]
    settings.API_DIALECT = "nonsense"
    settings.API_BASE_URL = "nonsense"
    settings.API_SESSION_COOKIE_NAME = "__Host-session"
    settings.API_SESSION_COOKIE_SAMESITE = "none"
    settings.API_SESSION_CHECK = "nonsense"
    settings.API_READ_TIMEOUT = 0

    found = sorted(id_ for id_ in ids(messages()) if id_)

    assert found == [f"accounts.E00{number}" for number in (1, 2, 3, 4, 5, 7, 8)]


def test_proofs_that_expire_too_soon_are_a_warning(settings: Settings) -> None:
    settings.API_SESSION_DEVICE_PROOF_SECONDS = 299.0
    assert ids(messages()) == ["accounts.W027"]
    settings.API_SESSION_DEVICE_PROOF_SECONDS = 300.0
    assert messages() == []
    settings.API_SESSION_DEVICE_PROOF_SECONDS = 10.0
    settings.API_SESSION_DEVICE_BINDING = False
    assert messages() == []


def test_an_idle_timeout_that_can_never_act_is_a_warning(settings: Settings) -> None:
    settings.API_SESSION_MAX_AGE = settings.API_SESSION_IDLE_TIMEOUT = 3600.0
    assert messages() == []
    settings.API_SESSION_IDLE_TIMEOUT = 3601.0

    assert ids(messages()) == ["accounts.W026"]
