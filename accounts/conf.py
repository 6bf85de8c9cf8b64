"""The package's settings, typed. They are read from Django's settings on first use.

A page reads about twenty. Each value is cached until a setting changes, so `override_settings` works.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from django.conf import settings
from django.core.signals import setting_changed

T = TypeVar("T")

# Ten years: a date so far ahead can still be stored.
_LONGEST_SECONDS = 10 * 365 * 24 * 3600.0


def setting(name: str, convert: Callable[[Any], T]) -> cached_property[T]:
    """A property with the converted value of the Django setting `name`."""
    return cached_property(lambda _: convert(getattr(settings, name)))


def _limit(seconds: float | None) -> float | None:
    return None if seconds is None else min(float(seconds), _LONGEST_SECONDS)


class Conf:
    """Times are in seconds."""

    #: The API's address, without a trailing slash.
    base_url = setting("API_BASE_URL", lambda url: str(url).strip().rstrip("/"))
    dialect = setting("API_DIALECT", str)
    #: The name of the user name field in the API's login call; empty for the dialect's default.
    username_field = setting("API_USERNAME_FIELD", str)
    #: The names of the claims that are kept with the session, such as "roles".
    user_claims = setting("API_USER_CLAIMS", tuple)
    #: The path of a PEM file with further trusted authorities; empty for the well-known ones alone.
    ca_bundle = setting("API_CA_BUNDLE", lambda path: str(path).strip())
    connect_timeout = setting("API_CONNECT_TIMEOUT", float)
    read_timeout = setting("API_READ_TIMEOUT", float)
    refresh_ahead = setting("API_REFRESH_AHEAD", float)
    #: Whether requests are recorded for the request trace.
    traces = setting("API_TRACE", bool)
    #: The address of the OpenTelemetry collector; empty for none.
    otlp_endpoint = setting("OTEL_EXPORTER_OTLP_ENDPOINT", str)
    #: Whether requests are recorded as spans.
    spans = setting("OTEL_EXPORTER_OTLP_ENDPOINT", bool)

    #: The provider's issuer identifier. A trailing slash is part of it.
    oauth_issuer = setting("OAUTH_ISSUER", lambda url: str(url).strip())
    oauth_client_id = setting("OAUTH_CLIENT_ID", lambda id_: str(id_).strip())
    #: Empty for a public client. It has no line end, unlike the file that it may come from (RFC 6749 appendix A.2).
    oauth_client_secret = setting("OAUTH_CLIENT_SECRET", lambda secret: str(secret).strip("\r\n"))
    #: Private keys in PEM format, the one that signs first, or the path of a file with them; empty for none.
    oauth_client_key = setting("OAUTH_CLIENT_KEY", lambda key: str(key).strip())
    #: A method of OpenID Connect Core section 9; empty: choose by what is set and what the provider offers.
    oauth_client_auth = setting("OAUTH_CLIENT_AUTH", str)
    #: Pushed authorization requests: auto (where the provider offers them), always or never.
    oauth_par = setting("OAUTH_PAR", lambda par: str(par).strip())
    #: Whether tokens are bound to a key of the session (RFC 9449).
    oauth_dpop = setting("OAUTH_DPOP", bool)
    oauth_scope = setting("OAUTH_SCOPE", lambda scope: str(scope).strip())
    #: Additional parameters of the authorization request, such as an audience.
    oauth_authorization_parameters = setting("OAUTH_AUTHORIZATION_PARAMETERS", lambda query: dict(parse_qsl(query)))
    #: The names of those that the query of the sign-in address may add.
    oauth_sign_in_parameters = setting("OAUTH_SIGN_IN_PARAMETERS", tuple)

    cookie_name = setting("API_SESSION_COOKIE_NAME", str)
    cookie_secure = setting("API_SESSION_COOKIE_SECURE", bool)
    cookie_samesite = setting("API_SESSION_COOKIE_SAMESITE", str)
    #: The grace period: how long after a confirmation a request may still present an older generation.
    leeway = setting("API_SESSION_LEEWAY", float)
    #: A session ends so long after its sign-in. None: no limit.
    max_age = setting("API_SESSION_MAX_AGE", _limit)
    #: A session ends if it is not used for so long after its access token expired. None: no limit.
    idle_timeout = setting("API_SESSION_IDLE_TIMEOUT", _limit)
    checks_every_request = setting("API_SESSION_CHECK", lambda check: bool(check == "every-request"))

    #: Failed sign-ins allowed from one address, such as "20/10 minutes; 100/day"; empty for no limit.
    sign_in_limit_per_address = setting("SIGN_IN_LIMIT_PER_ADDRESS", str)
    #: Failed sign-ins allowed with one user name from one address.
    sign_in_limit_per_user = setting("SIGN_IN_LIMIT_PER_USER", str)
    #: Failed sign-ins allowed with one user name from all addresses where that user is not known.
    sign_in_limit_per_user_anywhere = setting("SIGN_IN_LIMIT_PER_USER_ANYWHERE", str)
    #: Whether sessions are bound to the devices of browsers that can do that.
    device_binding = setting("API_SESSION_DEVICE_BINDING", bool)
    #: How long a browser's proof of its key is valid.
    device_proof_seconds = setting("API_SESSION_DEVICE_PROOF_SECONDS", float)
    trusted_proxy_count = setting("TRUSTED_PROXY_COUNT", int)

    @cached_property
    def oauth_endpoints(self) -> dict[str, str]:
        """The endpoints set here instead of by discovery, by their names in a discovery document."""
        names = ("authorization_endpoint", "token_endpoint", "revocation_endpoint", "jwks_uri")
        return {name: url for name in names if (url := str(getattr(settings, f"OAUTH_{name.upper()}") or "").strip())}

    @cached_property
    def attempt_seconds(self) -> float:
        """The total deadline of one sign-in, refresh or revocation at the API, including the connect."""
        return self.connect_timeout + self.read_timeout

    @cached_property
    def lease_seconds(self) -> float:
        """How long one claim to rotate lasts. Longer than an attempt, or two workers would refresh at once."""
        return self.attempt_seconds * 1.25 + 2

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The key ring, newest first: API_SESSION_KEYS, or else SECRET_KEY and its fallbacks."""
        return tuple(settings.API_SESSION_KEYS) or (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)

    @cached_property
    def metrics(self) -> bool:
        """Whether the metrics can be read at all."""
        return bool(settings.METRICS_TOKEN or settings.METRICS_ALLOW)


conf = Conf()


def _clear_cache(**_: Any) -> None:
    vars(conf).clear()


setting_changed.connect(_clear_cache)
