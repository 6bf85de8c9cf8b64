"""The package's settings: read on first use, typed, and consistent with each other."""

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.conf import conf


@pytest.mark.parametrize(
    ("name", "value", "attribute", "expected"),
    [
        ("API_BASE_URL", "https://api.example.com/v1/", "base_url", "https://api.example.com/v1"),
        ("API_BASE_URL", "https://api.example.com", "base_url", "https://api.example.com"),
        ("API_BASE_URL", "\thttp://api:8000/ \r\n", "base_url", "http://api:8000"),
        ("OAUTH_ISSUER", " https://login.example.com/\n", "oauth_issuer", "https://login.example.com/"),
        ("OAUTH_JWKS_URI", "https://keys.example.com\n", "oauth_endpoints", {"jwks_uri": "https://keys.example.com"}),
        ("OAUTH_JWKS_URI", "\n", "oauth_endpoints", {}),
        ("OAUTH_CLIENT_ID", "site\n", "oauth_client_id", "site"),
        ("OAUTH_CLIENT_SECRET", " tarpaulin \r\n", "oauth_client_secret", " tarpaulin "),
        ("OAUTH_SCOPE", "openid email\n", "oauth_scope", "openid email"),
        ("API_DIALECT", "oauth2", "dialect", "oauth2"),
        ("API_USERNAME_FIELD", "login", "username_field", "login"),
        ("API_CONNECT_TIMEOUT", "1.5", "connect_timeout", 1.5),
        ("API_READ_TIMEOUT", 20, "read_timeout", 20.0),
        ("API_REFRESH_AHEAD", 0, "refresh_ahead", 0.0),
        ("API_SESSION_COOKIE_NAME", "bff", "cookie_name", "bff"),
        ("API_SESSION_COOKIE_SECURE", True, "cookie_secure", True),
        ("API_SESSION_COOKIE_SAMESITE", "Strict", "cookie_samesite", "Strict"),
        ("API_SESSION_LEEWAY", 5, "leeway", 5.0),
        ("API_SESSION_CHECK", "every-request", "checks_every_request", True),
        ("API_SESSION_CHECK", "on-rotation", "checks_every_request", False),
        ("TRUSTED_PROXY_COUNT", 2, "trusted_proxy_count", 2),
    ],
)
def test_a_setting_counts_as_soon_as_it_is_changed(
    settings: Settings, name: str, value: object, attribute: str, expected: object
) -> None:
    setattr(settings, name, value)

    actual = getattr(conf, attribute)

    assert actual == expected
    assert type(actual) is type(expected)


@effort(deadline=None, max_examples=100)
@given(connect=st.floats(0.001, 1000), read=st.floats(0.001, 1000))
def test_a_lease_outlasts_a_whole_attempt_whatever_the_timeouts(connect: float, read: float) -> None:
    with override_settings(API_CONNECT_TIMEOUT=connect, API_READ_TIMEOUT=read):
        assert conf.attempt_seconds == connect + read
        assert conf.lease_seconds > conf.attempt_seconds + 1


class TestKeys:
    def test_those_of_its_own_come_first(self, settings: Settings) -> None:
        settings.API_SESSION_KEYS = ["new", "old"]

        assert conf.keys == ("new", "old")

    def test_without_any_they_are_djangos(self, settings: Settings) -> None:
        settings.API_SESSION_KEYS = []
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "present", ["former", "first"]

        assert conf.keys == ("present", "former", "first")
