"""System checks of the settings of the OAuth dialects: the client, the provider and its endpoints."""

from collections.abc import Iterator
from contextlib import suppress

from django.core.checks import CheckMessage, Error, Tags, Warning, register

from accounts.checks.deployment import is_unencrypted
from accounts.conf import conf
from accounts.dialects import current_dialect
from accounts.dialects.base import PasswordDialect
from accounts.dialects.client_authentication import UnusableKey, client_keys
from accounts.dialects.oauth2 import OAuth2Dialect, OAuth2PasswordDialect
from accounts.sign_in.authorization_request import RESERVED_PARAMETERS
from accounts.text import parse_address


@register()
def check_oauth(**kwargs: object) -> Iterator[CheckMessage]:
    dialect = _oauth_dialect()
    if conf.oauth_dpop and (dialect is None or isinstance(dialect, PasswordDialect)):
        yield Error(
            f"OAUTH_DPOP is on, but API_DIALECT is {conf.dialect!r}.",
            hint="Only oauth2, and dialects of your own that are made from it, bind tokens to a key. Remove "
            "OAUTH_DPOP, or use oauth2.",
            id="accounts.E054",
        )
    if dialect is None:
        return
    if (conf.oauth_issuer or _needs_issuer(dialect)) and parse_address(conf.oauth_issuer) is None:
        yield Error(
            "OAUTH_ISSUER is not a valid address.",
            hint="Write it like https://login.example.com/realms/main, without a user, a query or a fragment. It "
            "can be empty if both OAUTH_AUTHORIZATION_ENDPOINT and OAUTH_TOKEN_ENDPOINT are set, without "
            "openid in OAUTH_SCOPE.",
            id="accounts.E013",
        )
    for name, url in conf.oauth_endpoints.items():
        if parse_address(url, may_have_query=True) is None:
            yield Error(
                f"The provider's {name} is not a valid address.",
                hint=f"Set OAUTH_{name.upper()} to a whole URL, or leave it empty: the discovery document names it.",
                id="accounts.E014",
            )
    if not conf.oauth_client_id:
        yield Error(
            "OAUTH_CLIENT_ID is not set.",
            hint="The provider gave you this id when you registered the site there.",
            id="accounts.E012",
        )
    yield from _check_client_authentication()
    yield from _check_requests()
    if conf.cookie_samesite == "Strict" and not isinstance(dialect, PasswordDialect):
        yield Error(
            "API_SESSION_COOKIE_SAMESITE is Strict, but users return from the provider, which is another site.",
            hint="Use Lax. With Strict, the browser does not send the new session cookie on that return.",
            id="accounts.E016",
        )


@register(Tags.security, deploy=True)
def check_oauth_security(**kwargs: object) -> Iterator[CheckMessage]:
    if _oauth_dialect() is None:
        return
    if any(is_unencrypted(url) for url in (conf.oauth_issuer, *conf.oauth_endpoints.values())):
        yield Warning(
            "The provider is not https: codes, tokens and the client's secret cross the network unencrypted.",
            hint="Use https for OAUTH_ISSUER and for every endpoint.",
            id="accounts.W002",
        )
    has_key = conf.oauth_client_key and conf.oauth_client_auth in ("", "private_key_jwt")
    if not conf.oauth_client_secret and not has_key:
        yield Warning(
            "Neither OAUTH_CLIENT_SECRET nor OAUTH_CLIENT_KEY is used, so an attacker can use a stolen refresh token.",
            hint="Register this site as a confidential client. Its secret or key stays on the server.",
            id="accounts.W003",
        )
    if isinstance(_oauth_dialect(), OAuth2PasswordDialect):
        yield Warning(
            "API_DIALECT is oauth2-password: the provider's passwords pass through this site.",
            hint="Use oauth2. RFC 9700 section 2.4 forbids the password grant.",
            id="accounts.W004",
        )


def _check_client_authentication() -> Iterator[CheckMessage]:
    if conf.oauth_client_auth not in ("", "client_secret_basic", "client_secret_post", "private_key_jwt"):
        yield Error(
            f"OAUTH_CLIENT_AUTH is {conf.oauth_client_auth!r}.",
            hint="Use client_secret_basic, client_secret_post or private_key_jwt. If it is empty, what is set and the "
            "provider's document decide.",
            id="accounts.E015",
        )
    try:
        client_keys()
        problem = ""
    except UnusableKey as error:
        problem = f"{error}."
    if not conf.oauth_client_key and conf.oauth_client_auth == "private_key_jwt":
        problem = "OAUTH_CLIENT_AUTH is private_key_jwt, but OAUTH_CLIENT_KEY is not set."
    if problem:
        yield Error(
            problem[0].upper() + problem[1:],
            hint="Make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out client-key.pem",
            id="accounts.E050",
        )
    if conf.oauth_client_secret and conf.oauth_client_key and not conf.oauth_client_auth:
        yield Error(
            "OAUTH_CLIENT_SECRET and OAUTH_CLIENT_KEY are both set.",
            hint="Remove one of them, or say with OAUTH_CLIENT_AUTH which one authenticates this client.",
            id="accounts.E051",
        )


def _check_requests() -> Iterator[CheckMessage]:
    has_document = not {"authorization_endpoint", "token_endpoint"} <= conf.oauth_endpoints.keys()
    if conf.oauth_par not in ("auto", "always", "never") or (conf.oauth_par == "always" and not has_document):
        yield Error(
            f"OAUTH_PAR is {conf.oauth_par!r}.",
            hint="Use auto, always or never. With always, do not set both OAUTH_AUTHORIZATION_ENDPOINT and "
            "OAUTH_TOKEN_ENDPOINT: the endpoint for pushed requests is in the discovery document.",
            id="accounts.E052",
        )
    if reserved := RESERVED_PARAMETERS & set(conf.oauth_sign_in_parameters):
        yield Error(
            f"OAUTH_SIGN_IN_PARAMETERS has {min(reserved)!r}, which the address of the sign-in page cannot decide.",
            hint="Name parameters such as login_hint, ui_locales and prompt.",
            id="accounts.E053",
        )


def _needs_issuer(dialect: OAuth2Dialect) -> bool:
    """Whether the endpoints, or the keys that sign ID tokens, are known only from the issuer's document."""
    if isinstance(dialect, OAuth2PasswordDialect):
        return "token_endpoint" not in conf.oauth_endpoints
    known = {"authorization_endpoint", "token_endpoint"} <= conf.oauth_endpoints.keys()
    return not known or "openid" in conf.oauth_scope.split()


def _oauth_dialect() -> OAuth2Dialect | None:
    """None for another dialect, and for one that cannot be loaded: check_api reports that."""
    with suppress(ImportError, AttributeError, TypeError, ValueError):
        dialect = current_dialect()
        return dialect if isinstance(dialect, OAuth2Dialect) else None
    return None
