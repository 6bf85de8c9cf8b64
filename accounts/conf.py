"""The package's settings, typed, and read from Django's when asked for, so that `override_settings` works."""

from django.conf import settings


class Conf:
    """Reads `API_*` settings. Times are in seconds."""

    @property
    def base_url(self) -> str:
        """Where the API lives, without a slash at the end."""
        return str(settings.API_BASE_URL).rstrip("/")

    @property
    def dialect(self) -> str:
        return str(settings.API_DIALECT)

    @property
    def username_field(self) -> str:
        """What the API calls the user's name at login; empty means the dialect's own default."""
        return str(settings.API_USERNAME_FIELD)

    @property
    def connect_timeout(self) -> float:
        return float(settings.API_CONNECT_TIMEOUT)

    @property
    def read_timeout(self) -> float:
        return float(settings.API_READ_TIMEOUT)

    @property
    def attempt_seconds(self) -> float:
        """The total deadline of one sign-in, refresh or revocation at the API, connecting included."""
        return self.connect_timeout + self.read_timeout

    @property
    def lease_seconds(self) -> float:
        """How long one claim to rotate lasts. Longer than an attempt, or a second refresher gets in (with margin)."""
        return self.attempt_seconds * 1.25 + 2

    @property
    def refresh_ahead(self) -> float:
        return float(settings.API_REFRESH_AHEAD)

    @property
    def keys(self) -> tuple[str, ...]:
        """The key ring, newest first: the keys of API_SESSION_KEYS, or else SECRET_KEY and its fallbacks."""
        return tuple(settings.API_SESSION_KEYS) or (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)

    @property
    def cookie_name(self) -> str:
        return str(settings.API_SESSION_COOKIE_NAME)

    @property
    def cookie_secure(self) -> bool:
        return bool(settings.API_SESSION_COOKIE_SECURE)

    @property
    def cookie_samesite(self) -> str:
        return str(settings.API_SESSION_COOKIE_SAMESITE)

    @property
    def leeway(self) -> float:
        """How long after a confirmation requests already under way may still present an older generation."""
        return float(settings.API_SESSION_LEEWAY)

    @property
    def checks_every_request(self) -> bool:
        return bool(settings.API_SESSION_CHECK == "every-request")

    @property
    def traces(self) -> bool:
        """Whether requests are recorded, to be drawn."""
        return bool(settings.API_TRACE)

    @property
    def trusted_proxy_count(self) -> int:
        return int(settings.TRUSTED_PROXY_COUNT)


conf = Conf()
