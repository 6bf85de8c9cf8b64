"""System checks: what `manage.py check` says about insecure or contradictory settings, each with a way out."""

import re
from collections.abc import Sequence
from ipaddress import ip_network
from math import inf
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from accounts.conf import conf
from accounts.dialects import BUILT_IN, current_dialect
from accounts.dialects.base import PasswordDialect
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.sign_in.rate_limit import parse_limits

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
        problem = "" if known else "it is neither a PasswordDialect nor an OAuth2Dialect"
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        problem = str(error)
    if problem:
        return [
            Error(
                f"API_DIALECT is {conf.dialect!r}, which cannot be used: {problem}",
                hint=f"Use one of {', '.join(BUILT_IN)}, or the dotted path of a subclass of PasswordDialect.",
                id="accounts.E002",
            )
        ]
    return []


@register()
def check_base_url(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if address_of(conf.base_url) is None:
        return [
            Error(
                "API_BASE_URL is not the address of an API.",
                hint="It looks like https://api.example.com/v1: no user, no query, no fragment.",
                id="accounts.E003",
            )
        ]
    return []


@register(Tags.security, deploy=True)
def check_transport(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if is_in_the_clear(address_of(conf.base_url)):
        return [
            Warning(
                "API_BASE_URL is not https: passwords and tokens cross the network in the clear.",
                hint="Use https, or a TLS proxy on this host.",
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
                hint="Use Lax, or Strict where no link from another site may arrive signed in.",
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
                f"API_SESSION_COOKIE_NAME is {conf.cookie_name!r}, which is no name for a cookie.",
                hint="Use letters, digits, - and _ (RFC 6265 section 4.1.1 takes a few more).",
                id="accounts.E011",
            )
        )
    if conf.cookie_name in (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME):
        messages.append(
            Error(
                f"API_SESSION_COOKIE_NAME is {conf.cookie_name!r}, which Django uses for a cookie of its own.",
                hint="Give the session cookie a name of its own.",
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
                "A timeout is not above zero, or API_SESSION_LEEWAY or API_REFRESH_AHEAD is below it.",
                hint="These are seconds: API_CONNECT_TIMEOUT, API_READ_TIMEOUT, API_SESSION_LEEWAY, API_REFRESH_AHEAD.",
                id="accounts.E008",
            )
        )
    if conf.trusted_proxy_count < 0:
        messages.append(
            Error(
                f"TRUSTED_PROXY_COUNT is {conf.trusted_proxy_count}.",
                hint="It is how many proxies of yours stand in front of this site: 0 or more.",
                id="accounts.E010",
            )
        )
    return messages


@register(Tags.security)
def check_sign_in_limits(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    names = ("SIGN_IN_LIMIT_PER_ADDRESS", "SIGN_IN_LIMIT_PER_USER", "SIGN_IN_LIMIT_PER_USER_ANYWHERE")
    return [
        Error(
            f"{name} is {getattr(settings, name)!r}, which is no limit.",
            hint="It looks like 20/10 minutes, or 20/10 minutes; 100/day. Above zero, and for a year at most; "
            "empty for none.",
            id="accounts.E030",
        )
        for name in names
        if not _is_limit(getattr(settings, name))
    ]


@register(Tags.security)
def check_metrics_allow(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"METRICS_ALLOW has {text!r}, which is no network.",
            hint="It looks like 10.0.0.0/8, or 192.0.2.1 for one address; names are not looked up.",
            id="accounts.E031",
        )
        for text in settings.METRICS_ALLOW
        if not _is_network(text)
    ]


# Not tagged as one of the database's: from Django 6.1 on those run only where a command names a database.
@register()
def check_atomic_requests(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    return [
        Error(
            f"ATOMIC_REQUESTS is on for the database {alias!r}: a rollback could lose tokens that the API handed out.",
            hint="Turn it off, and use transaction.atomic() around what needs it, after the calls to the API.",
            id="accounts.E009",
        )
        for alias, database in settings.DATABASES.items()
        if database.get("ATOMIC_REQUESTS")
    ]


def address_of(text: str, *, may_have_query: bool = False) -> SplitResult | None:
    """An address in its pieces; None for what is none."""
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        return None
    plain = not (url.fragment or "@" in url.netloc or (url.query and not may_have_query))
    return url if usable and plain else None


def is_in_the_clear(url: SplitResult | None) -> bool:
    """Whether what goes there leaves this machine without TLS."""
    return url is not None and url.scheme != "https" and url.hostname not in ("localhost", "127.0.0.1", "::1")


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


def usable_dialect() -> object:
    """The dialect; None for one that check_dialect complains about."""
    try:
        return current_dialect()
    except (ImportError, AttributeError, TypeError, ValueError):
        return None
