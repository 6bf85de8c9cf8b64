"""The package's settings, typed. They are read from Django's settings on first use.

A page reads about twenty. Each value is cached until a setting changes, so `override_settings` works.
"""

from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.core.signals import setting_changed


class Conf:
    """Reads `API_*` settings. Times are in seconds."""

    @cached_property
    def base_url(self) -> str:
        """The API's address, without a trailing slash."""
        return str(settings.API_BASE_URL).rstrip("/")

    @cached_property
    def dialect(self) -> str:
        return str(settings.API_DIALECT)

    @cached_property
    def username_field(self) -> str:
        """The name of the user name field in the API's login call; empty for the dialect's default."""
        return str(settings.API_USERNAME_FIELD)

    @cached_property
    def oauth_issuer(self) -> str:
        """The provider's issuer identifier, unchanged: a trailing slash is part of it."""
        return str(settings.OAUTH_ISSUER)

    @cached_property
    def oauth_client_id(self) -> str:
        return str(settings.OAUTH_CLIENT_ID)

    @cached_property
    def oauth_client_secret(self) -> str:
        """Empty for a public client."""
        return str(settings.OAUTH_CLIENT_SECRET)

    @cached_property
    def oauth_client_auth(self) -> str:
        """client_secret_basic or client_secret_post; empty: choose by what the provider offers."""
        return str(settings.OAUTH_CLIENT_AUTH)

    @cached_property
    def oauth_scope(self) -> str:
        return str(settings.OAUTH_SCOPE)

    @property
    def oauth_authorization_parameters(self) -> dict[str, str]:
        """Additional parameters of the authorization request, such as an audience."""
        return dict(parse_qsl(settings.OAUTH_AUTHORIZATION_PARAMETERS))

    @property
    def oauth_endpoints(self) -> dict[str, str]:
        """The endpoints set here instead of by discovery, by their names in a discovery document."""
        endpoints = {
            "authorization_endpoint": settings.OAUTH_AUTHORIZATION_ENDPOINT,
            "token_endpoint": settings.OAUTH_TOKEN_ENDPOINT,
            "revocation_endpoint": settings.OAUTH_REVOCATION_ENDPOINT,
            "jwks_uri": settings.OAUTH_JWKS_URI,
        }
        return {name: str(url) for name, url in endpoints.items() if url}

    @cached_property
    def connect_timeout(self) -> float:
        return float(settings.API_CONNECT_TIMEOUT)

    @cached_property
    def read_timeout(self) -> float:
        return float(settings.API_READ_TIMEOUT)

    @cached_property
    def attempt_seconds(self) -> float:
        """The total deadline of one sign-in, refresh or revocation at the API, including the connect."""
        return self.connect_timeout + self.read_timeout

    @cached_property
    def lease_seconds(self) -> float:
        """How long one claim to rotate lasts. Longer than an attempt, or two workers would refresh at once."""
        return self.attempt_seconds * 1.25 + 2

    @cached_property
    def refresh_ahead(self) -> float:
        return float(settings.API_REFRESH_AHEAD)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The key ring, newest first: API_SESSION_KEYS, or else SECRET_KEY and its fallbacks."""
        return tuple(settings.API_SESSION_KEYS) or (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)

    @cached_property
    def cookie_name(self) -> str:
        return str(settings.API_SESSION_COOKIE_NAME)

    @cached_property
    def cookie_secure(self) -> bool:
        return bool(settings.API_SESSION_COOKIE_SECURE)

    @cached_property
    def cookie_samesite(self) -> str:
        return str(settings.API_SESSION_COOKIE_SAMESITE)

    @cached_property
    def leeway(self) -> float:
        """The grace period: how long after a confirmation a request may still present an older generation."""
        return float(settings.API_SESSION_LEEWAY)

    @cached_property
    def checks_every_request(self) -> bool:
        return bool(settings.API_SESSION_CHECK == "every-request")

    @cached_property
    def metrics(self) -> bool:
        """Whether the metrics can be read at all."""
        return bool(settings.METRICS_TOKEN or settings.METRICS_ALLOW)

    @cached_property
    def traces(self) -> bool:
        """Whether requests are recorded for the request trace."""
        return bool(settings.API_TRACE)

    @cached_property
    def sign_in_limit_per_address(self) -> str:
        """Failed sign-ins allowed from one address, such as "20/10 minutes; 100/day"; empty for no limit."""
        return str(settings.SIGN_IN_LIMIT_PER_ADDRESS)

    @cached_property
    def sign_in_limit_per_user(self) -> str:
        """Failed sign-ins allowed with one user name from one address."""
        return str(settings.SIGN_IN_LIMIT_PER_USER)

    @cached_property
    def sign_in_limit_per_user_anywhere(self) -> str:
        """Failed sign-ins allowed with one user name from all addresses where that user is not known."""
        return str(settings.SIGN_IN_LIMIT_PER_USER_ANYWHERE)

    @cached_property
    def trusted_proxy_count(self) -> int:
        return int(settings.TRUSTED_PROXY_COUNT)


conf = Conf()


def _clear_cache(**_: Any) -> None:
    vars(conf).clear()


setting_changed.connect(_clear_cache)
