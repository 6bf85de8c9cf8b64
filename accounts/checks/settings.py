"""System checks of single settings: values that are invalid, or with which every sign-in would fail."""

import re
from collections.abc import Sequence
from ipaddress import ip_network
from math import inf
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from accounts.checks.addresses import is_unencrypted
from accounts.conf import conf
from accounts.dialects import BUILT_IN, current_dialect
from accounts.dialects.base import PasswordDialect
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.sign_in.rate_limit import parse_limits
from accounts.text import parse_address

_SHORTEST_KEY = 32
_YEAR_SECONDS = 366 * 24 * 3600
_COOKIE_NAME = re.compile(r"[A-Za-z0-9_-]+")


@register(Tags.security)
def check_keys(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if any(len(key) < _SHORTEST_KEY for key in settings.API_SESSION_KEYS):
        return [
            Error(
                f"A key in API_SESSION_KEYS has fewer than {_SHORTEST_KEY} characters.",
                hint="Make one with: python -c 'import secrets; print(secrets.token_urlsafe(48))'",
                id="accounts.E001",
            )
        ]
    return []


@register()
def check_dialect(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    try:
        known = isinstance(current_dialect(), PasswordDialect | OAuth2Dialect)
        problem = "" if known else "the class is neither a PasswordDialect nor an OAuth2Dialect"
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        problem = str(error)
    if problem:
        return [
            Error(
                f"API_DIALECT is {conf.dialect!r}, which cannot be loaded: {problem}",
                hint=f"Use one of {', '.join(BUILT_IN)}, or the dotted path of a subclass of PasswordDialect.",
                id="accounts.E002",
            )
        ]
    return []


@register()
def check_base_url(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if parse_address(conf.base_url) is None:
        return [
            Error(
                "API_BASE_URL is not a valid address.",
                hint="Write it like https://api.example.com/v1, without a user, a query or a fragment.",
                id="accounts.E003",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_transport(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if is_unencrypted(conf.base_url):
        return [
            Warning(
                "API_BASE_URL is not https: passwords and tokens cross the network unencrypted.",
                hint="Use https, or send the calls through a TLS proxy on this host.",
                id="accounts.W001",
            )
        ]
    return []


@register(Tags.security)
def check_cookie(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    if conf.cookie_samesite not in ("Lax", "Strict"):
        messages.append(
            Error(
                f"API_SESSION_COOKIE_SAMESITE is {conf.cookie_samesite!r}.",
                hint="Use Lax. Use Strict if links from other sites must open the site signed out.",
                id="accounts.E004",
            )
        )
    if conf.cookie_name.startswith(("__Host-", "__Secure-")) and not conf.cookie_secure:
        messages.append(
            Error(
                f"Browsers refuse a cookie named {conf.cookie_name!r} without Secure.",
                hint="Set API_SESSION_COOKIE_SECURE=true, or give the cookie another name.",
                id="accounts.E005",
            )
        )
    if not _COOKIE_NAME.fullmatch(conf.cookie_name):
        messages.append(
            Error(
                f"API_SESSION_COOKIE_NAME is {conf.cookie_name!r}, which is not a valid cookie name.",
                hint="Use letters, digits, - and _ (RFC 6265 section 4.1.1 allows a few more).",
                id="accounts.E011",
            )
        )
    if conf.cookie_name in (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME):
        messages.append(
            Error(
                f"API_SESSION_COOKIE_NAME is {conf.cookie_name!r}, which is the name of one of Django's cookies.",
                hint="Give the session cookie another name.",
                id="accounts.E006",
            )
        )
    return messages


@register()
def check_values(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    messages: list[CheckMessage] = []
    if settings.API_SESSION_CHECK not in ("on-rotation", "every-request"):
        messages.append(
            Error(
                f"API_SESSION_CHECK is {settings.API_SESSION_CHECK!r}.",
                hint="Use on-rotation or every-request.",
                id="accounts.E007",
            )
        )
    if not (
        all(0 < timeout < inf for timeout in (conf.connect_timeout, conf.read_timeout))
        and all(0 <= seconds < inf for seconds in (conf.leeway, conf.refresh_ahead))
    ):
        messages.append(
            Error(
                "A timeout is not above zero, or API_SESSION_LEEWAY or API_REFRESH_AHEAD is below zero.",
                hint="API_CONNECT_TIMEOUT, API_READ_TIMEOUT, API_SESSION_LEEWAY and API_REFRESH_AHEAD are seconds.",
                id="accounts.E008",
            )
        )
    if conf.trusted_proxy_count < 0:
        messages.append(
            Error(
                f"TRUSTED_PROXY_COUNT is {conf.trusted_proxy_count}.",
                hint="It is the number of your proxies in front of this site: 0 or more.",
                id="accounts.E010",
            )
        )
    return messages


@register(Tags.security)
def check_sign_in_limits(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    names = ("SIGN_IN_LIMIT_PER_ADDRESS", "SIGN_IN_LIMIT_PER_USER", "SIGN_IN_LIMIT_PER_USER_ANYWHERE")
    return [
        Error(
            f"{name} is {getattr(settings, name)!r}, which is not a valid limit.",
            hint="Write it like 20/10 minutes, or like 20/10 minutes; 100/day. The number is above zero, the time is a "
            "year at most. An empty value means no limit.",
            id="accounts.E030",
        )
        for name in names
        if not _is_limit(getattr(settings, name))
    ]


@register(Tags.security)
def check_metrics_allow(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"METRICS_ALLOW has {text!r}, which is not a network.",
            hint="Write it like 10.0.0.0/8, or like 192.0.2.1 for one address. Host names are not supported.",
            id="accounts.E031",
        )
        for text in settings.METRICS_ALLOW
        if not _is_network(text)
    ]


# Not tagged with Tags.database: from Django 6.1 on, those checks run only when a command names a database.
@register()
def check_atomic_requests(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"ATOMIC_REQUESTS is on for the database {alias!r}: a rollback could lose tokens that the API handed out.",
            hint="Turn it off. Use transaction.atomic() where you need a transaction, after the calls to the API.",
            id="accounts.E009",
        )
        for alias, database in settings.DATABASES.items()
        if database.get("ATOMIC_REQUESTS")
    ]


def _is_limit(text: str) -> bool:
    try:
        limits = parse_limits(text)
    except ValueError:
        return False
    return all(limit.amount > 0 and limit.seconds <= _YEAR_SECONDS for limit in limits)


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True
