"""The package's settings, typed, and read from Django's when asked for.

A page asks for some twenty: those are kept as they were read until a setting is changed, so `override_settings` works.
"""

from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from django.conf import settings
from django.core.signals import setting_changed
from limits import RateLimitItem, parse_many


class Conf:
    """Reads `API_*` settings. Times are in seconds."""

    @cached_property
    def base_url(self) -> str:
        """Where the API lives, without a slash at the end."""
        return str(settings.API_BASE_URL).rstrip("/")

    @cached_property
    def dialect(self) -> str:
        return str(settings.API_DIALECT)

    @cached_property
    def username_field(self) -> str:
        """What the API calls the user's name at login; empty means the dialect's own default."""
        return str(settings.API_USERNAME_FIELD)

    @cached_property
    def oauth_issuer(self) -> str:
        """The provider's issuer identifier, to the letter: a slash at the end is part of it."""
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
        """client_secret_basic or client_secret_post; empty for what the provider offers."""
        return str(settings.OAUTH_CLIENT_AUTH)

    @cached_property
    def oauth_scope(self) -> str:
        return str(settings.OAUTH_SCOPE)

    @property
    def oauth_authorization_parameters(self) -> dict[str, str]:
        """What the provider wants to be told besides, such as an audience."""
        return dict(parse_qsl(settings.OAUTH_AUTHORIZATION_PARAMETERS))

    @property
    def oauth_endpoints(self) -> dict[str, str]:
        """The provider's endpoints that are set here, by their names in a discovery document."""
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
        """The total deadline of one sign-in, refresh or revocation at the API, connecting included."""
        return self.connect_timeout + self.read_timeout

    @cached_property
    def lease_seconds(self) -> float:
        """How long one claim to rotate lasts. Longer than an attempt, or a second refresher gets in (with margin)."""
        return self.attempt_seconds * 1.25 + 2

    @cached_property
    def refresh_ahead(self) -> float:
        return float(settings.API_REFRESH_AHEAD)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The key ring, newest first: the keys of API_SESSION_KEYS, or else SECRET_KEY and its fallbacks."""
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
        """How long after a confirmation requests already under way may still present an older generation."""
        return float(settings.API_SESSION_LEEWAY)

    @cached_property
    def checks_every_request(self) -> bool:
        return bool(settings.API_SESSION_CHECK == "every-request")

    @cached_property
    def metrics(self) -> bool:
        """Whether anybody may read what is counted."""
        return bool(settings.METRICS_TOKEN or settings.METRICS_ALLOW)

    @cached_property
    def traces(self) -> bool:
        """Whether requests are recorded, to be drawn."""
        return bool(settings.API_TRACE)

    @property
    def sign_in_limit_per_address(self) -> list[RateLimitItem]:
        """How many sign-ins may fail from one address; none for as many as one likes, here and in the next two."""
        return parse_limits(settings.SIGN_IN_LIMIT_PER_ADDRESS)

    @property
    def sign_in_limit_per_user(self) -> list[RateLimitItem]:
        """How many may fail with one user name, from one address."""
        return parse_limits(settings.SIGN_IN_LIMIT_PER_USER)

    @property
    def sign_in_limit_per_user_anywhere(self) -> list[RateLimitItem]:
        """How many may fail with one user name, from all addresses together where that user is not known."""
        return parse_limits(settings.SIGN_IN_LIMIT_PER_USER_ANYWHERE)

    @cached_property
    def trusted_proxy_count(self) -> int:
        return int(settings.TRUSTED_PROXY_COUNT)


def parse_limits(text: str) -> list[RateLimitItem]:
    """Limits as `limits` writes them, "10/10 minutes; 50/day". Raises ValueError for what is none."""
    return parse_many(text) if text.strip() else []


conf = Conf()


def _read_anew(**_: Any) -> None:
    vars(conf).clear()


setting_changed.connect(_read_anew)
