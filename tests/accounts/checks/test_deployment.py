"""`manage.py check --deploy`: settings that are insecure in production, or that contradict each other."""

import pytest
from django.core.checks import CheckMessage, run_checks
from pytest_django import Settings

from accounts.telemetry.error_reports import SecretsFilter

# From Django 6.1 on, Django's own checks ask the database without --database.
pytestmark = pytest.mark.django_db

KEY = "a-key-that-is-long-enough-and-nobody-knows-0123456789"
OTHER_KEY = "another-key-that-is-long-enough-and-nobody-knows-0123"
DEVELOPMENT_KEY = "development-only-" + "0" * 50


class StricterFilter(SecretsFilter):
    """The filter of a deployment."""


@pytest.fixture
def production(settings: Settings) -> Settings:
    """Settings as config/settings.py makes them with DEBUG off."""
    settings.DEBUG = False
    settings.SECRET_KEY = KEY
    settings.ALLOWED_HOSTS = ["www.example.com"]
    settings.API_BASE_URL = "https://api.example.com"
    settings.API_SESSION_COOKIE_NAME = "__Host-session"
    settings.API_SESSION_COOKIE_SECURE = True
    return settings


def messages(*, deploy: bool = True) -> list[CheckMessage]:
    """The messages of this project's checks."""
    return [
        message
        for message in run_checks(include_deployment_checks=deploy)
        if (message.id or "").startswith(("accounts.", "protected."))
    ]


def test_production_as_it_comes_is_fine(production: Settings) -> None:
    assert messages() == []


@pytest.mark.parametrize(
    ("name", "value", "id_"),
    [
        ("API_SESSION_COOKIE_NAME", "session", "accounts.W011"),
        ("API_SESSION_COOKIE_NAME", "__Secure-session", "accounts.W011"),
        ("SECRET_KEY_FALLBACKS", [KEY], "accounts.W012"),
        ("API_SESSION_KEYS", [KEY, OTHER_KEY, KEY], "accounts.W012"),
        ("API_SESSION_KEYS", ["ab" * 30], "accounts.W013"),
        ("API_SESSION_LEEWAY", 0, "accounts.W014"),
        ("API_SESSION_LEEWAY", 3600, "accounts.W014"),
        ("API_READ_TIMEOUT", 60, "accounts.W015"),
        ("ALLOWED_HOSTS", ["www.example.com", "*"], "accounts.W016"),
        ("SECURE_PROXY_SSL_HEADER", ("HTTP_X_FORWARDED_PROTO", "https"), "accounts.W018"),
        ("TRUSTED_PROXY_COUNT", 1, "accounts.W019"),
        ("CSRF_TRUSTED_ORIGINS", ["https://www.example.com", "http://shop.example.com"], "accounts.W020"),
        ("DEFAULT_EXCEPTION_REPORTER_FILTER", "django.views.debug.SafeExceptionReporterFilter", "accounts.W022"),
        ("DEFAULT_EXCEPTION_REPORTER_FILTER", "no.such.Filter", "accounts.W022"),
        ("API_PROXY_ALLOW", "GET /orders, POST /", "protected.W001"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_setting_that_is_unwise_in_production_is_a_warning_with_a_way_out(
    production: Settings, name: str, value: object, id_: str
) -> None:
    setattr(production, name, value)

    (message,) = messages()

    assert (message.id, message.is_serious()) == (id_, False)
    assert message.hint
    assert name in f"{message.msg} {message.hint}" or name == "ALLOWED_HOSTS"
    assert KEY not in str(message)


def test_a_cookie_that_is_not_secure_is_a_warning(production: Settings) -> None:
    production.API_SESSION_COOKIE_NAME = "session"
    production.API_SESSION_COOKIE_SECURE = False

    (message,) = messages()

    assert (message.id, bool(message.hint)) == ("accounts.W010", True)


@pytest.mark.parametrize("name", ["SECRET_KEY", "SECRET_KEY_FALLBACKS", "API_SESSION_KEYS"])
def test_the_key_of_a_developers_machine_is_an_error(production: Settings, name: str) -> None:
    setattr(production, name, DEVELOPMENT_KEY if name == "SECRET_KEY" else [DEVELOPMENT_KEY])

    (error,) = [message for message in messages() if message.is_serious()]

    assert (error.id, bool(error.hint)) == ("accounts.E020", True)
    assert DEVELOPMENT_KEY not in str(error)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_proxies_and_their_header_belong_together(production: Settings, count: int) -> None:
    production.TRUSTED_PROXY_COUNT = count
    production.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if count else None

    assert messages() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_SESSION_KEYS", [KEY, OTHER_KEY]),
        ("SECRET_KEY_FALLBACKS", [OTHER_KEY]),
        ("API_SESSION_LEEWAY", 5),
        ("API_SESSION_LEEWAY", 300),
        ("API_READ_TIMEOUT", 26),
        ("CSRF_TRUSTED_ORIGINS", ["https://shop.example.com"]),
        ("DEFAULT_EXCEPTION_REPORTER_FILTER", f"{__name__}.StricterFilter"),
        ("API_PROXY_ALLOW", "GET /orders, POST /orders"),
        ("API_PROXY_ALLOW", ""),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_setting_that_is_as_good_is_none(production: Settings, name: str, value: object) -> None:
    setattr(production, name, value)

    assert messages() == []


# Django warns about overridden DATABASES, because the connections stay the same. Here nothing connects.
@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES:UserWarning")
@pytest.mark.parametrize(
    ("engine", "ids"),
    [
        ("django.db.backends.mysql", ["accounts.W021"]),
        ("django.db.backends.sqlite3", []),
        ("django.db.backends.postgresql", []),
    ],
)
def test_a_database_that_nobody_has_tried_is_a_warning(production: Settings, engine: str, ids: list[str]) -> None:
    production.DATABASES = {"default": {"ENGINE": engine}}

    assert [message.id for message in messages()] == ids


class TestWhatSessionsNeed:
    def test_times_that_know_their_zone(self, production: Settings) -> None:
        production.USE_TZ = False

        (message,) = messages(deploy=False)

        assert (message.id, message.is_serious(), bool(message.hint)) == ("accounts.E021", True, True)

    def test_the_middleware(self, production: Settings) -> None:
        production.MIDDLEWARE = [name for name in production.MIDDLEWARE if not name.startswith("accounts.")]

        (message,) = messages(deploy=False)

        assert (message.id, message.is_serious(), bool(message.hint)) == ("accounts.E022", True, True)

    def test_the_middleware_of_the_user(self, production: Settings) -> None:
        django_has = "django.contrib.auth.middleware.AuthenticationMiddleware"
        production.MIDDLEWARE = [
            django_has if name == "accounts.middleware.UserMiddleware" else name for name in production.MIDDLEWARE
        ]

        (message,) = messages(deploy=False)

        assert (message.id, message.is_serious(), bool(message.hint)) == ("accounts.E025", True, True)


class TestDevelopersMachine:
    @pytest.fixture(autouse=True)
    def _debug(self, production: Settings) -> None:
        production.DEBUG = True

    @pytest.mark.parametrize("host", ["localhost", "[::1]", "192.168.1.20", "laptop", "laptop.local", "site.test"])
    def test_names_of_its_own_are_fine(self, settings: Settings, host: str) -> None:
        settings.ALLOWED_HOSTS = [host]

        assert messages(deploy=False) == []

    @pytest.mark.parametrize("host", ["www.example.com", ".example.com", "*", "93.184.216.34"])
    def test_names_that_others_can_reach_are_a_warning(self, settings: Settings, host: str) -> None:
        settings.ALLOWED_HOSTS = ["localhost", host]

        (message,) = messages(deploy=False)

        assert (message.id, message.is_serious(), bool(message.hint)) == ("accounts.W017", False, True)
        assert host in message.msg

    def test_what_production_needs_is_not_asked_of_it(self, settings: Settings) -> None:
        settings.ALLOWED_HOSTS = ["localhost"]
        settings.SECRET_KEY = DEVELOPMENT_KEY
        settings.API_SESSION_COOKIE_NAME = "session"
        settings.API_SESSION_COOKIE_SECURE = False
        settings.API_SESSION_LEEWAY = 0
        settings.API_READ_TIMEOUT = 60

        assert messages() == []
