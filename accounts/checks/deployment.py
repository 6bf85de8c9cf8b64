"""More system checks: settings that are insecure in production, or that contradict each other.

`accounts.checks.settings` and `accounts.checks.oauth` check single values. The checks for production
(`check --deploy`) find nothing where DEBUG is on.
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

_FEWEST_CHARACTERS = 5
_SHORTEST_LEEWAY_SECONDS = 5.0
_MAX_LEEWAY_SECONDS = 300.0
#: After which gunicorn, by default, kills a worker of its `sync` class that is still at the same request.
_WORKER_SECONDS = 30.0
_TESTED_ENGINES = ("django.db.backends.sqlite3", "django.db.backends.postgresql")
_MIDDLEWARE = "accounts.middleware.ApiSessionMiddleware"
_MAKE_A_KEY = "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(64))'"


@register(Tags.security)
def check_ring(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if len(set(conf.keys)) < len(conf.keys):
        return [
            Warning(
                "A key is twice in the ring that seals the sessions.",
                hint="List each once in API_SESSION_KEYS, or in SECRET_KEY and SECRET_KEY_FALLBACKS.",
                id="accounts.W012",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_secrecy_of_keys(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG:
        return []
    messages: list[CheckMessage] = []
    if any(key.startswith(DEVELOPMENT_KEY) for key in (settings.SECRET_KEY, *conf.keys)):
        messages.append(
            Error(
                "SECRET_KEY or a key in the ring is the well-known one of a developer's machine.",
                hint=_MAKE_A_KEY,
                id="accounts.E020",
            )
        )
    if any(len(set(key)) < _FEWEST_CHARACTERS for key in settings.API_SESSION_KEYS):
        messages.append(
            Warning(
                f"A key in API_SESSION_KEYS has fewer than {_FEWEST_CHARACTERS} different characters.",
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
                hint="Leave it at its default, true, and serve the site over HTTPS.",
                id="accounts.W010",
            )
        ]
    if not conf.cookie_name.startswith("__Host-"):
        return [
            Warning(
                f"API_SESSION_COOKIE_NAME is {conf.cookie_name!r}: a site on a sibling domain can set such a cookie.",
                hint="Begin it with __Host-, which browsers accept from this very host alone.",
                id="accounts.W011",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_times(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if settings.DEBUG:
        return []
    messages: list[CheckMessage] = []
    if not _SHORTEST_LEEWAY_SECONDS <= conf.leeway <= _MAX_LEEWAY_SECONDS:
        messages.append(
            Warning(
                f"API_SESSION_LEEWAY is {conf.leeway:g} seconds. A short one takes requests that were under way for "
                "theft and signs users out; a long one lets copied cookies go unnoticed.",
                hint=f"Use {_SHORTEST_LEEWAY_SECONDS:g} to {_MAX_LEEWAY_SECONDS:g} seconds.",
                id="accounts.W014",
            )
        )
    if conf.attempt_seconds >= _WORKER_SECONDS:
        messages.append(
            Warning(
                f"API_CONNECT_TIMEOUT and API_READ_TIMEOUT add up to {conf.attempt_seconds:g} seconds: so long may a "
                "user wait for a page, and gunicorn kills a sync worker before that, perhaps while it rotates.",
                hint=f"Keep them below {_WORKER_SECONDS:g} seconds together.",
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
                "ALLOWED_HOSTS allows every name: the site takes any other one, and its pages, for its own.",
                hint="List the site's own names.",
                id="accounts.W016",
            )
        )
    insecure = [origin for origin in settings.CSRF_TRUSTED_ORIGINS if urlsplit(origin).scheme != "https"]
    if insecure:
        messages.append(
            Warning(
                f"CSRF_TRUSTED_ORIGINS trusts {', '.join(insecure)}: anybody on the network can speak for that.",
                hint="Use https:// there.",
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
                f"DEBUG is on, and ALLOWED_HOSTS has {', '.join(public)}: error pages show its inside to visitors.",
                hint="Set DEBUG=false where others can reach the site.",
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
                "SECURE_PROXY_SSL_HEADER is set, and TRUSTED_PROXY_COUNT says that no proxy stands in front: then "
                "every visitor can claim to have come over HTTPS.",
                hint="Set TRUSTED_PROXY_COUNT to the number of proxies, or leave the header unset.",
                id="accounts.W018",
            )
        ]
    if conf.trusted_proxy_count > 0 and not settings.SECURE_PROXY_SSL_HEADER:
        return [
            Warning(
                "TRUSTED_PROXY_COUNT says that proxies stand in front, and SECURE_PROXY_SSL_HEADER is not set: the "
                "site does not know what came over HTTPS, and redirects it to itself without end.",
                hint='Set SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https"), as config/settings.py does.',
                id="accounts.W019",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_database(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    engine = settings.DATABASES.get("default", {}).get("ENGINE", "")
    if settings.DEBUG or engine in _TESTED_ENGINES:
        return []
    return [
        Warning(
            f"Rotation is not tested with the database {engine!r}.",
            hint="Use PostgreSQL, or SQLite on one host; or run this project's tests with yours.",
            id="accounts.W021",
        )
    ]


@register(Tags.security, deploy=True)
def check_reports(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        hides = issubclass(import_string(settings.DEFAULT_EXCEPTION_REPORTER_FILTER), SecretsFilter)
    except (ImportError, TypeError):
        hides = False
    if hides:
        return []
    return [
        Warning(
            "DEFAULT_EXCEPTION_REPORTER_FILTER is not this project's: error reports can show tokens.",
            hint='Use "accounts.telemetry.error_reports.SecretsFilter", or a subclass of it.',
            id="accounts.W022",
        )
    ]


@register()
def check_what_sessions_need(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    if not settings.USE_TZ:
        messages.append(
            Error(
                "USE_TZ is off: the times of the records and those of this process would be hours apart.",
                hint="Set USE_TZ = True. TIME_ZONE can be any.",
                id="accounts.E021",
            )
        )
    if _MIDDLEWARE not in settings.MIDDLEWARE:
        messages.append(
            Error(
                f"{_MIDDLEWARE} is not in MIDDLEWARE: no view has request.api, and no rotated session is handed over.",
                hint="Put it before Django's own SessionMiddleware, as config/settings.py does.",
                id="accounts.E022",
            )
        )
    return messages
