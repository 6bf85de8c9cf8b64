"""System checks of settings that are insecure in production, or that contradict each other.

The checks for production (`check --deploy`) report nothing when DEBUG is on.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.utils.module_loading import import_string

from accounts.browser.client_address import is_private
from accounts.conf import conf
from accounts.session.sealing import DEVELOPMENT_KEY
from accounts.telemetry.error_reports import SecretsFilter

_MIN_DIFFERENT_CHARACTERS = 5
_MIN_LEEWAY_SECONDS = 5.0
_MAX_LEEWAY_SECONDS = 300.0
#: gunicorn's default `timeout`: it kills a sync worker that takes longer for one request.
_GUNICORN_TIMEOUT_SECONDS = 30.0
_TESTED_ENGINES = ("django.db.backends.sqlite3", "django.db.backends.postgresql")
_MIDDLEWARE = "accounts.middleware.ApiSessionMiddleware"
_MAKE_A_KEY = "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(64))'"


@register(Tags.security)
def check_duplicate_keys(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if len(set(conf.keys)) < len(conf.keys):
        return [
            Warning(
                "A key is listed twice among the keys that seal the sessions.",
                hint="List each key once in API_SESSION_KEYS, or in SECRET_KEY and SECRET_KEY_FALLBACKS.",
                id="accounts.W012",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_weak_keys(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG:
        return []
    messages: list[CheckMessage] = []
    if any(key.startswith(DEVELOPMENT_KEY) for key in (settings.SECRET_KEY, *conf.keys)):
        messages.append(
            Error(
                "SECRET_KEY, or a key that seals sessions, is the well-known development key.",
                hint=_MAKE_A_KEY,
                id="accounts.E020",
            )
        )
    if any(len(set(key)) < _MIN_DIFFERENT_CHARACTERS for key in settings.API_SESSION_KEYS):
        messages.append(
            Warning(
                f"A key in API_SESSION_KEYS has fewer than {_MIN_DIFFERENT_CHARACTERS} different characters.",
                hint=_MAKE_A_KEY,
                id="accounts.W013",
            )
        )
    return messages


@register(Tags.security, deploy=True)
def check_cookie_in_production(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG:
        return []
    if not conf.cookie_secure:
        return [
            Warning(
                "API_SESSION_COOKIE_SECURE is off: browsers send the session over plain HTTP too.",
                hint="Keep the default, true, and serve the site over HTTPS.",
                id="accounts.W010",
            )
        ]
    if not conf.cookie_name.startswith("__Host-"):
        return [
            Warning(
                f"API_SESSION_COOKIE_NAME is {conf.cookie_name!r}: a site on a sibling domain can set this cookie.",
                hint="Begin the name with __Host-. Browsers accept such a cookie from this host only.",
                id="accounts.W011",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_durations(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG:
        return []
    messages: list[CheckMessage] = []
    if not _MIN_LEEWAY_SECONDS <= conf.leeway <= _MAX_LEEWAY_SECONDS:
        messages.append(
            Warning(
                f"API_SESSION_LEEWAY, the grace period, is {conf.leeway:g} seconds. A short one takes parallel "
                "requests for theft and signs users out. A long one lets copied cookies go unnoticed.",
                hint=f"Use {_MIN_LEEWAY_SECONDS:g} to {_MAX_LEEWAY_SECONDS:g} seconds.",
                id="accounts.W014",
            )
        )
    if conf.attempt_seconds >= _GUNICORN_TIMEOUT_SECONDS:
        messages.append(
            Warning(
                f"API_CONNECT_TIMEOUT and API_READ_TIMEOUT add up to {conf.attempt_seconds:g} seconds. A user may wait "
                "that long for a page, and gunicorn kills a sync worker earlier, perhaps during a rotation.",
                hint=f"Keep their sum below {_GUNICORN_TIMEOUT_SECONDS:g} seconds.",
                id="accounts.W015",
            )
        )
    return messages


@register(Tags.security, deploy=True)
def check_hosts(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG:
        return []
    messages: list[CheckMessage] = []
    if "*" in settings.ALLOWED_HOSTS:
        messages.append(
            Warning(
                "ALLOWED_HOSTS allows every name: the site accepts requests for any host name as its own.",
                hint="List the names of the site.",
                id="accounts.W016",
            )
        )
    insecure = [origin for origin in settings.CSRF_TRUSTED_ORIGINS if urlsplit(origin).scheme != "https"]
    if insecure:
        messages.append(
            Warning(
                f"CSRF_TRUSTED_ORIGINS trusts {', '.join(insecure)}: an attacker on the network can forge such a page.",
                hint="Use https:// in each origin.",
                id="accounts.W020",
            )
        )
    return messages


@register(Tags.security)
def check_debug(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    public = [host for host in settings.ALLOWED_HOSTS if not is_private(host)]
    if settings.DEBUG and public:
        return [
            Warning(
                f"DEBUG is on, and ALLOWED_HOSTS has {', '.join(public)}: error pages show code to visitors.",
                hint="Set DEBUG=false on a site that others can reach.",
                id="accounts.W017",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_proxies(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG:
        return []
    if settings.SECURE_PROXY_SSL_HEADER and conf.trusted_proxy_count == 0:
        return [
            Warning(
                "SECURE_PROXY_SSL_HEADER is set, but TRUSTED_PROXY_COUNT is 0: without a proxy, every visitor can send "
                "this header and claim HTTPS.",
                hint="Set TRUSTED_PROXY_COUNT to the number of proxies, or do not set SECURE_PROXY_SSL_HEADER.",
                id="accounts.W018",
            )
        ]
    if conf.trusted_proxy_count > 0 and not settings.SECURE_PROXY_SSL_HEADER:
        return [
            Warning(
                "TRUSTED_PROXY_COUNT is above 0, but SECURE_PROXY_SSL_HEADER is not set: the site takes HTTPS for "
                "plain HTTP, and redirects every request to the same address.",
                hint='Set SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https"), as config/settings.py does.',
                id="accounts.W019",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_database_engine(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    engine = settings.DATABASES.get("default", {}).get("ENGINE", "")
    if settings.DEBUG or engine in _TESTED_ENGINES:
        return []
    return [
        Warning(
            f"The rotation is not tested with the database engine {engine!r}.",
            hint="Use PostgreSQL, or SQLite on a single host. Or run this project's tests with your database.",
            id="accounts.W021",
        )
    ]


@register(Tags.security, deploy=True)
def check_error_reports(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        hides = issubclass(import_string(settings.DEFAULT_EXCEPTION_REPORTER_FILTER), SecretsFilter)
    except (ImportError, TypeError):
        hides = False
    if hides:
        return []
    return [
        Warning(
            "DEFAULT_EXCEPTION_REPORTER_FILTER is not SecretsFilter: error reports can show tokens.",
            hint='Use "accounts.telemetry.error_reports.SecretsFilter", or a subclass of it.',
            id="accounts.W022",
        )
    ]


@register()
def check_requirements(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    if not settings.USE_TZ:
        messages.append(
            Error(
                "USE_TZ is off: the times in the database and those of this process can differ by hours.",
                hint="Set USE_TZ = True. TIME_ZONE can have any value.",
                id="accounts.E021",
            )
        )
    if _MIDDLEWARE not in settings.MIDDLEWARE:
        messages.append(
            Error(
                f"{_MIDDLEWARE} is not in MIDDLEWARE: views have no request.api, and browsers get no rotated session.",
                hint="Put it before Django's SessionMiddleware, as config/settings.py does.",
                id="accounts.E022",
            )
        )
    return messages
