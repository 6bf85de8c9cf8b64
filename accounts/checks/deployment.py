"""System checks of settings that are insecure in production, or that contradict each other (`check --deploy`)."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.utils.module_loading import import_string

from accounts.conf import conf
from accounts.session.sealing import DEVELOPMENT_KEY
from accounts.telemetry.error_reports import SecretsFilter
from accounts.text import parse_address

_MIN_DIFFERENT_CHARACTERS = 5
_MIN_LEEWAY_SECONDS = 5.0
_MAX_LEEWAY_SECONDS = 300.0
#: gunicorn's default `timeout`: it kills a sync worker that takes longer for one request.
_GUNICORN_TIMEOUT_SECONDS = 30.0
_TESTED_ENGINES = ("django.db.backends.sqlite3", "django.db.backends.postgresql", "config.postgresql")
_MAKE_A_KEY = "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(64))'"


def is_unencrypted(url: str) -> bool:
    """Whether requests to `url` leave this host without TLS. False for a text that is not an address."""
    pieces = parse_address(url, may_have_query=True)
    return pieces is not None and pieces.scheme != "https" and pieces.hostname not in ("localhost", "127.0.0.1", "::1")


@register(Tags.security, deploy=True)
def check_leaks(**kwargs: object) -> Iterator[CheckMessage]:
    """Also with DEBUG on."""
    if is_unencrypted(conf.base_url):
        yield Warning(
            "API_BASE_URL is not https: passwords and tokens cross the network unencrypted.",
            hint="Use https, or send the calls through a TLS proxy on this host.",
            id="accounts.W001",
        )
    try:
        hides = issubclass(import_string(settings.DEFAULT_EXCEPTION_REPORTER_FILTER), SecretsFilter)
    except (ImportError, TypeError):
        hides = False
    if not hides:
        yield Warning(
            "DEFAULT_EXCEPTION_REPORTER_FILTER is not SecretsFilter: error reports can show tokens.",
            hint='Use "accounts.telemetry.error_reports.SecretsFilter", or a subclass of it.',
            id="accounts.W022",
        )


@register(Tags.security, deploy=True)
def check_keys_and_cookie(**kwargs: object) -> Iterator[CheckMessage]:
    if settings.DEBUG:
        return
    if any(key.startswith(DEVELOPMENT_KEY) for key in (settings.SECRET_KEY, *conf.keys)):
        yield Error(
            "SECRET_KEY, or a key that seals sessions, is the well-known development key.",
            hint=_MAKE_A_KEY,
            id="accounts.E020",
        )
    if any(len(set(key)) < _MIN_DIFFERENT_CHARACTERS for key in settings.API_SESSION_KEYS):
        yield Warning(
            f"A key in API_SESSION_KEYS has fewer than {_MIN_DIFFERENT_CHARACTERS} different characters.",
            hint=_MAKE_A_KEY,
            id="accounts.W013",
        )
    if not conf.cookie_secure:
        yield Warning(
            "API_SESSION_COOKIE_SECURE is off: browsers send the session over plain HTTP too.",
            hint="Keep the default, true, and serve the site over HTTPS.",
            id="accounts.W010",
        )
    elif not conf.cookie_name.startswith("__Host-"):
        yield Warning(
            f"API_SESSION_COOKIE_NAME is {conf.cookie_name!r}: a site on a sibling domain can set this cookie.",
            hint="Begin the name with __Host-. Browsers accept such a cookie from this host only.",
            id="accounts.W011",
        )


@register(Tags.security, deploy=True)
def check_rotation(**kwargs: object) -> Iterator[CheckMessage]:
    if settings.DEBUG:
        return
    if not _MIN_LEEWAY_SECONDS <= conf.leeway <= _MAX_LEEWAY_SECONDS:
        yield Warning(
            f"API_SESSION_LEEWAY, the grace period, is {conf.leeway:g} seconds. A short one takes parallel "
            "requests for theft and signs users out. A long one lets copied cookies go unnoticed.",
            hint=f"Use {_MIN_LEEWAY_SECONDS:g} to {_MAX_LEEWAY_SECONDS:g} seconds.",
            id="accounts.W014",
        )
    if conf.attempt_seconds >= _GUNICORN_TIMEOUT_SECONDS:
        yield Warning(
            f"API_CONNECT_TIMEOUT and API_READ_TIMEOUT add up to {conf.attempt_seconds:g} seconds. A user may wait "
            "that long for a page, and gunicorn kills a sync worker earlier, perhaps during a rotation.",
            hint=f"Keep their sum below {_GUNICORN_TIMEOUT_SECONDS:g} seconds.",
            id="accounts.W015",
        )
    engine = settings.DATABASES.get("default", {}).get("ENGINE", "")
    if engine not in _TESTED_ENGINES:
        yield Warning(
            f"The rotation is not tested with the database engine {engine!r}.",
            hint="Use PostgreSQL, or SQLite on a single host. Or run this project's tests with your database.",
            id="accounts.W021",
        )


@register(Tags.security, deploy=True)
def check_hosts_and_proxies(**kwargs: object) -> Iterator[CheckMessage]:
    if settings.DEBUG:
        return
    if "*" in settings.ALLOWED_HOSTS:
        yield Warning(
            "ALLOWED_HOSTS allows every name: the site accepts requests for any host name as its own.",
            hint="List the names of the site.",
            id="accounts.W016",
        )
    if insecure := [origin for origin in settings.CSRF_TRUSTED_ORIGINS if urlsplit(origin).scheme != "https"]:
        yield Warning(
            f"CSRF_TRUSTED_ORIGINS trusts {', '.join(insecure)}: an attacker on the network can forge such a page.",
            hint="Use https:// in each origin.",
            id="accounts.W020",
        )
    if settings.SECURE_PROXY_SSL_HEADER and conf.trusted_proxy_count == 0:
        yield Warning(
            "SECURE_PROXY_SSL_HEADER is set, but TRUSTED_PROXY_COUNT is 0: without a proxy, every visitor can send "
            "this header and claim HTTPS.",
            hint="Set TRUSTED_PROXY_COUNT to the number of proxies, or do not set SECURE_PROXY_SSL_HEADER.",
            id="accounts.W018",
        )
    if conf.trusted_proxy_count > 0 and not settings.SECURE_PROXY_SSL_HEADER:
        yield Warning(
            "TRUSTED_PROXY_COUNT is above 0, but SECURE_PROXY_SSL_HEADER is not set: the site takes HTTPS for "
            "plain HTTP, and redirects every request to the same address.",
            hint='Set SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https"), as config/settings.py does.',
            id="accounts.W019",
        )
