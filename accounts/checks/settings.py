"""System checks of single settings: values that are invalid, or with which every sign-in would fail."""

import re
from collections.abc import Iterator
from ipaddress import ip_network
from math import inf
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, reverse
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.browser.client_address import is_private
from accounts.conf import conf
from accounts.dialects import BUILT_IN, current_dialect
from accounts.dialects.base import PasswordDialect
from accounts.dialects.oauth2 import OAuth2Dialect
from accounts.sign_in.rate_limit import parse_limits
from accounts.text import parse_address
from accounts.upstream.connections import additional_authorities

_SHORTEST_KEY = 32
#: Chromium signs six times in nine minutes for a site, and refreshes with every request in a device cookie's last two
#: minutes. With 300 seconds the cookie is kept for 225, so a browser that is used all the time signs every 105 seconds.
_SHORTEST_PROOF_SECONDS = 300.0
_YEAR_SECONDS = 366 * 24 * 3600
_COOKIE_NAME = re.compile(r"[A-Za-z0-9_-]+")
# A name or a URL. Other separators, quotes and brackets come from another notation of lists.
_CLAIM = re.compile(r"[^\s;|\"'\[\]{}()]{1,255}")
_MIDDLEWARE = "accounts.middleware.ApiSessionMiddleware"
_USER_MIDDLEWARE = "accounts.middleware.UserMiddleware"


@register(Tags.security)
def check_keys(**kwargs: object) -> Iterator[CheckMessage]:
    if any(len(key) < _SHORTEST_KEY for key in settings.API_SESSION_KEYS):
        yield Error(
            f"A key in API_SESSION_KEYS has fewer than {_SHORTEST_KEY} characters.",
            hint="Make one with: python -c 'import secrets; print(secrets.token_urlsafe(48))'",
            id="accounts.E001",
        )
    if len(set(conf.keys)) < len(conf.keys):
        yield Warning(
            "A key is listed twice among the keys that seal the sessions.",
            hint="List each key once in API_SESSION_KEYS, or in SECRET_KEY and SECRET_KEY_FALLBACKS.",
            id="accounts.W012",
        )


@register()
def check_api(**kwargs: object) -> Iterator[CheckMessage]:
    try:
        known = isinstance(current_dialect(), PasswordDialect | OAuth2Dialect)
        problem = "" if known else "the class is neither a PasswordDialect nor an OAuth2Dialect"
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        problem = str(error)
    if problem:
        yield Error(
            f"API_DIALECT is {conf.dialect!r}, which cannot be loaded: {problem}",
            hint=f"Use one of {', '.join(BUILT_IN)}, or the dotted path of a subclass of PasswordDialect.",
            id="accounts.E002",
        )
    if parse_address(conf.base_url) is None:
        yield Error(
            "API_BASE_URL is not a valid address.",
            hint="Write it like https://api.example.com/v1, without a user, a query or a fragment.",
            id="accounts.E003",
        )
    if conf.ca_bundle and not additional_authorities(conf.ca_bundle):
        yield Error(
            f"API_CA_BUNDLE is {conf.ca_bundle!r}, which is not a readable file with certificates.",
            hint="Give the whole path of a PEM file with the certificates of your own authorities.",
            id="accounts.E018",
        )


@register(Tags.security)
def check_cookie(**kwargs: object) -> Iterator[CheckMessage]:
    name = conf.cookie_name
    if conf.cookie_samesite not in ("Lax", "Strict"):
        yield Error(
            f"API_SESSION_COOKIE_SAMESITE is {conf.cookie_samesite!r}.",
            hint="Use Lax. Use Strict if links from other sites must open the site signed out.",
            id="accounts.E004",
        )
    if name.startswith(("__Host-", "__Secure-")) and not conf.cookie_secure:
        yield Error(
            f"Browsers refuse a cookie named {name!r} without Secure.",
            hint="Set API_SESSION_COOKIE_SECURE=true, or give the cookie another name.",
            id="accounts.E005",
        )
    if not _COOKIE_NAME.fullmatch(name):
        yield Error(
            f"API_SESSION_COOKIE_NAME is {name!r}, which is not a valid cookie name.",
            hint="Use letters, digits, - and _ (RFC 6265 section 4.1.1 allows a few more).",
            id="accounts.E011",
        )
    if name in (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME):
        yield Error(
            f"API_SESSION_COOKIE_NAME is {name!r}, which is the name of one of Django's cookies.",
            hint="Give the session cookie another name.",
            id="accounts.E006",
        )
    if settings.CSRF_COOKIE_NAME.startswith("__Host-") and (
        settings.CSRF_COOKIE_DOMAIN or settings.CSRF_COOKIE_PATH != "/" or not settings.CSRF_COOKIE_SECURE
    ):
        yield Error(
            f"Browsers refuse a cookie named {settings.CSRF_COOKIE_NAME!r} with a domain, with a path other than /, or "
            "without Secure. Without the CSRF cookie, every form is refused.",
            hint="Do not set CSRF_COOKIE_DOMAIN and CSRF_COOKIE_PATH. Set CSRF_COOKIE_SECURE = True.",
            id="accounts.E019",
        )


@register()
def check_values(**kwargs: object) -> Iterator[CheckMessage]:
    checked = settings.API_SESSION_CHECK
    if checked not in ("on-rotation", "every-request"):
        yield Error(f"API_SESSION_CHECK is {checked!r}.", hint="Use on-rotation or every-request.", id="accounts.E007")
    if not (
        all(0 < timeout < inf for timeout in (conf.connect_timeout, conf.read_timeout))
        and all(0 <= seconds < inf for seconds in (conf.leeway, conf.refresh_ahead))
    ):
        yield Error(
            "A timeout is not above zero, or API_SESSION_LEEWAY or API_REFRESH_AHEAD is below zero.",
            hint="API_CONNECT_TIMEOUT, API_READ_TIMEOUT, API_SESSION_LEEWAY and API_REFRESH_AHEAD are seconds.",
            id="accounts.E008",
        )
    limits = [limit for limit in (conf.max_age, conf.idle_timeout) if limit is not None]
    if any(limit <= 0 for limit in limits):
        yield Error(
            "API_SESSION_MAX_AGE or API_SESSION_IDLE_TIMEOUT is not above zero: every session would end at once.",
            hint="They are seconds. Leave a setting empty for no limit.",
            id="accounts.E026",
        )
    elif len(limits) == 2 and limits[1] > limits[0]:
        yield Warning(
            "API_SESSION_IDLE_TIMEOUT is longer than API_SESSION_MAX_AGE, so it never ends a session.",
            hint="Make it shorter, or leave it empty.",
            id="accounts.W026",
        )
    unusable = [name for name in conf.user_claims if not _CLAIM.fullmatch(name) or conf.user_claims.count(name) > 1]
    if unusable:
        yield Error(
            f"API_USER_CLAIMS has {unusable[0]!r}, which is no name of a claim, or is listed twice.",
            hint="Write names with commas between them: roles,tenant. A dot leads into a nested claim, as in "
            "realm_access.roles.",
            id="accounts.E024",
        )
    if conf.trusted_proxy_count < 0:
        yield Error(
            f"TRUSTED_PROXY_COUNT is {conf.trusted_proxy_count}.",
            hint="It is the number of your proxies in front of this site: 0 or more.",
            id="accounts.E010",
        )


@register(Tags.security)
def check_device_binding(**kwargs: object) -> Iterator[CheckMessage]:
    if not 0 < conf.device_proof_seconds < inf:
        yield Error(
            f"API_SESSION_DEVICE_PROOF_SECONDS is {conf.device_proof_seconds:g}.",
            hint="It is seconds, and above zero. API_SESSION_DEVICE_BINDING=false switches the binding off.",
            id="accounts.E027",
        )
    elif conf.device_binding and conf.device_proof_seconds < _SHORTEST_PROOF_SECONDS:
        yield Warning(
            f"API_SESSION_DEVICE_PROOF_SECONDS is {conf.device_proof_seconds:g}: browsers limit how often they sign. "
            "Then their requests are refused.",
            hint=f"Set it to {_SHORTEST_PROOF_SECONDS:g} seconds or more.",
            id="accounts.W027",
        )


@register(Tags.security)
def check_sign_in_limits(**kwargs: object) -> Iterator[CheckMessage]:
    for name in ("SIGN_IN_LIMIT_PER_ADDRESS", "SIGN_IN_LIMIT_PER_USER", "SIGN_IN_LIMIT_PER_USER_ANYWHERE"):
        text = getattr(settings, name)
        try:
            valid = all(limit.amount > 0 and limit.seconds <= _YEAR_SECONDS for limit in parse_limits(text))
        except ValueError:
            valid = False
        if not valid:
            yield Error(
                f"{name} is {text!r}, which is not a valid limit.",
                hint="Write it like 20/10 minutes, or like 20/10 minutes; 100/day. The number is above zero, the time "
                "is a year at most. An empty value means no limit.",
                id="accounts.E030",
            )


@register(Tags.security)
def check_metrics_allow(**kwargs: object) -> Iterator[CheckMessage]:
    for text in settings.METRICS_ALLOW:
        try:
            ip_network(text, strict=False)
        except ValueError:
            yield Error(
                f"METRICS_ALLOW has {text!r}, which is not a network.",
                hint="Write it like 10.0.0.0/8, or like 192.0.2.1 for one address. Host names are not supported.",
                id="accounts.E031",
            )


# Not tagged with Tags.database: from Django 6.1 on, those checks run only when a command names a database.
@register(Tags.security)
def check_django(**kwargs: object) -> Iterator[CheckMessage]:
    for alias, database in settings.DATABASES.items():
        if database.get("ATOMIC_REQUESTS"):
            name = f"the database {alias!r}"
            yield Error(
                f"ATOMIC_REQUESTS is on for {name}: a rollback could lose tokens that the API handed out.",
                hint="Turn it off. Use transaction.atomic() where you need a transaction, after the calls to the API.",
                id="accounts.E009",
            )
    if not settings.USE_TZ:
        yield Error(
            "USE_TZ is off: the times in the database and those of this process can differ by hours.",
            hint="Set USE_TZ = True. TIME_ZONE can have any value.",
            id="accounts.E021",
        )
    if _MIDDLEWARE not in settings.MIDDLEWARE:
        yield Error(
            f"{_MIDDLEWARE} is not in MIDDLEWARE: views have no request.api, and browsers get no rotated session.",
            hint="Put it before Django's SessionMiddleware, as config/settings.py does.",
            id="accounts.E022",
        )
    elif _USER_MIDDLEWARE not in settings.MIDDLEWARE:
        yield Error(
            f"{_USER_MIDDLEWARE} is not in MIDDLEWARE: request.user is not the user who is signed in at the API.",
            hint="Put it in the place of Django's AuthenticationMiddleware, as config/settings.py does.",
            id="accounts.E025",
        )
    yield from _check_login_redirect()
    if settings.DEBUG and (public := [host for host in settings.ALLOWED_HOSTS if not is_private(host)]):
        yield Warning(
            f"DEBUG is on, and ALLOWED_HOSTS has {', '.join(public)}: error pages show code to visitors.",
            hint="Set DEBUG=false on a site that others can reach.",
            id="accounts.W017",
        )


def _check_login_redirect() -> Iterator[CheckMessage]:
    try:
        url = resolve_url(settings.LOGIN_REDIRECT_URL)
    except NoReverseMatch:
        url = ""
    # The form-action of the sign-in page would block a redirect to another site.
    is_own = url.startswith("/") and url_has_allowed_host_and_scheme(url, allowed_hosts=None)
    if not is_own or urlsplit(url).path == reverse("accounts:login"):
        yield Error(
            f"LOGIN_REDIRECT_URL is {str(settings.LOGIN_REDIRECT_URL)!r}, which is not a page of this site to go to "
            "after a sign-in.",
            hint="Use the name of a URL pattern, or a path that begins with a slash: orders:list, or /orders/.",
            id="accounts.E023",
        )
