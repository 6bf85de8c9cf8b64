"""System checks: what `manage.py check` says about insecure or contradictory settings, each with a way out."""

import re
from collections.abc import Sequence
from math import inf
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register

from accounts.conf import conf, parse_limits
from accounts.dialects import BUILT_IN, current_dialect
from accounts.dialects.base import PasswordDialect
from accounts.dialects.oauth2 import OAuth2Dialect, OAuth2PasswordDialect

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
    if _address(conf.base_url) is None:
        return [
            Error(
                "API_BASE_URL is not the address of an API.",
                hint="It looks like https://api.example.com/v1: no user, no query, no fragment.",
                id="accounts.E003",
            )
        ]
    return []


@register()
def check_oauth(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if not isinstance(_dialect(), OAuth2Dialect):
        return []
    messages: list[CheckMessage] = []
    if not conf.oauth_client_id:
        messages.append(
            Error(
                "OAUTH_CLIENT_ID is not set.",
                hint="It is what the provider gave you when you registered this site there.",
                id="accounts.E012",
            )
        )
    if (conf.oauth_issuer or _needs_issuer()) and _address(conf.oauth_issuer) is None:
        messages.append(
            Error(
                "OAUTH_ISSUER is no issuer.",
                hint=(
                    "It looks like https://login.example.com/realms/main: no user, no query, no fragment. Only with "
                    "OAUTH_AUTHORIZATION_ENDPOINT and OAUTH_TOKEN_ENDPOINT set, and no openid in OAUTH_SCOPE, it may "
                    "be left out."
                ),
                id="accounts.E013",
            )
        )
    messages += [
        Error(
            f"The provider's {name} is no address.",
            hint=f"Set OAUTH_{name.upper()} to a whole URL, or leave it to the discovery document.",
            id="accounts.E014",
        )
        for name, url in conf.oauth_endpoints.items()
        if _address(url, may_have_query=True) is None
    ]
    if conf.oauth_client_auth not in ("", "client_secret_basic", "client_secret_post"):
        messages.append(
            Error(
                f"OAUTH_CLIENT_AUTH is {conf.oauth_client_auth!r}.",
                hint="Use client_secret_basic or client_secret_post, or leave it empty for what the provider offers.",
                id="accounts.E015",
            )
        )
    if conf.cookie_samesite == "Strict" and not isinstance(_dialect(), PasswordDialect):
        messages.append(
            Error(
                "API_SESSION_COOKIE_SAMESITE is Strict, and people come back from the provider, which is another site.",
                hint="Use Lax: with Strict, a browser does not send the session that it has just been given.",
                id="accounts.E016",
            )
        )
    return messages


@register(Tags.security, deploy=True)
def check_oauth_security(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if not isinstance(_dialect(), OAuth2Dialect):
        return []
    messages: list[CheckMessage] = []
    addresses = [_address(url, may_have_query=True) for url in (conf.oauth_issuer, *conf.oauth_endpoints.values())]
    if any(_is_in_the_clear(url) for url in addresses):
        messages.append(
            Warning(
                "The provider is not https: codes, tokens and the client's secret cross the network in the clear.",
                hint="Use https for OAUTH_ISSUER and every endpoint.",
                id="accounts.W002",
            )
        )
    if not conf.oauth_client_secret:
        messages.append(
            Warning(
                "OAUTH_CLIENT_SECRET is not set, so whoever gets hold of a refresh token can use it.",
                hint="Register this site as a confidential client: its secret stays on the server.",
                id="accounts.W003",
            )
        )
    if isinstance(_dialect(), OAuth2PasswordDialect):
        messages.append(
            Warning(
                "API_DIALECT is oauth2-password: the provider's passwords pass through this site.",
                hint="Use oauth2. RFC 9700 section 2.4 forbids the password grant.",
                id="accounts.W004",
            )
        )
    return messages


@register(Tags.security, deploy=True)
def check_transport(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    if _is_in_the_clear(_address(conf.base_url)):
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


def _address(text: str, *, may_have_query: bool = False) -> SplitResult | None:
    """An address in its pieces; None for what is none."""
    try:
        url = urlsplit(text)
        usable = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        return None
    plain = not (url.fragment or "@" in url.netloc or (url.query and not may_have_query))
    return url if usable and plain else None


def _is_in_the_clear(url: SplitResult | None) -> bool:
    """Whether what goes there leaves this machine without TLS."""
    return url is not None and url.scheme != "https" and url.hostname not in ("localhost", "127.0.0.1", "::1")


def _is_limit(text: str) -> bool:
    try:
        limits = parse_limits(text)
    except ValueError:
        return False
    return all(limit.amount > 0 and limit.get_expiry() <= _YEAR_SECONDS for limit in limits)


def _needs_issuer() -> bool:
    """Whether something can be learned only from the issuer: endpoints, or who signs ID tokens."""
    if isinstance(_dialect(), OAuth2PasswordDialect):
        return "token_endpoint" not in conf.oauth_endpoints
    known = {"authorization_endpoint", "token_endpoint"} <= conf.oauth_endpoints.keys()
    return not known or "openid" in conf.oauth_scope.split()


def _dialect() -> object:
    """The dialect; None for one that check_dialect complains about."""
    try:
        return current_dialect()
    except (ImportError, AttributeError, TypeError, ValueError):
        return None
